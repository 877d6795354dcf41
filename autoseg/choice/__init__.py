"""Choosing what predicts, and how, from the cross-validation of what is trained."""

from __future__ import annotations

from autoseg.choice.choosing import choose
from autoseg.choice.cross_validation import Candidate, cross_validation

__all__ = ["Candidate", "choose", "cross_validation"]
