"""Files on disk: atomic writing, JSON records, weights without pickle, templates."""
