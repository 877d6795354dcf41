"""Two views of one sample, and the map between them."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoseg.augmentation import Parameters
from autoseg.augmentation.spatial import SpatialParameters
from autoseg.learning.batch import SecondView, maps_between, offset_map
from autoseg.learning.loader import batches
from autoseg.learning.patches import Sources
from autoseg.learning.samples import training_sources
from autoseg.learning.setting import FoldRequest, read_setting
from autoseg.preprocessing.mirrored_labels import MirroredLabels
from autoseg.workspace.paths import Workspace

CPU = torch.device("cpu")
TURNED = {"name": "none", "rotation": {"probability": 1.0}, "scaling": {"probability": 1.0, "range": [0.8, 1.3]}}


def source(workspace, name):
    """Return the labelled stream of a fold, with patches around foreground that are turned and scaled."""
    setting = read_setting(FoldRequest(Workspace(workspace), name, 0))
    sampling = {"name": "foreground", "fraction": 1.0}
    turned = replace(setting.configuration, augmentation=TURNED, sampling=sampling)
    return training_sources(replace(setting, configuration=turned)).streams["labelled"]


def view(between, *, size, swapped=False, labels=None):
    """A second view of one sample."""
    space = torch.zeros(1, *size)
    return SecondView(space[:, None], space, between[None], (swapped,), labels)


@st.composite
def drawn(draw, axes=3):
    """Parameters of a rotation, a scale and mirrored axes."""
    angle, factor = draw(st.floats(-3, 3)), draw(st.floats(0.7, 1.4))
    matrix = np.eye(axes)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    mirror = tuple(axis for axis in range(axes) if draw(st.booleans()))
    return Parameters(SpatialParameters(tuple(map(tuple, factor * matrix))), {}, mirror)


@given(drawn(), drawn())
def test_a_point_of_the_source_is_found_through_either_view(first, second):
    (between,) = maps_between([first], [second], 3).double().numpy()
    point = np.array([1.0, -2.0, 0.5])
    source_of_second = offset_map(second, 3) @ point
    assert np.allclose(offset_map(first, 3) @ (between @ point), source_of_second, atol=1e-4)


@given(drawn(), drawn())
def test_the_way_back_is_the_inverse(first, second):
    there, back = (maps_between([a], [b], 3)[0].numpy() for a, b in ((first, second), (second, first)))
    assert np.allclose(there @ back, np.eye(3), atol=1e-4)


def test_equal_views_change_nothing_and_know_every_voxel():
    predicted = torch.rand(1, 2, 4, 6, 5)
    moved, known = view(torch.eye(3), size=(4, 6, 5)).mapped(predicted)
    torch.testing.assert_close(moved, predicted)
    assert known.all()


def test_a_mirrored_view_is_the_mirrored_prediction_with_sides_swapped():
    predicted = torch.rand(1, 3, 4, 6, 5)
    mirrored = torch.diag(torch.tensor([1.0, 1.0, -1.0]))
    labels = MirroredLabels(axis=2, labels=(0, 2, 1, -1), outputs=(0, 2, 1))
    moved, known = view(mirrored, size=(4, 6, 5), swapped=True, labels=labels).mapped(predicted)
    torch.testing.assert_close(moved, predicted.flip(4)[:, [0, 2, 1]])
    assert known.all()
    features, _ = view(mirrored, size=(4, 6, 5), swapped=True, labels=labels).mapped(predicted, outputs=False)
    torch.testing.assert_close(features, predicted.flip(4))


def test_a_coarser_layer_is_mapped_by_the_same_geometry():
    """A quarter turn in a plane whose resolution differs along its axes."""
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    predicted = torch.rand(1, 1, 8, 4)
    moved, _ = view(turn, size=(8, 8)).mapped(predicted, outputs=False)
    fine = predicted.repeat_interleave(2, dim=3)
    expected = torch.rot90(fine, -1, (2, 3))
    coarse = expected.unflatten(3, (4, 2)).mean(4)
    torch.testing.assert_close(moved[..., 2:-2, 1:-1], coarse[..., 2:-2, 1:-1], atol=0.35, rtol=0)


@pytest.mark.parametrize("name", ["2d", "3d_fullres"])
def test_labels_of_the_first_view_lie_on_those_of_the_second(made_once, name):
    """The reference labels of both views agree once they are mapped, but for rounding at borders."""
    sources = Sources({"both": replace(source(made_once / "workspace", name), views=2)})
    agreed = total = 0
    for found in islice(batches(sources, first=0, device=CPU, workers=0), 6):
        batch = found["both"]
        moved, known = batch.second.mapped((batch.labels > 0)[:, None].float(), outputs=False)
        inside = known & (batch.second.labels >= 0)
        agreed += int(((moved[:, 0] > 0.5) == (batch.second.labels > 0))[inside].sum())
        total += int(inside.sum())
    assert total > 500 and agreed / total > 0.9


def test_the_first_view_is_the_only_view_of_a_stream_with_one(made_once):
    plain = source(made_once / "workspace", "3d_fullres")
    twice = replace(plain, views=2)
    one, two = plain.to_device(plain[3], CPU), twice.to_device(twice[3], CPU)
    assert torch.equal(one.images, two.images) and torch.equal(one.labels, two.labels)
    assert one.second is None and not torch.equal(two.second.images, two.images)
