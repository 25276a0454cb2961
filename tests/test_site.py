"""The site builds without warnings, and every link inside it leads somewhere."""

import html.parser
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


class Page(html.parser.HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.add(attributes.get("id"))
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]


@pytest.mark.slow
def test_the_site_builds_and_has_no_dead_link(tmp_path):
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", tmp_path / "trees"]
    site = tmp_path / "site"
    done = subprocess.run([*command, ROOT / "docs", site], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) > 25 and (site / "searchindex.js").exists()
    dead = []
    for path, page in pages.items():
        for link in page.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme == "":
                target = (path.parent / urllib.parse.unquote(url.path)).resolve() if url.path else path
                anchor = urllib.parse.unquote(url.fragment)
                if not target.exists() or (target in pages and anchor and anchor not in pages[target].anchors):
                    dead.append(f"{path.relative_to(site)}: {link}")
    assert not dead, dead
    names = re.findall(r"^\.\. auto\w+:: (\S+)$", (ROOT / "docs" / "api.md").read_text(), re.M)
    assert len(names) > 50 and set(names) <= pages[site / "api.html"].anchors
    assert ":param" not in (site / "api.html").read_text()
    plain = (site / "llms.txt").read_text()
    assert plain.startswith("# keras_mma") and "# Labels and losses" in plain and "# SaliencyMix" in plain
