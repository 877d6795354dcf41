"""Implementations by name: what a plan may name, and nothing else, chooses code."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, TypeVar, get_type_hints

from autoseg.errors import PlanError

Implementation = TypeVar("Implementation", bound=Callable[..., Any])


class Registry:
    """The implementations of one family, such as networks or losses, by name.

    ``modules`` are this package's own modules that register something; they are imported when a name is first asked
    for, so that a registry costs nothing until it is used and its modules may import it. Other packages add theirs
    through the entry-point group ``autoseg.<family>``; these are loaded only when a name is asked for that this package
    does not have.
    """

    def __init__(self, family: str, modules: Sequence[str] = ()) -> None:
        self.family = family
        self._modules = tuple(modules)
        self._implementations: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Implementation], Implementation]:
        """Return a decorator that files an implementation under ``name``."""

        def file_under_name(implementation: Implementation) -> Implementation:
            if name in self._implementations:
                raise ValueError(f"{self.family} '{name}' is registered twice")
            self._implementations[name] = implementation
            return implementation

        return file_under_name

    def names(self) -> list[str]:
        """Every name that can be asked for, this package's and other packages', sorted."""
        self._import_modules()
        others = {entry.name for entry in entry_points(group=f"autoseg.{self.family}")}
        return sorted(others | set(self._implementations))

    def get(self, name: str) -> Callable[..., Any]:
        """Return the implementation called ``name``; raise :class:`PlanError` with the nearest names if none is."""
        self._import_modules()
        if name not in self._implementations:
            for entry in entry_points(group=f"autoseg.{self.family}", name=name):
                self._implementations[name] = entry.load()
        try:
            return self._implementations[name]
        except KeyError:
            raise PlanError(self._unknown(name)) from None

    def build(self, spec: Mapping[str, Any], **context: Any) -> Any:
        """Call the implementation that ``spec`` names with the arguments it lists and those of the ``context``.

        ``spec`` is ``{"name": ..., **arguments}`` as it stands in a plan. An argument that the implementation does not
        take is a :class:`PlanError`: nothing that a plan says is silently ignored.
        """
        arguments = dict(spec)
        name = arguments.pop("name", None)
        if not isinstance(name, str):
            raise PlanError(f"{self.family}: found {dict(spec)!r}, expected an object with a 'name'")
        implementation = self.get(name)
        told = sorted(context.keys() & arguments.keys())
        if told:
            raise PlanError(f"{self.family} '{name}': found '{told[0]}', which is not for a plan to say; leave it out")
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
        """Hold what a plan says against the type hints of what it names."""
        from pydantic import TypeAdapter, ValidationError

        by_call = inspect.isclass(implementation) and not is_dataclass(implementation)
        # What a dataclass inherits is only known by the hints of the class, which may stand in another module.
        annotated = implementation.__init__ if by_call else implementation
        hints = get_type_hints(annotated, include_extras=True)
        for key, value in arguments.items():
            try:
                TypeAdapter(hints.get(key, Any)).validate_python(value, strict=True)
            except ValidationError as error:
                reason = error.errors()[0]["msg"].lower()
                raise PlanError(f"{self.family} '{name}', argument '{key}': found {value!r}: {reason}") from None

    def _unknown(self, name: str) -> str:
        names = self.names()
        nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        ordered = nearest + [other for other in names if other not in nearest]
        return f"{self.family}: found '{name}', expected one of: {', '.join(ordered)}"
