from __future__ import annotations

import errno
import json
import resource

import pytest
import torch

from autoseg.errors import WorkspaceError
from autoseg.files.storage import atomic_path, format_json, read_json, write_json, write_text
from autoseg.files.weights import save_tensors


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert list(path.parent.iterdir()) == []


def test_the_old_file_stays_until_the_new_is_whole(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_the_ending_is_kept(tmp_path):
    with atomic_path(tmp_path / "image.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.touch()


def test_a_full_disk_is_one_line(tmp_path):
    message = r"file.txt: cannot be written .*the disk is full; free some space"
    with pytest.raises(WorkspaceError, match=message), atomic_path(tmp_path / "file.txt") as temporary:
        temporary.write_text("some")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_json_is_readable_and_strict(tmp_path):
    value = {"shape": [1, 2, 3], "long": {f"key_{i}": [i] * 5 for i in range(20)}}
    text = format_json(value)
    assert json.loads(text) == value
    assert '"shape": [1, 2, 3]' in text
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "nan.json", float("nan"))
    assert not (tmp_path / "nan.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"a": 1,}', "line 1, column"), (b"\xff\xfe\x00", "not a text file"), (None, "no such file")],
)
def test_unreadable_json_is_named(tmp_path, content, message):
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WorkspaceError, match=message):
        read_json(path)


def test_weights_that_cannot_be_written_are_one_line(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(WorkspaceError, match=r"model.safetensors: cannot be written \(File too large\)"):
            save_tensors(tmp_path / "model.safetensors", {"weight": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
