"""Select the configurations, mirroring, decoder and post-processing for prediction, by cross-validation."""

from __future__ import annotations

from autoseg.choice.choosing import choose
from autoseg.choice.cross_validation import Candidate, cross_validation

__all__ = ["Candidate", "choose", "cross_validation"]
