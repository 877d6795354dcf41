"""Train a fold in a process that kills itself at a given moment; run by test_resumption.py."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

import autoseg
from autoseg.learning import checkpoint, loop
from autoseg.learning.monitor import MetricsFile
from autoseg.learning.trainer import trainers

STEPS = 4
OUTSIDE = Path(__file__).parents[1] / "extension" / "outside_trainer.py"
OPTIONS = {"iterations": STEPS, "workers": 0, "checkpoint_seconds": 0.0}


def register_outside_trainer() -> None:
    """Register the trainer of the other package, as its entry point would."""
    spec = importlib.util.spec_from_file_location("outside_trainer", OUTSIDE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["outside_trainer"] = module
    spec.loader.exec_module(module)
    trainers._implementations["teacher_and_critic"] = module.TeacherAndCritic


def die(*_, **__) -> None:
    """Die at once, without any chance to save."""
    os.kill(os.getpid(), signal.SIGKILL)


def between_steps():
    """Die after step 3, before its checkpoint."""
    return {"listener": lambda report: die() if report.step == 3 else None}


def while_writing():
    """Die between the tensors and the numbers of the second checkpoint."""
    write, done = checkpoint.write_json, []

    def second(*arguments):
        if done:
            die()
        done.append(write(*arguments))

    checkpoint.write_json = second
    return {}


def during_validation():
    """Die in the validation after the last step."""
    loop.Validated.score = die
    return {}


def before_the_model():
    """Die after the last line of metrics, before the model is written."""
    append = MetricsFile.append
    MetricsFile.append = lambda *arguments: (append(*arguments), die())
    return {}


MOMENTS = {moment.__name__: moment for moment in (between_steps, while_writing, during_validation, before_the_model)}


if __name__ == "__main__":
    workspace, configuration, moment = sys.argv[1:]
    register_outside_trainer()
    autoseg.train_fold(workspace, configuration, 0, **OPTIONS, **MOMENTS[moment]())
