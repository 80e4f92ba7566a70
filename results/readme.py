"""Write the README's title mark, table and picture anew from the results: ``python results/readme.py``."""

import json
import re
from pathlib import Path

from maa import figures
from maa.claim import mark
from maa.reproduce import PAPER, PAPER_GAIN

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "results/idrid-full/results.json"
MARKS = ("<!-- results: written by results/readme.py -->", "<!-- end of results -->")


def best_single(results: dict) -> str:
    """The row of the better of the two single scales."""
    rows = results["rows"]
    return max(("hgn_1x", "hgn_half"), key=lambda row: rows[row]["average_precision"]["value"])


def gain(results: dict, row: str, other: str) -> str:
    """The relative gain of a row over another, with its interval."""
    known = results["rows"][row]["gains"].get(other)
    if known is None:
        return ""
    g = known["relative_gain"]
    return f"{g['value']:+.1%} ({g['low']:+.1%} to {g['high']:+.1%})"


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
            lines.append(f"| {values['name']} | " + " | ".join(gain(results, row, o) if o in shown else "" for o in others) + " |")
    return "\n".join(lines)


def order_known(rows: dict, row: str, others) -> list[str]:
    """Of the others, those that stand before a row in the table: a gain is over what came before."""
    order = list(rows)
    return [other for other in others if order.index(other) < order.index(row)]


def picture(results: dict):
    """Precision-recall curves of the main rows, of the seed whose full system is best."""
    rows = results["rows"]
    curves = {
        rows[row]["name"]: (rows[row]["curve"]["recall"], rows[row]["curve"]["precision"], rows[row]["seeds"][best_seed(results)])
        for row in ("hgn_1x", "hgn_half", "fused", "prn_full")
    }
    return figures.precision_recall(curves)


def best_seed(results: dict) -> int:
    """The place, among the seeds of the profile, of the one that curves and operating points are of."""
    return list(results["profile"]["seeds"]).index(results["seed"])


def verdict(results: dict) -> str:
    """What the numbers say of the paper's claim, in words."""
    rows = results["rows"]
    g = {(row, other): v["relative_gain"] for row, values in rows.items() for other, v in values["gains"].items()}
    whole, single = g["prn_full", "hgn_1x"], best_single(results)
    reached = "reaches" if whole["value"] >= PAPER_GAIN else "does not reach"
    helps = lambda one: "helps" if one["low"] > 0 else "hurts" if one["high"] < 0 else "cannot be told from nothing"
    fusion = "is above" if g["fused", single]["value"] > 0 else "is not above"
    return " ".join(
        [
            f"The full system gains {whole['value']:+.1%} over HGN 1x; it {reached} the paper's {PAPER_GAIN:.2%}.",
            f"The fusion {fusion} the better single scale, {rows[single]['name']}.",
            f"The control decides for each candidate by the fused probability at its centre, without a second network, and gains",
            f"{g['control', 'hgn_1x']['value']:+.1%}: over it the full system is {g['prn_full', 'control']['value']:+.1%}.",
            f"Over a PRN with cross-entropy only, selective sampling {helps(g['prn_sampling', 'prn_cross_entropy'])}, the triplet loss",
            f"{helps(g['prn_triplet', 'prn_cross_entropy'])}, and both together are",
            f"{g['prn_full', 'prn_cross_entropy']['value']:+.1%}.",
        ]
    )


def further(file: Path = SOURCE.with_name("beyond.json")) -> str:
    """What the track beyond the paper reaches, and what more training alone does, in words."""
    rows = json.loads(file.read_text())["rows"]
    last = rows["all_prn_unlabelled"]["average_precision"]
    long = [rows[row]["average_precision"]["value"] for row in ("hgn_1x_long", "hgn_half_long")]
    return (
        f"At equal compute, trained on as many patches as the whole system, HGN 1x has {long[0]:.4f} and HGN 0.5x {long[1]:.4f} (one seed).  "
        f"Beyond the paper, with dense labels, a U-Net has {rows['unet']['average_precision']['value']:.4f}; two of them, the HGNs and a second stage "
        f"that saw the unlabelled ground of diseased photographs {last['value']:.4f} ({last['low']:.2f} to {last['high']:.2f})."
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


def section(results: dict) -> str:
    """What stands between the marks of the README."""
    images, seeds = len(results["photographs"]), results["rows"]["fused"]["seeds"]
    return "\n".join(
        [
            MARKS[0],
            table(results),
            "",
            gains(results),
            "",
            verdict(results),
            "",
            ground(),
            "",
            further(),
            "",
            f"{images} validation photographs of IDRiD, exact average precision of the pooled pixels inside the field of "
            f"view, mean of {len(seeds)} seeds, profile {results['profile']['name']}; intervals over photographs and seeds, F1 and "
            f"picture of seed {results['seed']}.  The weight of the refinement was chosen on the same photographs.  Every row comes from one command:",
            "`maa reproduce --data IDRID --profile full --out results/idrid-full`.",
            MARKS[1],
        ]
    )


def renewed(readme: str, results: dict) -> str:
    """The README with the mark of its title, and what stands between its marks, written anew."""
    readme = re.sub(r"\*\*\[¬?Re\]\*\*", f"**{mark(results)}**", readme)
    pattern = re.escape(MARKS[0]) + ".*" + re.escape(MARKS[1])
    return re.sub(pattern, lambda _: section(results), readme, flags=re.DOTALL)


if __name__ == "__main__":
    results = json.loads(SOURCE.read_text())
    figures.use_style()
    picture(results).savefig(ROOT / "book/_static/result.png", dpi=120, bbox_inches="tight")
    readme = ROOT / "README.md"
    readme.write_text(renewed(readme.read_text(), results))
