"""From an image as it is stored to an array that a network reads, and back."""
