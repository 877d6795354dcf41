"""Datasets: dataset.json and other layouts, labels, body sides, optional channels, folds."""
