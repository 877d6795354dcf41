"""Laws that every loss by name keeps, whatever it measures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.data.dataset import Dataset
from autoseg.learning.costs.memory import step_cost
from autoseg.losses import in_blocks, losses
from autoseg.losses.deep_supervision import DeepSupervision
from autoseg.losses.partial import accepting_annotation, merge_not_annotated
from autoseg.plan.schema import Configuration
from autoseg.planners.recipe import training

GENERATOR = torch.Generator().manual_seed(0)
CLASSES = 4
LOGITS = 2 * torch.randn(3, CLASSES, 6, 5, 4, generator=GENERATOR)
TARGET = torch.randint(0, CLASSES, (3, 6, 5, 4), generator=GENERATOR)
REGIONS = [[1, 2, 3], [2], [2, 3], [3]]
ANNOTATED = torch.tensor([[True, True, False, True], [True, False, True, True], [True, True, True, True]])

SPECS = [
    {"name": "cross_entropy"},
    {"name": "cross_entropy", "label_smoothing": 0.1},
    {"name": "top_k_cross_entropy", "share": 0.3},
    {"name": "focal", "gamma": 1.5},
    {"name": "lp", "order": 1.5},
    {"name": "f_beta", "beta": 2},
    {"name": "f_beta", "power": 0.7, "per_image": False},
    {"name": "soft_iou"},
    {"name": "tversky", "focal": 0.75},
    {"name": "mcc"},
    {"name": "mcc", "per_image": True},
    {"name": "sum", "of": [{"name": "f_beta", "weight": 2}, {"name": "cross_entropy"}]},
]
KINDS = [None, REGIONS]


def build(spec, *, regions=None, **more):
    """Build a loss with arguments that its parts take as well."""
    more |= {} if regions is None else {"regions": regions}
    if "of" in spec:
        return losses.build(spec | {"of": [part | more for part in spec["of"]]})
    return losses.build(spec | more)


def by_name(value):
    return "-".join(map(str, value.values())) if isinstance(value, dict) else "regions" if value else "classes"


every_loss = pytest.mark.parametrize("spec", SPECS, ids=by_name)
every_kind = pytest.mark.parametrize("regions", KINDS, ids=by_name)


@every_loss
@every_kind
def test_the_gradient_is_that_of_finite_differences(spec, regions, monkeypatch):
    monkeypatch.setattr(in_blocks, "BLOCK_ELEMENTS", 3 * CLASSES)
    logits = LOGITS[:2, :, :2, :2, :2].double().requires_grad_()
    target = TARGET[:2, :2, :2, :2].clone()
    target[0, 0, 0, 0] = -1
    loss = build(spec, regions=regions, ignore_index=-1)
    more = () if regions is None else (ANNOTATED[:2],)
    torch.autograd.gradcheck(lambda values: loss(values, target, *more), logits)


@every_loss
@every_kind
def test_blocks_change_nothing(spec, regions, monkeypatch):
    def value_and_gradient():
        logits = LOGITS.clone().requires_grad_()
        value = build(spec, regions=regions)(logits, TARGET)
        value.backward()
        return value.detach(), logits.grad

    whole = value_and_gradient()
    monkeypatch.setattr(in_blocks, "BLOCK_ELEMENTS", 7 * CLASSES)
    torch.testing.assert_close(value_and_gradient(), whole)


@every_loss
@every_kind
@given(seed=st.integers(0, 1000))
@settings(max_examples=5)
def test_the_order_of_voxels_and_samples_has_no_say(spec, regions, seed):
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randperm(len(LOGITS), generator=generator)
    voxels = torch.randperm(TARGET[0].numel(), generator=generator)
    loss = build(spec, regions=regions)
    mixed = loss(LOGITS.flatten(2)[samples][:, :, voxels], TARGET.flatten(1)[samples][:, voxels])
    torch.testing.assert_close(mixed, loss(LOGITS, TARGET))


@every_loss
@every_kind
@pytest.mark.parametrize("ignored", [-1, 255])
def test_ignored_voxels_count_nowhere(spec, regions, ignored):
    target = TARGET.clone()
    target[:, 3:] = ignored
    logits = LOGITS.clone().requires_grad_()
    loss = build(spec, regions=regions, ignore_index=ignored)
    found = loss(logits, target)
    found.backward()
    assert not logits.grad[:, :, 3:].any() and logits.grad[:, :, :3].any()
    # What is left is as if the ignored half had never been.
    torch.testing.assert_close(found, build(spec, regions=regions)(LOGITS[:, :, :3], TARGET[:, :3]))
    nothing = loss(LOGITS.requires_grad_(False), torch.full_like(target, ignored))
    assert torch.isfinite(nothing)


@every_loss
@every_kind
def test_a_better_prediction_costs_less(spec, regions):
    loss = build(spec, regions=regions)
    masks = torch.stack([torch.isin(TARGET, torch.tensor(members)) for members in regions or [[0], [1], [2], [3]]], 1)
    right = torch.where(masks, 1.0, -1.0)
    costs = [float(loss(scale * right, TARGET)) for scale in (-1.0, 0.0, 1.0, 3.0)]
    assert costs == sorted(costs, reverse=True)


@every_loss
@every_kind
def test_extreme_logits_and_absent_classes_stay_finite(spec, regions):
    for target in (torch.zeros_like(TARGET), TARGET):
        for scale in (1e4, 0.0):
            logits = (scale * LOGITS.sign()).requires_grad_()
            value = build(spec, regions=regions)(logits, target)
            value.backward()
            assert torch.isfinite(value) and torch.isfinite(logits.grad).all()


@every_loss
@every_kind
def test_bfloat16_logits_are_computed_in_float32(spec, regions):
    logits = LOGITS.bfloat16().requires_grad_()
    value = build(spec, regions=regions)(logits, TARGET)
    value.backward()
    torch.testing.assert_close(value, build(spec, regions=regions)(logits.detach().float(), TARGET))
    assert value.dtype == torch.float32 and logits.grad.dtype == torch.bfloat16


@every_loss
def test_regions_that_were_not_annotated_teach_nothing(spec):
    loss, logits = build(spec, regions=REGIONS), LOGITS.clone().requires_grad_()
    loss(logits, TARGET, ANNOTATED).backward()
    assert not logits.grad[~ANNOTATED].any() and logits.grad[ANNOTATED].any()
    torch.testing.assert_close(loss(LOGITS, TARGET, torch.ones_like(ANNOTATED)), loss(LOGITS, TARGET))


@every_loss
def test_classes_that_were_not_annotated_are_merged_with_the_background(spec):
    loss, logits = build(spec), LOGITS.clone().requires_grad_()
    value = accepting_annotation(loss)(logits, TARGET, ANNOTATED)
    value.backward()
    assert torch.isfinite(value) and value < 100 and torch.isfinite(logits.grad).all()
    # Background is what was not annotated: certainty that a voxel is of one of these costs nothing.
    sure = torch.zeros_like(LOGITS)
    sure[:, 2] = 100.0
    only_second = torch.tensor([True, True, False, True]).expand(3, -1)
    merged = merge_not_annotated(sure, only_second)
    assert merged.softmax(1)[:, 0].min() > 0.999
    background = torch.zeros_like(TARGET)
    plain = accepting_annotation(loss)(sure, background, only_second)
    torch.testing.assert_close(plain, loss(merged, background))


@every_loss
@every_kind
def test_every_resolution_is_learned_from(spec, regions):
    levels = [LOGITS.clone().requires_grad_(), LOGITS[:, :, ::2, ::2, ::2].clone().requires_grad_(), LOGITS[:, :, ::3]]
    loss = DeepSupervision(accepting_annotation(build(spec, regions=regions)))
    loss(levels, TARGET, ANNOTATED).backward()
    assert levels[0].grad.any() and levels[1].grad.any()


ORGANS = Dataset("made", ("MR",), {"background": 0, "a": 1, "b": 2, "c": 3}, ".nii.gz", ())
TUMOURS = replace(ORGANS, labels={}, regions={"all": (1, 2, 3), "b": (2,), "core": (2, 3), "c": (3,)}, region_order=())
SMALL = Configuration(
    dimension=2,
    spacing=(1.0, 1.0, 1.0),
    median_shape=(1, 1024, 1024),
    patch_size=(1024, 1024),
    batch_size=2,
    normalization=({"name": "none"},),
    network={
        "name": "unet",
        "features": [4, 8],
        "kernels": [[3, 3]] * 2,
        "strides": [[1, 1], [2, 2]],
        "convolutions": 1,
        "decoder_convolutions": 1,
        "deep_supervision": False,
    },
    loss={"name": "dice_cross_entropy"},
    sampling={},
    augmentation={},
    training=training(600.0),
)


@every_loss
@every_kind
def test_a_step_takes_no_more_memory_than_with_the_usual_loss(spec, regions):
    found = {"regions": REGIONS} if regions else {}
    loss = spec | ({"of": [part | found for part in spec["of"]]} if "of" in spec else found)
    counted = step_cost(replace(SMALL, loss=loss), TUMOURS if regions else ORGANS, batch_size=2).peak_bytes
    assert counted <= 1.02 * step_cost(SMALL, ORGANS, batch_size=2).peak_bytes
