"""Losses of overlap against published values and plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoseg.errors import PlanError
from autoseg.losses import losses

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(2, 3, 6, 5, generator=GENERATOR, dtype=torch.float64)
TARGET = torch.randint(0, 3, (2, 6, 5), generator=GENERATOR)

SURE = 60.0
"""Logit whose probability is 1 in single precision."""


def of_one_region(spec, probabilities, truth):
    """The loss of one region's probabilities, as lists."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    loss = losses.build({"regions": [[1]], "smooth": 1e-12, **spec})
    return float(loss(torch.logit(p).clamp(-5000, 5000)[None, None], torch.tensor(truth)[None]))


def numpy_counts(per_image=True, power=1.0, background=False):
    """Overlap, predicted and expected of each class, and voxels, with a one-hot target."""
    p = LOGITS.softmax(1).flatten(2).numpy()
    y = np.eye(3)[TARGET.flatten(1).numpy()].transpose(0, 2, 1)
    axes = 2 if per_image else (0, 2)
    first = 0 if background else 1
    counts = [values[:, first:].sum(axes) for values in (p * y, p**power, y)]
    return [*counts, p.shape[2] * (1 if per_image else len(p))]


@pytest.mark.parametrize(("beta", "loss"), [(1, 0.6), (2, 0.6429), (4, 0.66)])
@pytest.mark.parametrize("power", [1.0, 2.0, 3.7])
def test_f_beta_of_certain_predictions_whatever_the_power(beta, loss, power):
    spec = {"name": "f_beta", "beta": beta, "power": power}
    assert of_one_region(spec, [1, 0, 0, 1, 0], [1, 1, 1, 0, 0]) == pytest.approx(loss, abs=5e-5)


@pytest.mark.parametrize(("beta", "loss"), [(1, 0.0683), (2, 0.1866), (4, 0.2324)])
def test_f_beta_of_probabilities(beta, loss):
    spec = {"name": "f_beta", "beta": beta}
    assert of_one_region(spec, [0.9, 0.6, 0.2, 0.1], [1, 1, 0, 0]) == pytest.approx(loss, abs=5e-5)


@pytest.mark.parametrize("per_image", [True, False])
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_f_beta_of_classes_is_the_mean_of_each_against_the_rest(per_image, background, power):
    overlap, predicted, expected, _ = numpy_counts(per_image, power, background)
    shares = (5 * overlap + 1e-5) / (4 * expected + predicted + 1e-5)
    spec = {"name": "f_beta", "per_image": per_image, "background": background, "power": power}
    assert float(losses.build(spec)(LOGITS, TARGET)) == pytest.approx(1 - shares.mean())


def test_f_1_is_the_dice_loss():
    dice = losses.build({"name": "dice_cross_entropy", "cross_entropy": 0.0})(LOGITS, TARGET)
    ours = losses.build({"name": "f_beta", "beta": 1, "power": 1})(LOGITS, TARGET)
    torch.testing.assert_close(ours.float(), 1 + dice)


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_the_power_has_no_say_where_probabilities_are_0_or_1(beta, power):
    spec = {"name": "f_beta", "beta": beta}
    found = of_one_region(spec | {"power": power}, [1, 0, 0, 1, 0], [1, 1, 1, 0, 0])
    assert found == pytest.approx(of_one_region(spec, [1, 0, 0, 1, 0], [1, 1, 1, 0, 0]), abs=1e-9)


@pytest.mark.parametrize("background", [True, False])
def test_soft_iou_is_nowozins(background):
    overlap, predicted, expected, _ = numpy_counts(background=background)
    # Σ_j [y_j = c] f_c / (Σ_j [y_j = c] + Σ_j [y_j ≠ c] f_c)
    share = overlap / (expected + (predicted - overlap))
    found = losses.build({"name": "soft_iou", "background": background})(LOGITS, TARGET)
    assert float(found) == pytest.approx(1 - share.mean(), abs=1e-6)


@pytest.mark.parametrize("focal", [1.0, 0.75, 2.0])
def test_tversky_is_the_plain_formula(focal):
    overlap, predicted, expected, _ = numpy_counts()
    share = overlap / (overlap + 0.2 * (predicted - overlap) + 0.9 * (expected - overlap))
    found = losses.build({"name": "tversky", "alpha": 0.2, "beta": 0.9, "focal": focal})(LOGITS, TARGET)
    assert float(found) == pytest.approx(((1 - share) ** focal).mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("weights", "other"), [((0.5, 0.5), {"name": "f_beta", "beta": 1, "power": 1}), ((1, 1), {"name": "soft_iou"})]
)
def test_tversky_becomes_dice_and_iou(weights, other):
    alpha, beta = weights
    ours = losses.build({"name": "tversky", "alpha": alpha, "beta": beta, "smooth": 1e-9})(LOGITS, TARGET)
    theirs = losses.build(other | {"smooth": 1e-9})(LOGITS, TARGET)
    torch.testing.assert_close(ours, theirs)


def test_f_beta_is_tversky_with_unit_sum_of_weights():
    ours = losses.build({"name": "tversky", "alpha": 1 / 5, "beta": 4 / 5, "smooth": 1e-9})(LOGITS, TARGET)
    theirs = losses.build({"name": "f_beta", "beta": 2, "power": 1, "smooth": 1e-9})(LOGITS, TARGET)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("per_image", [True, False])
def test_mcc_is_the_formula_of_four_counts(per_image):
    tp, predicted, expected, voxels = numpy_counts(per_image)
    fp, fn = predicted - tp, expected - tp
    tn = voxels - tp - fp - fn
    products = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    found = losses.build({"name": "mcc", "per_image": per_image})(LOGITS, TARGET)
    assert float(found) == pytest.approx(1 - ((tp * tn - fp * fn) / np.sqrt(products)).mean(), abs=1e-6)


@pytest.mark.parametrize(("matrix", "mcc"), [(((48, 4), (2, 46)), 0.8807), (((94, 5), (1, 0)), -0.0231)])
def test_mcc_of_confusion_matrices(matrix, mcc):
    # Rows are predicted, columns true.
    cells = [(p, t, n) for p, row in zip((1.0, 0.0), matrix, strict=True) for t, n in zip((1, 0), row, strict=True)]
    probabilities = [p for p, _, n in cells for _ in range(n)]
    truth = [t for _, t, n in cells for _ in range(n)]
    assert of_one_region({"name": "mcc"}, probabilities, truth) == pytest.approx(1 - mcc, abs=5e-5)


def test_mcc_of_a_class_that_is_nowhere_teaches_nothing():
    logits = LOGITS.clone().requires_grad_()
    losses.build({"name": "mcc"})(logits, torch.zeros_like(TARGET)).backward()
    assert not logits.grad.any()


def test_mcc_keeps_its_figures_where_a_class_is_one_voxel_of_many():
    truth = torch.zeros(1, 400_000, dtype=torch.int64)
    truth[0, 7] = 1
    logits = torch.full((1, 2, 400_000), -SURE)
    logits[0, 0] = SURE
    logits[0, :, [7, 8, 9]] = torch.tensor([[-SURE], [SURE]])
    # One voxel found and two too many: √(1/3), but for the chance of 3 in 400,000.
    assert float(losses.build({"name": "mcc"})(logits, truth)) == pytest.approx(1 - 3**-0.5, abs=1e-4)


def test_a_class_that_is_neither_there_nor_predicted_costs_nothing():
    logits = torch.zeros(1, 2, 100)
    logits[:, 0] = SURE
    nothing = torch.zeros(1, 100, dtype=torch.int64)
    for name in ("f_beta", "soft_iou", "tversky"):
        assert float(losses.build({"name": name})(logits, nothing)) == pytest.approx(0, abs=1e-6)


def test_the_background_is_no_region():
    with pytest.raises(PlanError, match=r"argument 'background': found together with 'regions', expected only"):
        losses.build({"name": "mcc", "background": True, "regions": [[1]]})
