from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.planners.topology import pad_to_divisor, topology

patches = st.lists(st.integers(1, 300), min_size=2, max_size=3).map(tuple)


def spacings(length: int):
    return st.lists(st.floats(0.1, 12), min_size=length, max_size=length).map(tuple)


def test_hippocampus_pools_three_times():
    patch, plan = pad_to_divisor((36, 50, 35), (1.0, 1.0, 1.0))
    assert patch == (40, 56, 40)
    assert plan.strides == ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    assert set(plan.kernels) == {(3, 3, 3)}


def test_a_coarse_axis_waits_for_the_others():
    # nnU-Net's plan for the Decathlon's prostate: 20×320×256 at 3.6×0.625×0.625 mm.
    plan = topology((20, 320, 256), (3.6, 0.625, 0.625))
    assert plan.strides == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2))
    assert plan.kernels[:3] == ((1, 3, 3), (1, 3, 3), (3, 3, 3))


def test_a_cube_pools_to_four():
    assert topology((128, 128, 128), (1.0, 1.0, 1.0)).stages == 6


@given(st.data(), patches)
def test_laws(data, patch):
    grown, plan = pad_to_divisor(patch, data.draw(spacings(len(patch))))
    assert all(n % d == 0 and n >= p for n, d, p in zip(grown, plan.divisor, patch, strict=True))
    assert all(n // d >= min(4, p) for n, d, p in zip(grown, plan.divisor, patch, strict=True))
    assert len(plan.kernels) == len(plan.strides)
    assert all(k in (1, 3) for kernel in plan.kernels for k in kernel)


@given(st.data(), st.permutations([0, 1, 2]))
def test_axes_are_treated_alike(data, order):
    patch = data.draw(st.tuples(*[st.integers(8, 200)] * 3))
    spacing = data.draw(spacings(3))
    plan = topology(patch, spacing)
    moved = topology(tuple(patch[a] for a in order), tuple(spacing[a] for a in order))
    assert moved.divisor == tuple(plan.divisor[a] for a in order)


@pytest.mark.parametrize("patch", [(1, 64, 64), (3, 5, 7)])
def test_flat_and_tiny_patches_plan(patch):
    assert topology(patch, (5.0, 1.0, 1.0)).stages >= 1
