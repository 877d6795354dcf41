"""Augmentation of batches, on the training device and in the loader."""
