"""What several tests share: small datasets, a small workspace, and where the real images are."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

# Tiny networks gain nothing from threads, and lose much where tests share a machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does; pytest-timeout bounds a test as a whole.
settings.register_profile("autoseg", deadline=None)
settings.load_profile("autoseg")

REAL_DATA = Path(os.environ.get("AUTOSEG_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests and those on real images as well")


def pytest_collection_modifyitems(config, items):
    for item in items:
        wants_slow = "slow" in item.keywords or "real_data" in item.keywords
        if wants_slow and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))
        elif "real_data" in item.keywords and not REAL_DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"no real images at {REAL_DATA}; set AUTOSEG_REAL_DATA"))
    # The longest begin first, so that no worker is left with one of them at the end.
    items.sort(key=lambda item: "slow" not in item.keywords)


@pytest.fixture(scope="session", autouse=True)
def stated_speed(tmp_path_factory):
    """Let plans in tests assume one speed, as if it had been measured on this machine: no test waits for it."""
    from autoseg.files.records import to_plain
    from autoseg.files.storage import write_json
    from autoseg.planners.speed import kept_in, machine_key, reference_speed

    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    speed = to_plain(reference_speed())
    write_json(kept_in(), {machine_key("cpu", precision): speed for precision in ("float32", "bfloat16")})


@pytest.fixture(scope="session")
def real_data() -> Path:
    return REAL_DATA


def shrink(plan_file: Path, **changes) -> None:
    """Edit a plan as a person would: tiny networks and patches that train in no time."""
    plan = json.loads(plan_file.read_text())
    for name, planned in plan["configurations"].items():
        configuration = dict(planned)
        axes = configuration["dimension"]
        configuration["patch_size"] = [8, 16, 16][3 - axes :]
        configuration["batch_size"] = 2
        configuration["precision"] = "float32"
        configuration["network"] |= {
            "features": [4, 8],
            "kernels": [[3] * axes] * 2,
            "strides": [[1] * axes, [2] * axes],
        }
        plan["configurations"][name] = configuration | changes
    plan_file.write_text(json.dumps(plan))


@pytest.fixture(scope="session")
def shrink_plan():
    """Return what makes the networks and patches of a plan tiny."""
    return shrink


def give_latent_networks(plan_file: Path) -> None:
    """Edit a plan of tiny networks as a person would: probabilistic U-Nets of the same size."""
    plan = json.loads(plan_file.read_text())
    for configuration in plan["configurations"].values():
        old = configuration["network"]
        kept = {key: old[key] for key in ("features", "kernels", "strides")}
        configuration["network"] = {"name": "probabilistic_unet", "labels": 2, "latent": 3, **kept}
    plan_file.write_text(json.dumps(plan))


@pytest.fixture(scope="session")
def latent_plan():
    """Return what gives the networks of a plan latent variables."""
    return give_latent_networks


def give_forests(plan_file: Path) -> None:
    """Edit a plan so that small forests learn: few voxels and features, so that trees grow in no time."""
    plan = json.loads(plan_file.read_text())
    dataset = json.loads((plan_file.parent / "dataset.json").read_text())
    values = sorted({value for region in dataset["regions"].values() for value in region})
    indices = [[values.index(value) + 1 for value in region] for region in dataset["regions"].values()]
    regions = {"regions": indices} if indices else {}
    for configuration in plan["configurations"].values():
        configuration["trainer"] = {"name": "random_forest", "voxels": 1500, "watched": 600}
        configuration["network"] = {"name": "random_forest", "features": 60, **regions}
        configuration["precision"] = "float32"
    plan_file.write_text(json.dumps(plan))


@pytest.fixture
def forest_plan():
    """Return what makes the trainer of a plan a small random forest."""
    return give_forests


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Path:
    """Phantoms and their workspace, planned and preprocessed, with tiny networks; not to be changed."""
    import autoseg
    from autoseg.demo.phantoms import write_phantoms

    folder = tmp_path_factory.mktemp("made")
    write_phantoms(folder / "phantoms", training=6, testing=2, size=(8, 20, 20))
    workspace = autoseg.plan_and_preprocess(
        folder / "phantoms", workspace=folder / "workspace", time_budget=3600.0, workers=0
    )
    shrink(workspace.plan_file)
    return folder


@pytest.fixture(scope="session")
def trained_once(made_once, tmp_path_factory) -> Path:
    """The same with two steps of training in fold 0 of both configurations; not to be changed."""
    import autoseg

    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(made_once, folder, dirs_exist_ok=True)
    for name in ("2d", "3d_fullres"):
        autoseg.train_fold(folder / "workspace", name, 0, iterations=2)
    return folder


@pytest.fixture
def phantoms(made_once, tmp_path) -> Path:
    """A dataset folder with six tiny phantoms for training and two for testing."""
    return Path(shutil.copytree(made_once / "phantoms", tmp_path / "phantoms"))


@pytest.fixture
def workspace(made_once, tmp_path) -> Path:
    """A prepared workspace."""
    return Path(shutil.copytree(made_once / "workspace", tmp_path / "workspace"))


@pytest.fixture
def trained(trained_once, tmp_path) -> Path:
    """A workspace in which fold 0 of both configurations is trained."""
    return Path(shutil.copytree(trained_once / "workspace", tmp_path / "trained"))


@pytest.fixture(scope="session")
def make_predictor():
    """Return what makes a predictor of a network that needs no training."""
    return predictor_of


def predictor_of(network, dataset, *, spacing=(1.0, 1.0, 1.0), patch=(6, 6, 6), transpose=(0, 1, 2), orientation="SPL"):
    """Put a network in place of a trained workspace: no normalization, no mirroring, patches of any number of axes."""
    import torch

    from autoseg.inference.members import Member
    from autoseg.inference.predictor import Predictor
    from autoseg.inference.sliding_window import TilingSettings
    from autoseg.plan.files import PLAN_VERSION
    from autoseg.plan.schema import Configuration, Plan, Training

    configuration = Configuration(
        dimension=len(patch),
        spacing=spacing,
        median_shape=(8, 8, 8),
        patch_size=patch,
        batch_size=2,
        normalization=({"name": "none"},) * len(dataset.channels),
        network={},
        loss={},
        sampling={},
        augmentation={},
        training=Training({}, {}, iterations=1),
    )
    name = "2d" if len(patch) == 2 else "3d_fullres"
    plan = Plan(PLAN_VERSION, dataset.name, "unet", transpose, (), {name: configuration}, orientation=orientation)
    member = Member(name, configuration, (network,), TilingSettings(patch, dataset.outputs))
    return Predictor(dataset, plan, (member,), torch.device("cpu"))


@pytest.fixture(scope="session")
def threshold():
    """Return a network that calls the first class where the first channel is above 0, for a number of outputs."""
    import torch

    class Threshold(torch.nn.Module):
        def __init__(self, outputs=2, axes=3):
            super().__init__()
            self.outputs, self.divisor = outputs, (1,) * axes

        def forward(self, image):
            first = image[:, :1]
            others = [torch.full_like(first, -1e4)] * (self.outputs - 2)
            return [torch.cat([-first, first, *others], dim=1)]

    return Threshold


@pytest.fixture
def half_labelled(phantoms) -> Path:
    """The phantoms, of which two have no label map."""
    (phantoms / "unlabelledTr").mkdir()
    for label in sorted((phantoms / "labelsTr").iterdir())[-2:]:
        for image in (phantoms / "imagesTr").glob(f"{label.name.removesuffix('.nii.gz')}_*"):
            image.rename(phantoms / "unlabelledTr" / image.name)
        label.unlink()
    return phantoms
