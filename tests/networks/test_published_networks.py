"""What holds for each network beside nnU-Net's: shapes, gradients, and the way through the pipeline."""

from __future__ import annotations

import json
import os
import shutil
import signal

import pytest
import torch

import autoseg
from autoseg.bundle.writing import export_bundle
from autoseg.errors import PlanError
from autoseg.files.weights import load_tensors
from autoseg.learning.loop import Interrupted
from autoseg.networks import networks
from autoseg.networks.protocols import learning_of
from autoseg.workspace.paths import Workspace


def staged(dimension, *, stages=2, **more):
    strides = [[1] * dimension] + [[2] * dimension] * (stages - 1)
    features = [4 * 2**stage for stage in range(stages)]
    return {"features": features, "kernels": [[3] * dimension] * stages, "strides": strides, **more}


TINY = {
    "unet_scinets": staged,
    "unet_scinets residual": lambda dimension: staged(dimension, layer="residual"),
    "convmixer": lambda dimension: {"features": 8, "depth": 2, "patch": 3, "kernel": 3, "decoded_features": 4},
    "convmixer bilinear": lambda dimension: (
        TINY["convmixer"](dimension) | {"upsampling": "bilinear", "smoothing": 1.0, "residual_pointwise": False}
    ),
    "unet_sum": staged,
    "unet_strided": staged,
    "fcn": staged,
    "fcn residual": lambda dimension: staged(dimension, layer="residual"),
    "fcn_resnet50": lambda dimension: {"features": 4},
    "vnet": lambda dimension: staged(dimension, stages=3),
    "vnet normalized": lambda dimension: staged(dimension, convolutions=2, normalization="batch"),
    "mednext": lambda dimension: staged(dimension, stages=3, blocks=1),
    "mednext unsupervised": lambda dimension: staged(dimension, deep_supervision=False, expansions=[2, 3]),
    "probabilistic_unet": lambda dimension: staged(dimension, labels=2),
    "hyperdense": lambda dimension: {"features": [3, 4, 5], "classifier": [6]},
    "deepmedic": lambda dimension: {"features": [3, 4], "factors": [1, 2], "hidden": [5]},
    "deepmedic residual": lambda dimension: (
        TINY["deepmedic"](dimension) | {"residual": [2], "coarse_features": [2, 5], "convolution_dropout": 0.1}
    ),
}
ANY_SIZE = ("unet_scinets", "convmixer", "fcn_resnet50", "hyperdense")


def tiny(key, dimension):
    return {"name": key.split()[0], **TINY[key](dimension)}


def build(spec, dimension, channels=2, outputs=3):
    return networks.build(spec, in_channels=channels, outputs=outputs, dimension=dimension)


def patch_for(network, size):
    """Return the patch of which logits are as large as ``size``."""
    return [n + 2 * margin for n, margin in zip(size, network.margin, strict=True)]


@pytest.mark.parametrize("key", TINY)
@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_logits_are_as_large_as_the_image_less_the_margin(key, dimension, channels):
    network = build(tiny(key, dimension), dimension, channels)
    shape = (9, 11, 17)[-dimension:] if key.split()[0] in ANY_SIZE else (8, 12, 16)[-dimension:]
    assert len(network.divisor) == len(network.margin) == dimension
    assert all(size % step == 0 for size, step in zip(shape, network.divisor, strict=True))
    images = torch.randn(2, channels, *patch_for(network, shape))
    assert network(images)[0].shape == (2, 3, *shape)
    network.eval()
    assert [tuple(level.shape) for level in network(images)] == [(2, 3, *shape)]


def levels_and_more(network, images):
    """Return logits, and what a network adds to their loss, as training sees them."""
    learn = learning_of(network)
    if learn is None:
        return network(images), 0.0
    return learn(images, torch.randint(0, 3, (len(images), *images.shape[2:])), range(len(images)))


@pytest.mark.parametrize("key", TINY)
def test_every_parameter_of_published_networks_learns(key):
    network = build(tiny(key, 3), 3)
    # Squares of normalized values would not depend on what was normalized.
    levels, more = levels_and_more(network, torch.randn(2, 2, *patch_for(network, (8, 12, 16))))
    (sum(level.pow(4).mean() for level in levels) + more).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


@pytest.mark.parametrize("key", TINY)
@pytest.mark.parametrize("dimension", [2, 3])
def test_published_networks_learn_in_bfloat16(key, dimension):
    network = build(tiny(key, dimension), dimension)
    images = torch.randn(2, 2, *patch_for(network, (8, 12, 16)[-dimension:]))
    with torch.autocast("cpu", torch.bfloat16):
        levels, more = levels_and_more(network, images)
        loss = sum(level.float().square().mean() for level in levels) + more
    loss.backward()
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters())


def give_network(workspace, spec, name="3d_fullres"):
    """Edit a plan as a person would."""
    plan_file = Workspace(workspace).plan_file
    plan = json.loads(plan_file.read_text())
    edited = plan["configurations"][name]
    edited |= {"network": spec, "patch_size": patch_for(build(spec, edited["dimension"]), edited["patch_size"])}
    plan_file.write_text(json.dumps(plan))


def train_with_a_stop(workspace, name="3d_fullres"):
    def stop(report):
        if report.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        autoseg.train_fold(workspace, name, 0, iterations=2, listener=stop)
    autoseg.train_fold(workspace, name, 0, iterations=2)


@pytest.mark.parametrize("key", [key for key in TINY if " " not in key])
def test_trained_stopped_resumed_exported_and_predicted(key, workspace, phantoms, tmp_path):
    give_network(workspace, tiny(key, 3))
    train_with_a_stop(workspace)
    export_bundle(workspace, tmp_path / "bundle.zip", license_text="CC-BY-4.0")
    autoseg.predict_folder(tmp_path / "bundle.zip", phantoms / "imagesTs", tmp_path / "out", tta="none")
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


def test_slices_with_a_margin_go_the_same_way(workspace, phantoms, tmp_path):
    give_network(workspace, tiny("deepmedic", 2), "2d")
    train_with_a_stop(workspace, "2d")
    export_bundle(workspace, tmp_path / "bundle.zip", license_text="CC-BY-4.0")
    result = autoseg.predict_folder(tmp_path / "bundle.zip", phantoms / "imagesTs", tmp_path / "out")
    assert len(result.done) == 2


@pytest.mark.parametrize("key", ["unet_sum", "deepmedic residual"])
def test_what_batch_normalization_and_dropout_do_survives_a_stop(key, workspace, tmp_path):
    give_network(workspace, tiny(key, 3))
    whole = shutil.copytree(workspace, tmp_path / "whole")
    autoseg.train_fold(whole, "3d_fullres", 0, iterations=2)
    train_with_a_stop(workspace)
    ours, theirs = (load_tensors(Workspace(place).fold("3d_fullres", 0).model) for place in (workspace, whole))
    assert any("running_mean" in name for name in ours)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "unet_scinets", **staged(3)} | {"kernels": [[3, 3, 2]] * 2}, "'unet_scinets', .*even kernel"),
        ({"name": "unet_scinets", **staged(3, layer="dense")}, "argument 'layer': found 'dense'"),
        ({"name": "convmixer", "kernel": 4}, "'convmixer', field 'kernel': found 4, expected odd"),
        ({"name": "convmixer", "patch": [7, 7]}, "field 'patch': found .7, 7., expected 3 numbers"),
        ({"name": "convmixer", "depth": 0}, "argument 'depth'"),
        ({"name": "convmixer", "smoothing": 0.0}, "argument 'smoothing'"),
    ],
)
def test_what_published_networks_cannot_do_is_named(spec, message):
    with pytest.raises(PlanError, match=message):
        build(spec, 3)
