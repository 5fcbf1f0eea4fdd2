"""Writes a table for LaTeX, in the style of booktabs."""

import unicodedata

import pandas as pd

from analysis.tables import formatting as tables

# All need no more than the kernel and the fonts that every TeX has (encoding OT1, which is the default).
_SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\ensuremath{\mathdollar}",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    "|": r"\ensuremath{|}",
    '"': "''",  # \textquotedbl needs another font encoding
    "[": "{[}",  # else a row that begins with it gives the \\ before it an argument
    "*": "{*}",  # else the same \\ swallows it
    "-": "{-}",  # else two of them become a dash
    "`": "{`}",
    "–": "--",
    "—": "---",
    "−": r"\ensuremath{-}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "·": r"\ensuremath{\cdot}",
    "≤": r"\ensuremath{\leq}",
    "≥": r"\ensuremath{\geq}",
    "≠": r"\ensuremath{\neq}",
    "≈": r"\ensuremath{\approx}",
    "∞": r"\ensuremath{\infty}",
    "⊂": r"\ensuremath{\subset}",
    "∈": r"\ensuremath{\in}",
    "→": r"\ensuremath{\rightarrow}",
    "←": r"\ensuremath{\leftarrow}",
    "√": r"\ensuremath{\surd}",
    "α": r"\ensuremath{\alpha}",
    "β": r"\ensuremath{\beta}",
    "γ": r"\ensuremath{\gamma}",
    "Δ": r"\ensuremath{\Delta}",
    "δ": r"\ensuremath{\delta}",
    "λ": r"\ensuremath{\lambda}",
    "μ": r"\ensuremath{\mu}",
    "µ": r"\ensuremath{\mu}",
    "ρ": r"\ensuremath{\rho}",
    "σ": r"\ensuremath{\sigma}",
    "²": r"\ensuremath{^{2}}",
    "³": r"\ensuremath{^{3}}",
    "¼": r"\ensuremath{\frac{1}{4}}",
    "½": r"\ensuremath{\frac{1}{2}}",
    "¾": r"\ensuremath{\frac{3}{4}}",
    "°": r"\ensuremath{^{\circ}}",
    "§": r"\ensuremath{\mathsection}",
    "…": r"\dots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "\N{NO-BREAK SPACE}": "~",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
    "\N{THIN SPACE}": r"\,",
    "\N{NON-BREAKING HYPHEN}": "{-}",
}

_LONG = 45  # characters; a column with a longer cell is broken into lines
_LETTERS = "ßæÆœŒøØłŁı"
_ACCENTS = {0x300, 0x301, 0x302, 0x303, 0x304, 0x306, 0x307, 0x308, 0x30A, 0x30B, 0x30C, 0x327}  # of OT1, the default


def latex(frame: pd.DataFrame, caption: str, label: str) -> str:
    """Returns a table for LaTeX, with its caption above; it shrinks to the text's width where it is wider.

    Args:
        frame: As for `analysis.tables.formatting.markdown`.
        caption: Plain text.
        label: What `\\ref` finds it by: ASCII letters, digits, and any of `:.-_`.

    Raises:
        ValueError: If the label has other characters, or the table has no column.
    """
    if not label or not label.isascii() or not all(sign.isalnum() or sign in ":.-_" for sign in label):
        raise ValueError(f"the label is {label!r}, but it must be ASCII letters, digits and any of :.-_")
    if frame.columns.empty:
        raise ValueError(f"the table {label} has no column, but LaTeX needs at least one")
    cells = tables.cells(frame)
    heads = [tables.heading(str(column)) for column in frame.columns]
    long = [any(len(row[place]) > _LONG for row in [heads, *cells]) for place in range(len(heads))]
    kinds = zip(tables.numeric(frame), long, strict=True)
    columns = ["r" if is_right else "p{18em}" if is_long else "l" for is_right, is_long in kinds]
    texts = pd.DataFrame([[escape(text) for text in row] for row in cells], columns=range(len(heads)))
    styler = texts.style.hide(axis="index").format_index(lambda place: escape(heads[int(str(place))]), axis="columns")
    tabular = styler.to_latex(column_format="".join(columns), hrules=True)  # \toprule and so on of booktabs
    return "\n".join(
        [
            r"% Needs \usepackage{booktabs} and \usepackage{graphicx}.",
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{escape(caption)}}}",
            rf"\label{{{label}}}",
            r"\small",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            tabular.rstrip("\n") + "}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Returns plain text as LaTeX source that pdflatex typesets; a sign it has no letter for becomes its code point."""
    return "".join(map(_sign, unicodedata.normalize("NFC", text)))


def _sign(sign: str) -> str:
    if sign in _SIGNS:
        return _SIGNS[sign]
    if sign.isspace():
        return " "
    if sign.isascii():
        return sign if sign.isprintable() else ""
    letter, *accents = list(unicodedata.normalize("NFD", sign))
    accented = sign <= "\u017f" and letter.isascii() and all(ord(accent) in _ACCENTS for accent in accents)
    return sign if accented or sign in _LETTERS else f"{{[}}U+{ord(sign):04X}]"
