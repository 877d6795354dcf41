"""DICOM: headers, stacks of slices, and segmentation objects."""
