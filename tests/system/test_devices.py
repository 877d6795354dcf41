from __future__ import annotations

import pytest

import autoseg
from autoseg.errors import PlanError
from autoseg.inference.predictor import Predictor
from autoseg.system.devices import check_devices, parse_devices


def test_numbers_are_gpus():
    assert parse_devices("0,1, cpu") == ["cuda:0", "cuda:1", "cpu"]
    assert parse_devices(None) is None
    with pytest.raises(PlanError, match="devices '0,,1': expected comma-separated names"):
        parse_devices("0,,1")


def test_what_is_not_here_is_refused():
    with pytest.raises(PlanError, match="device 'cuda:77': not on this machine"):
        check_devices("auto", ["cpu", "cuda:77"])
    with pytest.raises(PlanError, match="found both, expected one of the two"):
        check_devices("cpu", ["cpu"])
    with pytest.raises(PlanError, match="expected at least one"):
        check_devices("auto", [])


def test_devices_share_a_folder_and_the_weights(trained, phantoms, tmp_path, monkeypatch):
    loads, real = [], Predictor.load.__func__
    monkeypatch.setattr(
        Predictor, "load", classmethod(lambda cls, *names, **options: loads.append(1) or real(cls, *names, **options))
    )
    images = phantoms / "imagesTr"
    one = autoseg.predict_folder(trained, images, tmp_path / "one", devices=["cpu"])
    two = autoseg.predict_folder(trained, images, tmp_path / "two", devices=["cpu", "cpu"])
    assert one.done == two.done and len(one.done) == 6 and len(loads) == 2
    for path in (tmp_path / "one").glob("*.nii.gz"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
