"""Validation of a fold: patches, whole cases, their tiles, the time limit, and previews."""
