from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autoseg.errors import DatasetError, WorkerError
from autoseg.execution import default_workers, map_cases
from autoseg.memory import available_memory, format_bytes


@pytest.fixture(autouse=True)
def workers(monkeypatch):
    """The module of worker functions, importable here and in spawned processes."""
    folder = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", folder)
    import workers

    return workers


def mapped(function, count=6, workers=2, **options):
    names = [f"case_{i}" for i in range(count)]
    return map_cases(function, list(range(count)), names=names, workers=workers, **options)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_results_keep_the_order(workers, count):
    assert mapped(workers.double, workers=count) == [0, 2, 4, 6, 8, 10]


def test_an_executor_may_be_given(workers):
    with ThreadPoolExecutor(2) as executor:
        assert mapped(workers.double, executor=executor) == [0, 2, 4, 6, 8, 10]
        with pytest.raises(WorkerError, match="case case_3: KeyError"):
            mapped(workers.fail_at_three, executor=executor)


def test_progress_names_each_case_once(workers):
    seen = []
    mapped(workers.double, progress=seen.append)
    assert sorted(seen) == [f"case_{i}" for i in range(6)]


def test_a_killed_worker_is_told_of_at_once(workers):
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"case case_3: .*SIGKILL.*memory ran out: the case needs about 5.0 GB"):
        mapped(workers.die_at_three, memory_needed=lambda item: 5 * 2**30)
    assert time.monotonic() - start < 10
    assert multiprocessing.active_children() == []


def test_a_worker_that_leaves_is_told_of(workers):
    with pytest.raises(WorkerError, match=r"case case_3: .*exit code 7"):
        mapped(workers.leave_at_three)


@pytest.mark.parametrize("count", [0, 2])
def test_faults_of_the_user_pass_through(workers, count):
    with pytest.raises(DatasetError, match=r"^case three: mend it$"):
        mapped(workers.complain_at_three, workers=count)


@pytest.mark.parametrize("count", [0, 2])
def test_other_faults_name_the_case(workers, count):
    with pytest.raises(WorkerError, match="case case_3: KeyError: 'three'") as caught:
        mapped(workers.fail_at_three, workers=count)
    assert caught.value.__cause__ is not None


def test_memory_bounds_how_many_run(workers):
    # Each case needs all the memory there is, so that a single worker does everything.
    assert len(set(mapped(workers.pid, memory_needed=lambda item: 2**60))) == 1


def test_interrupts_leave_no_process(workers):
    def interrupt(name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mapped(workers.double, progress=interrupt)
    assert multiprocessing.active_children() == []


def test_there_is_at_least_one_worker_and_some_memory():
    assert default_workers() >= 1
    assert available_memory() > 0


@pytest.mark.parametrize(("count", "text"), [(512, "512 bytes"), (3 * 2**20, "3 MB"), (5.5 * 2**30, "5.5 GB")])
def test_amounts_are_readable(count, text):
    assert format_bytes(count) == text
