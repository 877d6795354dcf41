from __future__ import annotations

import dataclasses

import pytest

from autoseg.augmentation import AugmentationSettings, presets, settings_from
from autoseg.errors import PlanError


def test_the_default_is_nnunets():
    settings = settings_from({"name": "default"})
    assert settings == AugmentationSettings()
    assert (settings.rotation.probability, settings.scaling.range) == (0.2, (0.7, 1.4))
    assert (settings.gamma_inverted.probability, settings.gamma_inverted.inverted) == (0.1, True)
    assert (settings.gamma.probability, settings.gamma.inverted) == (0.3, False)


def test_presets_by_name():
    assert presets.names() == ["default", "light", "none", "strong"]
    assert settings_from({"name": "strong"}).rotation.probability == 0.4
    light, default = settings_from({"name": "light"}), settings_from({"name": "default"})
    changes = [f.name for f in dataclasses.fields(light) if f.name not in {"mirror", "loader", "channel_dropout"}]
    assert all(getattr(light, name).probability < getattr(default, name).probability for name in changes)
    none = settings_from({"name": "none"})
    assert all(getattr(none, name).probability == 0 for name in [*changes, "mirror"])


def test_a_plan_may_change_any_value():
    changed = settings_from({"name": "default", "rotation": {"probability": 0.5}, "noise": {"std": [0, 0.2]}})
    assert changed.rotation.probability == 0.5
    assert changed.noise.std == (0, 0.2)
    assert changed.noise.probability == 0.1
    assert changed.scaling == settings_from({"name": "default"}).scaling
    assert settings_from({"name": "strong", "loader": []}).loader == ()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "strogn"}, "found 'strogn', expected one of: strong"),
        ({"name": 3}, "expected an object with a 'name'"),
        ({"name": "default", "rotatoin": {}}, "found 'rotatoin', expected one of: rotation"),
        ({"name": "default", "noise": {"sigma": 1}}, "augmentation.noise: found 'sigma', expected one of: "),
        ({"name": "default", "blur": {"sigmas": 1}}, "augmentation.blur: found 'sigmas', expected one of: sigma"),
        ({"name": "default", "noise": {"probability": 2}}, "field 'noise.probability', found 2"),
        ({"name": "default", "noise": {"std": "big"}}, "field 'noise.std"),
        ({"name": "default", "gamma": {"range": [0, 1]}}, "field 'gamma.range"),
        ({"name": "default", "gamma": {"range": [2, 1]}}, "lower limit first"),
        ({"name": "default", "low_resolution": {"zoom": [0.5, 2]}}, "at most 1"),
        ({"name": "default", "rotation": 0.4}, "field 'rotation', found 0.4"),
        ({"name": "default", "loader": {"name": "GammaTransform"}}, "field 'loader'"),
    ],
)
def test_what_a_plan_says_wrongly_is_named_in_one_line(spec, message):
    with pytest.raises(PlanError, match=message) as caught:
        settings_from(spec)
    assert "\n" not in str(caught.value)
