"""`python -m tests.benchmarks.screens_child WHAT …`: one widget and nothing else, to be driven through a terminal.

What is told to the measuring program goes to the file descriptor `TELL` names, a JSON object a line.
"""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.widget import Widget
from textual.widgets import DataTable, Log, RichLog

COLUMNS = ("host", "name", "state", "enabled", "restarts", "since", "environment", "description")
_WORDS = ("started", "running", "enabled", "loaded", "inactive", "static")
TICK = 0.02


def tell(**facts: object) -> None:
    os.write(int(os.environ["TELL"]), json.dumps({"at": time.monotonic(), **facts}).encode() + b"\n")


def rss_kib(name: str = "VmRSS") -> int:
    with Path("/proc/self/status").open("rb") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name.encode()))


@dataclass(frozen=True, slots=True)
class Row:
    """A row of eight texts, with its place as one text."""

    host: str
    name: str
    state: str
    enabled: str
    restarts: str
    since: str
    environment: str
    description: str
    place: str


def made_up(count: int) -> dict[str, Row]:
    """Rows as a fleet gives them: host after host, in no order within a host."""
    chance = random.Random(1)
    rows: dict[str, Row] = {}
    for number in range(count):
        host, name = f"web{number // 300:05}", f"unit-{chance.randrange(10**6):06}.service"
        rows[f"{number}"] = Row(
            host,
            name,
            _WORDS[number % 6],
            "enabled",
            str(number % 5),
            f"{number % 60}m",
            "lab",
            f"the unit that does {number} things",
            f"{host}\0{name}",
        )
    return rows


class Bench(App[None]):
    """Tells when the widget was filled and painted; `q` ends it, telling the peak of its memory."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [Binding("q", "end", "end")]

    def __init__(self, widget: Widget, fill: Callable[[], Any]) -> None:
        super().__init__()
        self.widget = widget
        self.fill = fill
        self.animation_level = "none"

    def compose(self) -> ComposeResult:
        yield self.widget

    def on_mount(self) -> None:
        self.widget.focus()
        self.call_after_refresh(self.begin)

    def begin(self) -> None:
        tell(event="frame", rss=rss_kib())
        start, cpu = time.perf_counter(), time.process_time()
        self.fill()
        self.settle(start, cpu)

    def settle(self, start: float, cpu: float) -> None:
        """Wait until nothing is left to do, then tell how long it took."""

        def check() -> None:
            if busy(self.widget):
                self.set_timer(0.005, check)
            else:
                self.call_after_refresh(done)

        def done() -> None:
            tell(event="filled", seconds=time.perf_counter() - start, cpu=time.process_time() - cpu, rss=rss_kib())

        def first() -> None:
            tell(event="first", seconds=time.perf_counter() - start, cpu=time.process_time() - cpu)
            check()

        self.call_after_refresh(first)

    def action_end(self) -> None:
        tell(event="end", cpu=time.process_time(), peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        self.exit()


def ours(widget: Widget, fill: Callable[[], Any]) -> Bench:
    """The same with our way to the terminal; the peers have the library's."""
    from screens.shell.painted import PaintedApp

    class Ours(Bench, PaintedApp[None]):
        pass

    return Ours(widget, fill)


def busy(widget: Widget) -> bool:
    rows = getattr(widget, "rows", None)
    if isinstance(widget, DataTable):
        return bool(widget._require_update_dimensions)
    return bool(getattr(rows, "working", False))


def virtual_table(count: int) -> Bench:
    from screens.text import Safe
    from screens.widgets.query import Subject
    from screens.widgets.rows import Cell, Column, Rows, Spec
    from screens.widgets.table import VirtualTable

    def column(name: str) -> Column[Row]:
        value: Callable[[Row], str] = attrgetter(name)
        return Column(name, name.upper(), lambda row, view: Cell(Safe(value(row))), value, maximum=24)

    spec: Spec[Row] = Spec(
        tuple(column(name) for name in COLUMNS),
        Subject(words=lambda row: f"{row.host} {row.name} {row.description}"),
        attrgetter("place"),
    )
    rows: Rows[Row] = Rows(spec)
    table = VirtualTable(rows)
    records = made_up(count)
    gc.collect()
    gc.freeze()
    app = ours(table, lambda: table.changed(rows.replace(records)))
    app.bind("f", "app.narrow", description="filter")

    def narrow() -> None:
        start = time.perf_counter()
        table.changed(rows.set_filter("unit-1"))
        app.settle(start, time.process_time())

    app.action_narrow = narrow  # type: ignore[attr-defined]
    return app


def data_table(count: int) -> Bench:
    table: DataTable[str] = DataTable(cursor_type="row")
    records = [[getattr(row, name) for name in COLUMNS] for row in made_up(count).values()]

    def fill() -> None:
        table.add_columns(*(name.upper() for name in COLUMNS))
        table.add_rows(records)

    return Bench(table, fill)


def pool() -> list[str]:
    """Texts like a journal's, 20 000 of them, about 100 characters each."""
    chance = random.Random(2)
    return [
        f"request {chance.randrange(10**9)} from 10.0.{n % 255}.7 took {chance.random():.6f} s, status {200 + n % 5}, "
        f"worker {n % 64}, {'x' * chance.randrange(30)}"
        for n in range(20_000)
    ]


def producer(app: Bench, rate: float, take: Callable[[int], None], seconds: float) -> Callable[[], None]:
    """Calls `take` with how many lines are due, fifty times a second; tells what it cost, the last second apart."""

    def begin() -> None:
        start, cpu = time.monotonic(), time.process_time()
        given = 0

        def tick() -> None:
            nonlocal given
            due = int((time.monotonic() - start) * rate) - given
            given += due
            take(due)
            if time.monotonic() - start >= seconds:
                timer.stop()
                tell(
                    event="fed",
                    lines=given,
                    seconds=time.monotonic() - start,
                    cpu=time.process_time() - cpu,
                    rss=rss_kib(),
                )

        timer = app.set_interval(TICK, tick)

    return begin


def log_app(kind: str, rate: float, seconds: float) -> Bench:
    """`log` is ours; `textual-log` and `richlog` are the library's, with as many lines kept."""
    texts, at = pool(), 0

    def batch(count: int) -> Sequence[Any]:
        nonlocal at
        at = (at + count) % len(texts)
        return made[at : at + count]

    widget: Widget
    made: list[Any] = texts * 2
    if kind == "log":
        from screens.text import Safe
        from screens.widgets.lines import LogLine
        from screens.widgets.log import LogView

        made = [LogLine(1.7e9 + n, Safe("web1"), Safe(f"unit{n % 9}"), n % 8, Safe(t)) for n, t in enumerate(texts)] * 2
        view = widget = LogView(sources=False)

        def take(count: int) -> None:
            view.feed(batch(count))

    elif kind == "textual-log":
        log = widget = Log(max_lines=100_000)

        def take(count: int) -> None:
            log.write_lines(batch(count))

    else:
        rich = widget = RichLog(max_lines=100_000)

        def take(count: int) -> None:
            for text in batch(count):
                rich.write(text)

    app = (ours if kind == "log" else Bench)(widget, lambda: None)
    app.fill = producer(app, rate, take, seconds)
    return app


def file_app(path: str) -> Bench:
    from screens.widgets.filelog import FileLogView

    view = FileLogView(path)
    return ours(view, lambda: None)


def main(arguments: list[str]) -> None:
    what, *rest = arguments
    if what == "table":
        app = virtual_table(int(rest[0]))
    elif what == "datatable":
        app = data_table(int(rest[0]))
    elif what == "file":
        app = file_app(rest[0])
    else:
        app = log_app(what, float(rest[0]), float(rest[1]))
    app.run()


if __name__ == "__main__":
    main(sys.argv[1:])
