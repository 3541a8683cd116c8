"""A list that forgets its beginning and its end cheaply."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Ring(Generic[T]):
    """Indexed in constant time; memory of forgotten items is given back in steps."""

    __slots__ = ("_items", "_start")

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._items: list[T] = list(items)
        self._start = 0

    def __len__(self) -> int:
        return len(self._items) - self._start

    def __getitem__(self, index: int) -> T:
        return self._items[self._start + index]

    def __iter__(self) -> Iterator[T]:
        return iter(self._items[self._start :])

    def part(self, first: int, last: int) -> list[T]:
        """Items `first` up to but without `last`."""
        return self._items[self._start + max(first, 0) : self._start + max(last, 0)]

    def extend(self, items: Iterable[T]) -> None:
        self._items.extend(items)

    def prepend(self, items: Sequence[T]) -> None:
        """Put items before the first."""
        if len(items) <= self._start:
            self._items[self._start - len(items) : self._start] = items
            self._start -= len(items)
        else:
            self._items[: self._start] = items
            self._start = 0

    def drop(self, count: int) -> None:
        """Forget the first `count` items."""
        self._start += count
        if self._start > 1024 and self._start * 4 > len(self._items):
            del self._items[: self._start]
            self._start = 0

    def drop_end(self, count: int) -> None:
        """Forget the last `count` items."""
        if count > 0:
            del self._items[len(self._items) - count :]


class Weights:
    """How heavy the items of a ring are in sum, batch by batch; within a batch all count alike."""

    def __init__(self) -> None:
        self.total = 0.0
        self._batches: deque[list[float]] = deque()

    def append(self, count: int, weight: int) -> None:
        """A batch at the end."""
        if count:
            self._batches.append([count, weight / count])
            self.total += weight

    def prepend(self, count: int, weight: int) -> None:
        """A batch at the beginning."""
        if count:
            self._batches.appendleft([count, weight / count])
            self.total += weight

    def drop(self, count: int) -> None:
        """The first `count` items are gone."""
        self._drop(count, 0, self._batches.popleft)

    def drop_end(self, count: int) -> None:
        """The last `count` items are gone."""
        self._drop(count, -1, self._batches.pop)

    def oldest(self, items: int) -> int:
        """How many items the oldest batch holds; of the only one the half, and none of a single item."""
        if len(self._batches) > 1:
            return int(self._batches[0][0])
        return items // 2

    def _drop(self, count: int, end: int, take: Callable[[], list[float]]) -> None:
        while count > 0 and self._batches:
            batch = self._batches[end]
            part = min(count, batch[0])
            self.total -= part * batch[1]
            batch[0] -= part
            count -= int(part)
            if not batch[0]:
                take()
        if not self._batches:
            self.total = 0.0
