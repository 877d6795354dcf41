"""DICOM: folders of series as cases to predict, and label maps as segmentation objects. Needs the extra ``dicom``."""
