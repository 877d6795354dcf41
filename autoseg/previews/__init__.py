"""Pictures of a case: the label map drawn over planes of the image."""
