"""Datasets: dataset.json and other layouts, labels, sides, optional channels, tags, sites, kinds of cases, folds."""
