"""Networks by name."""

from __future__ import annotations

from autoseg.registry import Registry

networks: Registry = Registry(
    "networks",
    modules=("autoseg.networks.unet", "autoseg.networks.residual_unet"),
)
