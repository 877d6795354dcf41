"""Pictures of a segmentation: contours drawn over three planes of the image."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autoseg.files.storage import atomic_path
from autoseg.images.geometry import Volume
from autoseg.images.orientation import Reorientation, reorientation_between
from autoseg.previews.planes import Focus, find_focus, widened

Classes = Mapping[str, Sequence[int]]

_PERCENTILES = (1, 99)
"""Percentiles of intensity shown as black and white, so that a few extreme voxels do not set the window."""
_AROUND = 0.5
"""Margin for the intensity window, as a share of the structure's box, so that the surroundings are visible too."""
_RADIOLOGICAL = "SPL"
"""Orientation of the drawn image: axes z, y, x run to superior, posterior and left."""
_DPI = 100
_HEIGHT, _WIDEST, _NARROWEST = 3.3, 11.0, 4.2
"""Height of the planes; largest and smallest width of the picture. In inches."""
_TITLE, _LEGEND, _GAP = 0.34, 0.3, 0.08
"""Space above, below and between the planes, in inches."""
_NARROW, _WIDE = 0.3, 3.0
"""Limits of the ratio width / height of a plane. The picture of other planes has black borders."""
_MOST_NAMED = 8
"""Maximum number of classes in the legend."""
_AREA = 0.4
"""Opacity of the reference areas."""


@dataclass(frozen=True)
class _Plane:
    """A plane of an image with axes to superior, posterior and left."""

    name: str
    axis: int
    rows: int
    columns: int
    first_row: Literal["upper", "lower"]
    sides: tuple[str, str]
    """Sides of the patient at the left and right edge of the picture."""


_PLANES = (
    _Plane("axial", 0, 1, 2, "upper", ("R", "L")),
    _Plane("coronal", 1, 0, 2, "lower", ("R", "L")),
    _Plane("sagittal", 2, 0, 1, "lower", ("A", "P")),
)


@dataclass(frozen=True)
class _Scene:
    """The content of a picture, in radiological orientation."""

    image: np.ndarray
    prediction: np.ndarray
    reference: np.ndarray | None
    classes: Classes
    spacing: tuple[float, ...]
    focus: Focus
    limits: tuple[float, float]
    sided: bool
    """Whether the file contains the patient orientation."""


def write_overlay(
    path: Path,
    volume: Volume,
    prediction: np.ndarray,
    reference: np.ndarray | None,
    *,
    title: str,
    classes: Classes | None = None,
) -> None:
    """Write the picture of :func:`draw_overlay` to a PNG file."""
    picture = draw_overlay(volume, prediction, reference, title=title, classes=classes)
    with atomic_path(path) as temporary:
        temporary.write_bytes(picture)


def draw_overlay(
    volume: Volume,
    prediction: np.ndarray,
    reference: np.ndarray | None,
    *,
    title: str,
    classes: Classes | None = None,
) -> bytes:
    """Draw a prediction (lines) and a reference (areas) over the first channel, and return the picture as a PNG.

    Label maps are [Z,Y,X]. The three planes pass through the largest component of prediction and reference together.
    The left side of the patient is at the right of the picture, the head at the top. A 2D image or a single slice gives
    one plane. ``classes`` maps names to label values; by default, each value in the maps is a class.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scene = _scene(volume, prediction, reference, classes)
    planes = [p for p in _PLANES if scene.image.shape[p.rows] > 1 and scene.image.shape[p.columns] > 1] or _PLANES[:1]
    ratios = [_ratio(scene, plane) for plane in planes]
    gaps = _GAP * (len(planes) + 1)
    height = min(_HEIGHT, (_WIDEST - gaps) / sum(ratios))
    width = max(_NARROWEST, height * sum(ratios) + gaps)
    whole = height + _TITLE + _LEGEND
    figure = Figure(figsize=(width, whole), facecolor="black", dpi=_DPI)
    FigureCanvasAgg(figure)
    left = (width - height * sum(ratios) - _GAP * (len(planes) - 1)) / 2
    for plane, ratio in zip(planes, ratios, strict=True):
        axes = figure.add_axes((left / width, _LEGEND / whole, height * ratio / width, height / whole))
        _draw_plane(axes, scene, plane)
        left += height * ratio + _GAP
    figure.text(_GAP / width, 1 - 0.5 * _TITLE / whole, title, color="white", va="center", parse_math=False)
    _draw_legend(figure, scene)
    return _png(figure)


def _scene(volume: Volume, prediction: np.ndarray, reference: np.ndarray | None, classes: Classes | None) -> _Scene:
    geometry = volume.geometry
    # A 2D file does not contain the patient orientation.
    reorientation = (
        reorientation_between(geometry.orientation, _RADIOLOGICAL) if geometry.dimension == 3 else Reorientation()
    )
    image, predicted = reorientation.apply(volume.array[0]), reorientation.apply(prediction)
    expected = None if reference is None else reorientation.apply(reference)
    focus = find_focus(predicted if expected is None else np.where(predicted > 0, predicted, expected))
    low, high = np.percentile(image[widened(focus.box, image.shape, _AROUND)], _PERCENTILES)
    return _Scene(
        image=image,
        prediction=predicted,
        reference=expected,
        classes=classes or _values(predicted, expected),
        spacing=tuple(geometry.spacing[axis] for axis in reorientation.axes),
        focus=focus,
        limits=(float(low), float(max(high, low + 1e-6))),
        sided=geometry.dimension == 3,
    )


def _values(prediction: np.ndarray, reference: np.ndarray | None) -> Classes:
    """Return one class for each label value in the maps, with the value as its name."""
    found = set(np.unique(prediction).tolist()) | (set() if reference is None else set(np.unique(reference).tolist()))
    return {str(value): (int(value),) for value in sorted(found) if value > 0}


def _ratio(scene: _Scene, plane: _Plane) -> float:
    """Return the ratio width / height (in mm) of a plane, within limits."""
    shape, spacing = scene.image.shape, scene.spacing
    ratio = shape[plane.columns] * spacing[plane.columns] / (shape[plane.rows] * spacing[plane.rows])
    return float(min(max(ratio, _NARROW), _WIDE))


def _draw_plane(axes: Any, scene: _Scene, plane: _Plane) -> None:
    index, spacing = scene.focus.centre[plane.axis], scene.spacing
    shown = np.take(scene.image, index, axis=plane.axis)
    low, high = scene.limits
    aspect = spacing[plane.rows] / spacing[plane.columns]
    axes.imshow(shown, cmap="gray", vmin=low, vmax=high, aspect=aspect, origin=plane.first_row, interpolation="nearest")
    limits = axes.get_xlim(), axes.get_ylim()
    for number, values in enumerate(scene.classes.values()):
        if scene.reference is not None:
            _area(axes, np.isin(np.take(scene.reference, index, axis=plane.axis), values), colour(number))
        _outline(axes, np.isin(np.take(scene.prediction, index, axis=plane.axis), values), colour(number))
    axes.set(xlim=limits[0], ylim=limits[1])
    axes.set_axis_off()
    style = {"color": "white", "transform": axes.transAxes, "fontsize": 8, "path_effects": _edged()}
    axes.text(0.5, 0.01, plane.name, ha="center", va="bottom", **style)
    for place, side in zip((0.01, 0.99), plane.sides if scene.sided else (), strict=False):
        axes.text(place, 0.5, side, ha="left" if place < 0.5 else "right", va="center", **style)


def _edged() -> list[Any]:
    """Return the path effect for a black edge around white text, so that it is readable on bright tissue."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground="black")]


def _area(axes: Any, mask: np.ndarray, shade: str) -> None:
    if mask.any():
        axes.contourf(*_framed(mask), levels=[0.5, 1.5], colors=[shade], alpha=_AREA)


def _outline(axes: Any, mask: np.ndarray, shade: str) -> None:
    """Draw a coloured contour on a wider black one, so that it is visible on bright tissue."""
    if mask.any():
        for line, width in (("black", 2.6), (shade, 1.3)):
            axes.contour(*_framed(mask), levels=[0.5], colors=[line], linewidths=width)


def _framed(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return columns, rows and the mask, padded with 0 so that contours are closed at the border of the image."""
    framed = np.pad(mask.astype(np.uint8), 1)
    return np.arange(framed.shape[1]) - 1, np.arange(framed.shape[0]) - 1, framed


def _draw_legend(figure: Any, scene: _Scene) -> None:
    """Draw a legend with the classes in the maps, and with the meaning of lines and areas."""
    from matplotlib.patches import Patch

    maps = [scene.prediction] + ([] if scene.reference is None else [scene.reference])
    present = {int(value) for labels in maps for value in np.unique(labels)}
    found = [(n, name) for n, (name, values) in enumerate(scene.classes.items()) if present & set(values)]
    handles = [Patch(facecolor=colour(number)) for number, _ in found[:_MOST_NAMED]]
    # Add a leading space, because matplotlib leaves out labels that begin with an underscore.
    names = [f" {name}" for _, name in found[:_MOST_NAMED]]
    names += [f" and {len(found) - _MOST_NAMED} more"] * (len(found) > _MOST_NAMED)
    handles += [Patch(alpha=0)] * (len(names) - len(handles))
    names.append(" line: prediction" + (", area: reference" if scene.reference is not None else ""))
    handles.append(Patch(alpha=0))
    style = {"frameon": False, "labelcolor": "white", "fontsize": 8, "handlelength": 1, "columnspacing": 1.2}
    legend = figure.legend(
        handles, names, loc="lower center", ncols=len(names), borderaxespad=0.2, handletextpad=0.2, **style
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _png(figure: Any) -> bytes:
    file = BytesIO()
    with warnings.catch_warnings():
        # Names may contain letters that the font of matplotlib lacks. They are drawn as boxes, so no warning is needed.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format="png", facecolor=figure.get_facecolor())
    return file.getvalue()


COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#999999")
"""Colours of Okabe and Ito. Yellow is left out (invisible on white); grey replaces black (invisible on images)."""


def colour(index: int) -> str:
    """Return the colour of the class, fold or configuration with this index; the seven colours repeat."""
    return COLOURS[index % len(COLOURS)]
