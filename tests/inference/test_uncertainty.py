from __future__ import annotations

import csv
import json
import logging

import numpy as np
import pytest
import torch
from scipy.stats import entropy as reference_entropy
from torch import nn

import autoseg
from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.evaluation.expected_dice import expected_dice
from autoseg.images.crop import Box
from autoseg.images.geometry import Geometry
from autoseg.images.volumes import read_geometry, read_volume
from autoseg.inference.sliding_window import TilingSettings, predict_probabilities
from autoseg.inference.uncertainty import uncertainty as uncertainty_of
from autoseg.postprocessing.label_maps import label_map
from autoseg.postprocessing.scores import MemberPredictions, Scores
from autoseg.preprocessing.record import PreprocessingRecord

PLAIN = Dataset("d", ("CT",), {"background": 0, "a": 3, "b": 7}, ".nii.gz", ())
REGIONS = Dataset("d", ("CT",), {}, ".nii.gz", (), regions={"whole": (1, 2), "core": (2,)}, region_order=(1, 2))
SIZE, BOX = (6, 9, 8), Box((1, 2, 0), (5, 8, 7))


def voted(probabilities, dataset, shape=None):
    """Make the scores of networks whose probabilities [networks,outputs,Z,Y,X] are given."""
    cropped = BOX.shape
    geometry = Geometry(SIZE, (3.0, 1.0, 1.0), (0, 0, 0), tuple(np.eye(3).ravel()))
    member_predictions = MemberPredictions.empty(len(probabilities), probabilities.shape[2:], dataset)
    whole = tuple(slice(None) for _ in range(3))
    for index, share in enumerate(probabilities):
        member_predictions.count(index, whole, torch.from_numpy(share), dataset)
    preprocessing = PreprocessingRecord(geometry, BOX, (0, 1, 2), cropped, shape or cropped, None)
    return Scores(probabilities.mean(axis=0), preprocessing, member_predictions)


def softmaxes(networks, outputs=3, shape=BOX.shape, seed=0, sharpness=3.0):
    logits = np.random.default_rng(seed).normal(scale=sharpness, size=(networks, outputs, *shape)).astype(np.float32)
    return torch.softmax(torch.from_numpy(logits), dim=1).numpy()


def uncertainty(scores, dataset):
    return uncertainty_of(scores, label_map(scores, dataset), dataset)


def inner(volume):
    return volume[BOX.slices]


def test_entropy_and_mutual_information_are_those_of_the_definition():
    shares = softmaxes(4)
    found = uncertainty([voted(shares, PLAIN)], PLAIN)
    total = reference_entropy(shares.mean(axis=0), axis=0)
    np.testing.assert_allclose(inner(found.entropy), total, atol=1e-5)
    np.testing.assert_allclose(
        inner(found.disagreement), total - reference_entropy(shares, axis=1).mean(axis=0), atol=1e-5
    )
    outside = np.ones(SIZE, bool)
    outside[BOX.slices] = False
    assert not found.entropy[outside].any() and not found.disagreement[outside].any()


def test_configurations_on_one_grid_are_as_their_networks_together():
    shares = softmaxes(4)
    apart = uncertainty([voted(shares[:2], PLAIN), voted(shares[2:], PLAIN)], PLAIN)
    together = uncertainty([voted(shares, PLAIN)], PLAIN)
    np.testing.assert_allclose(apart.entropy, together.entropy, atol=1e-5)
    np.testing.assert_allclose(apart.disagreement, together.disagreement, atol=1e-5)
    assert apart.agreement == pytest.approx(together.agreement)


def test_grids_may_differ():
    found = uncertainty([voted(softmaxes(2), PLAIN), voted(softmaxes(3, shape=(3, 11, 5)), PLAIN, (3, 11, 5))], PLAIN)
    assert found.entropy.shape == found.disagreement.shape == SIZE
    assert (found.disagreement >= 0).all() and (found.disagreement <= found.entropy + 1e-5).mean() > 0.95


def test_regions_are_independent():
    shares = np.random.default_rng(0).random((3, 2, *BOX.shape)).astype(np.float32)
    found = uncertainty([voted(shares, REGIONS)], REGIONS)
    each = np.stack([shares, 1 - shares])
    total = reference_entropy(each.mean(axis=1), axis=0).sum(axis=0)
    np.testing.assert_allclose(inner(found.entropy), total, atol=1e-5)
    np.testing.assert_allclose(
        inner(found.disagreement), total - reference_entropy(each, axis=0).sum(axis=1).mean(axis=0), atol=1e-5
    )
    assert set(found.agreement) == {"whole", "core"}


def test_networks_that_say_the_same_are_unsure_but_do_not_disagree():
    shares = softmaxes(1).repeat(3, axis=0)
    found = uncertainty([voted(shares, PLAIN)], PLAIN)
    assert found.entropy.max() > 0.5 and found.disagreement.max() < 1e-5
    assert found.agreement == {"a": 1, "b": 1}


def test_certainty_is_certainly_0():
    shares = np.zeros((2, 3, *BOX.shape), np.float32)
    shares[:, 1] = 1
    found = uncertainty([voted(shares, PLAIN)], PLAIN)
    assert not found.entropy.any() and not found.disagreement.any()


def test_a_single_network_has_entropy_alone():
    found = uncertainty([voted(softmaxes(1), PLAIN)], PLAIN)
    assert found.entropy.any() and found.disagreement is None and found.agreement is None


def test_votes_are_wanted():
    with pytest.raises(PlanError, match="found scores without the predictions"):
        uncertainty([Scores(softmaxes(1)[0], voted(softmaxes(1), PLAIN).preprocessing)], PLAIN)


class Noise(nn.Module):
    """Says something else in each place of a tile, for each seed."""

    def __init__(self, seed, axes=3):
        super().__init__()
        self.seed, self.divisor = seed, (1,) * axes

    def forward(self, image):
        noise = torch.randn(1, 3, *image.shape[2:], generator=torch.Generator().manual_seed(self.seed))
        return [image[:, :1] * noise]


@pytest.mark.parametrize("patch", [(4, 4, 4), (4, 4)])
def test_votes_are_what_each_network_says_alone(patch):
    image = np.random.default_rng(0).normal(size=(1, 9, 7, 6)).astype(np.float32)
    networks, settings = [Noise(seed, len(patch)) for seed in range(3)], TilingSettings(patch, 3)
    member_predictions = MemberPredictions.empty(3, (9, 7, 6), PLAIN)
    watch = lambda index, place, share: member_predictions.count(index, place, share, PLAIN)  # noqa: E731
    predict_probabilities(networks, image, settings, torch.device("cpu"), watch=watch)
    alone = [predict_probabilities([network], image, settings, torch.device("cpu")) for network in networks]
    for labels, share in zip(member_predictions.labels, alone, strict=True):
        assert np.array_equal(labels, share.argmax(axis=0))
    np.testing.assert_allclose(
        member_predictions.mean_entropy,
        np.mean([reference_entropy(share, axis=0) for share in alone], axis=0),
        atol=1e-5,
    )


def predict(trained, phantoms, tmp_path, **options):
    return autoseg.predict_folder(trained, phantoms / "imagesTs", tmp_path / "out", uncertainty=True, **options)


def table(tmp_path):
    return list(csv.DictReader((tmp_path / "out" / "uncertainty.csv").open()))


def test_a_folder_gets_maps_and_a_table(trained, phantoms, tmp_path):
    predict(trained, phantoms, tmp_path)
    for name in ("phantom_006", "phantom_007"):
        image = phantoms / "imagesTs" / f"{name}_0000.nii.gz"
        for what in ("entropy", "disagreement"):
            path = tmp_path / "out" / "uncertainty" / f"{name}_{what}.nii.gz"
            assert read_geometry(path) == read_geometry(image)
            values = read_volume([path]).array
            assert values.any() and values.min() >= 0 and values.max() <= np.log(3) + 1e-5
    rows = table(tmp_path)
    assert [row["case"] for row in rows] == ["phantom_006", "phantom_007"]
    assert all(row["networks"] == "2" and 0 <= float(row["expected_dice"]) <= 1 for row in rows)


def test_what_is_done_stays_in_the_table(trained, phantoms, tmp_path):
    predict(trained, phantoms, tmp_path)
    before = table(tmp_path)
    (tmp_path / "out" / "uncertainty" / "phantom_007.json").unlink()
    assert predict(trained, phantoms, tmp_path).done == ("phantom_007",), "its maps may be half written"
    assert table(tmp_path) == before


def test_one_network_disagrees_with_nobody_and_says_so(trained, phantoms, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "autoseg.prediction"):
        predict(trained, phantoms, tmp_path, configurations=["3d_fullres"])
    assert "found one network, disagreement needs at least two" in caplog.text
    record = json.loads((tmp_path / "out" / "uncertainty" / "phantom_006.json").read_text())
    assert 0 <= record["expected_dice"] <= 1 and record["agreement"] == {} and record["networks"] == 1
    assert not list((tmp_path / "out").rglob("*_disagreement*"))


def test_what_cross_validation_found_to_be_too_much_is_taken_off(trained, phantoms, tmp_path):
    predict(trained, phantoms, tmp_path)
    plain = [float(row["expected_dice body"]) for row in table(tmp_path)]
    (trained / "ensemble.json").write_text(
        json.dumps({"configurations": ["2d", "3d_fullres"], "overconfidence": min(plain) / 2})
    )
    predict(trained, phantoms, tmp_path, overwrite=True)
    less = [float(row["expected_dice body"]) for row in table(tmp_path)]
    assert np.subtract(plain, less) == pytest.approx(min(plain) / 2, abs=2e-4)


def test_uncertainty_may_be_asked_for_later_and_another_correction_makes_it_anew(trained, phantoms, tmp_path):
    ensemble = {"configurations": ["2d", "3d_fullres"], "overconfidence": 0.01}
    (trained / "ensemble.json").write_text(json.dumps(ensemble))
    autoseg.predict_folder(trained, phantoms / "imagesTs", tmp_path / "out")
    assert len(predict(trained, phantoms, tmp_path).done) == 2
    assert not predict(trained, phantoms, tmp_path).done
    (trained / "ensemble.json").write_text(json.dumps(ensemble | {"overconfidence": 0.02}))
    assert len(predict(trained, phantoms, tmp_path).done) == 2, "one table, one correction"


def test_certain_probabilities_let_expect_1_and_doubt_less():
    inside = np.zeros((4, 5, 6), bool)
    inside[1:3, 1:4, 2:5] = True
    assert expected_dice(inside.astype(np.float32), inside) == 1
    assert np.isnan(expected_dice(np.zeros(inside.shape, np.float32), np.zeros_like(inside)))
    # As many voxels outside hold half a reference as inside: 2 · n/2 / (n + n/2 + n/2).
    doubt = np.where(inside | np.roll(inside, 3, axis=2), np.float32(0.5), np.float32(0))
    assert expected_dice(doubt, inside) == pytest.approx(0.5)


def test_expected_dice_is_about_the_mean_dice_of_references_drawn_from_the_probabilities():
    rng = np.random.default_rng(0)
    probability = rng.beta(0.3, 0.6, size=(12, 14, 16)).astype(np.float32)
    inside = probability > 0.5
    dice = []
    for _ in range(200):
        reference = rng.random(probability.shape) < probability
        dice.append(2 * (inside & reference).sum() / (inside.sum() + reference.sum()))
    assert expected_dice(probability, inside) == pytest.approx(np.mean(dice), abs=0.005)


def test_what_is_expected_is_that_of_the_mean_probabilities():
    scores = [voted(softmaxes(3), PLAIN)]
    labels = label_map(scores, PLAIN)
    found = uncertainty(scores, PLAIN).expected
    for index, (name, value) in enumerate({"a": 3, "b": 7}.items(), start=1):
        inside = inner(labels) == value
        assert found[name] == pytest.approx(expected_dice(scores[0].probabilities[index], inside))


def test_label_maps_are_the_same_with_and_without(trained, phantoms, tmp_path):
    predict(trained, phantoms, tmp_path)
    autoseg.predict_folder(trained, phantoms / "imagesTs", tmp_path / "plain")
    for path in (tmp_path / "plain").glob("*.nii.gz"):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
