"""Render pages and cards from jinja2 templates; inserted text is escaped, so it never becomes markup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def render(package: str, name: str, *, filters: dict[str, Callable[..., str]] | None = None, **values: Any) -> str:
    """Render a template of ``package``.

    In templates named ``*.html.j2`` the values are escaped as HTML. Other templates must escape with the given
    ``filters``. A variable of the template that is missing in ``values`` raises an error.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
    )
    environment.filters.update(filters or {})
    return environment.get_template(name).render(**values)
