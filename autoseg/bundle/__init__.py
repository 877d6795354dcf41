"""Bundles: the part of a workspace that prediction needs, as one zip that can be given away."""
