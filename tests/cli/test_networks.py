"""The command ``autoseg networks``."""

from __future__ import annotations

import pytest
from torch import nn

from autoseg.cli.main import main
from autoseg.cli.network_examples import build_example, joined, planners_of
from autoseg.networks import networks
from autoseg.planners.base import planners


@pytest.fixture
def autoseg(capfd):
    def run(*words):
        with pytest.raises(SystemExit) as exit_:
            main(["networks", *map(str, words)])
        said = capfd.readouterr()
        return exit_.value.code or 0, said.out + said.err

    return run


class Odd(nn.Module):
    """A network for 2D only, without plans and taps."""

    def __init__(self, *, in_channels, outputs, dimension):
        super().__init__()
        if dimension != 2:
            raise ValueError("only\nslices")
        self.layer = nn.Conv2d(in_channels, outputs, 1)
        self.margin, self.divisor = (0, 0), (1, 1)

    def forward(self, x):
        return [self.layer(x)]


class Fixed(Odd):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.taps = {"layer": self.layer}

    def forward(self, x):
        return [self.layer(x).view(1, 2, 8, 8)]


@pytest.fixture
def of_others(monkeypatch):
    """Register two networks as another package would."""
    networks.names()
    monkeypatch.setattr(networks, "_implementations", {**networks._implementations, "odd": Odd, "fixed": Fixed})


def rows(said):
    return [line.split() for line in said.splitlines()]


def test_all_networks_are_listed(autoseg, of_others):
    status, said = autoseg()
    assert status == 0
    first_words = {row[0] for row in rows(said) if row}
    assert set(networks.names()) <= first_words
    assert "2D, 3D 24" in next(line for line in said.splitlines() if line.startswith(" deepmedic "))
    assert "2D     0" in next(line for line in said.splitlines() if line.startswith(" odd "))


def test_a_network_is_described(autoseg):
    status, said = autoseg("unet", "--dimension", 2, "--patch", 64)
    assert status == 0
    assert said.startswith("unet: A U-Net with strided convolutions")
    assert "planners: unet\n" in said and "taps for a patch of 64×64, 1 channel:" in said
    for row in (["features", "required"], ["deep_supervision", "true"], ["encoder_0", "32", "64×64"]):
        assert row in rows(said)
    assert ["bottleneck", "512", "4×4"] in rows(said)


@pytest.mark.parametrize("name", networks.names())
@pytest.mark.parametrize("dimension", [2, 3])
def test_examples_have_the_taps_of_the_network(name, dimension):
    example = build_example(name, dimension)
    assert len(example.margin) == len(example.patch) == dimension
    assert example.shapes().keys() == example.network.taps.keys()
    assert all(parameter.is_meta for parameter in example.network.parameters())


def test_every_planner_belongs_to_a_network():
    written = {planner for name in networks.names() for planner in planners_of(name)}
    assert written == set(planners.names()) - {"emma"}


def test_a_patch_grows_only_where_the_network_needs_it():
    assert build_example("unet", 2, (100, 60)).patch == (112, 64)
    assert build_example("fcn_resnet50", 2, (100, 60)).patch == (100, 60)


def test_numbered_taps_of_one_shape_are_joined():
    shapes = {"stem": 1, "layer_0": 2, "layer_1": 2, "layer_2": 3, "path_0": 3, "path_1": 3}
    assert joined(shapes) == [("stem", 1), ("layer_0 … layer_1", 2), ("layer_2", 3), ("path_0 … path_1", 3)]


FAULTS = {
    "an unknown network": (["vent"], "networks: found 'vent', expected one of: vnet, "),
    "no number": (
        ["unet", "--patch", "big"],
        "patch 'big': expected one number of voxels, or 3, such as 128 or 64,128",
    ),
    "too few axes": (["unet", "--patch", "64,64"], "patch '64,64': expected one number of voxels, or 3"),
    "nothing": (["unet", "--patch", "0"], "patch '0': expected one number"),
    "a patch within the margin": (["deepmedic", "--patch", "12"], "patch: found [12, 12, 12], expected at least [49"),
    "a wrong dimension": (["odd"], "network 'odd': cannot be built in 3D: ValueError: only slices"),
    "a network that fails": (
        ["fixed", "--dimension", 2],
        "patch [128, 128]: the network cannot read it: RuntimeError: shape",
    ),
    "too many axes": (["unet", "--dimension", 4], "Invalid value for '--dimension'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_use_gives_one_line(fault, autoseg, of_others):
    words, message = FAULTS[fault]
    status, said = autoseg(*words)
    assert status == 2 and message in said and "Traceback" not in said
    assert "Invalid value" in message or said.count("\n") == 1


def test_a_network_without_taps_says_so(autoseg, of_others):
    status, said = autoseg("random_forest")
    assert status == 0 and said.endswith("taps: none\n") and "planners: random_forest" in said
    assert autoseg("odd", "--dimension", 2)[0] == 0
