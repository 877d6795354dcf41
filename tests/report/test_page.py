"""The report of a workspace: whole whatever there is, one file, and drawn by a real browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import pytest
from PIL import Image

from autoseg.data.dataset import write_dataset
from autoseg.errors import WorkspaceError
from autoseg.report.page import report_page, write_report
from autoseg.workspace.paths import Workspace

VOID = {"meta", "link", "br", "img", "hr", "input", "wbr"}
CHROMIUM = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None)
LOOK = """<pre id="seen"></pre><script>
addEventListener("load", () => {
  const size = (element) => { const box = element.getBoundingClientRect(); return [box.width, box.height]; };
  const page = document.documentElement;
  document.querySelectorAll("details").forEach((element) => { element.open = true; });
  document.getElementById("seen").textContent = JSON.stringify({
    pictures: [...document.images].map((image) => [image.complete, image.naturalWidth, ...size(image)]),
    plots: [...document.querySelectorAll("svg")].map(size),
    requests: performance.getEntriesByType("resource").map((entry) => entry.name).filter((n) => !n.startsWith("data:")),
    wider: page.scrollWidth - page.clientWidth,
  });
});
</script>"""


class Outline(HTMLParser):
    """Notes headings, links and whether every element is closed in its turn."""

    def __init__(self):
        super().__init__()
        self.open, self.headings, self.addresses, self.alternatives = [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        found = dict(attrs)
        self.addresses += [found[name] for name in ("src", "href", "xlink:href") if found.get(name)]
        if tag == "img":
            self.alternatives.append(found.get("alt"))

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data.strip())


def outline(page):
    parsed = Outline()
    parsed.feed(page)
    parsed.close()
    assert parsed.open == []
    return parsed


def test_without_anything_trained_there_is_data_and_plan(workspace):
    found = outline(report_page(Workspace(workspace)))
    assert found.headings == ["phantoms", "Data", "Plan", "Results"]
    assert found.addresses == ["#data", "#plan"]


def test_what_is_trained_is_drawn_and_listed(trained):
    page = report_page(Workspace(trained))
    found = outline(page)
    assert found.headings == ["phantoms", "Data", "Plan", "2d", "3d_fullres"]
    pictures = [address for address in found.addresses if address.startswith("data:image/png;base64,")]
    assert len(pictures) == 4, "two validation cases of each configuration"
    for address in pictures:
        with Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
            assert picture.width > 300
    assert all(found.alternatives)
    assert all(address.startswith(("data:", "#")) for address in found.addresses), "it needs no other file"
    for words in ("phantom_003", "target spacing", "Dice"):
        assert words in page


def test_the_same_workspace_gives_the_same_bytes(trained, tmp_path):
    first = write_report(trained, tmp_path / "a.html").read_bytes()
    assert write_report(Workspace(trained), tmp_path / "b.html").read_bytes() == first
    assert not (trained / "report.html").exists()
    assert write_report(trained) == trained / "report.html"


def test_names_are_words_and_never_markup(workspace):
    place = Workspace(workspace)
    hostile = "<script>alert(1)</script>"
    dataset = place.dataset()
    write_dataset(place.dataset_file, replace(dataset, labels={"background": 0, hostile: 1, "core": 2}))
    page = report_page(place)
    assert hostile not in page and "<script" not in page


def test_a_workspace_without_a_plan_is_refused(workspace):
    (workspace / "plan.json").unlink()
    with pytest.raises(WorkspaceError, match=r"plan\.json"):
        write_report(workspace)
    assert not (workspace / "report.html").exists()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium; apt-get install chromium")
@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_draws_every_picture_and_nothing_is_too_wide(trained, tmp_path, width):
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", report_page(Workspace(trained)))
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", f"{LOOK}</body>"), encoding="utf-8")
    size, profile = f"--window-size={width},2000", f"--user-data-dir={tmp_path / 'profile'}"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", size, profile, "--dump-dom"]
    drawn = subprocess.run([CHROMIUM, *options, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    seen = json.loads(re.search(r'<pre id="seen">(.*?)</pre>', drawn.stdout, re.DOTALL)[1])
    assert len(seen["pictures"]) == 4
    assert all(complete and natural > 300 and min(box) > 50 for complete, natural, *box in seen["pictures"])
    assert seen["plots"] and all(min(box) > 50 for box in seen["plots"])
    assert seen["requests"] == [] and seen["wider"] <= 0
