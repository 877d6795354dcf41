"""What a family of networks wants otherwise than nnU-Net's rules have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from autoseg.dataset import Dataset
from autoseg.fingerprint import Fingerprint
from autoseg.plan import Configuration
from autoseg.planners.patches import Candidate, candidates
from autoseg.planners.sampling import Sampled, sampling

CONFIGURATIONS = ("2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres")
"""In the order in which they are trained: a cascade reads what ``3d_lowres`` predicts."""


def unchanged(draft: Configuration) -> Configuration:
    """Return what is given."""
    return draft


@dataclass(frozen=True)
class Family:
    """How the networks of a family are planned; by default as nnU-Net's are."""

    patches: Callable[[tuple[int, ...], tuple[float, ...]], Sequence[Candidate]] = candidates
    """Lists patches from large to small for a shape (voxels) and a spacing (mm)."""
    sampling: Callable[[Dataset, Fingerprint], Sampled] = sampling
    revise: Callable[[Configuration], Configuration] = unchanged
    """Changes what is decided before patch, network and batch, such as loss and optimizer."""
    configurations: tuple[str, ...] = CONFIGURATIONS
    """What is planned of a volume where nothing is asked for."""
    most_samples: Mapping[int, int] = field(default_factory=dict)
    """Samples that a batch has at most, by the number of axes; others have as many as fit."""


NNUNET = Family()
