"""What a bundle holds, and what it predicts."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pytest

import autoseg
from autoseg.bundle.model_card import CardFacts, model_card
from autoseg.bundle.writing import export_bundle
from autoseg.cli.main import main
from autoseg.data.dataset import Dataset
from autoseg.errors import BundleError, WeightsError
from autoseg.images.volumes import read_labels
from autoseg.inference.ensemble import Ensemble
from autoseg.plan.files import PLAN_VERSION
from autoseg.plan.schema import Plan


def predictions(place, images, output):
    assert not autoseg.predict_folder(place, images, output, device="cpu").failed
    return {path.name: read_labels(path)[0] for path in sorted(output.glob("*.nii.gz"))}


def test_a_bundle_predicts_what_its_workspace_does_when_that_is_gone(trained, phantoms, tmp_path):
    bundle, images = tmp_path / "phantoms.zip", phantoms / "imagesTs"
    expected = predictions(trained, images, tmp_path / "expected")
    export_bundle(trained, bundle)
    shutil.rmtree(trained)
    unpacked = tmp_path / "unpacked"
    shutil.unpack_archive(bundle, unpacked)
    for place in (bundle, unpacked):
        found = predictions(place, images, tmp_path / f"of {place.name}")
        assert found.keys() == expected.keys() and len(found) == 2
        for name, labels in expected.items():
            np.testing.assert_array_equal(found[name], labels)


def test_probabilities_are_the_same_as_well(trained, exported_once):
    image = np.random.default_rng(5).normal(size=(2, 9, 21, 19)).astype(np.float32)
    both = [
        autoseg.Predictor.load(place, device="cpu").predict_array(image, spacing=(3.5, 1, 1), probabilities=True)[1]
        for place in (trained, exported_once)
    ]
    np.testing.assert_array_equal(*both)


def test_nothing_tells_of_single_cases_or_of_places(exported_once, phantoms):
    names = [path.name.split(".")[0] for path in (phantoms / "labelsTr").iterdir()]
    with zipfile.ZipFile(exported_once) as bundle:
        for member in bundle.namelist():
            content = bundle.read(member)
            assert not any(name.encode() in content for name in names)
            assert str(phantoms.parent).encode() not in content and b"imagesTr" not in content


def test_cross_validation_is_told_with_numbers_for_cases(trained, exported_once):
    measured = json.loads((trained / "models/2d/supervised/fold_0/validation/summary.json").read_text())
    with zipfile.ZipFile(exported_once) as bundle:
        told = json.loads(bundle.read("cross_validation/2d.json"))
    assert told["classes"] == measured["classes"]
    assert list(told["cases"]) == [f"case_{number:05d}" for number in range(1, len(measured["cases"]) + 1)]


def test_the_card_tells_data_figures_and_licence(exported_once):
    with zipfile.ZipFile(exported_once) as bundle:
        card = bundle.read("MODEL_CARD.md").decode()
    for expected in ("Licence: CC\\-BY\\-4.0", "core", "| T1 |", "Training cases: 6", "3d\\_fullres", "HD95", "torch"):
        assert expected in card


def test_the_same_workspace_gives_the_same_bytes(trained, exported_once, tmp_path):
    export_bundle(trained, tmp_path / "again.zip", license_text="CC-BY-4.0")
    assert (tmp_path / "again.zip").read_bytes() == exported_once.read_bytes()


def test_only_what_was_chosen_is_exported(trained, tmp_path):
    (trained / "ensemble.json").write_text('{"configurations": ["2d"]}')
    done = export_bundle(trained, tmp_path / "chosen.zip")
    assert done.folds == {"2d": 1} and "ensemble.json" in done.files
    assert [name for name in done.files if name.startswith("models")] == [
        "models/2d/supervised/fold_0/model.safetensors"
    ]


def test_names_cannot_be_markup_in_the_card(trained, tmp_path):
    described = json.loads((trained / "dataset.json").read_text())
    described["name"] = "<script>alert(1)</script> | [x](http://a.b)\n# heading"
    (trained / "dataset.json").write_text(json.dumps(described))
    export_bundle(trained, tmp_path / "odd.zip")
    with zipfile.ZipFile(tmp_path / "odd.zip") as bundle:
        card = bundle.read("MODEL_CARD.md").decode()
    assert "<script>" not in card and "\n# heading" not in card and "](" not in card and " | [" not in card


def test_nothing_that_cannot_predict_is_exported(trained, tmp_path):
    weights = trained / "models/2d/supervised/fold_0/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(WeightsError, match="damaged"):
        export_bundle(trained, tmp_path / "broken.zip")
    assert not (tmp_path / "broken.zip").exists()


@pytest.mark.parametrize("name", ["bundle", "bundle.nii.gz", "here.zip"])
def test_nothing_is_overwritten_by_a_slip(trained, tmp_path, name):
    (tmp_path / "here.zip").write_text("precious")
    with pytest.raises(BundleError, match="choose another name"):
        export_bundle(trained, tmp_path / name)
    assert (tmp_path / "here.zip").read_text() == "precious"


def test_a_configuration_that_no_bundle_can_name_is_told(trained, tmp_path):
    plan = json.loads((trained / "plan.json").read_text())
    plan["configurations"]["größe"] = plan["configurations"].pop("2d")
    (trained / "plan.json").write_text(json.dumps(plan))
    (trained / "models/2d").rename(trained / "models/größe")
    with pytest.raises(BundleError, match=r"größe.*rename the configuration"):
        export_bundle(trained, tmp_path / "odd.zip")


def test_the_commands(trained, phantoms, tmp_path, capfd):
    def run(*words):
        with pytest.raises(SystemExit) as done:
            main([str(word) for word in words])
        return done.value.code or 0

    assert run("export", trained, tmp_path / "b.zip", "--license", "Apache-2.0") == 0
    assert "2d (1 fold)" in capfd.readouterr().out
    (tmp_path / "cut.zip").write_bytes((tmp_path / "b.zip").read_bytes()[:-100])
    assert run("predict-folder", tmp_path / "cut.zip", phantoms / "imagesTs", tmp_path / "out") == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "cut.zip" in said
    assert not (tmp_path / "out").exists()


def test_the_card_says_what_may_be_missing_and_what_must_be_brought():
    dataset = Dataset(
        "d",
        ("T1", "T2"),
        {"background": 0, "a": 1},
        ".nii.gz",
        (),
        optional_channels={"T2": -4.0},
        extra_channels={"eye": {"name": "distance", "points": "eyes"}, "place": {"name": "position"}},
    )
    plan = Plan(PLAN_VERSION, "d", "unet", (0, 1, 2), (), {})
    card = model_card(CardFacts(dataset, plan, None, Ensemble(()), {}, {}, None))
    assert "| T1 | \\_0000.nii.gz |" in card and "| T2 | \\_0001.nii.gz, optional |" in card
    assert (
        "\n- eye is computed and needs no image file: distance of the sub\\-folder 'eyes' beside the images\n" in card
    )
    assert "\n- place is computed and needs no image file: position\n" in card
