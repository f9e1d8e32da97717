"""A table of text, and its parts that fit a width."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Sheet:
    """A title, a head, and as many cells a row; the first ``text`` columns are words, the rest are numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: int
    notes: Sequence[str] = ()

    def columns(self, chosen: Sequence[int]) -> "Sheet":
        """The words, and those of the other columns."""
        kept = [*range(self.text), *chosen]
        return replace(self, head=[self.head[i] for i in kept], rows=[[row[i] for i in kept] for row in self.rows])


def parts(sheet: Sheet, widths: Sequence[int], width: int) -> Iterator[Sheet]:
    """``sheet`` in as many parts as it needs to be at most ``width`` wide: its words, and some of its numbers, each.

    A column that does not fit beside the words has a part of its own. The title goes with the first part, the notes
    with the last. ``widths`` are those of the columns, their borders included.
    """
    groups: list[list[int]] = [[]]
    free = room = width - sum(widths[: sheet.text])
    for i in range(sheet.text, len(sheet.head)):
        if groups[-1] and widths[i] > free:
            groups.append([])
            free = room
        groups[-1].append(i)
        free -= widths[i]
    for i, group in enumerate(groups):
        title, notes = sheet.title if i == 0 else "", sheet.notes if group is groups[-1] else ()
        yield replace(sheet.columns(group), title=title, notes=notes)
