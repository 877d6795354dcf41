"""Registries: they map the names in a plan to implementations. A plan can only use registered names."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated, Any, TypeVar, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from autoseg.errors import PlanError

logger = logging.getLogger("autoseg")

Implementation = TypeVar("Implementation", bound=Callable[..., Any])


class Registry:
    """The implementations of one family, such as networks or losses, by name.

    ``modules`` lists the modules of this package that register implementations. They are imported on the first lookup;
    this keeps the import of a registry fast and allows the modules to import the registry. Other packages register
    implementations with the entry-point group ``autoseg.<family>``. An entry point is loaded only when its name is
    requested and this package has no implementation of that name.
    """

    def __init__(self, family: str, modules: Sequence[str] = ()) -> None:
        self.family = family
        self._modules = tuple(modules)
        self._implementations: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Implementation], Implementation]:
        """Return a decorator that registers an implementation as ``name``."""

        def file_under_name(implementation: Implementation) -> Implementation:
            if name in self._implementations:
                raise ValueError(f"{self.family} '{name}' is registered twice")
            self._implementations[name] = implementation
            return implementation

        return file_under_name

    def names(self) -> list[str]:
        """Return all available names, of this package and of other packages, sorted."""
        self._import_modules()
        others = {entry.name for entry in entry_points(group=f"autoseg.{self.family}")}
        return sorted(others | set(self._implementations))

    def loaded(self) -> dict[str, Callable[..., Any]]:
        """Load every implementation; skip with a warning those whose package cannot be imported."""
        found = {}
        for name in self.names():
            try:
                found[name] = self.get(name)
            except Exception as error:  # A broken package of somebody else must not block all others.
                logger.warning(
                    "%s '%s' cannot be loaded: %s; reinstall or remove its package", self.family, name, error
                )
        return found

    def get(self, name: str) -> Callable[..., Any]:
        """Return the implementation ``name``; for an unknown name, raise :class:`PlanError` with the nearest names."""
        self._import_modules()
        if name not in self._implementations:
            for entry in entry_points(group=f"autoseg.{self.family}", name=name):
                self._implementations[name] = entry.load()
        try:
            return self._implementations[name]
        except KeyError:
            raise PlanError(self._unknown(name)) from None

    def name_of(self, implementation: object) -> str | None:
        """Return the name of an implementation that is loaded; None if it is not registered."""
        return next((name for name, known in self._implementations.items() if known is implementation), None)

    def build(self, spec: Mapping[str, Any], **context: Any) -> Any:
        """Call the implementation named in ``spec`` with the arguments of ``spec`` and of ``context``.

        ``spec`` is ``{"name": ..., **arguments}`` as written in a plan. Raises :class:`PlanError` for an argument that
        the implementation does not accept: no setting of a plan is silently ignored.
        """
        arguments = dict(spec)
        name = arguments.pop("name", None)
        if not isinstance(name, str):
            raise PlanError(f"{self.family}: found {dict(spec)!r}, expected an object with a 'name'")
        implementation = self.get(name)
        told = sorted(context.keys() & arguments.keys())
        if told:
            raise PlanError(f"{self.family} '{name}': found '{told[0]}', which a plan cannot set; remove it")
        self._check_arguments(name, implementation, arguments, context)
        self._check_types(name, implementation, arguments)
        return implementation(**context, **arguments)

    def _import_modules(self) -> None:
        for module in self._modules:
            import_module(module)

    def _check_arguments(
        self,
        name: str,
        implementation: Callable[..., Any],
        arguments: Mapping[str, Any],
        context: Mapping[str, Any],
    ) -> None:
        signature = inspect.signature(implementation)
        try:
            signature.bind(**context, **arguments)
        except TypeError as error:
            allowed = ", ".join(name for name in signature.parameters if name not in context)
            raise PlanError(f"{self.family} '{name}': {error}; it takes: {allowed}") from None

    def _check_types(self, name: str, implementation: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        """Compare the arguments of a plan with the type hints of the implementation."""
        from pydantic import TypeAdapter, ValidationError

        by_call = inspect.isclass(implementation) and not is_dataclass(implementation)
        # Inherited fields of a dataclass appear only in the hints of the class, whose base may be in another module.
        annotated = implementation.__init__ if by_call else implementation
        hints = get_type_hints(annotated, include_extras=True)
        for key, value in arguments.items():
            try:
                TypeAdapter(hints.get(key, Any)).validate_python(value, strict=True)
            except ValidationError as error:
                reason = error.errors()[0]["msg"].lower()
                raise PlanError(f"{self.family} '{name}', argument '{key}': found {value!r}: {reason}") from None

    def _unknown(self, name: str) -> str:
        return f"{self.family}: found '{name}', expected one of: {', '.join(nearest_first(name, self.names()))}"


def nearest_first(name: str, names: Sequence[str]) -> list[str]:
    """Return ``names``; those that resemble ``name`` come first."""
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    return nearest + [other for other in names if other not in nearest]


Positive = Annotated[float, Gt(0), Lt(float("inf"))]
"""A finite number above 0."""


NonNegative = Annotated[float, Ge(0), Lt(float("inf"))]
"""A finite number of at least 0."""


Share = Annotated[float, Ge(0), Le(1)]
"""A number from 0 to 1."""


Decay = Annotated[float, Ge(0), Lt(1)]
"""Decay of a moving average: at least 0 and below 1."""


Component = dict[str, Any]
"""A part of a plan that selects an implementation: ``{"name": ..., **arguments}``, looked up in a registry."""
