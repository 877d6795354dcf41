"""Short time budgets: autoseg against a plain U-Net on several sets, one training after the other, and a table.

    python benchmarks/short_sets.py DATA SETS
    python benchmarks/short_budgets.py SETS RESULTS [--sets vessels petct] [--budgets 1m 3m] [--seeds 0 1 2] [--fold 1]
    python benchmarks/short_budgets.py SETS RESULTS --variant small --set batch_size=2 --only ours
    python benchmarks/short_budgets.py SETS RESULTS --as-fast-as avx2
    python benchmarks/short_budgets.py SETS RESULTS --table

A row that is in ``RESULTS/rows.jsonl`` is not run again; a variant has plans of its own. Planning and preprocessing do
not count in the time. The machine should do nothing else, or ``taskset`` should keep a core for this.

``--as-fast-as avx2`` explores quickly on a processor with bfloat16. It plans, and times a step and a validation, with
no more than AVX2, counts the steps that would fit into the budget there, and makes them here in bfloat16. What autoseg
decides by the clock while it trains is left out, so that figures to publish come from runs without it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from machine import machine_line
from short_runs import Row, RunError, Task, run_task
from slower_machine import MACHINES

METHODS = ("plain", "ours")
ROWS = "rows.jsonl"


def tasks(options: argparse.Namespace) -> Iterator[Task]:
    """Yield what is to be trained, seed after seed, so that a table soon has something of everything."""
    names = options.sets or sorted(path.parent.name for path in options.folder.glob("*/dataset.json"))
    for seed in options.seeds:
        for budget in options.budgets:
            for name in names:
                for method in [options.only] if options.only else METHODS:
                    variant, edits = (options.variant, tuple(options.set)) if method == "ours" else ("", ())
                    yield Task(
                        options.folder,
                        options.results,
                        name,
                        budget,
                        seed,
                        options.fold,
                        method,
                        variant,
                        edits,
                        options.as_fast_as,
                    )


def read_rows(results: Path) -> list[Row]:
    """Read what was trained before; a line that a crash cut off is left out."""
    file = results / ROWS
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [Row(**json.loads(line)) for line in lines if line.endswith("}\n")]


def append_row(results: Path, row: Row) -> None:
    """Add a row in one write, which other processes cannot come between."""
    with (results / ROWS).open("ab", buffering=0) as file:
        file.write((json.dumps(asdict(row)) + "\n").encode())


def train_missing(options: argparse.Namespace) -> None:
    """Train all that has no row yet; a failure is shown, and the next one follows."""
    options.results.mkdir(parents=True, exist_ok=True)
    for task in tasks(options):
        if task.key in {row.key for row in read_rows(options.results)}:
            continue
        try:
            row = run_task(task)
        except RunError as failure:
            print(failure, file=sys.stderr, flush=True)
            continue
        append_row(options.results, row)
        print(_line(row), file=sys.stderr, flush=True)


def _line(row: Row) -> str:
    name = " ".join(part for part in (row.method, row.variant, row.machine) if part)
    took = f"{row.seconds:.0f} s" + (f", {row.wall:.0f} s here" if row.machine else "")
    return f"{row.name} {row.budget} seed {row.seed} {name}: {row.dice:.4f}, {row.steps} steps, {took}"


def print_table(rows: Sequence[Row]) -> None:
    """Print a line for each set, budget and variant, beside the plain U-Net of the same set and budget."""
    print("| set | budget | variant | plain | ours | difference | plain: steps, s | ours: steps, s | plan of ours |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    places = dict.fromkeys((row.name, row.budget, row.machine) for row in rows)
    for name, budget, machine in sorted(places, key=str):
        same = [row for row in rows if (row.name, row.budget, row.machine) == (name, budget, machine)]
        plain = [row for row in same if row.method == "plain"]
        ours = [row for row in same if row.method == "ours"]
        for variant in sorted({row.variant for row in ours}) or [""]:
            print(_table_line(plain, [row for row in ours if row.variant == variant]))


def _table_line(plain: Sequence[Row], ours: Sequence[Row]) -> str:
    any_row = [*ours, *plain][0]
    variant = ", ".join(part for part in (any_row.variant, any_row.machine and f"as {any_row.machine}") if part)
    difference = f"{_median(ours) - _median(plain):+.4f}" if plain and ours else ""
    cells = [any_row.name, any_row.budget, variant, _dice(plain), _dice(ours), difference]
    return f"| {' | '.join([*cells, _cost(plain), _cost(ours), _plan(ours)])} |"


def _median(rows: Sequence[Row]) -> float:
    return statistics.median(row.dice for row in rows)


def _dice(rows: Sequence[Row]) -> str:
    """Write the median over the seeds, and the range where there are several."""
    if not rows:
        return ""
    found = [row.dice for row in rows]
    extent = f" ({min(found):.4f} to {max(found):.4f}, {len(found)} seeds)" if len(found) > 1 else ""
    return f"{_median(rows):.4f}{extent}"


def _cost(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    steps, seconds = (statistics.median(getattr(row, key) for row in rows) for key in ("steps", "seconds"))
    return f"{steps:.0f}, {seconds:.0f}"


def _plan(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    plan = rows[-1].plan
    spacing = "×".join("own" if s is None else f"{s:.3g}" for s in plan["spacing"])
    patch = "×".join(map(str, plan["patch_size"]))
    return f"{spacing} mm, {plan['batch_size']} of {patch}, {plan['features']}, {plan['precision']}"


def main() -> None:
    """Read the command line, train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="sets that short_sets.py made")
    parser.add_argument("results", type=Path)
    parser.add_argument("--sets", nargs="+", metavar="SET", help="by default all")
    parser.add_argument("--budgets", nargs="+", default=["1m", "3m"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("--only", choices=METHODS)
    parser.add_argument("--variant", default="", help="name of a trial, which gets plans of its own")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="field of the configuration")
    parser.add_argument("--as-fast-as", choices=MACHINES, help="emulate a slower machine")
    parser.add_argument("--table", action="store_true", help="train nothing, print the table")
    options = parser.parse_args()
    if options.set and not options.variant:
        parser.error("--set needs a --variant, the name of the trial")
    print(machine_line(), flush=True)
    if not options.table:
        train_missing(options)
    print_table([row for row in read_rows(options.results) if row.fold == options.fold])


if __name__ == "__main__":
    main()
