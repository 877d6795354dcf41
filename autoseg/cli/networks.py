"""The command ``autoseg networks``: shows the networks that a plan may use, and the taps of one of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from autoseg.cli.display import console

if TYPE_CHECKING:
    from autoseg.cli.network_examples import Example

CONTEXT = ("in_channels", "outputs", "dimension")
"""Arguments of every network that the dataset decides, not the plan."""
DIMENSIONS = (2, 3)


def networks(
    name: Annotated[str | None, typer.Argument(help="Network to describe. Default: list all networks.")] = None,
    dimension: Annotated[int, typer.Option(min=2, max=3, help="Number of axes for which its taps are shown.")] = 3,
    patch: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Patch in voxels for which its taps are shown: one number, or one for each axis, such as 64,128,128. "
            "Default: the patch that its planner chooses for an image of 128 voxels along each axis.",
        ),
    ] = None,
) -> None:
    """List all networks, or show the arguments, planners and taps (hidden layers that losses may read) of one."""
    from autoseg.cli.network_examples import build_example
    from autoseg.networks import networks as registry

    if name is None:
        _print_all(registry.loaded())
        return
    implementation = registry.get(name)
    size = None if patch is None else _parsed_patch(patch, dimension)
    _print_network(name, implementation, build_example(name, dimension, size))


def _print_all(implementations: dict[str, Callable[..., Any]]) -> None:
    table = Table(box=SIMPLE, padding=0)
    table.add_column("network", no_wrap=True)
    table.add_column("")
    table.add_column("axes", no_wrap=True)
    table.add_column("margin", no_wrap=True)
    for name, implementation in implementations.items():
        axes, margin = _capabilities(name)
        table.add_row(escape(name), escape(_sentence(implementation)), axes, margin)
    console.print(table)
    _say("margin: voxels on each side of a patch that the network reads but does not predict")
    _say("next: autoseg networks NAME shows its arguments, planners and taps")


def _capabilities(name: str) -> tuple[str, str]:
    """Return the dimensions of a network and the margin that it has in the last of them."""
    from autoseg.cli.network_examples import build_example
    from autoseg.errors import PlanError

    found = {}
    for dimension in DIMENSIONS:
        try:
            found[f"{dimension}D"] = _margin(build_example(name, dimension))
        except PlanError:
            continue
    return ", ".join(found) or "–", next(reversed(found.values()), "–")


def _print_network(name: str, implementation: Callable[..., Any], example: Example) -> None:
    from autoseg.cli.network_examples import CHANNELS, joined, planners_of
    from autoseg.system.units import times

    # Found first: a patch that the network cannot read gives one line and no half of a table.
    shapes = example.shapes()
    _say(f"{name}: {_sentence(implementation)}")
    _say(f"planners: {', '.join(planners_of(name)) or 'none'}")
    _say(f"margin: {_margin(example)}")
    _say("arguments in a plan:")
    arguments = Table("argument", "default", box=SIMPLE, padding=0)
    for argument, default in _arguments(implementation):
        arguments.add_row(argument, escape(default))
    console.print(arguments)
    if not shapes:
        _say("taps: none")
        return
    channels = "1 channel" if CHANNELS == 1 else f"{CHANNELS} channels"
    _say(f"taps for a patch of {times(example.patch)}, {channels}:")
    table = Table("tap", "features", "voxels", box=SIMPLE, padding=0)
    for tap, (features, *space) in joined(shapes):
        table.add_row(escape(tap), str(features), times(space))
    console.print(table)


def _arguments(implementation: Callable[..., Any]) -> list[tuple[str, str]]:
    """Return the arguments that a plan may set, with their defaults as in a plan."""
    parameters = inspect.signature(implementation).parameters.values()
    return [
        (each.name, "required" if each.default is each.empty else _as_in_a_plan(each.default))
        for each in parameters
        if each.name not in CONTEXT
    ]


def _as_in_a_plan(value: Any) -> str:
    import json

    try:
        return json.dumps(value)
    except TypeError:
        return repr(value)


def _sentence(implementation: Callable[..., Any]) -> str:
    """Return the first line of a docstring, without its marks of code; without a docstring, nothing."""
    lines = (implementation.__doc__ or "").strip().splitlines()
    return lines[0].replace("``", "") if lines else ""


def _margin(example: Example) -> str:
    from autoseg.system.units import times

    return str(example.margin[0]) if len(set(example.margin)) == 1 else times(example.margin) or "–"


def _parsed_patch(text: str, dimension: int) -> tuple[int, ...]:
    from autoseg.errors import PlanError

    parts = text.split(",")
    sizes = tuple(int(part) for part in parts if part.strip().isdecimal())
    if len(sizes) != len(parts) or len(sizes) not in {1, dimension} or min(sizes) < 1:
        example = ",".join(["64", "128", "128"][-dimension:])
        raise PlanError(f"patch '{text}': expected one number of voxels, or {dimension}, such as 128 or {example}")
    return sizes * dimension if len(sizes) == 1 else sizes


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)
