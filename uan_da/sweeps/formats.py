"""Sheets as Markdown and as LaTeX."""

import html
from collections.abc import Sequence

from uan_da.sweeps.sheet import Sheet

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--",
    "▼": r"$\downarrow$", "→": r"$\to$", "<": r"$<$", ">": r"$>$", "−": r"$-$",
}  # fmt: skip


def markdown(sheets: Sequence[Sheet], notes: Sequence[str]) -> str:
    """GitHub's tables, each with its title above; ``notes`` below them all."""
    return "\n\n".join([*map(_markdown, sheets), *map(_escape, notes)]) + "\n"


def _markdown(sheet: Sheet) -> str:
    align = ["---" if i < sheet.text else "---:" for i in range(len(sheet.head))]
    lines = [sheet.head, align, *sheet.rows]
    table = "\n".join("| " + " | ".join(map(_escape, line)) + " |" for line in lines)
    return "\n\n".join([f"**{_escape(sheet.title)}**", table, *map(_escape, sheet.notes)])


def _escape(text: str) -> str:
    """On one line, as text: no cell ends, no HTML, no link."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return escaped.replace("|", "\\|").replace("](", "]\\(")


def latex(sheets: Sequence[Sheet], notes: Sequence[str]) -> str:
    """Tables of the package booktabs; ``notes`` as comments."""
    return (
        "\n".join(
            ["% \\usepackage{booktabs}", *map(_latex, sheets), *(f"% {' '.join(note.split())}" for note in notes)]
        )
        + "\n"
    )


def _latex(sheet: Sheet) -> str:
    columns = "l" * sheet.text + "r" * (len(sheet.head) - sheet.text)
    body = [" & ".join(map(tex, line)) + r" \\" for line in sheet.rows]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{tex('. '.join([sheet.title, *sheet.notes]))}}}",
            r"\centering",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(tex, sheet.head)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def tex(text: str) -> str:
    """``text`` on one line, with LaTeX's own characters escaped."""
    return "".join(LATEX.get(char, char) for char in " ".join(text.split()))
