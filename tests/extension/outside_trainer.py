"""A trainer of another package: a teacher on unlabelled images, and a critic of hidden layers."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from autoseg.learning.streams import LABELLED, StreamPlan, labelled_stream
from autoseg.learning.trainer import Batches, OptimizerPlan, Step, Task, frozen, planned_optimizer
from autoseg.losses import losses
from autoseg.losses.deep_supervision import DeepSupervision
from autoseg.networks.taps import tap_shapes, taps
from autoseg.preprocessing.channel_layout import channel_layout
from autoseg.registry import Decay, NonNegative


@dataclass(frozen=True)
class TeacherAndCritic:
    """Supervised training, consistency with a teacher, and hidden layers that hide where an image comes from."""

    decay: Decay = 0.99
    consistency: NonNegative = 1.0
    adversarial: NonNegative = 0.01
    layers: Sequence[str] = ("encoder_0", "bottleneck")

    def streams(self, configuration, dataset) -> Mapping[str, StreamPlan]:
        """Return the labelled cases, and half as many unlabelled ones in two views."""
        half = max(1, configuration.batch_size // 2)
        return {
            LABELLED: labelled_stream(configuration),
            "unlabelled": StreamPlan(
                half, {"name": "uniform"}, configuration.augmentation, cases="unlabelled", views=2
            ),
        }

    def start(self, task: Task) -> Learning:
        """Return the learning method for a network."""
        return Learning(self, task)


class Learning:
    """One student, its teacher, and the critic."""

    def __init__(self, settings: TeacherAndCritic, task: Task) -> None:
        self.settings, configuration = settings, task.configuration
        inputs = channel_layout(configuration, task.dataset).inputs
        shapes = tap_shapes(task.network, inputs, configuration.patch_size, settings.layers)
        channels = sum(found[0] for found in shapes.values())
        self.network = task.network
        self.teacher = copy.deepcopy(task.network).requires_grad_(False)
        self.critic = nn.Sequential(nn.Linear(channels, 16), nn.LeakyReLU(0.1), nn.Linear(16, 1))
        self.loss = DeepSupervision(losses.build(configuration.loss))
        # The loop saves, restores and counts what stands here; it exports "network".
        self.modules = {"network": self.network, "teacher": self.teacher, "critic": self.critic}
        adam = {"name": "adamw", "learning_rate": 1e-3}
        self.optimizers = {
            "network": planned_optimizer(configuration),
            "critic": OptimizerPlan(("critic",), adam, {"name": "constant"}, gradient_clip=1.0),
        }

    def step(self, batches: Batches, step: Step) -> dict[str, torch.Tensor]:
        """Return the losses; the loop minimizes their sum."""
        known, other = batches[LABELLED], batches["unlabelled"]
        with taps(self.network, self.settings.layers) as features:
            logits = self.network(known.images)
            of_known = pooled(features)
            student = self.network(other.second.images)[0]
            of_other = pooled(features)
        with torch.no_grad():
            # The teacher sees the first view; its answer is mapped onto the second view, which the student sees.
            answer, is_known = other.second.mapped(self.teacher(other.images)[0].softmax(1))
        apart = (student.float().softmax(1) - answer).square().mean(1) * is_known
        both = torch.cat([of_known, of_other])
        source = torch.cat([torch.zeros(len(of_known), 1), torch.ones(len(of_other), 1)]).to(both.device)
        with frozen(self.critic):
            fooled = F.binary_cross_entropy_with_logits(self.critic(both), 1 - source)
        return {
            "segmentation": self.loss(logits, known.labels),
            "consistency": self.settings.consistency * apart.sum() / is_known.sum().clamp_min(1),
            "adversarial": self.settings.adversarial * step.rng.uniform(0.5, 1.5) * fooled,
            "critic": F.binary_cross_entropy_with_logits(self.critic(both.detach()), source),
        }

    def after_step(self, step: Step) -> None:
        """Let the teacher follow the student."""
        with torch.no_grad():
            for mine, new in zip(self.teacher.parameters(), self.network.parameters(), strict=True):
                mine.lerp_(new, 1 - self.settings.decay)

    def metrics(self, batches: Iterable[Batches]) -> dict[str, float]:
        """Return the share of voxels on which teacher and student agree."""
        agreed = [
            (self.network(batch.images)[0].argmax(1) == self.teacher(batch.images)[0].argmax(1)).float().mean()
            for streams in batches
            for batch in streams.values()
        ]
        return {"agreement": float(torch.stack(agreed).mean())}


def pooled(features: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the means of hidden layers over space, [B,channels]."""
    return torch.cat([found.float().flatten(2).mean(2) for found in features.values()], dim=1)
