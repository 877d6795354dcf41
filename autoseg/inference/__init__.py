"""From trained weights and an image to a label map."""
