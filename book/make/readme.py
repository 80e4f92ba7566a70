"""Write the README's mark, tables and picture and the citation's abstract anew from the results: ``python book/make/readme.py``."""

import json
import re
from pathlib import Path

from maa import figures
from maa.inference import FIRST_STAGE, FULL_SYSTEM, ROWS
from maa.replication import verdict

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "results/idrid-full/results.json"
MARKS = ("<!-- results: written by book/make/readme.py -->", "<!-- end of results -->")


def table(crossval: dict) -> str:
    """The rows of the paper's table by cross-validation, with what each gains over which other, as a Markdown table."""
    rows = verdict.cross_validated(crossval)
    over = [column for column in rows[0] if column.startswith("over ")]
    lines = [
        "| | AUC PR (95 % interval) | " + " | ".join(f"gain {column}" for column in over) + " |",
        "|---" * (2 + len(over)) + "|",
    ]
    for row in rows:
        interval = f"{row['AUC PR']:.4f} ({row['low']:.3f} to {row['high']:.3f})"
        lines.append(f"| {row['name']} | {interval} | " + " | ".join(row[column] for column in over) + " |")
    return "\n".join(lines)


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
        "Where a patch has the label of its centre, the largest effect is that of a rule of the paper: healthy patches from healthy patients "
        f"only.  Taken from anywhere unlabelled in diseased photographs, they bring the fused first stage from {before:.4f} to {after:.4f} (one seed), and a second stage by "
        f"{gap['value']:+.4f} ({gap['low']:+.3f} to {gap['high']:+.3f}, three seeds)."
    )


def arms(file: Path = SOURCE.with_name("arms.json")) -> str:
    """What the paper's rule for negatives costs the second stage, in words."""
    contrasts = json.loads(file.read_text())["contrasts"]
    more, both = (verdict.contrast_in_words(contrasts[name]) for name in ("D1", "D2"))
    return (
        "Against a rule of the paper, with false candidates of diseased patients among the negatives of the second network (a run of its own): that "
        f"alone {more}; beside it, the pair of the paper's ideas {both}."
    )


def section(evidence: verdict.Evidence) -> str:
    """What stands between the marks of the README."""
    test = evidence.test
    opened = (
        [
            "On the test half, opened once for each frozen version (`results/test/`), trained on centre pixels:",
            "",
            test_table(test),
        ]
        if test
        else ["The test half was not opened."]
    )
    crossval = evidence.crossval
    images, parts = len(crossval["photographs"]), len(crossval["folds"])
    return "\n".join(
        [
            MARKS[0],
            verdict.answer(evidence),
            "",
            f"{images} photographs in {parts} parts, the first stage trained on windows with masks, the second on the candidates that networks of other "
            "parts propose:",
            "",
            table(crossval),
            "",
            *(
                ("By the label of a centre, and nothing else changed:", "", table(evidence.centre), "")
                if evidence.centre
                else ()
            ),
            arms(),
            "",
            *opened,
            "",
            ground(),
            "",
            further(test),
            "",
            "AUC PR is the exact average precision of the pooled pixels inside the field of view; intervals are over photographs.  The "
            "cross-validated rows come from `maa crossval` and `maa arms`, those of the test half from `maa evaluate --split test`, and what was measured on "
            "validation photographs from `maa reproduce --profile full`.",
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
