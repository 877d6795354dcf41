"""Functions for worker processes, which can only import what is in a module of their own."""

from __future__ import annotations

import os
import signal
import time

from autoseg.errors import DatasetError


def double(item):
    return 2 * item


def die_at_three(item):
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return item


def leave_at_three(item):
    if item == 3:
        os._exit(7)
    return item


def fail_at_three(item):
    if item == 3:
        raise KeyError("three")
    return item


def ramble_at_three(item):
    if item == 3:
        raise ValueError("first\nsecond")
    return item


def give_a_function_at_three(item):
    return (lambda: item) if item == 3 else item


def complain_at_three(item):
    if item == 3:
        raise DatasetError("case three: mend it")
    return item


def pid(item):
    time.sleep(0.05)
    return os.getpid()
