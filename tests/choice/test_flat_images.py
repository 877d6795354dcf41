from __future__ import annotations

import numpy as np

import autoseg
from autoseg.images.geometry import Geometry
from autoseg.images.volumes import read_labels, write_labels, write_volume


def test_pictures_are_chosen_for_and_cleaned_as_pictures(tmp_path, shrink_plan):
    geometry = Geometry((1, 20, 24), (1.0, 1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), 2)
    rng = np.random.default_rng(0)
    for number in range(6):
        labels = np.zeros((1, 20, 24), np.uint8)
        labels[0, 5 : 12 + number % 3, 6:16] = 1
        image = (labels + rng.normal(0, 0.1, labels.shape)).astype(np.float32)
        write_volume(tmp_path / "images" / f"picture_{number}_0000.nii.gz", image, geometry)
        write_labels(tmp_path / "labels" / f"picture_{number}.nii.gz", labels, geometry)
    place = autoseg.plan_and_preprocess(
        images=tmp_path / "images",
        labels=tmp_path / "labels",
        workspace=tmp_path / "work",
        time_budget=3600.0,
        workers=0,
    )
    shrink_plan(place.plan_file)
    autoseg.train_fold(place.root, "2d", 0, iterations=40)
    found = autoseg.choose(place.root, tta=True, device="cpu", workers=0)
    assert found.chosen == ("2d",) and found.mirroring is not None and found.dice >= found.best.dice - 1e-9
    autoseg.predict_folder(place.root, tmp_path / "images", tmp_path / "out")
    for path in (tmp_path / "out").glob("*.nii.gz"):
        assert read_labels(path)[0].shape == (1, 20, 24)
