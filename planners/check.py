"""Whether a configuration, as planned or as a person edited it, can be built and trained in the memory there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoseg.dataset import Dataset
from autoseg.errors import AutosegError, PlanError
from autoseg.losses.fitting import check_loss
from autoseg.memory import format_bytes
from autoseg.plan import Configuration
from autoseg.preprocessing.normalization import output_channels
from autoseg.preprocessing.normalization.declared import check_channels
from autoseg.sampling import CaseSampler, Sampler, build_sampler

if TYPE_CHECKING:
    from autoseg.planners.memory import BatchCost


def check_configuration(name: str, configuration: Configuration, dataset: Dataset, memory: int | None) -> None:
    """Count a training step of ``configuration``, which builds all that it names, without any storage.

    Raises :class:`PlanError` that names the field where something cannot be built, or where the step needs more than
    ``memory`` bytes.
    """
    from autoseg.augmentation.planned import planned_augmentation
    from autoseg.networks.build import PatchError
    from autoseg.planners.memory import batch_cost, step_cost

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
            # Batch normalization does not take a single voxel; batches that are counted for all have more of them.
            step_cost(configuration, dataset, batch_size=1)
    except PatchError as error:
        raise PlanError(f"{place}.patch_size', {error}") from None
    except AutosegError as error:
        raise PlanError(f"{place}': {error}") from None
    except (RuntimeError, ValueError, TypeError, IndexError, OverflowError) as error:
        # What torch says of shapes that do not fit each other; the first line of it tells which.
        reason = str(error).strip().splitlines()[0]
        raise PlanError(f"{place}.network', found one that cannot take its patch: {reason}; plan again") from None
    if memory is not None:
        _check_memory(configuration, cost, memory, place)


def _check_memory(configuration: Configuration, cost: BatchCost, memory: int, place: str) -> None:
    """Check that a training step fits into ``memory`` bytes."""
    peak, largest = cost.peak_bytes(configuration.batch_size), cost.largest_batch(memory)
    if peak <= memory:
        return
    if not largest:
        raise PlanError(
            f"{place}.patch_size', found {list(configuration.patch_size)}, of which a batch of 1 needs "
            f"{format_bytes(cost.peak_bytes(1))} with this network, expected at most {format_bytes(memory)}; take a "
            "smaller patch or network, or plan with more --memory"
        )
    raise PlanError(
        f"{place}.batch_size', found {configuration.batch_size}, which needs {format_bytes(peak)} of "
        f"{format_bytes(memory)}, expected at most {largest}; take less, or plan with more --memory"
    )


def _check_channel(sampler: Sampler | CaseSampler, configuration: Configuration, place: str) -> None:
    """Check that the channel by which a sampler tells the body is one that there is."""
    channel, channels = getattr(sampler, "channel", None), output_channels(configuration.normalization)
    if channel is not None and channel >= channels:
        raise PlanError(f"{place}.sampling.channel', found {channel}, expected a number below {channels}, the channels")


def _check_labels(configuration: Configuration, dataset: Dataset, place: str) -> None:
    """Check that a network which reads label maps while it learns knows all of their labels."""
    found, expected = configuration.network.get("labels"), len(dataset.values)
    if found is not None and found != expected:
        raise PlanError(
            f"{place}.network.labels', found {found}, expected {expected}, the label values of dataset {dataset.name} "
            "beside the background; mend it or plan again with --replan"
        )


def _check_divisor(configuration: Configuration, dataset: Dataset) -> None:
    """Check that the patch halves as often as the network does; one with a margin takes any size."""
    from autoseg.networks.build import PatchError, described_network

    network, patch = described_network(configuration, dataset), configuration.patch_size
    divisor: tuple[int, ...] = network.divisor  # type: ignore[assignment]
    if not any(network.margin) and any(n % d for n, d in zip(patch, divisor, strict=True)):  # type: ignore[arg-type]
        raise PatchError(
            f"found {list(patch)}, expected multiples of {list(divisor)}, the network's strides multiplied"
        )
