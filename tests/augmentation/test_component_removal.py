from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from autoseg.augmentation.component_removal import ComponentRemoval, Removal, remove_components

LABELS = st.sampled_from([(5, 6, 7), (9, 8)]).flatmap(
    lambda shape: arrays.arrays(np.int16, shape, elements=st.sampled_from([0, 0, 1, 2]))
)


@given(LABELS, st.integers(1, 3), st.floats(0, 0.999))
def test_one_component_of_one_label_goes_and_nothing_else(labels, label, choice):
    before = labels.copy()
    remove_components(labels, [Removal(label, choice)], largest=0.15)
    components, count = ndimage.label(before == label)
    small = [n for n in range(1, count + 1) if (components == n).sum() <= 0.15 * labels.size]
    dropped = [n for n in range(1, count + 1) if not labels[components == n].any()]
    assert len(dropped) == (1 if small else 0) and set(dropped) <= set(small)
    kept = ~np.isin(components, dropped) if dropped else np.ones_like(components, bool)
    assert np.array_equal(labels[kept], before[kept])


def test_the_choice_runs_over_those_that_are_small_enough():
    labels = np.zeros((1, 4, 20), np.int16)
    labels[0, 0, :16] = 1  # a fifth of the voxels
    labels[0, 2, ::4] = 1  # five single voxels
    for number in range(5):
        changed = labels.copy()
        remove_components(changed, [Removal(1, number / 5 + 0.1)], largest=0.15)
        assert np.argwhere(changed != labels).tolist() == [[0, 2, 4 * number]]


def test_several_labels_lose_one_each():
    labels = np.array([[1, 0, 2, 0, 1, 0, 2, 0]], np.int16)
    remove_components(labels, [Removal(2, 0.0), Removal(1, 0.9)], largest=0.15)
    assert labels.tolist() == [[1, 0, 0, 0, 0, 0, 2, 0]]


def test_what_is_drawn_has_nnunets_probabilities():
    settings, count = ComponentRemoval(), 4000
    drawn = [settings.sample(np.random.default_rng(seed), 3) for seed in range(count)]
    assert np.mean([bool(several) for several in drawn]) == pytest.approx(0.2 * 7 / 8, abs=0.03)
    assert sum(map(len, drawn)) / count == pytest.approx(0.2 * 0.5 * 3, abs=0.03)
    assert settings.largest == 0.15
    assert {one.label for several in drawn for one in several} == {1, 2, 3}
