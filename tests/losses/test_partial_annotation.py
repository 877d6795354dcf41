from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autoseg.losses import losses
from autoseg.losses.deep_supervision import DeepSupervision
from autoseg.losses.partial import Marginal, accepting_annotation, hide_not_annotated, merge_not_annotated

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 4, 6, 5, generator=GENERATOR)
TARGET = torch.randint(0, 4, (2, 6, 5), generator=GENERATOR)
ANNOTATED = torch.tensor([[True, True, False, False], [True, False, True, True]])
ALL = torch.ones(2, 4, dtype=torch.bool)


def plain(**arguments):
    return losses.build({"name": "dice_cross_entropy", **arguments})


def by_probabilities(logits, annotated):
    """Add up probabilities, sample by sample and class by class."""
    merged = logits.softmax(1)
    for sample, class_ in (~annotated).nonzero().tolist():
        merged[sample, 0] += merged[sample, class_]
        merged[sample, class_] = 0
    return merged


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_probabilities_of_classes_that_were_not_annotated_go_to_the_background(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(3, 5, 4, 4, generator=generator)
    annotated = torch.rand(3, 5, generator=generator) < 0.5
    annotated[:, 0] = True
    found = merge_not_annotated(logits, annotated).softmax(1)
    torch.testing.assert_close(found, by_probabilities(logits, annotated))


@pytest.mark.parametrize("batch_dice", [False, True])
def test_with_everything_annotated_it_is_the_plain_loss(batch_dice):
    loss = plain(batch_dice=batch_dice)
    ours, theirs = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    Marginal(loss)(ours, TARGET, ALL).backward()
    loss(theirs, TARGET).backward()
    torch.testing.assert_close(Marginal(loss)(LOGITS, TARGET, ALL), loss(LOGITS, TARGET))
    torch.testing.assert_close(Marginal(loss)(LOGITS, TARGET), loss(LOGITS, TARGET), rtol=0, atol=0)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_gradient_is_that_of_finite_differences():
    logits = torch.randn(2, 4, 3, 2, dtype=torch.float64, generator=GENERATOR)
    target = hide_not_annotated(torch.randint(0, 4, (2, 3, 2), generator=GENERATOR), ANNOTATED)

    def log_likelihood(values):
        # In double precision, which the merging itself leaves for single.
        merged = by_probabilities(values, ANNOTATED).clamp_min(1e-300)
        return -merged.log().gather(1, target[:, None]).mean()

    ours = logits.float().requires_grad_()
    Marginal(plain(dice=0.0))(ours, target, ANNOTATED).backward()
    step, numeric = 1e-6, torch.zeros_like(logits)
    for index in range(logits.numel()):
        moved = logits.flatten().clone()
        moved[index] += step
        back = logits.flatten().clone()
        back[index] -= step
        slope = log_likelihood(moved.view_as(logits)) - log_likelihood(back.view_as(logits))
        numeric.view(-1)[index] = slope / (2 * step)
    torch.testing.assert_close(ours.grad.double(), numeric, atol=1e-6, rtol=1e-4)


def test_a_class_is_not_pushed_away_where_it_was_not_annotated():
    logits = torch.zeros(1, 2, 4, requires_grad=True)
    background = torch.zeros(1, 4, dtype=torch.long)
    Marginal(plain())(logits, background, torch.tensor([[True, False]])).backward()
    assert not logits.grad.any()
    plain()(logits, background).backward()
    assert (logits.grad[:, 1] > 0).all()


def test_labels_that_were_not_annotated_become_background_and_ignored_ones_stay():
    target = torch.tensor([[-1, 0, 1, 2, 3], [-1, 0, 1, 2, 3]])
    assert hide_not_annotated(target, ANNOTATED).tolist() == [[-1, 0, 1, 0, 0], [-1, 0, 0, 2, 3]]


def test_ignored_voxels_of_partly_annotated_samples():
    target = TARGET.clone()
    target[:, 3:] = -1
    found = Marginal(plain(ignore_index=-1))(LOGITS, target, ANNOTATED)
    expected = Marginal(plain())(LOGITS[:, :, :3], TARGET[:, :3], ANNOTATED)
    torch.testing.assert_close(found, expected)


def test_every_resolution_is_merged():
    coarse = LOGITS[:, :, ::2, ::2]
    marginal = accepting_annotation(plain())
    total = DeepSupervision(marginal)([LOGITS, coarse, coarse], TARGET, ANNOTATED)
    assert isinstance(marginal, Marginal)
    assert torch.isfinite(total)
    assert total < DeepSupervision(plain())([LOGITS, coarse, coarse], TARGET)


def test_losses_of_regions_take_the_annotation_themselves():
    loss = losses.build({"name": "dice_binary_cross_entropy", "regions": [[1]]})
    assert accepting_annotation(loss) is loss


def learned_share(loss, *, cases=10, with_b=2, steps=150):
    """Learn classes a and b from intensities, b being annotated in few cases; return the share of b that is found."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 3, (cases, 64), generator=generator)
    images = torch.nn.functional.one_hot(truth, 3).float() + 0.2 * torch.randn(cases, 64, 3, generator=generator)
    images = images.movedim(-1, 1)
    annotated = torch.ones(cases, 3, dtype=torch.bool)
    annotated[with_b:, 2] = False
    target = hide_not_annotated(truth, annotated)
    torch.manual_seed(0)
    network = nn.Conv1d(3, 3, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(network(images), target, annotated).backward()
        optimizer.step()
    predicted = network(images).argmax(1)
    assert (predicted == truth)[truth != 2].float().mean() > 0.9, "the other classes are learned in any case"
    return float((predicted == truth)[truth == 2].float().mean())


def test_a_class_is_learned_although_most_cases_call_it_background():
    entropy = plain(dice=0.0)
    with torch.random.fork_rng():
        assert learned_share(Marginal(entropy)) > 0.9
        assert learned_share(lambda logits, target, annotated: entropy(logits, target)) < 0.1
