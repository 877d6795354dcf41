"""Images: geometry, orientation, and reading and writing of all supported file formats."""
