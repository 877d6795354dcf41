"""HTML report of a workspace."""
