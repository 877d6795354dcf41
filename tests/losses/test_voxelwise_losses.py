"""Losses of single voxels against PyTorch's and plain formulas, and sums of losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from autoseg.errors import PlanError
from autoseg.losses import losses

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(2, 3, 6, 5, generator=GENERATOR)
TARGET = torch.randint(0, 3, (2, 6, 5), generator=GENERATOR)
WEIGHTS = [0.2, 1.5, 4.0]
REGIONS = [[1, 2], [2], [1]]
MASKS = torch.stack([torch.isin(TARGET, torch.tensor(members)) for members in REGIONS], 1).float()


def value(name, target=TARGET, **arguments):
    return losses.build({"name": name, **arguments})(LOGITS, target)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("ignored", [None, -1])
def test_cross_entropy_is_pytorchs(weights, smoothing, ignored):
    target = TARGET.clone()
    if ignored is not None:
        target[0, 2:] = ignored
    expected = F.cross_entropy(
        LOGITS,
        target,
        weight=None if weights is None else torch.tensor(weights),
        label_smoothing=smoothing,
        ignore_index=-100 if ignored is None else ignored,
    )
    arguments = {} if weights is None else {"weights": weights}
    found = value("cross_entropy", target, label_smoothing=smoothing, ignore_index=ignored, **arguments)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_regions_is_pytorchs_binary_one(smoothing):
    expected = F.binary_cross_entropy_with_logits(LOGITS, MASKS * (1 - smoothing) + smoothing / 2)
    torch.testing.assert_close(value("cross_entropy", regions=REGIONS, label_smoothing=smoothing), expected)


@pytest.mark.parametrize("share", [0.1, 0.35, 1.0])
def test_top_k_is_the_mean_of_the_hardest(share):
    costs = F.cross_entropy(LOGITS, TARGET, reduction="none").flatten().sort(descending=True).values
    hardest = costs[: round(share * costs.numel())].mean()
    torch.testing.assert_close(value("top_k_cross_entropy", share=share), hardest)


def test_top_k_of_regions_ranks_voxels():
    costs = F.binary_cross_entropy_with_logits(LOGITS, MASKS, reduction="none").mean(1).flatten()
    hardest = costs.sort(descending=True).values[:6].mean()
    torch.testing.assert_close(value("top_k_cross_entropy", regions=REGIONS, share=0.1), hardest)


def test_top_k_takes_all_that_are_as_hard():
    # Every voxel costs log 3: none comes before another, and each learns alike.
    logits = torch.zeros_like(LOGITS).requires_grad_()
    losses.build({"name": "top_k_cross_entropy", "share": 0.1})(logits, TARGET).backward()
    assert logits.grad.abs().sum(1).min() > 0


def test_focal_is_the_papers_formula():
    p = LOGITS.softmax(1).gather(1, TARGET[:, None]).numpy()
    assert float(value("focal", gamma=2)) == pytest.approx((-((1 - p) ** 2) * np.log(p)).mean(), rel=1e-5)
    p = torch.where(MASKS > 0, LOGITS.sigmoid(), 1 - LOGITS.sigmoid()).numpy()
    found = float(value("focal", gamma=0.5, regions=REGIONS))
    assert found == pytest.approx((-((1 - p) ** 0.5) * np.log(p)).mean(), rel=1e-5)


def test_focal_without_focus_is_cross_entropy():
    for arguments in ({}, {"weights": WEIGHTS}, {"regions": REGIONS}):
        torch.testing.assert_close(value("focal", gamma=0, **arguments), value("cross_entropy", **arguments))


@pytest.mark.parametrize("order", [1, 2, 3.5])
def test_lp_is_the_plain_formula(order):
    hot = F.one_hot(TARGET, 3).movedim(-1, 1)
    expected = ((LOGITS.softmax(1) - hot).abs() ** order / order).sum(1).mean()
    torch.testing.assert_close(value("lp", order=order), expected)
    of_regions = ((LOGITS.sigmoid() - MASKS).abs() ** order / order).mean()
    torch.testing.assert_close(value("lp", order=order, regions=REGIONS), of_regions)


def test_a_class_that_was_hidden_takes_no_share_of_a_smoothed_label():
    from autoseg.losses.partial import Marginal

    two = torch.tensor([[True, True, False]] * 2)
    found = Marginal(losses.build({"name": "cross_entropy", "label_smoothing": 0.2}))(LOGITS, TARGET, two)
    probabilities = LOGITS.softmax(1)
    merged = torch.stack([probabilities[:, 0] + probabilities[:, 2], probabilities[:, 1]], 1).log()
    torch.testing.assert_close(found, F.cross_entropy(merged, TARGET * (TARGET == 1), label_smoothing=0.2))


def test_a_sum_adds_its_losses_up():
    of = [{"name": "f_beta", "weight": 0.5, "beta": 4}, {"name": "focal", "weight": 3}, {"name": "cross_entropy"}]
    expected = 0.5 * value("f_beta", beta=4) + 3 * value("focal") + value("cross_entropy")
    torch.testing.assert_close(value("sum", of=of), expected)


def test_a_sum_of_the_usual_two_is_the_usual_loss():
    of = [{"name": "f_beta", "beta": 1, "power": 1}, {"name": "cross_entropy"}]
    torch.testing.assert_close(value("sum", of=of), 1 + value("dice_cross_entropy"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "sum", "of": []}, "^losses 'sum', argument 'of': found no losses, expected at least one$"),
        ({"name": "sum", "of": [{"name": "fbeta"}]}, r"^losses 'sum', argument 'of\[0\]': losses: found 'fbeta', .*f_"),
        ({"name": "sum", "of": [{"name": "mcc", "weight": -1}]}, r"of\[0\]'.weight: found -1: input should be greater"),
        (
            {"name": "sum", "of": [{"name": "mcc"}, {"name": "lp", "regions": [[1]]}]},
            r"'of\[1\]': found a loss for regions, expected a loss for classes, as in of\[0\]; set 'regions' for all",
        ),
        ({"name": "cross_entropy", "weights": [1], "regions": [[1]]}, "argument 'weights': found together with 'reg"),
        ({"name": "top_k_cross_entropy", "share": 0}, "argument 'share': found 0: input should be greater than 0"),
        ({"name": "top_k_cross_entropy", "weights": "inverse"}, "argument 'weights': found 'inverse'"),
        ({"name": "cross_entropy", "label_smoothing": 1}, "argument 'label_smoothing': found 1"),
        ({"name": "lp", "order": 0.5}, "argument 'order': found 0.5: input should be greater than or equal to 1"),
    ],
)
def test_bad_arguments_are_told_in_one_line(spec, message):
    with pytest.raises(PlanError, match=message) as caught:
        losses.build(spec)
    assert "\n" not in str(caught.value)
