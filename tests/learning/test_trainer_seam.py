"""What a trainer may declare: streams, modules, optimizers, metrics and a task of its own."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from itertools import islice
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import nn

import autoseg
from autoseg.choice import choose
from autoseg.errors import PlanError, TrainingError, WeightsError
from autoseg.evaluation.summary import read_summary
from autoseg.learning.learner import build_learner, compute_gradients, learning_step
from autoseg.learning.loader import batches
from autoseg.learning.loop import Validated
from autoseg.learning.patch_score import PatchScore
from autoseg.learning.samples import training_sources
from autoseg.learning.setting import FoldRequest, read_setting
from autoseg.learning.streams import LABELLED, StreamPlan, labelled_stream, stream_cases
from autoseg.learning.trainer import OptimizerPlan, Step, Task, frozen, owners, planned_optimizer, trainers
from autoseg.registry import Registry
from autoseg.report.page import write_report
from autoseg.workspace.paths import Workspace, read_metrics

CPU = torch.device("cpu")
SGD = {"name": "sgd", "learning_rate": 0.1}
CONSTANT = {"name": "constant"}


def method(modules, optimizers):
    plans = {name: OptimizerPlan(tuple(owned), SGD, CONSTANT, gradient_clip=1.0) for name, owned in optimizers.items()}
    return SimpleNamespace(modules=modules, optimizers=plans)


def test_a_weight_of_two_optimizers_is_named():
    both = method({"network": nn.Linear(1, 1), "head": nn.Linear(1, 1)}, {"a": ["network", "head"], "b": ["head"]})
    with pytest.raises(PlanError, match=r"optimizers 'a' and 'b' both change the weight 'head.weight', expected one"):
        owners(both, "mine")


def test_a_weight_of_no_optimizer_is_named():
    free = method({"network": nn.Linear(1, 1), "head": nn.Linear(1, 1)}, {"a": ["network"]})
    with pytest.raises(PlanError, match=r"no optimizer changes the weight 'head.weight'.*requires_grad_"):
        owners(free, "mine")
    free.modules["head"].requires_grad_(False)
    assert list(owners(free, "mine")) == ["a"]


def test_a_module_that_there_is_not_is_named():
    with pytest.raises(PlanError, match=r"optimizer 'a': found the module 'nett', expected one of: network"):
        owners(method({"network": nn.Linear(1, 1)}, {"a": ["nett"]}), "mine")


def test_frozen_modules_pass_gradients_on_and_keep_none():
    first, second = nn.Linear(2, 2), nn.Linear(2, 1)
    second.bias.requires_grad_(False)
    with frozen(second):
        loss = second(first(torch.ones(1, 2))).sum()
    loss.backward()
    assert first.weight.grad.abs().sum() > 0 and second.weight.grad is None
    assert second.weight.requires_grad and not second.bias.requires_grad


class TwoParts:
    """A network and a head, each with its own loss, optimizer, clipped norm and schedule."""

    def __init__(self) -> None:
        self.modules = {"network": nn.Linear(3, 1, bias=False), "head": nn.Linear(3, 1, bias=False)}
        self.optimizers = {
            "network": OptimizerPlan(("network",), SGD, CONSTANT, gradient_clip=0.5),
            "head": OptimizerPlan(("head",), SGD, {"name": "exponential", "final": 0.01}, gradient_clip=1e9),
        }

    def step(self, batches, step):
        return {"one": 100 * self.modules["network"].weight.sum(), "other": 100 * self.modules["head"].weight.sum()}


@pytest.fixture
def setting(workspace):
    return read_setting(FoldRequest(Workspace(workspace), "2d", 0))


def learner_of(setting, started):
    task = Task(replace(setting.configuration, precision="float32"), setting.dataset, nn.Identity(), CPU)
    return build_learner(task, SimpleNamespace(start=lambda task: started))


def test_each_optimizer_has_its_own_clipped_norm_and_schedule(setting):
    started = TwoParts()
    before = {name: module.weight.detach().clone() for name, module in started.modules.items()}
    learner = learner_of(setting, started)
    compute_gradients(learner, {}, Step(0, 0.5, None))
    norms = {name: module.weight.grad.norm().item() for name, module in started.modules.items()}
    assert norms == pytest.approx({"network": 0.5, "head": 100 * 3**0.5}, rel=1e-4)
    losses = learning_step(learner, {}, Step(0, 0.5, None))
    moved = {name: (before[name] - module.weight).norm().item() for name, module in started.modules.items()}
    assert moved == pytest.approx({"network": 0.1 * 0.5, "head": 0.1 * 0.01**0.5 * 100 * 3**0.5}, rel=1e-4)
    assert list(losses) == ["one", "other"]
    assert learner.learning_rates() == pytest.approx({"network": 0.1, "head": 0.01})


@dataclass(frozen=True)
class Sites:
    """A trainer that reads one stream for each of two sites, and one of cases without label maps."""

    def streams(self, configuration, dataset):
        plain = labelled_stream(configuration)
        return {
            LABELLED: plain,
            "near": replace(plain, cases="all", sites=("near",), batch_size=1),
            "rest": StreamPlan(3, {"name": "uniform"}, {"name": "none"}, cases="unlabelled"),
        }

    def start(self, task):
        raise AssertionError("only the streams are used")


@pytest.fixture
def mixed(half_labelled, tmp_path, shrink_plan):
    """A workspace with two cases without label maps, two sites and some tags."""
    path = half_labelled / "dataset.json"
    names = [f"phantom_{number:03d}" for number in range(6)]
    described = {
        "sites": {name: "near" if number % 2 else "far" for number, name in enumerate(names)},
        "tags": {names[0]: ["ill"], names[5]: []},
        "tag_names": ["ill", "old"],
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | described))
    options = {"configurations": ["2d"], "time_budget": 3600.0, "workers": 0}
    place = autoseg.plan_and_preprocess(half_labelled, workspace=tmp_path / "mixed", **options)
    shrink_plan(place.plan_file)
    return place


def test_streams_have_the_cases_they_ask_for(mixed):
    setting = replace(read_setting(FoldRequest(mixed, "2d", 0)), trainer=Sites())
    dataset, train = setting.dataset, setting.split.train
    sources = training_sources(setting)
    assert set(sources.streams["near"].cases.names) == {name for name in train if dataset.sites[name] == "near"}
    assert set(sources.streams["rest"].cases.names) == {n for n in train if dataset.case(n).label is None} != set()
    for found in islice(batches(sources, first=0, device=CPU, workers=0), 4):
        rest, near = found["rest"], found["near"]
        assert len(rest.images) == len(rest.cases) == 3 and (rest.labels == -1).all()
        assert (found[LABELLED].labels >= 0).all() and (near.sites == 1).all() and near.sites.shape == (1,)
        expected = {"phantom_000": [1, 0], "phantom_005": [0, 0]}
        assert rest.tags.tolist() == [expected.get(name, [-1, -1]) for name in rest.cases]


def test_streams_of_one_fold_draw_apart(mixed):
    setting = replace(read_setting(FoldRequest(mixed, "2d", 0)), trainer=Sites())
    (first,) = islice(batches(training_sources(setting), first=0, device=CPU, workers=0), 1)
    assert not set(first[LABELLED].seeds) & set(first["near"].seeds) & set(first["rest"].seeds)
    (again,) = islice(batches(training_sources(setting), first=0, device=CPU, workers=0), 1)
    assert all(torch.equal(first[name].images, again[name].images) for name in first)


def test_cases_are_chosen_by_label_tags_and_site(mixed):
    dataset = mixed.dataset()
    names = [case.name for case in dataset.cases]

    def chosen(**changes):
        return stream_cases(StreamPlan(1, {}, {}, **changes), dataset, names)

    assert chosen(cases="all") == tuple(names)
    assert chosen(cases="tagged") == ("phantom_000", "phantom_005")
    assert chosen(cases="unlabelled") == ("phantom_004", "phantom_005")
    assert chosen(cases="labelled", sites=("near",)) == ("phantom_001", "phantom_003")


def test_a_fold_without_a_case_of_a_stream_is_named(mixed):
    setting = replace(read_setting(FoldRequest(mixed, "2d", 0)), trainer=Sites())
    split = replace(setting.split, train=setting.labelled(setting.split.train))
    with pytest.raises(TrainingError, match=r"fold 0: train has no unlabelled cases for the stream 'rest'"):
        training_sources(replace(setting, split=split))


@dataclass(frozen=True)
class Restores:
    """A trainer of another task: the network restores the first channel."""

    task: ClassVar[str] = "restoration"

    def streams(self, configuration, dataset):
        return {"all": replace(labelled_stream(configuration), cases="all")}

    def start(self, task):
        return Restoring(task)


class Restoring:
    def __init__(self, task) -> None:
        self.modules = {"network": task.network}
        self.optimizers = {"network": planned_optimizer(task.configuration)}

    def _error(self, batch):
        return (self.modules["network"](batch.images)[0][:, 0].float() - batch.images[:, 0]).square().mean()

    def step(self, batches, step):
        return {"restoration": self._error(batches["all"])}

    def metrics(self, batches):
        errors = [self._error(found["all"]) for found in batches]
        return {"closeness": -float(torch.stack(errors).mean()), "undefined": float("nan")}


@pytest.fixture
def restores(monkeypatch):
    trainers.names()
    monkeypatch.setitem(trainers._implementations, "restores", Restores)


def test_a_trainer_of_another_task_is_measured_by_itself_and_not_compared(workspace, restores, caplog):
    place = Workspace(workspace)
    plan = json.loads(place.plan_file.read_text())
    plan["configurations"]["2d"]["trainer"] = {"name": "restores"}
    place.plan_file.write_text(json.dumps(plan))
    summary = autoseg.train_fold(workspace, "2d", 0, iterations=2)
    assert not summary.segments and not summary.cases
    folder = place.fold("2d", 0)
    kept = read_summary(folder.summary)
    assert kept.task == "restoration" and kept.metrics["closeness"] < 0 and math.isnan(kept.metrics["undefined"])
    (line,) = read_metrics(folder.metrics)
    assert (
        line["metrics"] == {"closeness": kept.metrics["closeness"], "undefined": None}
        and line["class_dice"] == {}
        and folder.best.exists()
    )
    with pytest.raises(WeightsError, match="no fold with a number is trained"):
        choose(place, device="cpu")
    with pytest.raises(WeightsError, match="the networks of 2d do not segment"):
        autoseg.Predictor.load(workspace, device="cpu")
    autoseg.train_fold(workspace, "3d_fullres", 0, iterations=2)
    assert choose(place, device="cpu").chosen == ("3d_fullres",)
    assert "2d: not compared, because its networks do not segment" in caplog.text
    write_report(place)
    assert "closeness" in place.report_file.read_text()


def test_the_best_weights_are_chosen_by_dice_or_by_the_first_metric():
    scores = {"a": PatchScore(0.5, 1.0), "b": PatchScore(None, None)}
    assert Validated(scores, {"other": 3.0}).score() == 0.5
    assert Validated({}, {"other": 3.0, "last": 1.0}).score() == 3.0
    assert Validated({}, {}).score() is None


def test_an_unknown_trainer_names_the_nearest():
    assert isinstance(trainers, Registry)
    with pytest.raises(PlanError, match="trainers: found 'supervize', expected one of: supervised"):
        trainers.build({"name": "supervize"})
