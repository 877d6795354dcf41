from __future__ import annotations

import errno
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.errors import ImageError, WorkspaceError
from autoseg.inference.pipeline import AHEAD, Stages, run_stages


class Line:
    """Cases that are their own bytes, and a note of how many of them were in flight at once."""

    def __init__(self, devices=1, read=lambda case: case, write=lambda case, computed: None):
        self.lock, self.now, self.most, self.together = threading.Lock(), {}, 0, 0
        self.written, self.failed, self.devices = [], {}, [0] * devices
        self.stages = Stages(
            need=lambda case: case[1],
            read=lambda case: self.begin(case) or read(case),
            compute=[lambda case, content, n=n: self.count(n, content) for n in range(devices)],
            write=write,
            finished=self.finish,
        )

    def begin(self, case):
        with self.lock:
            self.now[case] = case[1]
            if len(self.now) > 1:
                self.most = max(self.most, sum(self.now.values()))
            self.together = max(self.together, len(self.now))

    def count(self, device, content):
        self.devices[device] += 1
        return content

    def finish(self, case, error):
        with self.lock:
            self.now.pop(case, None)
        if error:
            self.failed[case] = str(error)
        else:
            self.written.append(case)

    def run(self, cases, budget=100):
        run_stages(cases, self.stages, budget=budget)


def numbered(needs):
    return list(enumerate(needs))


@given(needs=st.lists(st.integers(0, 150), max_size=12), devices=st.integers(1, 3))
@settings(max_examples=40)
def test_cases_in_flight_fit_unless_one_alone_does_not(needs, devices):
    line = Line(devices)
    line.run(numbered(needs))
    assert sorted(line.written) == numbered(needs)
    assert line.most <= 100
    assert line.together <= devices * (2 * AHEAD + 1)
    assert sum(line.devices) == len(needs)


def test_many_cases_are_not_read_ahead_of_time():
    gate, line = threading.Event(), None

    def write(case, computed):
        gate.wait(5)

    line = Line(write=write)
    thread = threading.Thread(target=line.run, args=(numbered([0] * 50),))
    thread.start()
    gate.wait(0.2)
    assert 1 < line.together <= 2 * AHEAD + 1
    gate.set()
    thread.join()
    assert len(line.written) == 50


def test_a_case_that_fails_makes_room_for_the_others():
    def read(case):
        if case[0] % 2:
            raise ImageError(f"{case[0]} cannot be read")
        return case

    line = Line(read=read)
    line.run(numbered([90] * 6))
    assert line.written == [(0, 90), (2, 90), (4, 90)]
    assert line.failed == {(n, 90): f"{n} cannot be read" for n in (1, 3, 5)}


def test_an_image_that_cannot_be_written_is_a_fault_of_its_own():
    def write(case, computed):
        if case[0] == 1:
            raise ImageError("no such label in this format")

    line = Line(write=write)
    line.run(numbered([90] * 3))
    assert [case[0] for case in line.written] == [0, 2]


@pytest.mark.parametrize("devices", [1, 3])
@pytest.mark.parametrize("error", [WorkspaceError("the disk is full"), OSError(errno.EIO, "broken"), KeyError("bug")])
def test_a_fault_of_the_disk_or_the_program_ends_the_run(error, devices):
    def write(case, computed):
        raise error

    line = Line(devices, write=write)
    with pytest.raises(type(error)) as found:
        line.run(numbered([10] * 200))
    assert found.value is error
    assert not line.written and sum(line.devices) < 200


def test_an_error_of_the_device_ends_the_run():
    line = Line(2, read=lambda case: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        line.run(numbered([10] * 50))


def test_devices_share_the_cases():
    both = threading.Barrier(2, timeout=5)
    line = Line(2)
    line.stages = Stages(
        line.stages.need,
        line.stages.read,
        [lambda case, content: both.wait(), lambda case, content: both.wait()],
        line.stages.write,
        line.finish,
    )
    line.run(numbered([1] * 10))
    assert len(line.written) == 10, "two cases are always computed at the same time"
