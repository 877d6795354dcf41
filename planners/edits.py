"""Changing a plan from the command line, field by field, and holding what results against memory and network."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from autoseg.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.fingerprint import Fingerprint
from autoseg.plan import Decision, Plan, parse_plan
from autoseg.records import to_plain


def edited(plan: Plan, assignments: Sequence[str], dataset: Dataset, fingerprint: Fingerprint | None = None) -> Plan:
    """Return ``plan`` with fields set by ``FIELD=VALUE`` texts, such as ``3d_fullres.batch_size=4``.

    A field begins with a configuration's name, or is one of the plan's own; values are JSON, or else taken as text.
    With the ``fingerprint``, weights of a loss that are to be by inverse frequency become numbers.
    Raises :class:`PlanError` where a field does not exist, a value does not fit it, or a changed configuration cannot
    be built or needs more memory than the plan was made for.
    """
    from autoseg.planners.check import check_configuration
    from autoseg.planners.class_weights import with_class_weights

    plain = to_plain(plan)
    decisions = [_assign(plain, assignment) for assignment in assignments]
    changed = parse_plan(plain, source="--set")
    if fingerprint is not None:
        changed = with_class_weights(changed, dataset, fingerprint)
    for name, configuration in changed.configurations.items():
        if configuration != plan.configurations[name]:
            check_configuration(name, configuration, dataset, plan.memory)
    return replace(changed, explanation=(*changed.explanation, *decisions))


def _assign(plain: dict[str, Any], assignment: str) -> Decision:
    """Set one field in place."""
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
    holder[int(path[-1]) if isinstance(holder, list) else path[-1]] = value
    about = path[1] if path[0] == "configurations" else "data"
    return Decision(about, f"{field} set to {json.dumps(value)} by hand, was {json.dumps(before)}")


def _step(holder: Any, key: str, path: Sequence[str], field: str, *, may_be_new: bool = False) -> Any:
    """Return what ``holder`` has under ``key``; a part that names code may be given new arguments."""
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
