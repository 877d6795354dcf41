"""Check that a planned or edited configuration can be built, and that training fits into the available memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoseg.data.dataset import Dataset
from autoseg.errors import AutosegError, PlanError
from autoseg.losses.fitting import check_loss
from autoseg.plan.schema import SUPERVISED, Configuration
from autoseg.preprocessing.declared import check_channels
from autoseg.preprocessing.normalization import output_channels
from autoseg.sampling.stream import CaseSampler, Sampler, build_sampler
from autoseg.system.memory import format_bytes

if TYPE_CHECKING:
    from autoseg.learning.step_cost import BatchCost


def check_configuration(name: str, configuration: Configuration, dataset: Dataset, memory: int | None) -> None:
    """Check ``configuration``: build all its components on fake tensors and count the memory of a training step.

    Raises :class:`PlanError` with the name of the field if a component cannot be built, or if the step needs more than
    ``memory`` bytes.
    """
    from autoseg.augmentation.planned import planned_augmentation
    from autoseg.learning.costs.memory import batch_cost, step_cost
    from autoseg.networks.build import PatchError

    place = f"field 'configurations.{name}"
    check_channels(configuration, dataset, place)
    _check_channel(build_sampler(configuration.sampling, place=f"{place}.sampling"), configuration, place)
    _check_labels(configuration, dataset, place)
    try:
        check_loss(configuration.loss, dataset)
        _check_divisor(configuration, dataset)
        axes = tuple(range(configuration.dimension))
        planned_augmentation(configuration.augmentation, configuration, dataset, mirror_axes=axes)
        cost = batch_cost(configuration, dataset)
        if configuration.batch_size == 1:
            # Batch normalization fails on a single voxel; the batch size of the general count hides this.
            step_cost(configuration, dataset, batch_size=1)
    except PatchError as error:
        raise PlanError(f"{place}.patch_size', {error}") from None
    except AutosegError as error:
        raise PlanError(f"{place}': {error}") from None
    except (RuntimeError, ValueError, TypeError, IndexError, OverflowError) as error:
        # The first line of PyTorch's message contains the shapes that do not match.
        reason = str(error).strip().splitlines()[0]
        raise PlanError(
            f"{place}.network', found a network that cannot process its patch: {reason}; plan again"
        ) from None
    if memory is not None:
        _check_memory(configuration, cost, memory, place)


def _check_memory(configuration: Configuration, cost: BatchCost, memory: int, place: str) -> None:
    """Check that a training step fits into ``memory`` bytes."""
    peak = cost.peak_bytes(configuration.batch_size)
    if peak <= memory:
        return
    largest, needs = cost.largest_batch(memory), "with this network"
    if configuration.trainer != SUPERVISED:
        needs += f" and the streams of trainer '{configuration.trainer_name}'"
    if not largest:
        raise PlanError(
            f"{place}.patch_size', found {list(configuration.patch_size)}; a batch of 1 needs "
            f"{format_bytes(cost.peak_bytes(1))} {needs}, expected at most {format_bytes(memory)}; use a smaller patch "
            "or network, or plan with more --memory"
        )
    raise PlanError(
        f"{place}.batch_size', found {configuration.batch_size}, which needs {format_bytes(peak)} of "
        f"{format_bytes(memory)} {needs}, expected at most {largest}; use a smaller batch, or plan with more --memory"
    )


def _check_channel(sampler: Sampler | CaseSampler, configuration: Configuration, place: str) -> None:
    """Check that the channel exists in which a sampler finds the body."""
    channel, channels = getattr(sampler, "channel", None), output_channels(configuration.normalization)
    if channel is not None and channel >= channels:
        raise PlanError(
            f"{place}.sampling.channel', found {channel}, expected less than {channels}, the number of channels"
        )


def _check_labels(configuration: Configuration, dataset: Dataset, place: str) -> None:
    """Check the number of labels of a network that also reads label maps in training."""
    found, expected = configuration.network.get("labels"), len(dataset.values)
    if found is not None and found != expected:
        raise PlanError(
            f"{place}.network.labels', found {found}, expected {expected}, the label values of dataset {dataset.name} "
            "without the background; fix the number or plan again with --replan"
        )


def _check_divisor(configuration: Configuration, dataset: Dataset) -> None:
    """Check that the network's strides divide the patch; a network with a margin accepts any size."""
    from autoseg.networks.build import PatchError, described_network

    network, patch = described_network(configuration, dataset), configuration.patch_size
    divisor: tuple[int, ...] = network.divisor  # type: ignore[assignment]
    if not any(network.margin) and any(n % d for n, d in zip(patch, divisor, strict=True)):  # type: ignore[arg-type]
        raise PatchError(
            f"found {list(patch)}, expected multiples of {list(divisor)}, the product of the network's strides"
        )
