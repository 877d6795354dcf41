"""Bundles: one zip file with the parts of a workspace that prediction needs, for sharing."""
