"""Pictures and pages about a workspace."""
