"""The command ``autoseg check``: reports all faults of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoseg.cli.display import case_progress, console
from autoseg.cli.options import DatasetFolder, Images, Labels, Unlabelled, Workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoseg.data.dataset import Dataset
    from autoseg.fingerprint.case import Examination, Finding


def check(
    dataset: DatasetFolder = None,
    images: Images = None,
    labels: Labels = None,
    unlabelled: Unlabelled = None,
    workers: Workers = None,
) -> int:
    """Report all faults of a dataset in one table. This changes no file."""
    from autoseg.api import open_dataset
    from autoseg.fingerprint.measuring import dataset_findings, examine_all
    from autoseg.preprocessing.extra.files import case_faults
    from autoseg.system.execution import local_executor

    found = open_dataset(dataset, images, labels, unlabelled)
    with case_progress() as progress:
        examinations = examine_all(
            found,
            executor=local_executor(workers),
            check=case_faults,
            progress=progress("checking", len(found.cases)),
        )
    findings = dataset_findings(found, examinations)
    _print_findings(found, findings)
    _print_counts(found, examinations)
    _print_missing(found)
    return 2 if any(finding.severity == "error" for finding in findings) else 0


def _print_counts(dataset: Dataset, examinations: Sequence[Examination]) -> None:
    """Print the number of cases of each kind, with each tag and of each site."""
    from autoseg.data.counts import kinds_in_words, sites_in_words, tags_in_words

    sparse = sum(examination.measure.sparse for examination in examinations if examination.measure)
    lines = {
        "cases": kinds_in_words(dataset, sparse=sparse),
        "tags": tags_in_words(dataset),
        "sites": sites_in_words(dataset),
    }
    for title, words in lines.items():
        if words:
            console.print(f"{title}: {words}", soft_wrap=True, markup=False)


def _print_missing(dataset: Dataset) -> None:
    from autoseg.data.optional_channels import missing_counts

    for name, count in missing_counts(dataset, [case.missing_channels for case in dataset.cases]).items():
        filled = f"filled with {dataset.optional_channels[name]:g} after normalization"
        console.print(
            f"channel {name}: missing in {count} of {len(dataset.cases)} cases, {filled}", soft_wrap=True, markup=False
        )


def _print_findings(dataset: Dataset, findings: list[Finding]) -> None:
    from rich.table import Table

    errors = sum(finding.severity == "error" for finding in findings)
    if findings:
        table = Table("", "case", "finding")
        for finding in findings:
            colour = "red" if finding.severity == "error" else "yellow"
            table.add_row(f"[{colour}]{finding.severity}[/]", finding.case, finding.message)
        console.print(table)
    classes = ", ".join(dataset.classes)
    console.print(
        f"{dataset.name}: {len(dataset.cases)} cases, channels {', '.join(dataset.channels)}, classes {classes}: "
        f"{errors} errors, {len(findings) - errors} warnings",
        soft_wrap=True,
        markup=False,
    )
