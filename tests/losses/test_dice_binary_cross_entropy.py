from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from autoseg.errors import PlanError
from autoseg.losses import losses
from autoseg.losses.deep_supervision import DeepSupervision
from autoseg.losses.dice_binary_cross_entropy import region_masks

GENERATOR = torch.Generator().manual_seed(0)
NESTED = [[1, 2, 3], [2, 3], [3]]
LOGITS = torch.randn(2, 3, 6, 5, 4, generator=GENERATOR)
TARGET = torch.randint(0, 4, (2, 6, 5, 4), generator=GENERATOR)
ANNOTATED = torch.tensor([[True, False, True], [True, True, False]])


def loss(regions=NESTED, **arguments):
    return losses.build({"name": "dice_binary_cross_entropy", "regions": regions, **arguments})


def by_float_target(logits, target, regions=NESTED, batch_dice=False):
    """The textbook formula, with a target in float for each region."""
    hot = torch.stack([torch.isin(target, torch.tensor(members)) for members in regions], dim=1).float()
    axes = (0, 2, 3, 4) if batch_dice else (2, 3, 4)
    probabilities = logits.sigmoid()
    overlap, total = (probabilities * hot).sum(axes), (probabilities + hot).sum(axes)
    dice = (2 * overlap + 1e-5) / (total + 1e-5)
    return F.binary_cross_entropy_with_logits(logits, hot) - dice.mean()


@pytest.mark.parametrize("batch_dice", [False, True])
def test_it_is_the_textbook_formula_and_so_is_its_gradient(batch_dice):
    ours, theirs = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    found, expected = loss(batch_dice=batch_dice)(ours, TARGET), by_float_target(theirs, TARGET, batch_dice=batch_dice)
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=25)
def test_regions_of_one_value_each_are_one_against_the_rest(seed, batch_dice):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    target = torch.randint(0, 4, (2, 4, 5), generator=generator)
    whole = loss([[1], [2], [3]], batch_dice=batch_dice)(logits, target)
    alone = [
        loss([[1]], batch_dice=batch_dice)(logits[:, index : index + 1], (target == index + 1).long())
        for index in range(3)
    ]
    torch.testing.assert_close(whole, torch.stack(alone).mean())


def test_a_perfect_prediction_costs_minus_one():
    perfect = region_masks(TARGET, NESTED).float() * 200 - 100
    assert float(loss()(perfect, TARGET)) == pytest.approx(-1, abs=1e-4)


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_sure_outputs_stay_finite(scale):
    logits = torch.full_like(LOGITS, scale).requires_grad_()
    found = loss()(logits, TARGET)
    found.backward()
    assert torch.isfinite(found) and torch.isfinite(logits.grad).all()


def test_weights():
    whole = loss(dice=2.0, cross_entropy=3.0)(LOGITS, TARGET)
    parts = 2 * loss(cross_entropy=0.0)(LOGITS, TARGET) + 3 * loss(dice=0.0)(LOGITS, TARGET)
    torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize("batch_dice", [False, True])
def test_ignoring_voxels_is_cutting_them_away(batch_dice):
    target = TARGET.clone()
    target[:, 3:] = -1
    logits = LOGITS.clone().requires_grad_()
    found = loss(batch_dice=batch_dice, ignore_index=-1)(logits, target)
    torch.testing.assert_close(found, loss(batch_dice=batch_dice)(LOGITS[:, :, :3], TARGET[:, :3]))
    found.backward()
    assert not logits.grad[:, :, 3:].any()


def test_a_batch_of_ignored_voxels_costs_no_entropy():
    assert float(loss(dice=0.0, ignore_index=-1)(LOGITS, torch.full_like(TARGET, -1))) == 0


def test_regions_that_were_not_annotated_count_nowhere():
    logits = LOGITS.clone().requires_grad_()
    found = loss()(logits, TARGET, ANNOTATED)
    parts = [
        loss([NESTED[region]])(LOGITS[sample : sample + 1, region : region + 1], TARGET[sample : sample + 1])
        for sample, region in ANNOTATED.nonzero().tolist()
    ]
    torch.testing.assert_close(found, torch.stack(parts).mean())
    found.backward()
    assert not logits.grad[~ANNOTATED].any()
    assert logits.grad[ANNOTATED].any()


def test_in_the_dice_of_a_batch_samples_without_a_region_are_left_out():
    found = loss(batch_dice=True)(LOGITS, TARGET, ANNOTATED)
    parts = [
        loss([members], batch_dice=True)(LOGITS[known, region : region + 1], TARGET[known])
        for region, (members, known) in enumerate(zip(NESTED, ANNOTATED.T, strict=True))
    ]
    entropies = [
        loss([members], dice=0.0)(LOGITS[known, region : region + 1], TARGET[known])
        for region, (members, known) in enumerate(zip(NESTED, ANNOTATED.T, strict=True))
    ]
    dice = torch.stack(parts).mean() - torch.stack(entropies).mean()
    samples = ANNOTATED.sum(0)
    torch.testing.assert_close(found, dice + (torch.stack(entropies) * samples).sum() / samples.sum())


@pytest.mark.parametrize("batch_dice", [False, True])
def test_all_annotated_is_the_plain_loss(batch_dice):
    plain, said = loss(batch_dice=batch_dice), torch.ones(2, 3, dtype=torch.bool)
    torch.testing.assert_close(plain(LOGITS, TARGET, said), plain(LOGITS, TARGET))


def test_annotation_reaches_every_resolution():
    coarse = LOGITS[:, :, ::2, ::2, ::2]
    total = DeepSupervision(loss())([LOGITS, coarse, coarse], TARGET, ANNOTATED)
    nearest = F.interpolate(TARGET[:, None].float(), coarse.shape[2:], mode="nearest-exact")[:, 0].long()
    fine, rough = loss()(LOGITS, TARGET, ANNOTATED), loss()(coarse, nearest, ANNOTATED)
    torch.testing.assert_close(total, fine * 2 / 3 + rough / 3)


def test_bfloat16_and_two_dimensions():
    assert loss()(LOGITS.bfloat16(), TARGET).dtype == torch.float32
    assert torch.isfinite(loss()(LOGITS[..., 0], TARGET[..., 0]))


def test_region_masks_are_numpys():
    target = torch.tensor([[-1, 0, 1, 2, 3]])
    expected = [[[0, 0, 1, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 0, 1]]]
    assert region_masks(target, NESTED).int().tolist() == expected


def test_regions_must_be_lists_of_numbers():
    with pytest.raises(PlanError, match="argument 'regions'"):
        loss([["core"]])
