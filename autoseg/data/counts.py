"""Counts of a dataset's cases in words: by kind, tag and site."""

from __future__ import annotations

from collections import Counter

from autoseg.data.dataset import Dataset
from autoseg.data.kinds import kind_counts


def kinds_in_words(dataset: Dataset, *, sparse: int = 0) -> str:
    """Return the number of cases of each kind; ``sparse`` of the label maps contain ignored voxels."""
    counts = {kind: f"{count} {kind}" for kind, count in kind_counts(dataset).items()}
    if sparse:
        counts["labelled"] += f" ({sparse} of them sparse)"
    return ", ".join(counts.values())


def tags_in_words(dataset: Dataset) -> str:
    """Return the number of cases with each tag; empty if no case is tagged."""
    if not dataset.tags:
        return ""
    found = Counter(tag for tags in dataset.tags.values() for tag in tags)
    counts = ", ".join(f"{tag} in {found[tag]}" for tag in dataset.tag_names)
    return f"{counts or 'none'} of {len(dataset.tags)} cases with tags"


def sites_in_words(dataset: Dataset) -> str:
    """Return the number of cases of each site; empty if no case names a site."""
    if not dataset.sites:
        return ""
    counts = [f"{site} {count}" for site, count in sorted(Counter(dataset.sites.values()).items())]
    missing = len(dataset.cases) - len(dataset.sites)
    return ", ".join([*counts, *([f"not stated {missing}"] if missing else [])])
