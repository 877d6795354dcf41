"""How thick objects are, by the lines through them."""

from __future__ import annotations

import numpy as np
import pytest

from autoseg.data.dataset import Dataset
from autoseg.fingerprint.case import class_runs
from autoseg.fingerprint.record import CaseMeasure, Fingerprint

DATASET = Dataset("made", ("MR",), {"background": 0, "a": 1, "b": 3}, ".nii.gz", ())


def test_a_box_has_lines_as_long_as_its_edges_wherever_it_lies():
    labels = np.zeros((12, 20, 30), dtype=np.uint8)
    labels[:4, 5:11, 20:] = 3
    assert class_runs(labels, DATASET) == {"b": (4.0, 6.0, 10.0)}


def test_lines_of_a_ball_and_of_a_thin_sheet():
    z, y, x = np.ogrid[-25:26, -25:26, -25:26]
    ball = (z**2 + y**2 + x**2 <= 20**2).astype(np.int16)
    assert class_runs(ball, DATASET)["a"] == pytest.approx([2 / 3 * 40] * 3, rel=0.03)
    sheet = np.zeros((20, 20, 20), dtype=np.int16)
    sheet[:, 7:9] = 1
    assert class_runs(sheet, DATASET)["a"] == (20.0, 2.0, 20.0)


def test_pieces_count_each_for_itself():
    labels = np.zeros((1, 1, 9), dtype=np.uint8)
    labels[0, 0, [0, 1, 4, 7, 8]] = 1
    assert class_runs(labels, DATASET)["a"] == (1.0, 1.0, pytest.approx(5 / 3))


def test_regions_hold_all_of_their_values():
    regions = Dataset(
        "made", ("MR",), {"background": 0, "a": 1, "b": 3}, ".nii.gz", (), regions={"all": (1, 3)}, region_order=(1,)
    )
    labels = np.zeros((3, 4, 8), dtype=np.uint8)
    labels[:, :, :2], labels[:, :, 2:5] = 1, 3
    assert class_runs(labels, regions)["all"] == (3.0, 4.0, 5.0)


def test_wild_values_are_not_measured():
    labels = np.full((2, 2, 2), 2**20, dtype=np.int32)
    assert class_runs(labels, DATASET) == {}


def test_the_thinnest_class_counts_in_millimetres_and_in_the_common_orientation():
    def measure(name, runs, orientation):
        return CaseMeasure(name, "", (9, 9, 9), (9, 9, 9), (3.0, 1.0, 2.0), {}, orientation=orientation, runs=runs)

    cases = [measure(f"c{i}", {"a": (4.0, 8.0, 8.0), "b": (9.0, 5.0, 9.0)}, "SPL") for i in range(3)]
    assert Fingerprint(tuple(cases), ()).thickness == pytest.approx([12.0, 5.0, 16.0])
    cases[0] = measure("c0", {"a": (8.0, 4.0, 8.0), "b": (5.0, 9.0, 9.0)}, "PSL")
    assert Fingerprint(tuple(cases), ()).thickness == pytest.approx([12.0, 5.0, 16.0])
    assert Fingerprint((measure("c", {}, "SPL"),), ()).thickness is None
