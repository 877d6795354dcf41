"""The dataset fingerprint (shapes, spacings, intensities, class sizes) and its measurement."""
