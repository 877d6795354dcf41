"""From scores to the final label map: a decoder makes a label map, and post-processing steps change it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from autoseg.errors import PlanError
from autoseg.postprocessing import PredictedCase, apply_steps, build_steps, is_decoder
from autoseg.registry import Component

NOTHING = np.zeros((0, 0, 0), dtype=np.uint8)
"""Empty label map, the input of a decoder."""


@dataclass(frozen=True)
class Finish:
    """Decoder and post-processing steps for scores; the default is ``argmax`` without steps."""

    decoder: Component = field(default_factory=lambda: {"name": "argmax"})
    steps: tuple[Component, ...] = ()

    def label_map(self, case: PredictedCase) -> np.ndarray:
        """Return the final label values [Z,Y,X] of a case on the file's grid."""
        return apply_steps(build_steps((self.decoder, *self.steps), case.dataset), case, NOTHING)


def check_decoder(decoder: Component) -> None:
    """Raise :class:`PlanError` if a specification does not name a decoder."""
    if not is_decoder(decoder):
        raise PlanError(f"found '{decoder['name']}', expected a decoder, such as argmax or dice_optimal")


def check_steps(steps: tuple[Component, ...]) -> None:
    """Raise :class:`PlanError` if one of the post-processing steps is a decoder."""
    for step in steps:
        if is_decoder(step):
            raise PlanError(f"found the decoder '{step['name']}', expected a step that changes label maps")
