from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from autoseg.augmentation import build_augmentation
from autoseg.augmentation.channel_dropout import ChannelDropout
from autoseg.errors import PlanError
from autoseg.preprocessing.channel_layout import ChannelLayout, OptionalChannel

LAYOUT = ChannelLayout(
    4,
    files=3,
    optional=(OptionalChannel("T1", 0, slice(0, 1), -4.0), OptionalChannel("CT", 1, slice(1, 3), -5.0)),
)
ALL = replace(LAYOUT, files=2)
"""As if there were no further channel that is always there."""


def augmentation(name="none", **dropout):
    return build_augmentation(
        {"name": name, "channel_dropout": dropout},
        dimension=3,
        patch_size=(4, 4, 4),
        spacing=(1.0, 1.0, 1.0),
        mirror_axes=(0, 1, 2),
        layout=LAYOUT,
    )


def draws(dropout, layout, missing_channels=(), count=4000):
    return [dropout.sample(np.random.default_rng([0, i]), layout, missing_channels) for i in range(count)]


def test_each_channel_is_dropped_as_often_as_said():
    found = draws(ChannelDropout(0.3), LAYOUT)
    for number in (0, 1):
        assert np.mean([number in dropped for dropped in found]) == pytest.approx(0.3, abs=0.03)
    assert np.mean([dropped == (0, 1) for dropped in found]) == pytest.approx(0.09, abs=0.02)
    assert not any(2 in dropped for dropped in found)


def test_one_channel_stays_even_where_all_may_be_missing():
    assert all(len(dropped) < 2 for dropped in draws(ChannelDropout(1.0), ALL))
    assert set(draws(ChannelDropout(1.0), ALL)) == {(0,), (1,)}
    assert set(draws(ChannelDropout(1.0), ALL, missing_channels=(0,))) == {(0,)}


def test_named_channels_alone():
    assert set(draws(ChannelDropout(1.0, ("CT",)), LAYOUT, count=10)) == {(1,)}


def test_all_that_normalization_makes_of_a_channel_is_filled():
    made = augmentation("default", probability=1.0, channels=["CT"])
    rng = np.random.default_rng(0)
    parameters = made.without_channels(made.sample(rng), (), rng)
    size = made.source_size(parameters)
    labels = torch.zeros(size, dtype=torch.int8)
    batch, _ = made.apply([torch.randn(4, *size)], [labels], [parameters])
    assert (batch[0, 1:3] == -5).all()
    assert batch[0, 0].std() > 0.1 and batch[0, 3].std() > 0.1


def test_what_a_case_lacks_is_filled_without_dropout():
    made = augmentation(probability=0.0)
    rng = np.random.default_rng(0)
    parameters = made.without_channels(made.sample(rng), (0,), rng)
    assert parameters.dropped == (0,)
    batch, _ = made.apply([torch.zeros(4, 4, 4, 4)], [torch.zeros(4, 4, 4, dtype=torch.int8)], [parameters])
    assert (batch[0, 0] == -4).all() and (batch[0, 1:] == 0).all()


def test_channels_without_a_fill_value_are_refused():
    with pytest.raises(PlanError, match=r"augmentation\.channel_dropout: found 'T2', expected one of T1, CT"):
        augmentation(probability=0.1, channels=["T2"])
