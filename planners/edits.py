"""Edit fields of a plan from the command line (``--set``), and check the result for memory and network."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.files.records import to_plain
from autoseg.fingerprint.record import Fingerprint
from autoseg.plan.files import parse_plan
from autoseg.plan.schema import Decision, Plan


def edited(plan: Plan, assignments: Sequence[str], dataset: Dataset, fingerprint: Fingerprint | None = None) -> Plan:
    """Return ``plan`` with fields set by ``FIELD=VALUE`` texts, such as ``3d_fullres.batch_size=4``.

    A field starts with the name of a configuration, or is a field of the plan itself. A value is JSON; anything else is
    text. With a ``fingerprint``, loss weights by inverse frequency become numbers.
    Raises :class:`PlanError` if a field does not exist, if a value is invalid, or if a changed configuration cannot be
    built or needs more memory than the plan allows.
    """
    from autoseg.learning.plan_check import check_configuration
    from autoseg.planners.class_weights import with_class_weights

    plain = to_plain(plan)
    decisions = [decision for assignment in assignments if (decision := _assign(plain, assignment))]
    changed = parse_plan(plain, source="--set")
    if fingerprint is not None:
        changed = with_class_weights(changed, dataset, fingerprint)
    for name, configuration in changed.configurations.items():
        if configuration != plan.configurations[name]:
            check_configuration(name, configuration, dataset, plan.memory)
    return replace(changed, explanation=(*changed.explanation, *decisions))


def _assign(plain: dict[str, Any], assignment: str) -> Decision | None:
    """Set one field in place; return its entry for the explanation, or None if the value does not change."""
    field, equals, text = assignment.partition("=")
    if not equals:
        raise PlanError(f"--set '{assignment}': expected FIELD=VALUE, such as 3d_fullres.batch_size=4")
    path = field.split(".")
    if path[0] in plain["configurations"]:
        path = ["configurations", *path]
    holder: Any = plain
    for depth, key in enumerate(path[:-1]):
        holder = _step(holder, key, path[: depth + 1], field)
    before = _step(holder, path[-1], path, field, may_be_new="name" in holder)
    value = _value(text)
    if value == before:
        return None
    holder[int(path[-1]) if isinstance(holder, list) else path[-1]] = value
    about = path[1] if path[0] == "configurations" else "data"
    return Decision(about, f"{field} set to {json.dumps(value)} by hand, was {json.dumps(before)}")


def _step(holder: Any, key: str, path: Sequence[str], field: str, *, may_be_new: bool = False) -> Any:
    """Return the value of ``key`` in ``holder``; ``may_be_new`` permits a new argument of a component."""
    if isinstance(holder, list) and key.isdecimal() and int(key) < len(holder):
        return holder[int(key)]
    if isinstance(holder, dict) and (key in holder or may_be_new):
        return holder.get(key)
    known = [str(i) for i in range(len(holder))] if isinstance(holder, list) else list(holder or ())
    if path[0] == key and isinstance(holder, dict):
        known = [*holder["configurations"], *known]
    nearest = difflib.get_close_matches(key, known, n=3, cutoff=0.4)
    ordered = [*nearest, *(name for name in known if name not in nearest)]
    raise PlanError(f"--set {field}: found '{key}', expected one of: {', '.join(ordered)}")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
