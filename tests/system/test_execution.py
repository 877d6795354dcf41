from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autoseg.errors import DatasetError, WorkerError
from autoseg.system import memory
from autoseg.system.execution import FuturesExecutor, default_workers, local_executor, map_cases
from autoseg.system.memory import available_memory, format_bytes


@pytest.fixture(autouse=True)
def workers(monkeypatch):
    """The module of worker functions, importable here and in spawned processes."""
    folder = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", folder)
    import workers

    return workers


def mapped(function, count=6, workers=2, executor=None, **options):
    names = [f"case_{i}" for i in range(count)]
    return map_cases(function, list(range(count)), executor or local_executor(workers), names=names, **options)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_results_keep_the_order(workers, count):
    assert mapped(workers.double, workers=count) == [0, 2, 4, 6, 8, 10]


def test_an_executor_may_be_given(workers):
    with ThreadPoolExecutor(2) as executor:
        assert mapped(workers.double, executor=FuturesExecutor(executor)) == [0, 2, 4, 6, 8, 10]
        with pytest.raises(WorkerError, match="case case_3: KeyError"):
            mapped(workers.fail_at_three, executor=FuturesExecutor(executor))


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


@pytest.mark.parametrize("count", [0, 2])
def test_errors_of_several_lines_become_one(workers, count):
    with pytest.raises(WorkerError, match="case case_3: ValueError: first second; run again"):
        mapped(workers.ramble_at_three, workers=count)


def test_a_result_that_cannot_be_sent_names_its_case(workers, capfd):
    with pytest.raises(WorkerError, match=r"case case_3: .*pickle"):
        mapped(workers.give_a_function_at_three)
    assert capfd.readouterr().err == ""


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    """A machine whose cgroups are files that a test writes."""

    def made(membership, files):
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        (tmp_path / "membership").write_text(membership)
        monkeypatch.setattr(memory, "_CGROUP", tmp_path)
        monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "membership")

    return made


def test_memory_is_what_the_job_of_a_batch_system_has_left(cgroup):
    # Slurm limits the job's cgroup, above that of the step; cached files are not in the way.
    cgroup(
        "0::/slurm/job_1/step_0",
        {
            "slurm/job_1/memory.max": "1000000",
            "slurm/job_1/memory.current": "900000",
            "slurm/job_1/memory.stat": "anon 1\ninactive_file 300000\n",
            "slurm/job_1/step_0/memory.max": "max",
            "slurm/job_1/step_0/memory.current": "900000",
        },
    )
    assert available_memory() == 400_000


def test_memory_is_what_a_cgroup_of_version_1_has_left(cgroup):
    cgroup(
        "4:memory:/job\n0::/",
        {"memory/job/memory.limit_in_bytes": "5000", "memory/job/memory.usage_in_bytes": "2000"},
    )
    assert available_memory() == 3000


def test_memory_of_a_container_is_read_though_the_host_has_another_path(cgroup):
    cgroup("0::/not/seen/from/here", {"memory.max": "5000", "memory.current": "6000"})
    assert available_memory() == 0


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/job", {"job/cpu.max": "100000 100000"}),
        ("3:cpu,cpuacct:/job", {"cpu/job/cpu.cfs_quota_us": "50000", "cpu/job/cpu.cfs_period_us": "100000"}),
    ],
)
def test_a_quota_of_processors_is_kept_to(cgroup, membership, files):
    cgroup(membership, files)
    assert default_workers() == 1


def test_there_is_at_least_one_worker_and_some_memory():
    assert default_workers() >= 1
    assert available_memory() > 0


@pytest.mark.parametrize(("count", "text"), [(512, "512 bytes"), (3 * 2**20, "3 MB"), (5.5 * 2**30, "5.5 GB")])
def test_amounts_are_readable(count, text):
    assert format_bytes(count) == text
