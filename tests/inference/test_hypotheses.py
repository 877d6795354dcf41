"""Several plausible label maps of an image."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

import autoseg
from autoseg.bundle.writing import export_bundle
from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.files.weights import load_tensors, save_tensors
from autoseg.images.geometry import Geometry, Volume
from autoseg.images.volumes import read_geometry, read_labels
from autoseg.inference.hypotheses import hypothesis_networks
from autoseg.inference.predictor import Predictor
from autoseg.workspace.paths import Workspace

CT = Dataset("d", ("CT",), {"background": 0, "a": 1}, ".nii.gz", ())
CASES = ("phantom_006", "phantom_007")


class Layered(torch.nn.Module):
    """Calls voxels above its latent variable, a single number, the class."""

    def __init__(self, axes=3):
        super().__init__()
        self.divisor = self.margin = (1,) * axes
        self.noise = 0.0

    def forward(self, image):
        logits = image[:, :1] - self.noise
        return [torch.cat([-logits, logits], dim=1)]

    def hypothesis(self, rng):
        drawn = Layered(len(self.divisor))
        drawn.noise = float(rng.normal())
        return drawn


def volume(shape=(11, 14, 13)):
    array = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    return Volume(array, Geometry(shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel())))


def hypotheses_of(predictor, image, count):
    (scores,) = predictor.scores(predictor.prepare(image), hypotheses=count)
    return scores.hypotheses


@pytest.mark.parametrize("patch", [(6, 6, 6), (6, 6)])
def test_a_hypothesis_is_the_same_function_in_all_tiles(make_predictor, patch):
    predictor, image = make_predictor(Layered(len(patch)), CT, patch=patch), volume()
    found = hypotheses_of(predictor, image, 4)
    assert list(found) == [1, 2, 3, 4]
    for number, labels in found.items():
        noise = np.random.default_rng([0, number]).normal()
        np.testing.assert_array_equal(labels, image.array[0] > np.float32(noise))
    more = hypotheses_of(predictor, image, 5)
    assert all(np.array_equal(more[number], labels) for number, labels in found.items())
    np.testing.assert_array_equal(predictor.predict(image), image.array[0] > 0)


def test_networks_take_turns_and_one_without_a_latent_variable_has_one_turn(make_predictor, threshold):
    plain, latent = (make_predictor(network, CT).members[0] for network in (threshold(2), Layered()))
    both = (plain, latent)
    found = hypothesis_networks(both, 4)
    assert [each.number for each in found] == [1, 2, 3, 4]
    assert [each.member is plain for each in found] == [True, False, False, False]
    assert found[0].alone.networks == plain.networks
    assert len({each.alone.networks[0].noise for each in found[1:]}) == 3
    assert hypothesis_networks(both, 0) == ()
    with pytest.raises(PlanError, match="hypotheses: found -1, expected a number above 0"):
        hypothesis_networks(both, -1)
    with pytest.raises(PlanError, match="found 3, expected at most 2, one of each network"):
        hypothesis_networks((plain, plain), 3)


def test_memory_for_label_maps_is_counted(make_predictor):
    predictor, size = make_predictor(Layered(), CT), volume((40, 40, 40)).geometry
    without, few, many = (predictor.need(size, hypotheses=count) for count in (0, 10, 110))
    assert many.arrays - few.arrays == 100 * 40**3
    assert few.scores == many.scores == 2 * without.scores


@pytest.fixture(scope="module")
def latent_once(made_once, tmp_path_factory, latent_plan):
    """Folds 0 and 1 of a 3D network and fold 0 of a 2D one whose latent variables decide much; not to be changed."""
    place = Workspace(shutil.copytree(made_once / "workspace", tmp_path_factory.mktemp("latent") / "workspace"))
    latent_plan(place.plan_file)
    for name, fold in (("2d", 0), ("3d_fullres", 0), ("3d_fullres", 1)):
        autoseg.train_fold(place.root, name, fold, iterations=2)
        model = place.fold(name, fold).model
        tensors = load_tensors(model)
        tensors["combination.shift.weight"] = torch.randn(4, 3, generator=torch.Generator().manual_seed(fold))
        save_tensors(model, tensors)
    return place.root


@pytest.fixture
def latent(latent_once, tmp_path):
    return shutil.copytree(latent_once, tmp_path / "latent")


def predict(workspace, phantoms, output, **options):
    options = {"configurations": ["3d_fullres"], "tta": "none", **options}
    result = autoseg.predict_folder(workspace, phantoms / "imagesTs", output, **options)
    assert not result.failed
    return result


def maps(output, count, case=CASES[0]):
    return [read_labels(output / "hypotheses" / str(number) / f"{case}.nii.gz")[0] for number in range(1, count + 1)]


@pytest.mark.parametrize("name", ["2d", "3d_fullres"])
def test_as_many_maps_as_wanted_are_written_beside_that_of_the_mean(name, latent, phantoms, tmp_path):
    out, plain, again = (tmp_path / folder for folder in ("out", "plain", "again"))
    predict(latent, phantoms, out, configurations=[name], hypotheses=3)
    predict(latent, phantoms, plain, configurations=[name])
    predict(latent, phantoms, again, configurations=[name], hypotheses=5, memory=1)
    assert sorted(path.name for path in (out / "hypotheses").iterdir()) == ["1", "2", "3"]
    for case in CASES:
        found = maps(out, 3, case)
        assert len({labels.tobytes() for labels in found}) == 3
        image = phantoms / "imagesTs" / f"{case}_0000.nii.gz"
        assert read_geometry(out / "hypotheses" / "1" / f"{case}.nii.gz") == read_geometry(image)
        # Other calls give the same, whether memory has room for probabilities or not.
        assert all(np.array_equal(a, b) for a, b in zip(found, maps(again, 5, case)[:3], strict=True))
        mean, expected = (read_labels(folder / f"{case}.nii.gz")[0] for folder in (out, plain))
        assert np.array_equal(mean, expected)
    assert not (plain / "hypotheses").exists()


def test_each_network_of_an_ensemble_has_its_turn(latent, phantoms, tmp_path):
    predict(latent, phantoms, tmp_path / "both", hypotheses=3)
    predict(latent, phantoms, tmp_path / "first", hypotheses=3, folds=[0])
    both, first = maps(tmp_path / "both", 3), maps(tmp_path / "first", 3)
    alike = [np.array_equal(one, other) for one, other in zip(both, first, strict=True)]
    assert alike == [True, False, True]


def test_ordinary_networks_have_a_map_each(trained, phantoms, tmp_path):
    options = {"configurations": None, "postprocessing": False}
    predict(trained, phantoms, tmp_path / "out", hypotheses=2, **options)
    for number, member in enumerate(Predictor.load(trained).members, 1):
        alone = tmp_path / member.name
        predict(trained, phantoms, alone, configurations=[member.name])
        for case in CASES:
            expected = read_labels(alone / f"{case}.nii.gz")[0]
            assert np.array_equal(maps(tmp_path / "out", 2, case)[number - 1], expected)
    with pytest.raises(PlanError, match="expected at most 2, one of each network"):
        predict(trained, phantoms, tmp_path / "more", hypotheses=3, **options)
    assert not (tmp_path / "more").exists()


def test_what_is_missing_is_predicted_and_what_another_model_left_is_removed(latent, phantoms, tmp_path):
    out = tmp_path / "out"
    assert predict(latent, phantoms, out, hypotheses=2).done == CASES
    assert predict(latent, phantoms, out, hypotheses=2).skipped == CASES
    lost = out / "hypotheses" / "2" / f"{CASES[1]}.nii.gz"
    content = lost.read_bytes()
    lost.unlink()
    assert predict(latent, phantoms, out, hypotheses=2).done == (CASES[1],)
    assert lost.read_bytes() == content
    assert predict(latent, phantoms, out, hypotheses=3).done == CASES
    predict(latent, phantoms, out, hypotheses=1, overwrite=True)
    assert len(list((out / "hypotheses").glob("*/*.nii.gz"))) == 2


def test_a_bundle_gives_the_same_hypotheses(latent, phantoms, tmp_path):
    predict(latent, phantoms, tmp_path / "out", hypotheses=2)
    export_bundle(latent, tmp_path / "bundle.zip", license_text="CC-BY-4.0")
    predict(tmp_path / "bundle.zip", phantoms, tmp_path / "other", hypotheses=2)
    for one, other in zip(maps(tmp_path / "out", 2), maps(tmp_path / "other", 2), strict=True):
        assert np.array_equal(one, other)


def test_a_hypothesis_is_not_averaged_over_mirrored_copies(latent, phantoms, tmp_path):
    predict(latent, phantoms, tmp_path / "mirrored", hypotheses=1, tta="mirror")
    predict(latent, phantoms, tmp_path / "plain", hypotheses=1)
    assert np.array_equal(*(maps(tmp_path / folder, 1)[0] for folder in ("mirrored", "plain")))
