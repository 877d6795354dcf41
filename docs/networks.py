"""Write the tables of docs/networks.md: the taps of each network, as the code has them.

.venv/bin/python docs/networks.py
"""

from __future__ import annotations

from pathlib import Path

from autoseg.cli.network_examples import Shape, build_example, joined
from autoseg.networks import networks
from autoseg.system.units import times

PAGE = Path(__file__).with_suffix(".md")
HEADING = "## Taps of each network\n"


def taps_of_each_network() -> str:
    """Return the section below the heading: a table for each network."""
    tables = [_table(name) for name, network in networks.loaded().items() if network.__module__.startswith("autoseg.")]
    return "\n" + "\n".join(tables)


def _table(name: str) -> str:
    examples = [build_example(name, dimension) for dimension in (3, 2)]
    in_3d, in_2d = (example.shapes() for example in examples)
    if not in_3d:
        return f"### `{name}`\n\nNo taps.\n"
    patches = " | ".join(times(example.patch) for example in examples)
    rows = [
        f"| {_names(tap)} | {_shape(shapes[0])} | {_shape(shapes[1])} |"
        for tap, shapes in joined({tap: (shape, in_2d[tap]) for tap, shape in in_3d.items()})
    ]
    return "\n".join([f"### `{name}`", "", f"| tap | {patches} |", "| --- | --- | --- |", *rows, ""])


def _names(tap: str) -> str:
    return " … ".join(f"`{name}`" for name in tap.split(" … "))


def _shape(shape: Shape) -> str:
    features, *space = shape
    return f"{features} × {times(space)}"


def main() -> None:
    """Replace the section of the page."""
    before, heading, _ = PAGE.read_text(encoding="utf-8").partition(HEADING)
    PAGE.write_text(before + heading + taps_of_each_network(), encoding="utf-8")


if __name__ == "__main__":
    main()
