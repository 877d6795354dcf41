"""DeepMedic against what is published of it: sizes of segments, receptive fields, weights."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.errors import PlanError
from autoseg.networks import networks
from autoseg.planners.deepmedic import VARIANTS


def deepmedic(dimension=3, channels=1, outputs=2, **changes):
    spec = {"name": "deepmedic", **changes}
    return networks.build(spec, in_channels=channels, outputs=outputs, dimension=dimension)


def variant(name, dimension=3, channels=4, outputs=5):
    """Return a published network at its full width, and the patch that its planner begins with."""
    found = VARIANTS[name]
    candidate = found.candidates((200,) * dimension, (1.0,) * dimension)[0]
    spec = found.network(dimension, candidate.topology, 32)
    with torch.device("meta"):
        return networks.build(spec, in_channels=channels, outputs=outputs, dimension=dimension), candidate.patch


def kernel_weights(network):
    return sum(weights.numel() for weights in network.parameters() if weights.ndim > 1)


def sizes_of_paths(network, patch, channels=4):
    """Return the edge of what each pathway is given and of what it makes of it, and that of the logits."""
    found = []
    for path in network.paths:
        path.register_forward_hook(lambda module, given, made: found.append((given[0].shape[-1], made.shape[-1])))
    logits = network.eval()(torch.empty(1, channels, *patch, device="meta"))
    return found, logits[0].shape[-1]


PUBLISHED = {
    # Edges of the normal segment, of the low-resolution ones and of what is learned.
    ("deepmedic", 3): (25, [19], 9),
    ("deepmedic_residual", 3): (25, [19], 9),
    ("deepmedic_lean", 3): (25, [19], 9),
    ("deepmedic_wide", 3): (34, [22], 18),
    ("deepmedic_three", 3): (31, [21, 19], 15),
    ("deepmedic_shallow", 3): (25, [], 9),
    ("deepmedic_deep", 3): (25, [], 9),
    ("deepmedic_big", 3): (25, [], 9),
    ("deepmedic", 2): (25, [19], 9),
    ("deepmedic_2d_wider", 2): (25, [19], 9),
    ("deepmedic_2d_deeper", 2): (41, [35], 9),
    ("deepmedic_2d_large", 2): (33, [27], 9),
}


@pytest.mark.parametrize(("name", "dimension"), PUBLISHED)
def test_segments_are_the_published_ones(name, dimension):
    normal, low, learned = PUBLISHED[name, dimension]
    network, patch = variant(name, dimension)
    paths, edge = sizes_of_paths(network, patch)
    assert [given for given, _ in paths] == [normal, *low]
    assert edge == learned == patch[0] - 2 * network.margin[0]
    factors = [factor[0] for factor in network.factors]
    assert [made for _, made in paths] == [-(-learned // factor) for factor in factors]


@pytest.mark.parametrize(("normal", "low", "learned"), [(45, 26, 29), (17, 17, 1), (24, 19, 8), (41, 25, 25)])
def test_what_is_no_multiple_of_the_factor_is_cut_after_upsampling(normal, low, learned):
    network, _ = variant("deepmedic")
    paths, edge = sizes_of_paths(network, [learned + 48] * 3)
    assert paths == [(normal, learned), (low, -(-learned // 3))] and edge == learned


WEIGHTS = {
    "deepmedic": 660_330,
    "deepmedic_residual": 660_330,
    "deepmedic_deep": 311_290,
    "deepmedic_big": 1_275_930,
    "deepmedic_shallow": 615_250,
}
"""Of convolutions, for four channels and five classes; normalization, PReLU and the classifier's bias come to this."""


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_as_many_as_follow_from_the_published_features(name):
    network, _ = variant(name)
    assert kernel_weights(network) == WEIGHTS[name]
    features = sum(layer.num_parameters for layer in network.modules() if isinstance(layer, torch.nn.PReLU))
    others = sum(weights.numel() for weights in network.parameters() if weights.ndim == 1)
    assert others == 3 * features + 5


def test_the_authors_count_follows_from_features_and_kernels():
    widths = [4, 30, 30, 40, 40, 40, 40, 50, 50]
    path = 27 * sum(a * b for a, b in itertools.pairwise(widths))
    assert WEIGHTS["deepmedic"] == 2 * path + 100 * 150 + 150 * 150 + 150 * 5


@pytest.mark.parametrize(("factors", "seen"), [((1,), 17), ((1, 3), 51), ((1, 3, 5), 85), ((3,), 51)])
def test_the_receptive_field_is_the_published_one(factors, seen):
    network = deepmedic(2, features=[2] * 8, hidden=[], factors=list(factors), dropout=0.0).double().eval()
    divisor, margin = network.divisor[0], network.margin[0]
    image = torch.randn(1, 1, divisor + 2 * margin, divisor + 2 * margin, dtype=torch.double, requires_grad=True)
    middle = divisor // 2
    network(image)[0][0, :, middle, middle].sum().backward()
    reached = torch.nonzero(image.grad[0, 0].abs().sum(dim=0)).flatten()
    first, last = int(reached[0]), int(reached[-1])
    step = factors[-1]
    # A coarse pathway sees the middle voxel of each of the groups that its receptive field has.
    assert last - first + step == seen
    assert (first + last) / 2 == margin + middle, "what is seen lies around the voxel"


def statistics_of_some_images(network, channels):
    """Give batch normalization what it would have learned, so that features are not all alike."""
    with torch.no_grad():
        for _ in range(3):
            network.train()(
                torch.randn(2, channels, *(n + 2 * m for n, m in zip(network.divisor, network.margin, strict=True)))
            )
    return network.eval()


SMALL = {"features": [3, 4, 4, 5], "hidden": [6], "residual": [2, 4]}
SINGLE = SMALL | {"factors": [1]}


@given(seed=st.integers(0, 99), dimension=st.sampled_from([2, 3]))
@settings(max_examples=10, deadline=None)
def test_a_single_pathway_is_the_same_patch_by_patch(seed, dimension):
    torch.manual_seed(seed)
    network = statistics_of_some_images(deepmedic(dimension, 2, 3, **SINGLE), 2)
    image = torch.randn(1, 2, *(13, 12, 11)[-dimension:])
    with torch.no_grad():
        dense = network(image)[0][0]
        for place in torch.cartesian_prod(*(torch.arange(n - 8) for n in image.shape[2:])).tolist():
            patch = image[(..., *(slice(p, p + 9) for p in place))]
            torch.testing.assert_close(network(patch)[0].flatten(), dense[(slice(None), *place)], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dimension", [2, 3])
def test_two_pathways_are_the_same_patch_by_patch_in_the_middle_of_each_triple_only(dimension):
    torch.manual_seed(0)
    network = statistics_of_some_images(deepmedic(dimension, 1, 2, **SMALL | {"factors": [1, 3]}), 1)
    image = torch.randn(1, 1, *(33, 30, 33)[-dimension:])
    size = 2 * network.margin[0] + 3

    def alone(voxel):
        """Predict one voxel as the middle one of a patch that is made for it."""
        patch = image[(..., *(slice(v - 1, v - 1 + size) for v in voxel))]
        return network(patch)[0][(0, slice(None), *[1] * dimension)]

    with torch.no_grad():
        dense = network(image)[0][0]
        middles = [range(1, n, 3) for n in dense.shape[1:]]
        for voxel in torch.cartesian_prod(*map(torch.tensor, middles)).tolist():
            torch.testing.assert_close(alone(voxel), dense[(slice(None), *voxel)], atol=1e-5, rtol=1e-5)
        beside = [2] + [1] * (dimension - 1)
        assert not torch.allclose(alone(beside), dense[(slice(None), *beside)], atol=1e-3)


def test_a_residual_connection_adds_the_middle_of_what_the_layer_before_was_given():
    torch.manual_seed(0)
    given = {"features": [2, 3], "hidden": [], "factors": [1], "normalization": "none"}
    plain, residual = deepmedic(2, 2, 3, **given), deepmedic(2, 2, 3, **given, residual=[2])
    residual.load_state_dict(plain.state_dict())
    image = torch.randn(1, 2, 9, 9)
    shortcut = torch.nn.functional.pad(image[..., 2:-2, 2:-2], (0, 0, 0, 0, 0, 1))
    expected = plain.paths[0](image) + shortcut
    torch.testing.assert_close(residual.paths[0](image), expected)


def test_the_last_two_hidden_layers_drop_features_and_no_others():
    network = deepmedic(hidden=[4, 5, 6])
    dropped = [name for name, layer in network.named_modules() if isinstance(layer, torch.nn.Dropout)]
    assert dropped == ["hidden.1.3", "hidden.2.3"]
    everywhere = deepmedic(features=[3, 3], hidden=[4], convolution_dropout=0.02)
    rates = [layer.p for layer in everywhere.modules() if isinstance(layer, torch.nn.Dropout)]
    assert rates == [0.02] * 4 + [0.5]


def test_pathways_share_no_weights_and_see_every_third_voxel():
    network = deepmedic(2, features=[2], hidden=[], factors=[1, 3]).eval()
    seen = {}
    for index, path in enumerate(network.paths):
        path.register_forward_pre_hook(lambda module, given, index=index: seen.update({index: given[0]}))
    image = torch.arange(9.0 * 9).reshape(1, 1, 9, 9)
    network(image)
    assert network.margin == (3, 3)
    assert torch.equal(seen[0], image[..., 2:7, 2:7])
    assert torch.equal(seen[1], image[..., 1::3, 1::3])
    first, second = (path.layers[0][0].weight for path in network.paths)
    assert first.shape == second.shape and not torch.equal(first, second)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": []}, "field 'features': found .., expected one number for each layer"),
        ({"kernels": [[3, 3, 3]]}, "field 'kernels': found .* expected 3 odd numbers for each of the 8 layers"),
        ({"kernels": [[2, 3, 3]] * 8}, "field 'kernels'"),
        ({"factors": []}, "field 'factors': found .., expected one number or 3 numbers"),
        ({"factors": [1, [3, 3]]}, "field 'factors': found .1, .3, 3.."),
        ({"factors": [0]}, "argument 'factors'"),
        ({"residual": [1]}, "field 'residual': found .1., expected layers from 2 to 8"),
        ({"coarse_features": [3]}, "field 'coarse_features': found .3., expected 8 numbers"),
        ({"dropout": 1.0}, "argument 'dropout': found 1.0"),
    ],
)
def test_what_deepmedic_cannot_do_is_named(changes, message):
    with pytest.raises(PlanError, match=message):
        deepmedic(**changes)


def test_coarse_axes_have_fewer_layers_and_lower_factors():
    found = VARIANTS["deepmedic"].candidates((30, 200, 200), (3.0, 1.0, 1.0))[0]
    spec = VARIANTS["deepmedic"].network(3, found.topology, 32)
    assert spec["kernels"] == [[1, 3, 3]] * 4 + [[3, 3, 3]] * 4
    assert spec["factors"] == [[1, 1, 1], [1, 3, 3]]
    assert found.margin == (4, 24, 24) and found.patch == (12, 57, 57)
