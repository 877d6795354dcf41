"""Pages and cards from jinja2 templates, in which nothing that comes from files is markup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def render(package: str, name: str, *, filters: dict[str, Callable[..., str]] | None = None, **values: Any) -> str:
    """Fill in a template that lies in ``package``.

    What is filled in is escaped as HTML unless the template's name ends otherwise than in ``.html.j2``; such templates
    escape with the ``filters`` they are given. A name that the template uses and ``values`` lacks is an error.
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
