"""Write the README's mark, tables and picture and the citation's abstract anew from the results: ``python book/make/readme.py``."""

import json
import re
from pathlib import Path

from maa import figures
from maa.inference import FIRST_STAGE, FULL_SYSTEM, ROWS
from maa.replication import verdict
from maa.replication.scores import PAPER

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "results/idrid-full/results.json"
MARKS = ("<!-- results: written by book/make/readme.py -->", "<!-- end of results -->")


def best_single(results: dict) -> str:
    """The row of the better of the two single scales."""
    rows = results["rows"]
    return max(("hgn_1x", "hgn_half"), key=lambda row: rows[row]["average_precision"]["value"])


def table(results: dict) -> str:
    """The rows of a results file as a Markdown table, the paper's numbers beside them."""
    lines = [
        "| | AUC PR, mean (95 % interval) | every seed | spread | F1 | the paper's AUC PR (test) |",
        "|---|---|---|---|---|---|",
    ]
    for row, values in results["rows"].items():
        ap = values["average_precision"]
        paper = f"{PAPER[row]['average_precision']:.4f}" if row in PAPER else "no such row" if row == "control" else "not read"
        lines.append(
            f"| {values['name']} | {ap['value']:.4f} ({ap['low']:.2f} to {ap['high']:.2f}) "
            f"| {', '.join(f'{seed:.4f}' for seed in values['seeds'])} | {values['spread']:.4f} | {values['f1']:.4f} | {paper} |"
        )
    return "\n".join(lines)


def gains(results: dict) -> str:
    """What each row gains over which other, as a Markdown table."""
    rows, single = results["rows"], best_single(results)
    others = ("hgn_1x", single, "fused", "control")
    heads = ("HGN 1x", f"the best single scale, {rows[single]['name']}", "the fusion", "the control")
    lines = ["| gain over | " + " | ".join(heads) + " |", "|---" * 5 + "|"]
    for row, values in rows.items():
        if row != "hgn_1x":
            shown = order_known(rows, row, others)
            lines.append(
                f"| {values['name']} | "
                + " | ".join(verdict.in_words(verdict.gain(results, row, o)) if o in shown else "" for o in others)
                + " |"
            )
    return "\n".join(lines)


def order_known(rows: dict, row: str, others) -> list[str]:
    """Of the others, those that stand before a row in the table: a gain is over what came before."""
    order = list(rows)
    return [other for other in others if order.index(other) < order.index(row)]


def test_table(results: dict) -> str:
    """The test half beside the paper, row by row, as a Markdown table."""
    show = lambda value: "" if value is None else f"{value:.4f}"
    lines = ["| | AUC PR (95 % interval) | the paper's | F1 | the paper's | gain over HGN 1x |", "|---|---|---|---|---|---|"]
    for row in verdict.beside_the_paper(results):
        interval = f"{row['AUC PR']:.4f} ({row['low']:.3f} to {row['high']:.3f})"
        inferred = " (inferred)" if row["name"] == ROWS[FULL_SYSTEM] else ""
        lines.append(
            f"| {row['name']} | {interval} | {show(row[PAPERS]) + inferred} | {row['F1']:.4f} | {show(row[PAPERS_F1])} | {row['gain']} |"
        )
    return "\n".join(lines)


PAPERS, PAPERS_F1 = "paper's AUC PR", "paper's F1"


def picture(results: dict):
    """Precision-recall curves of the main rows."""
    return figures.precision_recall(verdict.curves(results, {row: ROWS[row] for row in (*FIRST_STAGE, FULL_SYSTEM)}))


def further(test: dict | None, file: Path = SOURCE.with_name("beyond.json")) -> str:
    """What the track beyond the paper reaches, and what more training alone does, in words."""
    rows = json.loads(file.read_text())["rows"]
    last = rows["all_prn_unlabelled"]["average_precision"]
    opened = test["rows"].get("all_prn_unlabelled") if test else None
    tested = ""
    if opened:
        ap = opened["average_precision"]
        tested = f"  On the test half it has {ap['value']:.4f} ({ap['low']:.3f} to {ap['high']:.3f}); the challenge's winner reported 0.5017."
    long = [rows[row]["average_precision"]["value"] for row in ("hgn_1x_long", "hgn_half_long")]
    return (
        f"At equal compute, trained on as many patches as the whole system, HGN 1x has {long[0]:.4f} and HGN 0.5x {long[1]:.4f} (one seed).  "
        f"Beyond the paper, with dense labels, a U-Net has {rows['unet']['average_precision']['value']:.4f}; two of them, the HGNs and a second stage "
        f"that saw the unlabelled ground of diseased photographs {last['value']:.4f} ({last['low']:.2f} to {last['high']:.2f}).{tested}"
    )


def ground(file: Path = SOURCE.with_name("decisive.json")) -> str:
    """What the healthy patches' source is worth, in words."""
    questions = json.loads(file.read_text())["questions"]
    fused = questions["source of the HGNs' healthy patches, fused"]
    before, after = (fused[name]["average_precision"]["value"] for name in ("healthy patients", "anywhere unlabelled"))
    gap = questions["source of the healthy patches"]["anywhere unlabelled"]["difference"]
    return (
        "The largest effect is that of a rule of the paper: healthy patches from healthy patients only.  Taken from anywhere unlabelled in "
        f"diseased photographs, they bring the fused first stage from {before:.4f} to {after:.4f} (one seed), and a second stage by "
        f"{gap['value']:+.4f} ({gap['low']:+.3f} to {gap['high']:+.3f}, three seeds)."
    )


def section(evidence: verdict.Evidence) -> str:
    """What stands between the marks of the README."""
    results, test = evidence.validation, evidence.test
    opened = (
        ["On the test half, opened once for each frozen version (`results/test/`):", "", test_table(test)]
        if test
        else ["The test half was not opened."]
    )
    images, seeds = len(results["photographs"]), results["rows"]["fused"]["seeds"]
    return "\n".join(
        [
            MARKS[0],
            verdict.answer(evidence),
            "",
            *opened,
            "",
            "On the validation photographs, by which everything was chosen:",
            "",
            table(results),
            "",
            gains(results),
            "",
            ground(),
            "",
            further(test),
            "",
            f"{images} validation photographs of IDRiD, exact average precision of the pooled pixels inside the field of "
            f"view, mean of {len(seeds)} seeds, profile {results['profile']['name']}; intervals over photographs and seeds, F1 "
            f"of seed {results['seed']}.  The weight of the refinement was chosen on the same photographs.  Every row comes from one command:",
            "`maa reproduce --data IDRID --profile full --out results/idrid-full`.",
            MARKS[1],
        ]
    )


def renewed(readme: str, evidence: verdict.Evidence) -> str:
    """The README with the mark of its title, and what stands between its marks, written anew."""
    readme = re.sub(r"\*\*\[¬?Re\]\*\*", f"**{verdict.mark(evidence)}**", readme)
    pattern = re.escape(MARKS[0]) + ".*" + re.escape(MARKS[1])
    return re.sub(pattern, lambda _: section(evidence), readme, flags=re.DOTALL)


def abstract(citation: str, evidence: verdict.Evidence) -> str:
    """The citation file with its abstract written anew."""
    sentences = re.sub(r"[*]+", "", verdict.answer(evidence)).replace('"', "'")
    line = f'abstract: "{verdict.mark(evidence)} {sentences}"'
    return re.sub(r"^abstract: .*$", lambda _: line, citation, flags=re.MULTILINE)


if __name__ == "__main__":
    evidence = verdict.evidence()
    figures.use_style()
    picture(evidence.size).savefig(ROOT / "book/_static/result.png", dpi=120, bbox_inches="tight")
    for name, write in (("README.md", renewed), ("CITATION.cff", abstract)):
        file = ROOT / name
        file.write_text(write(file.read_text(), evidence))
