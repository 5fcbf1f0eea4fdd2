"""Checks the LaTeX tables: what they hold, that nothing in them is read as a command, and that they compile."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.tables.latex import escape, latex

NASTY = r"5 ⊂ 24, ½ ± 0.1 – a_b & 50 % of #1 {x} $y$ ^~ \cmd é ≥ × − “q” <|> [u]* p--q ☃ µ² 'a' ’ … °"


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "architecture": ["unet_resnet34", "[x]", NASTY],
            "test_iou": [0.61234, None, -0.5],
            "interval": ["0.61 [0.55, 0.66]", "–", "*"],
            "12": [0.5, 0.25, 1e-9],
        }
    )


def test_latex_sets_numbers_flush_right_between_the_rules_of_booktabs_and_breaks_sentences_into_lines():
    table = pd.DataFrame({"architecture": ["unet", "sam_conv"], "test_iou": [0.61234, None], "epochs": [12, 4]})
    lines = latex(table, "IoU & more.", "tab:iou").splitlines()
    assert [line.strip() for line in lines[lines.index("\\small") + 2 :]] == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"architecture & test IoU & epochs \\",
        r"\midrule",
        r"unet & 0.612 & 12 \\",
        r"sam\_conv & -- & 4 \\",
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    assert r"\caption{IoU \& more.}" in lines
    assert r"\label{tab:iou}" in lines
    table = pd.DataFrame({"claim": ["It is not clear which of the two is the better one."], "p": [0.25]})
    assert r"\begin{tabular}{p{18em}r}" in latex(table, "A caption.", "tab:claims")


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("a_b", r"a\_b"),
        ("50 %", r"50 \%"),
        (r"\x{y}", r"\textbackslash{}x\{y\}"),
        ("0.61 ± 0.02", r"0.61 \ensuremath{\pm} 0.02"),
        ("5 ⊂ 24", r"5 \ensuremath{\subset} 24"),
        ("½ × 2 ≥ 1 – so", r"\ensuremath{\frac{1}{2}} \ensuremath{\times} 2 \ensuremath{\geq} 1 -- so"),
        ("e\N{COMBINING ACUTE ACCENT}é", "éé"),
        ("☃", "{[}U+2603]"),
        ("a\nb", "a b"),
        ('"a"', "''a''"),
        ("*", "{*}"),
        ("Łódź, Þ", "Łódź, {[}U+00DE]"),
    ],
)
def test_escape_writes_what_the_text_says(text, source):
    assert escape(text) == source


@given(st.text())
def test_escape_leaves_no_sign_that_latex_acts_upon(text):
    source = escape(text)
    commands = re.sub(
        r"\\(?:[{}$&#%_,]|ensuremath\{(?:[-<>|]|\\[a-z]+|\\Delta|\^\{(?:\d|\\circ)\}|\\frac\{1\}\{\d\}|\\frac\{3\}\{4\})\}|[a-zA-Z]+\{\})",
        "",
        source,
    )
    assert not set(re.sub(r"\{[-[*`]\}", "", commands)) & set("\\{}$&#%_^<>|[*\n")
    assert "~" not in commands or "\N{NO-BREAK SPACE}" in text
    assert all(sign.isascii() or "\u00c0" <= sign <= "\u017f" for sign in source)


def test_latex_refuses_a_label_that_latex_could_not_read_and_a_table_without_a_column():
    for label in ("", "a b", "tab:é", "tab}"):
        with pytest.raises(ValueError, match="the label is"):
            latex(frame(), "A caption.", label)
    with pytest.raises(ValueError, match="has no column"):
        latex(pd.DataFrame(), "A caption.", "tab:a")


def test_tables_compile(tmp_path: Path):
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("there is no pdflatex on this machine")
    wide = pd.DataFrame([{f"column_{number}": 0.5 for number in range(30)}])
    signs = [chr(code) for start, end in ((0, 0x180), (0x370, 0x400), (0x2000, 0x2300)) for code in range(start, end)]
    every = pd.DataFrame({"signs": ["".join(signs[place : place + 32]) for place in range(0, len(signs), 32)]})
    tables = [
        latex(frame(), f"A caption: {NASTY}", "tab:nasty"),
        latex(wide, "Wide.", "tab:wide"),
        latex(every, "Every sign.", "tab:every"),
        latex(frame().iloc[:0], "Nothing.", "tab:empty"),
    ]
    source = ["\\documentclass{article}", "\\usepackage{booktabs}", "\\usepackage{graphicx}", "\\begin{document}"]
    path = tmp_path / "tables.tex"
    path.write_text("\n".join([*source, *tables, "\\end{document}\n"]), "utf-8")
    command = [program, "-interaction=nonstopmode", "-halt-on-error", path.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert "Overfull" not in log
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
