"""Dice and cross-entropy in blocks of voxels against the plain formula."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from autoseg.learning.costs.memory import _Ledger
from autoseg.losses import blockwise, dice_cross_entropy, losses
from autoseg.losses.blockwise import Terms
from autoseg.losses.partial import Marginal

SHAPE = (3, 4, 2)


@pytest.fixture(params=[1, 7 * 9, 1 << 20], autouse=True, scope="module")
def elements_at_once(request):
    """Blocks of one voxel, of some, and one block for all of a patch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blockwise, "BLOCK_ELEMENTS", request.param)
        yield request.param


def made(classes, *, seed=0, batch=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, classes, *SHAPE, generator=generator, dtype=dtype)
    target = torch.randint(0, classes, (batch, *SHAPE), generator=generator)
    return logits.requires_grad_(), target, torch.rand(target.shape, generator=generator) < 0.7


def by_one_hot(logits, target, valid, terms):
    """The textbook formula, with a one-hot target."""
    valid = torch.ones_like(target, dtype=torch.bool) if valid is None else valid
    hot = F.one_hot(target, logits.shape[1]).movedim(-1, 1) * valid[:, None]
    probabilities = logits.softmax(1) * valid[:, None]
    axes = (0, 2, 3, 4) if terms.batch_dice else (2, 3, 4)
    overlap, total = (probabilities * hot).sum(axes), (probabilities + hot).sum(axes)
    dice = ((2 * overlap + terms.smooth) / (total + terms.smooth))[..., 1:].mean()
    entropy = -(logits.log_softmax(1) * hot).sum() / valid.sum().clamp(min=1)
    return terms.cross_entropy * entropy - terms.dice * dice


@given(
    classes=st.integers(2, 20),
    seed=st.integers(0, 1000),
    weights=st.tuples(st.floats(0, 3), st.floats(0, 3)),
    batch_dice=st.booleans(),
    ignores=st.booleans(),
)
@settings(max_examples=30)
def test_it_is_the_textbook_formula_and_so_is_its_gradient(classes, seed, weights, batch_dice, ignores):
    logits, target, valid = made(classes, seed=seed)
    terms = Terms(*weights, batch_dice, smooth=1e-5)
    counted = valid if ignores else None
    theirs = by_one_hot(logits, target, counted, terms)
    (expected,) = torch.autograd.grad(theirs, logits)
    ours = blockwise.dice_cross_entropy(logits, target.where(valid, 0) if ignores else target, counted, terms)
    (found,) = torch.autograd.grad(3 * ours, logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found, 3 * expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("ignores", [False, True])
def test_the_gradient_is_that_of_small_changes(batch_dice, ignores):
    logits, target, valid = made(4)
    terms, counted = Terms(1.0, 0.7, batch_dice, 1e-2), valid if ignores else None
    target = target.where(valid, 0) if ignores else target
    # Sums in fixed point change in steps of 2**-36, which differences over 1e-6 would show.
    assert torch.autograd.gradcheck(
        lambda x: blockwise.dice_cross_entropy(x, target, counted, terms), (logits,), eps=1e-4
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_precision_is_computed_in_single(dtype):
    logits, target, _ = made(9)
    low = logits.detach().to(dtype).requires_grad_()
    terms = Terms(1.0, 1.0, batch_dice=False, smooth=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        ours = blockwise.dice_cross_entropy(low, target, None, terms)
    ours.backward()
    assert ours.dtype == torch.float32 and low.grad.dtype == dtype
    exact = low.detach().double().requires_grad_()
    expected = by_one_hot(exact, target, None, terms)
    expected.backward()
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(low.grad.double(), exact.grad, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("value", [1e30, -1e30])
def test_an_extreme_logit_of_an_ignored_voxel_does_no_harm(value):
    logits, target, _ = made(9)
    valid = torch.ones_like(target, dtype=torch.bool)
    valid[0, 0, 0, 0] = False
    target = target.where(valid, 0)
    terms = Terms(1.0, 1.0, batch_dice=False, smooth=1e-5)
    expected = blockwise.dice_cross_entropy(logits, target, valid, terms)
    with torch.no_grad():
        logits[0, 3, 0, 0, 0] = value
    found = blockwise.dice_cross_entropy(logits, target, valid, terms)
    found.backward()
    assert not logits.grad[0, :, 0, 0, 0].any() and torch.isfinite(logits.grad).all()
    torch.testing.assert_close(found, expected)


def test_a_batch_of_ignored_voxels_teaches_nothing():
    logits, target, valid = made(9)
    terms = Terms(0.0, 1.0, batch_dice=False, smooth=1e-5)
    loss = blockwise.dice_cross_entropy(logits, target.zero_(), torch.zeros_like(valid), terms)
    loss.backward()
    assert loss == 0 and not logits.grad.any()


def test_two_runs_give_the_same_bits():
    logits, target, _ = made(30, dtype=torch.float32)
    runs = []
    for _ in range(3):
        loss = blockwise.dice_cross_entropy(logits, target, None, Terms(1.0, 1.0, batch_dice=False, smooth=1e-5))
        runs.append((loss.item(), torch.autograd.grad(loss, logits)[0]))
    assert all(loss == runs[0][0] and torch.equal(gradient, runs[0][1]) for loss, gradient in runs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_any_layout_of_the_logits(layout):
    logits, target, _ = made(9)
    terms = Terms(1.0, 1.0, batch_dice=False, smooth=1e-5)
    other = logits.detach().to(memory_format=layout).requires_grad_()
    for values in (logits, other):
        blockwise.dice_cross_entropy(values, target, None, terms).backward()
    torch.testing.assert_close(other.grad, logits.grad)
    turned = logits.detach().transpose(2, 4).contiguous().requires_grad_()
    blockwise.dice_cross_entropy(turned.transpose(2, 4), target, None, terms).backward()
    torch.testing.assert_close(turned.grad.transpose(2, 4), logits.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_takes_little_beside_the_logits_and_their_gradient(dtype, monkeypatch):
    """Counted as planners count a step; the plain formula takes four to eight times the logits."""
    monkeypatch.setattr(blockwise, "BLOCK_ELEMENTS", 1 << 20)
    with FakeTensorMode(), _Ledger(batch=2) as ledger:
        logits = torch.empty(2, 120, 96, 96, 96, dtype=dtype, requires_grad=True)
        before = ledger.alive.of(2)
        losses.build({"name": "dice_cross_entropy"})(logits, torch.zeros(2, 96, 96, 96, dtype=torch.int64)).backward()
    assert max(alive.of(2) for alive in ledger.history) - before < 1.3 * before


@pytest.mark.parametrize("arguments", [{}, {"batch_dice": True, "dice": 0.5}, {"ignore_index": -1}])
@pytest.mark.parametrize("partly", [False, True])
def test_few_classes_and_many_are_learnt_alike(arguments, partly, monkeypatch):
    logits, target, valid = made(8, dtype=torch.float32)
    target = target.where(valid, -1) if "ignore_index" in arguments else target
    annotated = torch.tensor([[True] * 8, [True, True, False, True, False, True, True, True]]) if partly else None
    loss = Marginal(losses.build({"name": "dice_cross_entropy", **arguments}))
    found = []
    # With one class less than there are, the blocks come into play.
    for few in (8, 7):
        monkeypatch.setattr(dice_cross_entropy, "FEW_CLASSES", few)
        value = loss(logits, target, annotated)
        found.append((value, *torch.autograd.grad(value, logits)))
    torch.testing.assert_close(found[0], found[1])
