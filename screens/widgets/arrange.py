"""Sorting, filtering and grouping of long lists in small steps, so that keys are answered in between.

Every function here is a generator that yields after about a millisecond of work and returns its result; whoever is in
no hurry runs it with `finish`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import Any, Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Steps = Generator[None, None, R]

STEP: Final = 512
"""Items handled between two yields."""


def finish(steps: Steps[R]) -> R:
    """Run to the end at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: R = end.value
            return result


def pieces(items: Sequence[T], size: int = STEP) -> Iterable[Sequence[T]]:
    """The sequence cut into parts of this size."""
    return (items[start : start + size] for start in range(0, len(items), size))


def sort(items: Sequence[T], key: Callable[[T], Any], reverse: bool = False) -> Steps[list[T]]:
    """What `sorted` gives, ties in their given order; parts that follow each other already are only put together."""
    runs: list[list[T]] = []
    for piece in pieces(items):
        run = sorted(piece, key=key, reverse=reverse)
        if runs and _in_order(key(runs[-1][-1]), key(run[0]), reverse):
            runs[-1] += run
        else:
            runs.append(run)
        yield
    if len(runs) < 2:
        return runs[0] if runs else []
    merged: list[T] = []
    rest = merge(*runs, key=key, reverse=reverse)
    while part := list(islice(rest, STEP)):
        merged += part
        yield
    return merged


def _in_order(before: Any, after: Any, reverse: bool) -> bool:
    return not before < after if reverse else not after < before


def select(items: Sequence[str], records: Mapping[str, T], test: Callable[[T], bool]) -> Steps[set[str]]:
    """The keys whose records pass; a key whose record has gone meanwhile does not."""
    found: set[str] = set()
    for piece in pieces(items):
        found.update([key for key in piece if key in records and test(records[key])])
        yield
    return found


def evaluate(
    items: Sequence[str], records: Mapping[str, T], value: Callable[[T], R], into: dict[str, R]
) -> Steps[None]:
    """Write the value of every record that is still there into `into`, where it has none yet."""
    for piece in pieces(items):
        for key in piece:
            if key not in into and key in records:
                into[key] = value(records[key])
        yield


def keep(items: Sequence[str], wanted: Container[str]) -> Steps[list[str]]:
    """The wanted ones of these keys, in their order."""
    kept: list[str] = []
    for piece in pieces(items, STEP * 8):
        kept += [key for key in piece if key in wanted]
        yield
    return kept
