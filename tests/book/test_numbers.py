"""No number on a page stands there on somebody's word.

A measured-looking number in the prose of a page is accounted for in one of four ways: it is glued; a cell of the
page whose output is checked prints it; ``book/make/readme.py`` wrote it; or ``book/facts.json`` lists it.  That it
occurs *somewhere* in the results would be no reason to believe it: results hold thousands of numbers, and nearly
every invented one of three digits is among them.  So an entry of the list names what the number is, and either its
source or, under "is", the expression that gives it, which is computed here and compared.
"""

import ast
import importlib.util
import itertools
import json
import math
import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from maa.replication import verdict

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md")), *sorted((ROOT / "notebooks").glob("*.ipynb"))]
FACTS = json.loads((ROOT / "book/facts.json").read_text(encoding="utf-8"))

# What is no prose, or no measurement, in the order in which it is taken out.
NO_PROSE = [
    r"\A---\n.*?\n---\n",  # front matter
    r"<!-- results: .*?<!-- end of results -->",  # compared as a whole below
    r"^ *(?P<fence>`{3,}|~{3,}|:{3,}) ?(?:\{(?:code-cell|math|bibliography)\}[^\n]*|[A-Za-z][\w+-]*)\n.*?^ *(?P=fence) *$",
    r"^\([\w:.-]+\)=$",  # the label of what follows
    r"^ *(?:`{3,}|~{3,}|:{3,})",  # of other directives, the fence only
    r"^ *:[\w-]+:.*?$",  # options of a directive
    r"\$\$.*?\$\$(?: \([\w-]+\))?",
    r"\$(?:(?!\n\s*\n)[^$])+\$",
    r"\{[\w:+.-]+\}`[^`]*`",  # roles, glue among them
    r"(?P<tick>`+)(?:(?!\n\s*\n)[^`])+(?P=tick)",
    r"\]\([^)]*\)",
    r"https?://\S+",
    r"<[!/A-Za-z][^>]*>",
    r"arXiv:\S+|doi:? ?10\.\S+|(?:CC BY|Attribution) \d\.\d|Python \d+\.\d+",
    r"\b(?:[Cc]hapter|[Ss]ection|[Ff]igure|[Tt]able)s? \d+(?:\.\d+)*",
    r"\b(?:[Ii]n|since|of|MICCAI|challenge),? (?:19|20)\d\d\b",
]
CODE_CELL = r"^```\{code-cell\}[^\n]*\n(?:---\n.*?^---\n|(?::[^\n]*\n)*)(?P<code>.*?)^```$"
WORDS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
]
UNIT = (
    r"\s?%|[ -]per[ -]cent\b|[KM]\b|\s(?:s|ms|min|h|seconds?|minutes?|hours?|days?|MP/s|µm|mm|degrees?|[kKMG]i?B|"
    r"thousand|million|billion)\b"
)
DIGITS = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
QUANTITY = rf"[+−-]?(?:{DIGITS})|{'|'.join(WORDS)}"
NUMBER = re.compile(
    rf"(?<![\w./])(?<!\d,)(?P<number>{QUANTITY})"
    rf"(?:(?P<unit>{UNIT})|(?=\s?(?:to|and|or|–|-)\s?(?:{QUANTITY})(?P<shared>{UNIT}))|(?!\w|[.,]\d))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Number:
    """A number as it is printed (unit and all), and where it stands."""

    printed: str
    where: str
    sentence: str


def prose(text: str) -> str:
    """The text without code, mathematics, addresses and names; every line stays where it was."""
    for pattern in NO_PROSE:
        blank = lambda match: "…" + "\n" * match[0].count("\n")
        text = re.sub(pattern, blank, text, flags=re.DOTALL | re.MULTILINE)
    return text


def sentence_around(text: str, place: int) -> str:
    """The sentence, or the row of a table, in which a place of the text lies."""
    ends = [0, *(m.end() for m in re.finditer(r"(?<=[.!?])\s+|\n\s*\n|\n(?=[|-])", text)), len(text)]
    first, last = next((a, b) for a, b in itertools.pairwise(ends) if a <= place < b)
    return " ".join(text[first:last].split())


def numbers_in(text: str, where: str) -> list[Number]:
    """The measured-looking numbers of a text: decimals, shares, times and lengths, and counts from a thousand on."""
    text, found = prose(text), []
    for match in NUMBER.finditer(text):
        digits, unit = match["number"], match["unit"] or match["shared"] or ""
        if unit or re.search(r"[.,]|\d{4}", digits):
            line = text.count("\n", 0, match.start()) + 1
            printed = (
                digits.lstrip("+").replace("−", "-").lower() + ("" if unit in ("K", "M") else " ") * bool(unit) + unit.strip()
            )
            found.append(Number(printed, f"{where} {line}", sentence_around(text, match.start())))
    return found


def numbers_in_code(code: str, where: str) -> list[Number]:
    """The numbers that a cell holds in its strings, as it may show them, and its decimals of four digits or more."""
    code, found = re.sub(r"^\s*[!%].*$", "pass", code, flags=re.MULTILINE), []
    tree = ast.parse(code)
    hidden = {part for node in ast.walk(tree) if isinstance(node, ast.Assert) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in hidden:
            text = node.value if isinstance(node.value, str) else ast.get_source_segment(code, node)
            if isinstance(node.value, str) or (isinstance(node.value, float) and precision(text) > 3):
                line = code.splitlines()[node.lineno - 1].strip()
                found += [Number(n.printed, f"{where} {node.lineno}", line) for n in numbers_in(text, where)]
    return found


def numbers_of(page: Path) -> list[Number]:
    """The measured-looking numbers that are typed on a page: in its prose, its captions and the strings of its cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        found = numbers_in(text, f"{page.name}, line")
        for count, match in enumerate(re.finditer(CODE_CELL, text, re.DOTALL | re.MULTILINE)):
            found += numbers_in_code(match["code"], f"{page.name}, code cell {count}, line")
        return found
    found, printed = [], set()
    for count, cell in enumerate(json.loads(text)["cells"]):
        where, source = f"{page.name}, cell {count}", "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            found += numbers_in(source, f"{where}, line")
            continue
        found += numbers_in_code(source, f"{where}, line")
        shown = cell["metadata"].get("mystnb", {})
        for part, key in (("figure", "caption"), ("image", "alt")):
            found += numbers_in(shown.get(part, {}).get(key, ""), f"{where}, {key}, line")
        if "nbval-check-output" in cell["metadata"].get("tags", []):
            text = " ".join("".join(output.get("text", "")) for output in cell["outputs"])
            printed |= {m[0].replace(",", "") for m in re.finditer(DIGITS, text) if precision(m[0]) > 2}
    return [number for number in found if number.printed.split(" ")[0].replace(",", "") not in printed]


def precision(printed: str) -> int:
    """The number of digits that are printed: the more there are, the less another number is the same by accident."""
    return len(re.sub(r"\D", "", printed.removeprefix("0.")))


def unaccounted(page: Path, facts: list[dict] = FACTS) -> list[Number]:
    """The numbers of a page that nothing accounts for."""
    known = {fact["value"] for fact in facts if page.stem in fact.get("pages", [page.stem])}
    return [number for number in numbers_of(page) if number.printed not in known]


def leaves(node, name: str):
    """Every single number of a results file, with the expression that reads it; curves and histories are left out."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{name}[{key!r}]")
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield name, node


def agrees(printed: str, value: float) -> bool:
    """Whether a value is the printed number, to the digits printed; of a percentage the value is the share."""
    digits, _, unit = printed.replace("K", " K").replace("M", " M").partition(" ")
    number = WORDS.index(digits) + 1 if digits in WORDS[:20] else float(digits.replace(",", ""))
    scale = {"%": 100, "per cent": 100, "K": 1e-3, "thousand": 1e-3, "M": 1e-6, "million": 1e-6}.get(unit, 1)
    decimals = len(digits.partition(".")[2])
    return abs(number - scale * value) <= 0.5 * 10**-decimals + 1e-9


def value_of(expression: str, results: Path = ROOT / "results") -> float:
    """What an "is" of the list gives: arithmetic on objects of the package and on results("FOLDER/FILE.json")."""
    for module in set(re.findall(r"\bmaa(?:\.[a-z_]+)+(?=\.[A-Za-z_]+)", expression)):
        import_module(module)
    names = {"maa": import_module("maa"), "math": math, "results": lambda path: json.loads((results / path).read_text())}
    return eval(expression, names)


def wrong_with(fact: dict, results: Path = ROOT / "results") -> str | None:
    """What is wrong with an entry of the list, if anything."""
    if not fact.get("what") or not (fact.get("source") or fact.get("is")):
        return 'it needs "what" it is, and a "source" or what it "is"'
    if precision(fact["value"]) < 4 and not fact.get("pages"):
        return 'a number of fewer than four digits needs the "pages" that it stands on, or it would excuse any other'
    if "is" in fact:
        try:
            value = value_of(fact["is"], results)
        except Exception as error:
            return f"{fact['is']} gives no value: {error!r}"
        if not agrees(fact["value"], value):
            return f"{fact['is']} is {value}"
    return None


def complaint(offenders: list[Number], results: Path = ROOT / "results") -> str:
    """What to tell whoever typed the numbers."""
    lines = [
        f"{len(offenders)} numbers stand on somebody's word.  Print each with {{glue:text}} from a cell that computes it or",
        'reads the results; or list it in book/facts.json, with "what" it is and its "source", or what it "is".',
    ]
    known = [leaf for path in sorted(results.rglob("*.json"))
             for leaf in leaves(json.loads(path.read_text()), f"results('{path.relative_to(results)}')")]  # fmt: skip
    for number in offenders:
        lines.append(f"\n{number.where}: {number.printed}\n    {number.sentence}")
        lines += [f"    perhaps {name}" for name, value in known if agrees(number.printed, value)][:3]
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_number_of_a_page_has_a_source(page):
    offenders = unaccounted(page)
    assert not offenders, complaint(offenders)


def test_every_fact_of_the_list_is_so_and_is_used():
    wrong = [(fact, problem) for fact in FACTS if (problem := wrong_with(fact))]
    for fact in FACTS:
        digits = re.match(r"[\w.,]+", fact["value"])[0].rstrip("KM")
        stands = {page.stem for page in PAGES if re.search(rf"(?i)(?<![\d.]){re.escape(digits)}(?!\d|\.\d)", page.read_text())}
        wrong += [(fact, f"it does not stand on {stem}") for stem in set(fact.get("pages", ())) - stands]
        wrong += [(fact, "it stands on no page")] if not stands else []
    assert not wrong, "book/facts.json:\n" + "\n".join(f"{fact['value']} ({fact.get('what')}): {why}" for fact, why in wrong)


@cache
def readme_writer():
    """The module that writes the README's table."""
    spec = importlib.util.spec_from_file_location("readme", ROOT / "book/make/readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_and_the_citation_say_what_the_results_give():
    writer, evidence = readme_writer(), verdict.evidence()
    readme, citation = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CITATION.cff"))
    assert writer.renewed(readme, evidence) == readme, "write it anew: python book/make/readme.py"
    assert writer.abstract(citation, evidence) == citation, "write it anew: python book/make/readme.py"
    evidence.crossval["rows"]["fused"]["average_precision"]["value"] += 0.001
    assert writer.renewed(readme, evidence) != readme


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_glued_is_computed(page):
    if page.suffix == ".md":
        return
    for cell in json.loads(page.read_text(encoding="utf-8"))["cells"]:
        code = re.sub(r"^\s*[!%].*$", "pass", "".join(cell["source"]), flags=re.MULTILINE)
        for node in ast.walk(ast.parse(code)) if cell["cell_type"] == "code" else ():
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "glue":
                names = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
                assert names - {"float", "int", "round", "str"}, f"{page.name}: {ast.unparse(node)} glues what was typed"


UNKNOWN = """# A page

The paper's 30.29 % is known.  We reached 0.4321 in
{glue:text}`ch0-time:.0f` runs, after 41 minutes, on 12,345 patches: seven per cent.

```python
gain = 0.9876
```
"""


def test_a_number_without_a_source_is_reported_by_page_and_line_with_its_sentence(tmp_path):
    page = tmp_path / "made_up.md"
    page.write_text(UNKNOWN)
    found = unaccounted(page)
    assert [number.printed for number in found] == ["0.4321", "41 minutes", "12,345", "seven per cent"]
    assert [number.where for number in found] == [f"made_up.md, line {line}" for line in (3, 4, 4, 4)]
    assert found[0].sentence == "We reached 0.4321 in … runs, after 41 minutes, on 12,345 patches: seven per cent."
    message = complaint(found)
    assert (
        "made_up.md, line 3: 0.4321\n    We reached 0.4321 in" in message
        and "{glue:text}" in message
        and "facts.json" in message
    )


def test_a_number_of_a_notebook_is_reported_by_its_cell_and_line(tmp_path):
    def code(source, *tags, text=""):
        return {"cell_type": "code", "source": [source], "metadata": {"tags": list(tags)}, "outputs": [{"text": text}]}

    page = tmp_path / "99_made_up.ipynb"
    prose = {"cell_type": "markdown", "source": ["It has\n", "an AUC PR of 0.4321, and 0.765.\n"], "metadata": {}}
    captioned = {"cell_type": "code", "source": [], "metadata": {"mystnb": {"figure": {"caption": "We gain 9 %."}}}}
    checked = code("print(x)", "nbval-check-output", text="0.765\n")
    cells = [code("assert x, 'below 0.001'"), prose, captioned, code("n = 1\nMarkdown('all of 45.1')"), code("y = 0.4321")]
    page.write_text(json.dumps({"cells": [*cells, checked]}))
    assert {(number.where, number.printed) for number in unaccounted(page)} == {
        ("99_made_up.ipynb, cell 1, line 2", "0.4321"),
        ("99_made_up.ipynb, cell 2, caption, line 1", "9 %"),
        ("99_made_up.ipynb, cell 3, line 2", "45.1"),
        ("99_made_up.ipynb, cell 4, line 1", "0.4321"),
    }


def test_a_fact_read_from_the_results_is_wrong_as_soon_as_they_change(tmp_path):
    fact = {
        "value": "13.0 %",
        "what": "the gain",
        "is": "results('full/a.json')['rows']['fused']['gain']",
        "pages": ["made_up"],
    }
    page, file = tmp_path / "made_up.md", tmp_path / "full/a.json"
    page.write_text("The fusion gains +13.0 %.\n")
    file.parent.mkdir()
    for gain, right in ((0.1302, True), (0.1296, True), (0.1312, False), (-0.1302, False)):
        file.write_text(json.dumps({"rows": {"fused": {"gain": gain, "curve": [0.13]}}}))
        assert (wrong_with(fact, tmp_path) is None) is right, gain
    assert not unaccounted(page, [fact])
    assert unaccounted(page, [fact | {"pages": ["another"]}]), "a short number is excused on the pages that it names only"
    file.write_text(json.dumps({"rows": {"fused": {"gain": 0.1302, "curve": [0.13]}}}))
    message = complaint(unaccounted(page, []), tmp_path)
    assert message.count("perhaps") == 1 and "perhaps results('full/a.json')['rows']['fused']['gain']" in message


@pytest.mark.parametrize(
    ("fact", "problem"),
    [
        ({"value": "0.3374", "what": "AUC PR"}, "source"),
        ({"value": "0.3", "what": "margin", "is": "maa.replication.profiles.FULL.prn.margin"}, "pages"),
        ({"value": "0.4", "what": "margin", "is": "maa.replication.profiles.FULL.prn.margin", "pages": ["glossary"]}, "0.3"),
        ({"value": "65,537", "what": "levels", "is": "maa.evaluation.LEVELS"}, "65536"),
        ({"value": "65,536", "what": "levels", "is": "maa.evaluation.NOTHING"}, "NOTHING"),
    ],
)
def test_a_fact_without_a_source_or_off_the_live_value_is_refused(fact, problem):
    assert problem in wrong_with(fact)


def test_names_addresses_code_and_small_counts_are_no_measurements():
    text = """(ch:no-2.5)=
In 2019, MICCAI 2019 and arXiv:1904.12732: IDRiD_45, chapter 2.1, Table 2, HGN 0.5x, Python 3.11, CC BY 4.0, 45 pixels,
`margin=0.3`, $m = 0.3$, {cite:p}`sarhan2019`, [two](https://a.b/1904.12732), doi 10.3390/data3030025, 3 x 3.

:::{figure} a.png
:width: 4096
:::

$$
0.5
$$ (eq-half)

```{math}
0.25
```
"""
    assert numbers_in(text, "") == []
    assert [n.printed for n in numbers_in("1,024; 4288; 0.25 s; 3 MP/s; -0.1; 7 to 9 %; ~500K; two minutes", "")] == [
        "1,024", "4288", "0.25 s", "3 MP/s", "-0.1", "7 %", "9 %", "500K", "two minutes"
    ]  # fmt: skip
