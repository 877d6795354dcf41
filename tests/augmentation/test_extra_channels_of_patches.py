"""Computed channels move and mirror with their patch, and no augmentation of intensities sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from autoseg.augmentation import build_augmentation
from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.inference.sliding_window import TilingSettings, predict_probabilities
from autoseg.networks.build import build_network
from autoseg.plan.schema import Configuration, MirroredClasses, Plan, Training
from autoseg.preprocessing.channel_layout import ChannelLayout, ComputedChannel, channel_layout
from autoseg.preprocessing.extra.position import Position
from autoseg.preprocessing.extra.prior_map_layer import PriorMapLayer
from autoseg.preprocessing.mirrored_labels import MirroredLabels, plan_mirrored_labels

SIDE = 8
PRIOR = {"name": "prior_map", "grid": [1, 1, SIDE], "maps": 2}
DATASET = Dataset(
    name="",
    channels=("T1",),
    labels={"background": 0, "left": 1, "right": 2},
    file_ending="",
    cases=(),
    sides=(("left", "right"),),
    extra_channels={"usual": PRIOR, "place": {"name": "position"}},
)


def configuration(dimension=3, **changes):
    fields = {
        "dimension": dimension,
        "spacing": (1.0, 1.0, 1.0),
        "median_shape": (SIDE,) * 3,
        "patch_size": (SIDE,) * dimension,
        "batch_size": 2,
        "normalization": ({"name": "none"},),
        "network": {
            "name": "unet",
            "features": [4, 8],
            "kernels": [[3] * dimension] * 2,
            "strides": [[1] * dimension, [2] * dimension],
            "convolutions": 1,
            "decoder_convolutions": 1,
            "deep_supervision": False,
        },
        "loss": {},
        "sampling": {},
        "augmentation": {},
        "training": Training({}, {}, iterations=1),
        "extra_channels": dict(DATASET.extra_channels),
    }
    return Configuration(**(fields | changes))


def mirrored_labels(dimension=3, axis=2, transpose=(0, 1, 2)):
    chosen = configuration(dimension)
    mirrored_classes = MirroredClasses(axis, (("left", "right"),))
    plan = Plan(
        1, "", "unet", transpose, (0, 1, 2), {"c": chosen}, orientation="SPL", mirrored_classes=mirrored_classes
    )
    return plan_mirrored_labels(plan, chosen, DATASET, source=Path("plan.json"))


def augmentation(preset="default", extra=7, mirrored_classes=None, **changes):
    return build_augmentation(
        {"name": preset, **changes},
        dimension=3,
        patch_size=(SIDE,) * 3,
        spacing=(1.0,) * 3,
        mirror_axes=(0, 1, 2),
        layout=ChannelLayout(1, computed=(ComputedChannel("place", slice(1, 1 + extra), Position()),) if extra else ()),
        mirrored_labels=mirrored_classes,
    )


def sample_with(made, mirror, *, seed=0):
    rng = np.random.default_rng(seed)
    while (parameters := made.sample(rng)).mirror != mirror:
        pass
    return parameters


def a_body():
    """An image with a left and a right organ, the place of each voxel, and where a prior map is to be read."""
    places = (2 * torch.arange(SIDE) + 1) / SIDE - 1
    z, y, x = torch.meshgrid(places, places, places, indexing="ij")
    labels = torch.where(x < 0, 1, 2).to(torch.int8)
    image = torch.randn(1, SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return torch.cat([image, torch.stack([z, y, x, torch.ones_like(z), z, y, x])]), labels


def test_intensity_transforms_change_the_image_alone():
    always = {name: {"probability": 1.0} for name in ("noise", "blur", "brightness", "contrast", "low_resolution")}
    still = {name: {"probability": 0.0} for name in ("rotation", "scaling", "mirror")}
    made = augmentation(gamma={"probability": 1.0}, gamma_inverted={"probability": 1.0}, **always, **still)
    image, labels = a_body()
    batch, _ = made.apply([image.clone()], [labels], [made.sample(np.random.default_rng(0))])
    assert torch.equal(batch[0, 1:], image[1:])
    assert not torch.equal(batch[0, :1], image[:1])


def test_places_are_mirrored_with_the_patch_where_no_class_has_a_side():
    made = augmentation("none", mirror={"probability": 0.5})
    image, labels = a_body()
    batch, targets = made.apply([image], [labels], [sample_with(made, (0, 2))])
    assert torch.equal(batch[0], image.flip([1, 3])) and torch.equal(targets[0], labels.flip([0, 2]))


@pytest.mark.parametrize("axis, place", [(2, 2), (0, 1)])
def test_a_body_mirrored_across_itself_has_its_places_as_before(axis, place):
    """Where left and right change places, what has become a right organ lies on the right, and the map agrees."""
    transpose = (0, 1, 2) if axis == 2 else (1, 0, 2)
    found = mirrored_labels(axis=axis, transpose=transpose)
    # The map's coordinates are those of the plan's axes, the position's those before transposition.
    assert found.negated == (1 + axis, 5 + place)


def test_labels_images_and_places_agree_after_mirroring_across_the_body():
    found = mirrored_labels()
    made = augmentation("none", mirrored_classes=found, mirror={"probability": 0.5})
    image, labels = a_body()
    batch, targets = made.apply([image], [labels], [sample_with(made, (2,))])
    assert torch.equal(targets[0], labels)
    assert torch.equal(batch[0, :1], image[:1].flip(3))
    assert torch.allclose(batch[0, 1:], image[1:])


def test_a_swap_of_another_axis_changes_no_sign():
    found = MirroredLabels(1, (0, 2, 1), (0, 2, 1, -1))
    made = augmentation("none", mirrored_classes=found, mirror={"probability": 0.5})
    image, labels = a_body()
    batch, _ = made.apply([image], [labels], [sample_with(made, (1,))])
    assert torch.equal(batch[0], image.flip(2))


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_mirrored_copy_reads_the_map_of_the_body_it_shows(dimension):
    """A network that says what the map says: averaging over mirrored copies must change nothing."""
    reader = PriorMapLayer(in_channels=8, channel=1, maps=2, grid=[1, 1, SIDE])
    places = torch.arange(SIDE)
    reader.map.copy_(torch.stack([(places < SIDE / 2).float(), (places >= SIDE / 2).float()])[:, None, None])

    class Believing(torch.nn.Module):
        divisor = (1,) * dimension

        def forward(self, x):
            usual = reader(x)[:, 1:3]
            return [10 * torch.cat([torch.zeros_like(usual[:, :1]), usual], dim=1)]

    image, labels = a_body()
    axes = tuple(range(dimension))
    results = [
        predict_probabilities(
            [Believing()],
            image.numpy(),
            TilingSettings((SIDE,) * dimension, 3, mirror_axes=mirrors, mirrored_labels=mirrored_labels(dimension)),
            torch.device("cpu"),
        )
        for mirrors in ((), axes)
    ]
    assert np.array_equal(results[0].argmax(0), labels.numpy())
    assert np.allclose(results[0], results[1], atol=1e-5)


def test_the_map_is_read_linearly_and_fades_out_where_there_is_no_image():
    reader = PriorMapLayer(in_channels=4, channel=0, maps=1, grid=[1, 1, 2])
    reader.map.copy_(torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2))
    x = torch.tensor([-0.9, -0.5, 0.0, 0.25, 0.5, 0.9])
    inside = torch.stack([torch.zeros(6), torch.zeros(6), x, torch.ones(6)]).reshape(1, 4, 1, 1, 6)
    expected = torch.tensor([0.0, 0.0, 0.5, 0.75, 1.0, 1.0])
    assert torch.allclose(reader(inside)[0, 0, 0, 0], expected)
    assert torch.allclose(reader(inside / 4)[0, 0, 0, 0], expected / 4)
    assert (reader(torch.zeros(1, 4, 1, 1, 6)) == 0).all()


@pytest.mark.parametrize("dimension", [2, 3])
def test_several_maps_a_learnable_window_and_a_previous_stage_go_together(dimension):
    extra = {"a": PRIOR, "place": {"name": "position", "axes": ["z"]}, "b": {**PRIOR, "maps": 5}}
    layer = {"name": "learnable_window", "channel": 0, "windows": [[40, 400], [300, 1500]]}
    chosen = configuration(dimension, extra_channels=extra, input_layer=layer, previous_stage="c")
    assert channel_layout(chosen, DATASET).stored == 1 + 4 + 1 + 4
    network = build_network(chosen, DATASET)
    readers = [module for module in network.modules() if isinstance(module, PriorMapLayer)]
    assert [(reader.channel, reader.out_channels) for reader in readers] == [(1, 10), (4, 11)]
    x = torch.zeros(1, channel_layout(chosen, DATASET).inputs, *(SIDE,) * dimension)
    assert network(x)[0].shape == (1, 3, *(SIDE,) * dimension)


def test_transforms_of_the_loader_that_move_voxels_are_refused():
    with pytest.raises(PlanError, match="'MirrorTransform' moves voxels but not computed channels"):
        assert augmentation(loader=[{"name": "MirrorTransform"}]).loader_transform
    inner = {"name": "RndTransform", "transform": {"name": "Rot90Transform"}}
    with pytest.raises(PlanError, match="'Rot90Transform' moves voxels"):
        assert augmentation(loader=[inner]).loader_transform
    assert augmentation(loader=[{"name": "GaussianNoiseTransform"}]).loader_transform
    assert augmentation(extra=0, loader=[{"name": "MirrorTransform"}]).loader_transform
