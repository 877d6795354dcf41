"""Planners: they compute a plan from the fingerprint of a dataset and the available resources."""
