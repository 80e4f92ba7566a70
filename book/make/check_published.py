"""Look at the published book as a reader does: ``python book/make/check_published.py [ADDRESS] [--wait MINUTES]``.

Every page of the table of contents is fetched and has its title; the front page was built from this checkout's revision, today or
yesterday, and says three gains of the results files.  The book's workflow ends with it, because a green deployment alone
does not say what readers get.  Needs PyYAML and nothing of `maa`.
"""

import argparse
import datetime
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


class Words(HTMLParser):
    """The text of a page, and of its first heading."""

    def __init__(self, page: str):
        super().__init__()
        self.words, self.heading, self._open = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag in ("script", "style", "h1"):
            self._open = tag

    def handle_endtag(self, tag):
        if tag == self._open:
            self._open = ""

    def handle_data(self, data):
        if self._open == "h1":
            self.heading.append(data)
        if self._open not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def pages() -> list[str]:
    """The pages of the table of contents, in its order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [toc["root"]] + [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]


def gains() -> dict[str, str]:
    """Three gains of the results files, as the front page prints them: of the last opening of the test half, and by cross-validation."""

    def read(file: str) -> dict:
        return json.loads((ROOT / "results" / file).read_text(encoding="utf-8"))

    opened = read("test/" + read("test/openings.json")["openings"][-1]["file"])["rows"]
    full = opened.get("prn_full") or opened["refined"]  # as the first opening calls it
    crossed = read("idrid-full/crossval.json")["rows"]
    found = {"prn_full over hgn_1x, test": full["gain"]}
    found |= {f"{row} over hgn_1x, cross-validated": crossed[row]["gains"]["hgn_1x"] for row in ("control", "prn_full")}
    return {name: f"{100 * gain['relative_gain']['value']:+.1f} %" for name, gain in found.items()}


def fetch(address: str) -> str:
    # A cache between here and the server would show the book of before.
    request = urllib.request.Request(address, headers={"Cache-Control": "no-cache", "User-Agent": "maa-book"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode("utf-8")


def troubles(address: str, revision: str, today: datetime.date) -> list[str]:
    """What is wrong with the book at `address`, one sentence each; nothing when all is well."""
    found, texts = [], {}
    for page in pages():
        try:
            texts[page] = Words(fetch(f"{address.rstrip('/')}/{page}.html"))
        except (OSError, urllib.error.URLError) as error:
            found.append(f"{page} cannot be fetched: {error}")
            continue
        if not "".join(texts[page].heading).strip() or len(texts[page].text.split()) < 100:
            found.append(f"{page} has no heading, or hardly a word")
    if pages()[0] not in texts:
        return found
    front = texts[pages()[0]].text
    built = re.search(r"Last built on (\d{4}-\d\d-\d\d)(?: from revision ([0-9a-f]+))?", front)
    if not built:
        return [*found, "the front page does not say when it was built"]
    age = (today - datetime.date.fromisoformat(built[1])).days
    if age not in (0, 1):
        found.append(f"the front page was built on {built[1]}, and today is {today}")
    if not built[2] or not revision.startswith(built[2]):
        found.append(f"the front page was built from revision {built[2]}, and this is {revision}")
    found += [f"the front page does not say {gain}, the gain of {what}" for what, gain in gains().items() if gain not in front]
    return found


def main() -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", nargs="?", default=config["html_baseurl"], help="where the book is published")
    parser.add_argument("--wait", type=float, default=0, metavar="MINUTES", help="how long to go on looking until all is well")
    arguments = parser.parse_args()
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    end = time.monotonic() + 60 * arguments.wait
    while True:
        found = troubles(arguments.address, revision, datetime.datetime.now(datetime.UTC).date())
        if not found or time.monotonic() >= end:
            break
        print(f"Not yet ({found[0]}); looking again in 20 seconds", flush=True)
        time.sleep(20)
    if found:
        sys.exit(f"{arguments.address} is not the book of {revision[:7]}:\n" + "\n".join(f"- {trouble}" for trouble in found))
    print(
        f"{arguments.address} has all {len(pages())} pages of revision {revision[:7]}, and the front page says {', '.join(gains().values())}"
    )


if __name__ == "__main__":
    main()
