"""Evaluation of segmentations: metrics, statistics and tables."""
