"""How good a segmentation is: metrics, their statistics and their tables."""
