"""Patch sampling: streams select the case of each sample, samplers select the patch in it."""
