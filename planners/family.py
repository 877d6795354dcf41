"""Planning rules of a family of networks, if they differ from nnU-Net's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from autoseg.data.dataset import Dataset
from autoseg.fingerprint.record import Fingerprint
from autoseg.plan.schema import Configuration
from autoseg.planners.patches import Candidate, candidates
from autoseg.planners.sampling import Sampled, sampling

CONFIGURATIONS = ("2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres")
"""In the order in which they are trained: a cascade reads what ``3d_lowres`` predicts."""


def unchanged(draft: Configuration) -> Configuration:
    """Return the draft without changes."""
    return draft


@dataclass(frozen=True)
class Family:
    """Planning rules of a family of networks; the defaults are nnU-Net's rules."""

    patches: Callable[[tuple[int, ...], tuple[float, ...]], Sequence[Candidate]] = candidates
    """Lists patches from large to small for a shape (voxels) and a spacing (mm)."""
    sampling: Callable[[Dataset, Fingerprint], Sampled] = sampling
    revise: Callable[[Configuration], Configuration] = unchanged
    """Changes fields that are set before patch, network and batch, such as loss and optimizer."""
    configurations: tuple[str, ...] = CONFIGURATIONS
    """Configurations that are planned for volumes by default."""
    most_samples: Mapping[int, int] = field(default_factory=dict)
    """Largest batch by number of axes; without an entry, memory and time limit the batch."""


NNUNET = Family()
