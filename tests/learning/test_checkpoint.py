from __future__ import annotations

import json

import pytest
import torch

from autoseg.errors import WeightsError
from autoseg.learning.averaging import WeightAverage, weights_of
from autoseg.learning.checkpoint import load_state, optimizer_tensors, remove_state, restore_optimizer, save_state
from autoseg.learning.optimizers import optimizers

SPECS = [
    {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
    {"name": "adamw", "learning_rate": 0.01},
    {"name": "muon", "learning_rate": 0.01, "vector_learning_rate": 0.01},
    {"name": "adam", "learning_rate": 0.01, "weight_decay": 0.1},
    {"name": "rmsprop", "learning_rate": 0.01},
    {"name": "rmsprop", "learning_rate": 0.01, "momentum": 0.0},
    {"name": "adadelta"},
    {"name": "angular_grad", "learning_rate": 0.01},
    {"name": "angular_grad", "learning_rate": 0.01, "angle": "tan", "weight_decay": 0.1},
]


def network(layout=torch.contiguous_format):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv3d(2, 4, 3), torch.nn.Conv3d(4, 2, 1)).to(memory_format=layout)


def steps(model, optimizer, numbers):
    for number in numbers:
        images = torch.randn(1, 2, 5, 5, 5, generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["name"])
def test_an_optimizer_goes_on_as_if_never_stopped(tmp_path, spec, layout):
    whole = network(layout)
    optimizer = optimizers.build(spec, parameters=whole.parameters())
    steps(whole, optimizer, range(6))

    halved = network(layout)
    first = optimizers.build(spec, parameters=halved.parameters())
    steps(halved, first, range(3))
    save_state(tmp_path / "resume.json", optimizer_tensors(first), {"progress": {"step": 3}})
    second = optimizers.build(spec, parameters=halved.parameters())
    restore_optimizer(second, load_state(tmp_path / "resume.json")[0], source=tmp_path)
    steps(halved, second, range(3, 6))
    for expected, found in zip(whole.parameters(), halved.parameters(), strict=True):
        assert torch.equal(expected, found)


def test_moments_of_other_parameters_are_refused(tmp_path):
    model = network()
    first, second = (
        optimizers.build(SPECS[1], parameters=some) for some in (model[:1].parameters(), model[1:].parameters())
    )
    steps(model, first, range(1))
    with pytest.raises(
        WeightsError, match=r"resume.json: .* has the shape \(4, 2, 3, 3, 3\), expected \(2, 4, 1, 1, 1\).*--restart"
    ):
        restore_optimizer(second, optimizer_tensors(first), source=tmp_path / "resume.json")


def test_a_new_checkpoint_replaces_the_old(tmp_path):
    for step in (1, 2):
        save_state(tmp_path / "resume.json", {"x": torch.full((2,), float(step))}, {"progress": {"step": step}})
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["resume-2.safetensors"]
    tensors, numbers = load_state(tmp_path / "resume.json")
    assert numbers["progress"]["step"] == 2 and tensors["x"][0] == 2
    remove_state(tmp_path / "resume.json")
    assert list(tmp_path.iterdir()) == []
    assert load_state(tmp_path / "resume.json") is None


def test_checkpoints_that_cannot_be_used_are_named(tmp_path):
    path = tmp_path / "resume.json"
    save_state(path, {"x": torch.zeros(2)}, {"progress": {"step": 1}})
    (tmp_path / "resume-1.safetensors").write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match=r"resume-1.safetensors: damaged"):
        load_state(path)
    path.write_text(json.dumps({"version": 99}))
    with pytest.raises(WeightsError, match=r"found 99, expected 2; use --restart"):
        load_state(path)


def test_a_path_in_a_checkpoint_leads_nowhere_else(tmp_path):
    path = tmp_path / "inside" / "resume.json"
    save_state(path, {"x": torch.zeros(2)}, {"progress": {"step": 1}})
    numbers = json.loads(path.read_text()) | {"tensors": "../../secret.safetensors"}
    path.write_text(json.dumps(numbers))
    with pytest.raises(WeightsError, match=r"inside/secret.safetensors: no such weights"):
        load_state(path)


def test_the_average_is_the_formula():
    model = network()
    average = WeightAverage(model, 0.9)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step in range(1, 30):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1)
        average.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = {name: decay * old + (1 - decay) * model.state_dict()[name] for name, old in expected.items()}
    for name, tensor in expected.items():
        torch.testing.assert_close(average.tensors[name], tensor)


def test_other_weights_are_lent_for_a_while():
    model = network().train()
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with weights_of(model, {name: torch.zeros_like(tensor) for name, tensor in own.items()}):
        assert not model.training
        assert all(not tensor.any() for tensor in model.state_dict().values())
    assert model.training
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in own.items())
