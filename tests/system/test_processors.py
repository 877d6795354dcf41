from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from autoseg.system import processors as module
from autoseg.system.processors import prepare_openmp, processors, warn_of_many_threads

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads are bound on Linux alone")


def test_openmp_is_told_how_long_to_wait_awake():
    environment = {}
    prepare_openmp(environment)
    assert environment["GOMP_SPINCOUNT"] == module.SPINS


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_a_user_says_wins(name):
    environment = {name: "17"}
    prepare_openmp(environment)
    assert environment[name] == "17"
    assert len({"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(environment)) == 1


def test_openmp_is_told_of_a_quota(monkeypatch):
    monkeypatch.setattr(module, "_in_affinity", lambda: 8)
    monkeypatch.setattr(module, "cgroup_folders", lambda controller: ["folder"])
    monkeypatch.setattr(module, "_processors_of", lambda folder: 3)
    environment = {}
    prepare_openmp(environment)
    assert environment["OMP_NUM_THREADS"] == "3"
    prepare_openmp(chosen := {"OMP_NUM_THREADS": "5"})
    assert chosen["OMP_NUM_THREADS"] == "5"


def test_more_threads_than_processors_are_warned_of(monkeypatch, caplog):
    monkeypatch.setenv("OMP_NUM_THREADS", str(processors() + 1))
    with caplog.at_level(logging.WARNING):
        warn_of_many_threads()
    assert "more threads than processors" in caplog.text
    caplog.clear()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    warn_of_many_threads()
    assert not caplog.text


BOUND = """
import os, threading
import autoseg, torch
from autoseg.system.processors import own_cores
everywhere = os.sched_getaffinity(0)
assert os.environ["GOMP_SPINCOUNT"] == "10000"
torch.set_num_threads(len(everywhere))
with own_cores():
    inside = os.sched_getaffinity(0)
    with own_cores():
        pass
    assert os.sched_getaffinity(0) == inside
assert os.sched_getaffinity(0) == everywhere
threads = [os.sched_getaffinity(int(thread)) for thread in os.listdir("/proc/self/task")]
print(len(inside), sorted(len(cores) for cores in threads)[0], len(everywhere))
"""


def in_a_process(script, **environment):
    free = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=False, env=free | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


@needs_affinity
def test_threads_that_compute_keep_to_a_core_and_are_let_go_again():
    inside, least, everywhere = in_a_process(BOUND)
    # Where other threads work at the same time the team is not found, and nothing is bound.
    assert (inside, least) in {(1, 1), (everywhere, everywhere)}


@needs_affinity
def test_a_users_own_places_are_left_alone():
    inside, _, everywhere = in_a_process(BOUND, OMP_PLACES="threads")
    assert inside == everywhere
