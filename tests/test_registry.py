from __future__ import annotations

import pytest

from autoseg.errors import PlanError
from autoseg.registry import Registry


@pytest.fixture
def shapes() -> Registry:
    registry = Registry("shapes")

    @registry.register("square")
    def square(*, edge: float, scale: float = 1.0) -> float:
        return (edge * scale) ** 2

    registry.register("circle")(lambda *, radius: 3 * radius)
    return registry


def test_a_spec_builds_what_it_names(shapes):
    assert shapes.build({"name": "square", "edge": 3}) == 9
    assert shapes.build({"name": "square", "edge": 3}, scale=2) == 36


def test_unknown_names_list_the_nearest_first(shapes):
    with pytest.raises(PlanError, match=r"found 'sqare', expected one of: square, circle"):
        shapes.get("sqare")


def test_unknown_arguments_are_refused(shapes):
    with pytest.raises(PlanError, match=r"shapes 'square': .*'corner'.*it takes: edge, scale"):
        shapes.build({"name": "square", "edge": 1, "corner": 2})


def test_what_the_pipeline_tells_is_not_for_a_plan_to_say(shapes):
    with pytest.raises(PlanError, match="shapes 'square': found 'scale', which a plan cannot set"):
        shapes.build({"name": "square", "edge": 1, "scale": 2}, scale=3)


@pytest.mark.parametrize("edge", ["long", None, [1]])
def test_arguments_of_a_wrong_type_are_refused(shapes, edge):
    with pytest.raises(PlanError, match=r"shapes 'square', argument 'edge': found .*valid number"):
        shapes.build({"name": "square", "edge": edge})


def test_missing_arguments_are_named(shapes):
    with pytest.raises(PlanError, match="edge"):
        shapes.build({"name": "square"})


def test_a_spec_needs_a_name(shapes):
    with pytest.raises(PlanError, match="expected an object with a 'name'"):
        shapes.build({"edge": 1})


def test_a_name_is_registered_once(shapes):
    with pytest.raises(ValueError, match="twice"):
        shapes.register("circle")(lambda: None)


def test_modules_are_imported_when_asked(monkeypatch):
    registry = Registry("numbers", modules=("decimal_that_is_not_there",))
    with pytest.raises(ModuleNotFoundError):
        registry.get("anything")


def test_an_implementation_that_cannot_be_loaded_is_skipped_with_a_warning(shapes, monkeypatch, caplog):
    class Broken:
        name = "star"

        def load(self):
            raise ImportError("no module named stars")

    monkeypatch.setattr("autoseg.registry.entry_points", lambda **_: [Broken()])
    assert set(shapes.loaded()) == {"square", "circle"}
    assert "shapes 'star' cannot be loaded: no module named stars; reinstall or remove its package" in caplog.text
