"""Which columns of a table fit into a width, and how far those of words may be cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

NAME_CELLS = (16, 8, 4)  # words are cut no shorter than the first of these with which figures fit
GAP_CELLS = 2  # between columns


@dataclass(frozen=True)
class Column:
    """One column: numbers stand to the right, words to the left; `detail` orders what a narrow table leaves out.

    The column with the highest `detail` goes first, one with 0 never.
    """

    name: str
    justify: Literal["left", "right"] = "right"
    detail: int = 0
    style: str = ""


def fitting(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> dict[int, int]:
    """Return the columns that fit in `width` cells, by place, with the cells of each.

    Details go, the highest first, until the others fit with their words cut; of the words left the longest are cut.
    """
    from rich.cells import cell_len

    cells = [max(map(cell_len, (column.name, *(row[i] for row in rows)))) for i, column in enumerate(columns)]
    least = _least(columns, cells, width)
    kept = list(range(len(columns)))
    for index in sorted(kept, key=lambda i: -columns[i].detail):
        if columns[index].detail and sum(least[i] + GAP_CELLS for i in kept) > width:
            kept.remove(index)
    for _ in range(sum(cells[i] + GAP_CELLS for i in kept) - width):
        if longer := [i for i in kept if cells[i] > least[i]]:
            cells[max(longer, key=cells.__getitem__)] -= 1
    return {index: cells[index] for index in kept}


def _least(columns: Sequence[Column], cells: Sequence[int], width: int) -> list[int]:
    """Return the fewest cells of each column: all that a number takes, of words as many as leave room for those that
    are no details."""
    least = list(cells)
    for name_cells in NAME_CELLS:
        least = [
            min(own, name_cells) if column.justify == "left" else own
            for column, own in zip(columns, cells, strict=True)
        ]
        if sum(own + GAP_CELLS for column, own in zip(columns, least, strict=True) if not column.detail) <= width:
            break
    return least
