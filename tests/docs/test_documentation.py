"""The documentation says what is true: its links, commands, examples and names are those of the code."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import runpy
import shlex
from dataclasses import replace

import pytest
import typer

from autoseg.api import open_dataset
from autoseg.cli.main import app
from autoseg.data.splits import read_splits
from autoseg.demo.phantoms import write_phantoms
from autoseg.planners.edits import edited
from autoseg.registry import Registry
from autoseg.workspace.paths import Workspace

MOST_README_LINES = 100
COMMANDS = typer.main.get_command(app).commands
DATASET_FIELDS = {
    "name", "channel_names", "labels", "regions_class_order", "numTraining", "file_ending", "dataset", "groups",
    "annotated", "sides", "tags", "tag_names", "sites", "unlabelled", "normalization",
    "optional_channels", "extra_channels",
}  # fmt: skip
REGISTRIES = {
    "autoseg.augmentation.settings:presets": "Augmentation",
    "autoseg.learning.trainer:trainers": "Trainers",
    "autoseg.learning.optimizers:optimizers": "Optimizers",
    "autoseg.learning.schedules:schedules": "Schedules",
    "autoseg.losses:losses": "Losses",
    "autoseg.networks:networks": "Networks",
    "autoseg.networks.input_layers:input_layers": None,
    "autoseg.planners.base:planners": "Planners",
    "autoseg.postprocessing:postprocessing": None,
    "autoseg.preprocessing.extra:extra_channels": None,
    "autoseg.preprocessing.normalization:normalizations": None,
    "autoseg.sampling.stream:samplers": "Samplers",
}
"""Where the registries are, and in which section of names.md a table lists all that they have."""


def registry(place: str) -> Registry:
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def commands(pages):
    """Every command line in the blocks of the pages, as words without their comment."""
    for page in pages:
        for block in page.blocks("", "sh"):
            for line in block.splitlines():
                if line.startswith("autoseg "):
                    yield page, shlex.split(line, comments=True)[1:]


def test_the_readme_is_short(page):
    assert len(page("README.md").text.splitlines()) <= MOST_README_LINES


def test_every_link_leads_somewhere(pages):
    by_path = {page.path: page for page in pages}
    for page in pages:
        for link in page.links:
            if link.startswith(("http://", "https://")):
                continue
            file, _, anchor = link.partition("#")
            path = (page.path.parent / file).resolve() if file else page.path
            assert path.exists(), f"{page.name}: {link}"
            if anchor and path in by_path:
                assert anchor in by_path[path].anchors, f"{page.name}: {link}"


def test_every_page_is_linked_from_the_readme(pages, page):
    linked = {link.partition("#")[0] for link in page("README.md").links}
    assert {each.name for each in pages if each.name != "README.md"} <= linked


def test_every_command_line_is_understood(pages):
    seen = list(commands(pages))
    assert len(seen) > 30
    for page, (name, *words) in seen:
        try:
            # Parses and checks the words, and runs nothing.
            COMMANDS[name].make_context(name, words)
        except Exception as error:
            raise AssertionError(f"{page.name}: autoseg {name} {shlex.join(words)}: {error!r}") from error


def test_commands_and_options_in_sentences_exist(pages):
    options = {option for command in COMMANDS.values() for param in command.params for option in param.opts}
    options |= {option for command in COMMANDS.values() for param in command.params for option in param.secondary_opts}
    options |= {"--help", "--debug"}
    for page in pages:
        for span in page.spans:
            words = span.split()
            if words[0] == "autoseg" and len(words) > 1:
                assert words[1] in COMMANDS, f"{page.name}: `{span}`"
            if not words[0].startswith("nnUNet"):
                unknown = {word for word in words if word.startswith("--")} - options
                assert not unknown, f"{page.name}: `{span}`"


def test_planners_and_members_of_examples_exist(pages):
    planners = registry("autoseg.planners.base:planners").names()
    from autoseg.planners.emma_members import NETWORKS, NORMALIZATIONS

    members = {network.name for network in NETWORKS} | set(NORMALIZATIONS)
    text = "\n".join(page.text for page in pages)
    assert set(re.findall(r"--planner ([a-z]\w*)", text)) <= set(planners)
    assert {
        part for found in re.findall(r"--members ([a-z][\w,/]*)", text) for part in re.split("[,/]", found)
    } <= members


def test_json_of_a_dataset_is_read(pages, tmp_path):
    write_phantoms(tmp_path, training=6, testing=0, size=(4, 8, 8))
    for path in [*tmp_path.glob("imagesTr/*"), *tmp_path.glob("labelsTr/*")]:
        path.rename(path.with_name(path.name.replace("phantom", "case")))
    description = json.loads((tmp_path / "dataset.json").read_text())
    blocks = [(page, json.loads(block)) for page in pages for block in page.blocks("json")]
    shown = [(page, block) for page, block in blocks if isinstance(block, dict) and block.keys() <= DATASET_FIELDS]
    assert len(shown) >= 12
    for page, block in shown:
        (tmp_path / "dataset.json").write_text(json.dumps(description | block))
        try:
            found = open_dataset(tmp_path)
        except ValueError as error:
            raise AssertionError(f"{page.name}: {block}: {error}") from error
        assert found.cases, f"{page.name}: {block}"


def test_json_of_folds_is_read(page, tmp_path):
    (folds,) = [block for block in page("data.md").blocks("json") if block.startswith("[")]
    (tmp_path / "splits.json").write_text(folds)
    assert read_splits(tmp_path / "splits.json", [f"case_{number:03d}" for number in range(6)])


def test_fields_are_set_as_shown(pages, made_once):
    place = Workspace(made_once / "workspace")
    plan, dataset = place.plan(), replace(place.dataset(), optional_channels={"T2": -4.0})
    text = "\n".join(page.text for page in pages)
    shown = {quoted or plain for quoted, plain in re.findall(r"--set (?:'([^']+)'|([\w.]+=[^\s`]+))", text)}
    assert len(shown) >= 8
    for assignment in sorted(shown):
        assert edited(plan, [assignment], dataset, place.fingerprint()) != plan, assignment


def test_fields_of_a_plan_exist(page, made_once):
    plain = json.loads((made_once / "workspace" / "plan.json").read_text())
    listed = [name for row in page("planning.md").rows("Changing a plan") for name in spans(row[0])]
    assert len(listed) >= 12
    for name in listed:
        holder = plain["configurations"] if name.startswith("3d_fullres.") else plain
        for key in name.split("."):
            assert key in holder, name
            holder = holder[key]


def test_python_runs_as_shown(page, phantoms, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    phantoms.rename("brain")
    trained.rename("brain.autoseg")
    (tmp_path / "images").symlink_to("brain/imagesTs")
    names: dict[str, object] = {}
    blocks = page("python.md").blocks("python")
    assert len(blocks) >= 4
    for number, block in enumerate(blocks):
        exec(compile(block, f"python.md, block {number}", "exec"), names)
    assert set(names["result"].done) == {"phantom_006", "phantom_007"}
    assert names["labels"].ndim == 3 and names["distance"] == {"body": 0.0, "core": 0.0}


def test_public_names_are_on_the_python_page(page):
    import autoseg

    used = set(re.findall(r"\bautoseg\.(\w+)", page("python.md").prose))
    assert set(autoseg.__all__) <= used
    for block in page("python.md").blocks("python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "autoseg":
                assert hasattr(autoseg, node.attr), node.attr


@pytest.mark.parametrize(("place", "heading"), [(k, v) for k, v in REGISTRIES.items() if v], ids=lambda value: value)
def test_tables_list_every_name(place, heading, page):
    listed = [name for row in page("names.md").rows(heading) for name in spans(row[0])]
    assert sorted(listed) == registry(place).names()


@pytest.mark.parametrize("place", [place for place, heading in REGISTRIES.items() if not heading])
def test_sentences_list_every_name(place, page):
    assert set(registry(place).names()) <= set(page("names.md").spans)


def test_normalizations_and_computed_channels_have_a_table(page):
    normalizations = [name for row in page("normalization.md").rows("Names") for name in spans(row[0])]
    assert sorted(normalizations) == registry("autoseg.preprocessing.normalization:normalizations").names()
    channels = [name for row in page("channels.md").rows("Computed channels") for name in spans(row[0])]
    assert sorted(channels) == registry("autoseg.preprocessing.extra:extra_channels").names()


def test_arguments_of_losses_and_normalizations_exist(page):
    losses = registry("autoseg.losses:losses")
    for name, arguments in page("names.md").rows("Losses"):
        known = inspect.signature(losses.get(name.strip("`"))).parameters
        assert set(spans(arguments)) - {"weight"} <= set(known), name
    normalizations = registry("autoseg.preprocessing.normalization:normalizations")
    for arguments, names, _ in page("normalization.md").rows("Arguments"):
        for name in spans(names):
            assert set(spans(arguments)) <= set(inspect.signature(normalizations.get(name)).parameters), name


def test_entry_points_are_those_of_the_registries(page):
    listed = set(re.findall(r"`autoseg\.(\w+)`", page("names.md").section("Names of other packages")))
    assert listed == {registry(place).family for place in REGISTRIES}
    root = page("README.md").path.parent
    sources = [path.read_text() for room in ("autoseg", "planners", "trainers") for path in (root / room).rglob("*.py")]
    assert listed == set(re.findall(r'= Registry\(\s*"(\w+)"', "\n".join(sources)))


def test_rooms_are_those_of_the_layers(page):
    architecture = page("architecture.md")
    contract = (architecture.path.parents[1] / "pyproject.toml").read_text()
    layers = re.findall(r'"([^"]+)"', re.search(r"^layers = \[(.*?)\]", contract, re.MULTILINE | re.DOTALL)[1])
    rooms = [set(layer.split(" | ")) for layer in layers]
    drawn = [set(line.split()) for line in architecture.blocks("")[0].splitlines() if line.strip() not in ("", "|")]
    assert drawn == rooms
    assert {name for row in architecture.rows("Rooms") for name in spans(row[0])} == set().union(*rooms)


def test_the_architecture_names_what_there_is(page):
    architecture = page("architecture.md")
    root = architecture.path.parents[1]
    for row in architecture.rows("To add something"):
        for name in spans(" ".join(row)):
            if "/" in name:
                assert (root / name).exists(), name
    for _, functions, module in architecture.rows("The walk of a case"):
        for name in spans(functions):
            assert hasattr(importlib.import_module(module.strip("`")), name), (name, module)


def test_taps_of_networks_are_those_of_the_code(page):
    networks = page("networks.md")
    made = runpy.run_path(str(networks.path.with_suffix(".py")))["taps_of_each_network"]()
    assert networks.section("Taps of each network") == made, "write it again with docs/networks.py"


def test_the_example_of_a_trainer_is_the_one_that_is_tested(page):
    trainers = page("trainers.md")
    tested = trainers.path.parents[1] / "tests" / "extension" / "outside_trainer.py"
    assert trainers.blocks("python") == [tested.read_text()], "copy the file into the page again"


def test_names_of_taps_are_explained(page):
    networks = page("networks.md")
    explained, used = (
        {re.sub(r"\d+", "N", name) for row in networks.rows(heading) for name in spans(row[0])}
        for heading in ("Names", "Taps of each network")
    )
    assert used == explained


def test_taps_are_read_as_shown(page, capsys):
    names: dict[str, object] = {}
    for block in page("networks.md").blocks("python"):
        exec(compile(block, "networks.md", "exec"), names)
    assert capsys.readouterr().out.strip() in page("networks.md").text
    assert tuple(names["features"]["bottleneck"].shape[1:]) == (32, 16, 16)
