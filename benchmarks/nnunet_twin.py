"""nnU-Net's files for a network that autoseg trained: the same weights, patch, spacing and normalization for both.

    python benchmarks/nnunet_twin.py WORKSPACE CONFIGURATION RESULTS

RESULTS becomes what nnU-Net v2 calls ``nnUNet_results``. For ``whole_processes.py predict``: the plain U-Net in 3D,
z-scores or CT normalization, fold 0.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from autoseg.files.storage import read_json, write_json
from autoseg.plan.files import read_plan
from autoseg.plan.schema import Configuration, Plan, mirror_axes

NUMBER, NAME = 999, "Dataset999_Benchmark"
SCHEMES = {"z_score": "ZScoreNormalization", "ct": "CTNormalization"}
PLACES = (
    (r"^encoder\.(\d+)\.(\d+)\.", r"encoder.stages.\1.0.convs.\2."),
    (r"^decoder\.(\d+)\.(\d+)\.", r"decoder.stages.\1.convs.\2."),
    (r"^up\.", "decoder.transpconvs."),
    (r"^heads\.", "decoder.seg_layers."),
    (r"\.convolution\.", ".conv."),
)
"""From autoseg's names of weights to those of nnU-Net's networks."""


def write_twin(workspace: Path, name: str, results: Path) -> None:
    """Write plans, dataset and checkpoint of one configuration's fold 0 as nnU-Net reads them."""
    plan = read_plan(workspace / "plan.json")
    configuration = plan.configuration(name)
    folder = results / NAME / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    fold = folder / "fold_0"
    fold.mkdir(parents=True, exist_ok=True)
    dataset = _dataset(read_json(workspace / "dataset.json"))
    fingerprint = read_json(workspace / "fingerprint.json")
    plans = _plans(plan, configuration, fingerprint)
    write_json(folder / "dataset.json", dataset)
    write_json(folder / "plans.json", plans)
    checkpoint = {
        "network_weights": twin_weights(load_file(workspace / f"models/{name}/supervised/fold_0/model.safetensors")),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": mirror_axes(plan, configuration),
    }
    torch.save(checkpoint, fold / "checkpoint_final.pth")


def twin_weights(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename weights; nnU-Net's modules list some of them two and four times."""
    renamed: dict[str, torch.Tensor] = {}
    for own, value in weights.items():
        name = own
        for pattern, place in PLACES:
            name = re.sub(pattern, place, name)
        again = name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")
        for alias in {name, again}:
            renamed[alias] = value
            if alias.startswith("encoder."):
                renamed[f"decoder.{alias}"] = value
    return renamed


def _dataset(own: dict[str, Any]) -> dict[str, Any]:
    channels = {str(index): channel for index, channel in enumerate(own["channels"])}
    return {"channel_names": channels, "labels": own["labels"], "numTraining": 1, "file_ending": own["file_ending"]}


def _plans(plan: Plan, configuration: Configuration, fingerprint: dict[str, Any]) -> dict[str, Any]:
    order = list(plan.transpose)
    return {
        "dataset_name": NAME,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(configuration.spacing),
        "original_median_shape_after_transp": list(configuration.median_shape),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": order,
        "transpose_backward": [order.index(axis) for axis in range(3)],
        "configurations": {"3d_fullres": _configuration(configuration)},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": _intensities(configuration),
    }


def _configuration(configuration: Configuration) -> dict[str, Any]:
    images = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    resample = "resample_data_or_seg_to_shape"
    return {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": configuration.batch_size,
        "patch_size": list(configuration.patch_size),
        "median_image_size_in_voxels": list(configuration.median_shape),
        "spacing": list(configuration.spacing),
        "normalization_schemes": [SCHEMES[spec["name"]] for spec in configuration.normalization],
        "use_mask_for_norm": [bool(spec.get("masked")) for spec in configuration.normalization],
        "resampling_fn_data": resample,
        "resampling_fn_seg": resample,
        "resampling_fn_probabilities": resample,
        "resampling_fn_data_kwargs": images,
        "resampling_fn_seg_kwargs": {**images, "is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": {**images, "order": 1},
        "architecture": _architecture(configuration.network),
        "batch_dice": False,
    }


def _architecture(network: dict[str, Any]) -> dict[str, Any]:
    stages = len(network["features"])
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": network["features"],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": network["kernels"],
            "strides": network["strides"],
            "n_conv_per_stage": [2] * stages,
            "n_conv_per_stage_decoder": [2] * (stages - 1),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _intensities(configuration: Configuration) -> dict[str, Any]:
    """nnU-Net's CT normalization asks for these; z-scores ignore them."""
    found = {}
    for index, spec in enumerate(configuration.normalization):
        low, high = spec.get("lower", 0.0), spec.get("upper", 1.0)
        found[str(index)] = {"mean": spec.get("mean", 0.0), "std": spec.get("std", 1.0)}
        found[str(index)] |= {"percentile_00_5": low, "percentile_99_5": high}
    return found


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("configuration")
    parser.add_argument("results", type=Path)
    options = parser.parse_args()
    write_twin(options.workspace, options.configuration, options.results)


if __name__ == "__main__":
    main()
