"""Inference: predict a label map from trained weights and an image."""
