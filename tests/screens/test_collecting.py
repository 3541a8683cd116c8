"""The collector walks over everything while nobody types, and not too often."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from screens.shell import collecting
from screens.shell.collecting import AT_LAST, DUE, QUIET, SHARE, Collecting


class Clock:
    """A time that is moved by hand; a walk takes `walk` seconds of it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.walk = 0.1
        self.walks = 0
        self.due = DUE

    def monotonic(self) -> float:
        return self.now

    def collect(self) -> int:
        self.walks += 1
        self.now += self.walk
        return 0

    def get_count(self) -> tuple[int, int, int]:
        return (1, 1, self.due)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(collecting, "time", made)
    monkeypatch.setattr(collecting, "gc", made)
    return made


def test_a_walk_waits_for_a_pause_in_the_typing(clock: Clock) -> None:
    policy = Collecting()
    policy.typed()
    for _ in range(4):
        policy.look()
        clock.now += QUIET / 4
        policy.typed()
    assert clock.walks == 0
    clock.now += QUIET
    policy.look()
    assert clock.walks == 1


def test_what_is_not_due_is_left(clock: Clock) -> None:
    clock.due = DUE - 1
    Collecting().look()
    assert clock.walks == 0


def test_walks_take_a_small_share_of_the_time(clock: Clock) -> None:
    policy = Collecting()
    start = clock.now
    while clock.now < start + 100:
        policy.look()
        clock.now += 0.5
    assert 0 < clock.walks * clock.walk <= 100 * SHARE + clock.walk


@pytest.fixture
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()
    gc.enable()


@pytest.mark.usefixtures("collector")
def test_from_the_first_frame_on_young_objects_are_collected_as_usual() -> None:
    young, middle, _ = gc.get_threshold()
    gc.disable()
    Collecting().begin()
    assert gc.isenabled()
    assert gc.get_threshold() == (young, middle, AT_LAST)
    assert gc.get_freeze_count() > 0
