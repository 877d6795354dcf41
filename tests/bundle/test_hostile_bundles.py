"""A bundle from anywhere is data: whatever is wrong with it is one line, and nothing is left behind."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autoseg.errors import AutosegError, BundleError
from autoseg.workspace.bundle import opened
from autoseg.workspace.bundle_archive import unpack
from autoseg.workspace.bundle_contents import BUNDLE_VERSION, most_bytes


@pytest.fixture(scope="module")
def members(exported_once):
    """The files of a good bundle by name."""
    with zipfile.ZipFile(exported_once) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def write(path, contents, *, method=zipfile.ZIP_DEFLATED):
    """Write a zip of pairs of names, or ZipInfo, and bytes."""
    with zipfile.ZipFile(path, "w", method) as bundle:
        for name, content in contents:
            bundle.writestr(name, content)
    return path


def vouched(members):
    """Return the files of a bundle with a manifest that vouches for every one of them."""
    files = {name: content for name, content in members.items() if name != "manifest.json"}
    entries = {n: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for n, c in files.items()}
    manifest = {"version": BUNDLE_VERSION, "autoseg": "0.1.0", "files": entries}
    return files | {"manifest.json": json.dumps(manifest).encode()}


def refused(path, match):
    """Check that a bundle is refused in one line that names it, and that nothing is left."""
    folder = path.parent
    before = sorted(folder.iterdir())
    with pytest.raises(BundleError, match=match) as fault:
        unpack(path, folder / "unpacked")
    assert "\n" not in str(fault.value) and str(path) in str(fault.value)
    assert sorted(folder.iterdir()) == before


def test_a_good_bundle_is_unpacked_as_it_was(exported_once, members, tmp_path):
    unpack(exported_once, tmp_path / "unpacked")
    assert list(tmp_path.iterdir()) == [tmp_path / "unpacked"]
    found = {p.relative_to(tmp_path / "unpacked").as_posix(): p for p in tmp_path.rglob("*") if p.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == members


def test_it_may_be_packed_anew(members, tmp_path):
    unpack(write(tmp_path / "again.zip", vouched(members).items()), tmp_path / "unpacked")
    assert (tmp_path / "unpacked/plan.json").exists()


NAMES = [
    "../evil.json", "/etc/evil.json", "models/../../evil.json", "C:/evil.json", "models\\2d\\evil", "plan.json/",
    "./plan.json", "plan.json\0.txt", "plаn.json", "plan.json ", "models/2d/supervised/fold_0/model.pkl",
    "models/2d/supervised/fold_0/../fold_0/model.safetensors", "models/../supervised/fold_0/model.safetensors",
    "models/2d/supervised/fold_-1/model.safetensors", "models/2d/supervised/fold_٣/model.safetensors",
    "cross_validation/größe.json", "cross_validation/a\n.json", "splits.json", "setup.py", "plan.json\n",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_no_bundle_has(members, tmp_path, name):
    path = write(tmp_path / "b.zip", [*members.items(), (name.replace("\0", "#"), b"{}")])
    if "\0" in name:
        path.write_bytes(path.read_bytes().replace(name.replace("\0", "#").encode(), name.encode()))
    refused(path, "expected nothing but plan|damaged")


@given(st.text(max_size=40) | st.from_regex(r"(models|cross_validation)/[./\\\w]{1,30}", fullmatch=True))
@example("models/2d/supervised/fold_all/model.safetensors")
def test_every_name_that_is_allowed_stays_within_its_folder(name):
    if most_bytes(name) is not None:
        assert name.isascii() and os.path.normpath(name) == name
        assert not name.startswith(("/", ".")) and "\\" not in name and ":" not in name


@pytest.mark.parametrize("name", ["plan.json", "PLAN.json", "Models/2d/supervised/fold_0/model.safetensors"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice(members, tmp_path, name):
    refused(write(tmp_path / "b.zip", [*members.items(), (name, b"{}")]), "expected (each name once|nothing but)")


def test_two_names_that_some_file_systems_take_for_one(members, tmp_path):
    odd = [(f"cross_validation/{name}.json", b"{}") for name in ("Fine", "fine")]
    refused(write(tmp_path / "b.zip", [*members.items(), *odd]), "found both 'cross_validation/Fine.json'")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFDIR, stat.S_IFCHR])
def test_links_and_devices(members, tmp_path, kind):
    link = zipfile.ZipInfo("cross_validation/2d_more.json")
    link.create_system, link.external_attr = 3, (kind | 0o777) << 16
    refused(write(tmp_path / "b.zip", [*members.items(), (link, b"/etc/passwd")]), "a link, folder or device")


def test_a_bomb_is_told_by_its_table_of_contents(members, tmp_path):
    bomb = bytes(20 * 2**20)
    refused(write(tmp_path / "b.zip", [*members.items(), ("cross_validation/2d_more.json", bomb)]), "packed in")


def test_a_file_larger_than_its_kind_is(members, tmp_path):
    path = write(tmp_path / "b.zip", [*members.items(), ("cross_validation/2d_more.json", b"{}")])
    raw = bytearray(path.read_bytes())
    # Both sizes in the table of contents; the packed one must explain the other, so that this check is reached.
    entry = raw.rindex(b"cross_validation/2d_more.json") - 46
    for offset in (20, 24):
        raw[entry + offset : entry + offset + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(raw)
    refused(path, "expected at most")


def test_a_size_that_is_a_lie_unpacks_no_more_than_it_says(members, tmp_path):
    path = write(
        tmp_path / "b.zip", vouched(members | {"cross_validation/2d_more.json": b"[" + b"1," * 10**5 + b"1]"}).items()
    )
    raw = bytearray(path.read_bytes())
    entry = raw.rindex(b"cross_validation/2d_more.json") - 46
    raw[entry + 24 : entry + 28] = (10).to_bytes(4, "little")
    path.write_bytes(raw)
    refused(path, "damaged|not as it was exported")


def test_too_many_files(members, tmp_path):
    many = [(f"cross_validation/c{number}.json", b"{}") for number in range(1001)]
    refused(write(tmp_path / "b.zip", [*members.items(), *many]), "expected at most 1000")


def test_a_table_of_contents_that_would_fill_the_memory(members, tmp_path):
    path = write(tmp_path / "b.zip", members.items())
    raw = bytearray(path.read_bytes())
    raw[-10:-6] = (2**30).to_bytes(4, "little")
    path.write_bytes(raw)
    refused(path, "table of contents")


def test_packing_methods_that_a_bundle_does_not_use(members, tmp_path):
    refused(write(tmp_path / "b.zip", members.items(), method=zipfile.ZIP_BZIP2), "another method")


def test_an_encrypted_file(members, tmp_path):
    path = write(tmp_path / "b.zip", members.items())
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    refused(path, "encrypted")


@pytest.mark.parametrize("name", ["plan.json", "MODEL_CARD.md", "models/2d/supervised/fold_0/model.safetensors"])
def test_content_that_the_manifest_does_not_vouch_for(members, tmp_path, name):
    changed = members | {name: members[name][:-1] + b"!"}
    refused(write(tmp_path / "b.zip", changed.items()), "checksum differs")


def test_a_file_that_the_manifest_does_not_list(members, tmp_path):
    extra = {"models/2d/supervised/fold_7/model.safetensors": b"weights"}
    refused(write(tmp_path / "b.zip", (members | extra).items()), "is not listed in manifest.json")


def test_a_file_that_only_the_manifest_lists(members, tmp_path):
    left = {name: content for name, content in members.items() if name != "MODEL_CARD.md"}
    refused(write(tmp_path / "b.zip", left.items()), "MODEL_CARD.md' is listed in manifest.json but missing")


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b"\xff\xfe", b'{"version": 1}', b"[" * 10**5, b'{"version": ' + b"9" * 5000 + b"}",
     b'{"version": 2, "autoseg": "9.9\\n", "files": {}}', b'{"version": 3, "autoseg": "1", "files": {"../x": {}}}',
     b'{"version": 3, "autoseg": "1", "files": {}, "run": "rm"}'],
)  # fmt: skip
def test_manifests_that_are_none(members, tmp_path, manifest):
    path = write(tmp_path / "b.zip", (members | {"manifest.json": manifest}).items())
    with pytest.raises(BundleError, match=r"b\.zip: manifest\.json") as fault:
        unpack(path, tmp_path / "unpacked")
    assert "\n" not in str(fault.value) and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["plan.json", "dataset.json", "ensemble.json"])
@pytest.mark.parametrize("content", [b"{}", b"[" * 10**5, b'{"version": 1e999}'])
def test_settings_that_are_none_are_told_of_the_bundle_not_of_a_temporary_folder(members, tmp_path, name, content):
    from autoseg import Predictor

    path = write(tmp_path / "b.zip", vouched(members | {name: content}).items())
    with pytest.raises(AutosegError) as fault:
        Predictor.load(path, device="cpu")
    assert str(fault.value).startswith(f"{path}/{name}: ") and "\n" not in str(fault.value)


def test_a_file_that_is_no_zip(tmp_path):
    (tmp_path / "b.zip").write_bytes(b"not a zip")
    refused(tmp_path / "b.zip", "no zip file")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_bundle_cut_off_or_damaged_anywhere_is_refused_or_whole(members, tmp_path, data):
    whole = write(tmp_path / "whole.zip", members.items()).read_bytes()
    raw = bytearray(whole[: data.draw(st.sampled_from([len(whole), 0]) | st.integers(0, len(whole)), "length")])
    tables = [len(raw) - back for back in range(1, min(len(raw), 900) + 1)]
    places = st.integers(0, len(raw) - 1) | st.sampled_from(tables) if raw else st.nothing()
    for place in data.draw(st.lists(places, max_size=4)) if raw else []:
        raw[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "b.zip"
    path.write_bytes(raw)
    try:
        with opened(path) as workspace:
            found = {p.relative_to(workspace.root).as_posix(): p for p in workspace.root.rglob("*") if p.is_file()}
            assert {name: file.read_bytes() for name, file in found.items()} == members
    except BundleError as error:
        assert "\n" not in str(error)


@pytest.fixture
def folder(exported_once, tmp_path):
    unpack(exported_once, tmp_path / "unpacked")
    return tmp_path / "unpacked"


def test_an_unpacked_bundle_is_checked_as_well(folder):
    with opened(folder) as workspace:
        assert workspace.root == folder
    (folder / "notes.txt").write_text("what lies beside is nobody's business")
    (folder / "predictions").mkdir()
    with opened(folder):
        pass
    (folder / "plan.json").write_text("{}")
    with pytest.raises(BundleError, match=r"plan\.json' is not as it was exported"), opened(folder):
        pass


@pytest.mark.parametrize("name", ["splits.json", "models/2d/supervised/fold_0/best.safetensors", "models/x"])
def test_an_unpacked_bundle_with_more_than_it_had(folder, name):
    (folder / name).write_text("{}")
    with pytest.raises(BundleError, match="expected nothing but"), opened(folder):
        pass


@pytest.mark.parametrize("name", ["models", "plan.json", "manifest.json"])
def test_an_unpacked_bundle_with_links(folder, name):
    (folder / name).rename(folder.parent / "elsewhere")
    (folder / name).symlink_to(folder.parent / "elsewhere")
    with pytest.raises(BundleError, match="found a link"), opened(folder):
        pass
