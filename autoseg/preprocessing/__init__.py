"""Preprocessing: convert stored images to the arrays that a network reads, and back."""
