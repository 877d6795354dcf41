"""Plots as SVG for an HTML page: reproducible bytes, with the text colour and the font of the page."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from xml.etree import ElementTree

INK = "#010203"
"""Placeholder for black. It is replaced by the text colour of the page, which may be light or dark."""
_CURRENT = "currentColor"
_LINK = "{http://www.w3.org/1999/xlink}href"
_LEFT_OUT = ("metadata", "style")
"""Elements to remove: date and creator, and style rules that would apply to the whole page."""
_PIXELS_PER_INCH = 96


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure (size in inches) without a window and without pyplot's global state."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    FigureCanvasSVG(figure)
    return figure


def dress(axes: Any, **properties: Any) -> None:
    """Set labels, a faint grid and no box; text is drawn literally, not as a formula."""
    axes.set(facecolor="none", **properties)
    axes.grid(color=INK, alpha=0.15, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK, labelsize=8, length=3)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set(color=INK, fontsize=9, parse_math=False)


def draw_legend(axes: Any, **place: Any) -> None:
    """Draw a legend if at least one line has a label."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    legend = axes.legend(handles, labels, fontsize=8, labelcolor=INK, frameon=False, **place)
    for text in legend.get_texts():
        text.set_parse_math(False)


def to_svg(figure: Any, *, name: str, title: str) -> str:
    """Return a figure as an SVG element that scales with the page; ``title`` is its text for screen readers.

    ``name`` is the prefix of the identifiers in the SVG. It must be unique in the page.
    """
    import matplotlib as mpl

    file = BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    # matplotlib wrote this XML, so it is safe for the parser.
    root = ElementTree.fromstring(file.getvalue())
    for element in list(root.iter()):
        element.tag = element.tag.rpartition("}")[2]
        for child in [child for child in element if child.tag.rpartition("}")[2] in _LEFT_OUT]:
            element.remove(child)
        element.attrib = {key.replace(_LINK, "href"): _adapted(key, value, name) for key, value in element.items()}
    width = round(figure.get_figwidth() * _PIXELS_PER_INCH)
    root.attrib = {
        "viewBox": root.get("viewBox", ""),
        "role": "img",
        "aria-label": title,
        "style": f"max-width: {width}px",
    }
    return ElementTree.tostring(root, encoding="unicode")


def _adapted(key: str, value: str, name: str) -> str:
    """Return an attribute value with the text colour of the page for black, and with unique identifiers."""
    if key == "id":
        return f"{name}-{value}"
    if key == _LINK:
        return value.replace("#", f"#{name}-", 1)
    return value.replace("url(#", f"url(#{name}-").replace(INK, _CURRENT)
