"""Trainer of the random forest, a baseline that grows trees instead of making gradient steps."""
