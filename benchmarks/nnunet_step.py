"""What nnU-Net 2.8.1 trains with: its network, loss and optimizer, for :mod:`training_step`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence

import torch
from torch import nn

IS_HERE = importlib.util.find_spec("nnunetv2") is not None
"""Whether nnU-Net is installed in the environment that runs this."""


def network(features: Sequence[int], classes: int) -> nn.Module:
    """Return nnU-Net's plain 3D U-Net for one channel, with its own initialization."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from dynamic_network_architectures.initialization.weight_init import InitWeights_He

    stages = len(features)
    built: nn.Module = PlainConvUNet(
        input_channels=1,
        n_stages=stages,
        features_per_stage=list(features),
        conv_op=nn.Conv3d,
        kernel_sizes=[[3] * 3] * stages,
        strides=[[1] * 3, *[[2] * 3] * (stages - 1)],
        n_conv_per_stage=[2] * stages,
        num_classes=classes,
        n_conv_per_stage_decoder=[2] * (stages - 1),
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )
    return built.apply(InitWeights_He(1e-2))


def objective(levels: int) -> Callable[[list[torch.Tensor], torch.Tensor], torch.Tensor]:
    """Return nnU-Net's loss of logits at several resolutions against classes [B,*space] at the finest."""
    from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
    from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    weights = [0.5**level for level in range(levels - 1)] + [0.0] if levels > 1 else [1.0]
    loss = DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss)
    supervised = DeepSupervisionWrapper(loss, [weight / sum(weights) for weight in weights])

    def compute(logits: list[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        steps = (2**level for level in range(levels))
        return supervised(logits, [target[:, None, ::step, ::step, ::step].float() for step in steps])  # type: ignore[no-any-return]

    return compute


def optimizer(learning: nn.Module) -> torch.optim.Optimizer:
    """Return nnU-Net's optimizer."""
    parameters = learning.parameters()
    return torch.optim.SGD(parameters, lr=1e-2, weight_decay=3e-5, momentum=0.99, nesterov=True)
