"""Reading the pages of the documentation: their blocks of code, code spans, tables and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Page:
    """A page of Markdown."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        return BLOCK.sub("", self.text)

    @property
    def spans(self) -> list[str]:
        """Code within sentences and tables."""
        return re.findall(r"`([^`\n]+)`", self.prose)

    @property
    def links(self) -> list[str]:
        return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", self.prose)

    @property
    def anchors(self) -> set[str]:
        """What GitHub makes of the headings."""
        headings = re.findall(r"^#+ (.*)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def blocks(self, *languages: str) -> list[str]:
        return [code for language, code in BLOCK.findall(self.text) if language in languages]

    def section(self, heading: str) -> str:
        """Text below a heading of the second level."""
        found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", self.text, re.MULTILINE | re.DOTALL)
        assert found, f"{self.name} has no section '{heading}'"
        return found[1]

    def rows(self, heading: str) -> list[list[str]]:
        """Cells of every table below a heading, the rows of column names left out."""
        lines = [line for line in self.section(heading).splitlines() if line.startswith("|")]
        begins = [number for number, line in enumerate(lines) if line.startswith("| ---")]
        kept = [line for number, line in enumerate(lines) if number not in begins and number + 1 not in begins]
        return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in kept]


PAGES = [Page(ROOT / "README.md"), *(Page(path) for path in sorted((ROOT / "docs").glob("*.md")))]


@pytest.fixture(scope="session")
def pages() -> list[Page]:
    return PAGES


@pytest.fixture(scope="session")
def page():
    """Return what finds a page by its name, such as ``names.md``."""
    by_name = {each.path.name: each for each in PAGES}
    return by_name.__getitem__
