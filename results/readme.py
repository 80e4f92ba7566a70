"""Write the README's table and picture anew from the results: ``python results/readme.py``."""

import json
import re
from pathlib import Path

from maa import figures
from maa.reproduce import PAPER

ROOT = Path(__file__).resolve().parent.parent
MARKS = ("<!-- results: written by results/readme.py -->", "<!-- end of results -->")


def table(results: dict) -> str:
    """The rows of a results file as a Markdown table, the paper's numbers beside them."""
    lines = [
        "| | AUC PR (95 % interval over images) | F1 | gain over HGN 1x | the paper's AUC PR (test) |",
        "|---|---|---|---|---|",
    ]
    for row, values in results["rows"].items():
        ap = values["average_precision"]
        gain = f"{values['gain']['relative_gain']['value']:+.1%}" if "gain" in values else ""
        paper = f"{PAPER[row]['average_precision']:.4f}" if row in PAPER else "not read"
        lines.append(
            f"| {values['name']} | {ap['value']:.4f} ({ap['low']:.2f} to {ap['high']:.2f}) "
            f"| {values['f1']:.4f} | {gain} | {paper} |"
        )
    return "\n".join(lines)


def picture(results: dict):
    """Precision-recall curves of the main rows."""
    curves = {
        values["name"]: (values["curve"]["recall"], values["curve"]["precision"], values["average_precision"]["value"])
        for row, values in results["rows"].items()
        if row in ("hgn_1x", "hgn_half", "fused", "prn_full")
    }
    return figures.precision_recall(curves)


def section(results: dict) -> str:
    """What stands between the marks of the README."""
    images, seed = len(results["photographs"]), results["seed"]
    return "\n".join(
        [
            MARKS[0],
            table(results),
            "",
            f"{images} validation photographs of IDRiD, exact average precision of the pooled pixels inside the field of "
            f"view, seed {seed}, profile {results['profile']['name']}. Every row comes from one command:",
            "`maa reproduce --data IDRID --profile quick --out results/idrid-quick`.",
            MARKS[1],
        ]
    )


if __name__ == "__main__":
    results = json.loads((ROOT / "results/idrid-quick/results.json").read_text())
    figures.use_style()
    picture(results).savefig(ROOT / "book/_static/result.png", dpi=120, bbox_inches="tight")
    readme = ROOT / "README.md"
    pattern = re.escape(MARKS[0]) + ".*" + re.escape(MARKS[1])
    readme.write_text(re.sub(pattern, lambda _: section(results), readme.read_text(), flags=re.DOTALL))
