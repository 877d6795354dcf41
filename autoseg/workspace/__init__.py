"""File locations of workspaces and bundles, and how to open them."""
