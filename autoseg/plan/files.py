"""Read and write plan.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoseg.errors import PlanError
from autoseg.files.records import from_plain, to_plain
from autoseg.files.storage import read_json, write_json
from autoseg.plan.checks import check_plan_values
from autoseg.plan.schema import Plan

PLAN_VERSION = 3
"""Version of plan.json; it increases with every incompatible change of the workspace."""


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan as JSON."""
    write_json(path, to_plain(plan))


def read_plan(path: Path) -> Plan:
    """Read and validate a plan; raise :class:`PlanError` that names the first invalid field."""
    return parse_plan(read_json(path), source=str(path))


def parse_plan(plain: Any, *, source: str) -> Plan:
    """Validate plain values as a plan; raise :class:`PlanError`, whose message starts with ``source``."""
    check_version(plain, source)
    plan = from_plain(Plan, plain, source=source, error=PlanError)
    check_plan_values(plan, source)
    return plan


def check_version(plain: Any, source: str) -> None:
    """Raise :class:`PlanError` if an earlier or newer version of autoseg made the plan."""
    version = plain.get("version") if isinstance(plain, dict) else None
    if not isinstance(version, int) or version == PLAN_VERSION:
        return
    found = f"{source}: field 'version', found {version}, expected {PLAN_VERSION}"
    if version > PLAN_VERSION:
        raise PlanError(f"{found}: a newer autoseg made this plan; update autoseg or plan again")
    raise PlanError(
        f"{found}: an earlier autoseg made this workspace; run 'autoseg plan-and-preprocess DATASET' with a new "
        "--workspace"
    )
