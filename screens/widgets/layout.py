"""How wide the columns of a table are, and which of them there is room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from screens.widgets.spec import Column


def lay_out(columns: Sequence[Column[Any]], natural: Sequence[int], total: int, gap: int = 1) -> list[tuple[int, int]]:
    """Which columns fit into `total` cells and how wide: pairs of column index and width, in order.

    Columns that want a wider table go first; then the stretching ones give up room down to their minimum; then whole
    columns go from the right, those with a higher `above` before the others, the first two never.
    """
    kept = [index for index, column in enumerate(columns) if column.above <= total]
    widths = {i: min(max(natural[i], columns[i].minimum), columns[i].maximum) for i in kept}

    def missing() -> int:
        return sum(widths[i] for i in kept) + gap * max(len(kept) - 1, 0) - total

    for index in sorted((i for i in kept if columns[i].stretch), key=lambda i: -widths[i]):
        widths[index] -= min(max(missing(), 0), widths[index] - columns[index].minimum)
    for index in sorted(kept[2:], key=lambda i: (-columns[i].above, -i)):
        if missing() <= 0:
            break
        kept.remove(index)
    stretching = [i for i in kept if columns[i].stretch]
    room = -missing()
    for index in stretching:
        extra = min(max(natural[index] - widths[index], 0), max(room, 0))
        widths[index] += extra
        room -= extra
    if stretching and room > 0:
        widths[stretching[-1]] += room
    return [(index, widths[index]) for index in kept]


def sample(keys: Sequence[str], limit: int = 200) -> Iterable[str]:
    """Keys to measure column widths on: the first ones and some of the rest, so that one long list costs no more."""
    if len(keys) <= limit:
        return keys
    half = limit // 2
    return chain(keys[:half], keys[half :: max((len(keys) - half) // half, 1)])
