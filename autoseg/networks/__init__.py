"""Networks by name."""

from __future__ import annotations

from autoseg.registry import Registry

networks: Registry = Registry(
    "networks",
    modules=(
        "autoseg.networks.unet",
        "autoseg.networks.residual_unet",
        "autoseg.networks.unet_scinets",
        "autoseg.networks.convmixer",
        "autoseg.networks.emma_unets",
        "autoseg.networks.fcn",
        "autoseg.networks.fcn_resnet50",
        "autoseg.networks.vnet",
        "autoseg.networks.mednext",
        "autoseg.networks.hyperdense",
        "autoseg.networks.deepmedic",
    ),
)
