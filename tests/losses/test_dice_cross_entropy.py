from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from autoseg.errors import PlanError
from autoseg.losses import losses
from autoseg.losses.deep_supervision import DeepSupervision, resolution_weights

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 3, 6, 5, 4, generator=GENERATOR)
TARGET = torch.randint(0, 3, (2, 6, 5, 4), generator=GENERATOR)


def loss(**arguments):
    return losses.build({"name": "dice_cross_entropy", **arguments})


def by_one_hot(logits, target, batch_dice):
    """The textbook formula, with a one-hot target."""
    probabilities = logits.softmax(1)
    hot = F.one_hot(target, logits.shape[1]).movedim(-1, 1)
    axes = (0, 2, 3, 4) if batch_dice else (2, 3, 4)
    overlap, total = (probabilities * hot).sum(axes), (probabilities + hot).sum(axes)
    dice = (2 * overlap + 1e-5) / (total + 1e-5)
    return F.cross_entropy(logits, target) - dice[..., 1:].mean()


@pytest.mark.parametrize("batch_dice", [False, True])
def test_it_is_the_textbook_formula(batch_dice):
    expected = by_one_hot(LOGITS, TARGET, batch_dice)
    torch.testing.assert_close(loss(batch_dice=batch_dice)(LOGITS, TARGET), expected)


def test_so_is_its_gradient():
    ours, theirs = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    loss()(ours, TARGET).backward()
    by_one_hot(theirs, TARGET, batch_dice=False).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_perfect_prediction_costs_minus_one():
    perfect = F.one_hot(TARGET, 3).movedim(-1, 1).float() * 100
    assert float(loss()(perfect, TARGET)) == pytest.approx(-1, abs=1e-4)


def test_weights():
    whole = loss(dice=2.0, cross_entropy=3.0)(LOGITS, TARGET)
    parts = 2 * loss(cross_entropy=0.0)(LOGITS, TARGET) + 3 * loss(dice=0.0)(LOGITS, TARGET)
    torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize("ignored", [2, 3, 255, -1])
@pytest.mark.parametrize("batch_dice", [False, True])
def test_ignored_voxels_count_nowhere(batch_dice, ignored):
    target = TARGET.clone()
    target[:, 3:] = ignored
    masked = loss(batch_dice=batch_dice, ignore_index=ignored)
    logits = LOGITS.clone().requires_grad_()
    masked(logits, target).backward()
    assert not logits.grad[:, :, 3:].any()
    if ignored != 2:
        # What is left is as if the ignored half had never been.
        expected = by_one_hot(LOGITS[:, :, :3], TARGET[:, :3], batch_dice)
        torch.testing.assert_close(masked(LOGITS, target), expected)


def test_a_batch_of_ignored_voxels_costs_no_entropy():
    nothing = torch.full_like(TARGET, 255)
    assert float(loss(dice=0.0, ignore_index=255)(LOGITS, nothing)) == 0


def test_bfloat16_logits_are_computed_in_float32():
    assert loss()(LOGITS.bfloat16(), TARGET).dtype == torch.float32


def test_two_dimensions():
    assert torch.isfinite(loss()(LOGITS[..., 0], TARGET[..., 0]))


def test_deep_supervision_weights_resolutions():
    assert resolution_weights(1) == [1]
    assert resolution_weights(4) == pytest.approx([4 / 7, 2 / 7, 1 / 7, 0])
    coarse = LOGITS[:, :, ::2, ::2, ::2]
    total = DeepSupervision(loss())([LOGITS, coarse, coarse], TARGET)
    nearest = F.interpolate(TARGET[:, None].float(), coarse.shape[2:], mode="nearest-exact")[:, 0].long()
    torch.testing.assert_close(total, loss()(LOGITS, TARGET) * 2 / 3 + loss()(coarse, nearest) / 3)


def test_unknown_losses_and_arguments():
    with pytest.raises(PlanError, match="expected one of: dice_cross_entropy"):
        losses.build({"name": "dice_crossentropy"})
    with pytest.raises(PlanError, match="it takes: dice, cross_entropy"):
        loss(smoothing=1)
