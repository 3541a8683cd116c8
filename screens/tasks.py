"""What is under way behind the console: the tasks, from any screen, and one of them with its output as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from opsconsole.client import Client, Json, OperationFailed
from screens.frame import ConsoleScreen, events, reported
from screens.listing import ListScreen
from screens.performing import Order, Performing
from screens.render.task import SPEC, OutputLines, TargetNews, TaskRow, headline, parse_task, source_cells
from screens.text import Safe, join
from screens.widgets.header import HeaderLine
from screens.widgets.lines import ERROR, NO_LEVEL, LogLine
from screens.widgets.log import LogView
from screens.widgets.logpane import LogPane
from screens.widgets.panes import ListPane
from screens.widgets.rows import Rows
from screens.widgets.status import StatusLine
from screens.widgets.table import VirtualTable

TICK: Final = 1.0
PAGE: Final = 200
TIMERS_EVERY: Final = 15.0
AGAIN_AFTER: Final = 2.0
CONTROLS: Final = {"cancel": "cancelling", "pause": "pausing", "resume": "going on with", "retry": "trying again"}


def why_not(action: str, task: TaskRow | None, read_only: Safe) -> Safe:
    """Why this cannot be done to the task now; empty when it can."""
    if task is None:
        return Safe("no task here")
    if read_only:
        return join([Safe("read-only:"), read_only], " ")
    possible = {
        "cancel": task.open,
        "pause": task.state in ("running", "pending"),
        "resume": task.state in ("paused", "waiting"),
        "retry": task.state in ("partial", "failed", "timeout", "cancelled", "unknown"),
    }
    return Safe("") if possible[action] else Safe(f"it is {task.state}")


class Controlled(ConsoleScreen):
    """A screen with a task under its cursor, and the keys that control it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("X", "control('cancel')", "cancel", id="tasks.cancel"),
        Binding("P", "control('pause')", "pause", id="tasks.pause"),
        Binding("C", "control('resume')", "go on", id="tasks.resume"),
        Binding("R", "control('retry')", "retry the failed", id="tasks.retry"),
        Binding("q", "back", "back", id="tasks.back", show=False),
    ]
    client: Client

    def task_here(self) -> TaskRow | None:
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action != "control":
            return True
        return None if why_not(str(parameters[0]), self.task_here(), self.console.read_only) else True

    def why_not(self, action: str) -> Safe:
        name = action.partition("'")[2].partition("'")[0]
        found = why_not(name, self.task_here(), self.console.read_only) if name in CONTROLS else Safe("")
        return found or super().why_not(action)

    def action_control(self, name: str) -> None:
        task = self.task_here()
        if task is not None:
            label = Safe(f"{CONTROLS[name]} {task.summary}")
            self.control(Order(f"tasks.{name}", {"id": task.id}, label))

    @work(group="act", exit_on_error=False)
    async def control(self, order: Order) -> None:
        with reported(self.console, order.label):
            await Performing(self.console, self.client).finish(order)


class TasksScreen(ListScreen[TaskRow], Controlled):
    """All tasks one may see, those under way first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "refresh", "refresh", id="tasks.refresh", show=False),
    ]

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client
        self.rows = Rows(SPEC)
        self._due = True
        self._timers_at = 0.0

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        table = VirtualTable(self.rows, ascii=self.console.ascii, empty="asking …", id="tasks")
        self.pane = ListPane(table, "tasks")
        yield self.pane
        yield StatusLine()

    def on_mount(self) -> None:
        self.follow()

    def place(self) -> list[Safe]:
        return [Safe("tasks")]

    def again(self) -> Callable[[], ConsoleScreen]:
        return lambda: TasksScreen(self.client)

    def task_here(self) -> TaskRow | None:
        return self.current

    def tick(self) -> None:
        if not self.is_current:
            return
        self.table.tick()
        if self._due or time.monotonic() - self._timers_at > TIMERS_EVERY:
            self.load()

    @work(group="follow", exclusive=True, exit_on_error=False)
    async def follow(self) -> None:
        """Whatever moves is read again with the next tick."""
        async for batch in self.client.changes():
            if any(change.get("lost") or change.get("entity") in ("task", "run") for change in batch):
                self._due = True

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self) -> None:
        """Read the newest, and all that are under way; a failure is said once."""
        self._due, self._timers_at = False, time.monotonic()
        with reported(self.console, "listing the tasks"):
            found: dict[str, Json] = {}
            for query in ({}, {"open": True}):
                answer = await self.client.call("tasks.list", {**query, "page_size": PAGE})
                found.update((str(row.get("id")), row) for row in answer.get("results") or ())
            self.pane.note = timers_note(await self.client.call("jobs.list"))
            made = {key: parse_task(row) for key, row in found.items()}
            self.table.empty = Safe("no task yet")
            self.table.changed(self.rows.update(made, [key for key in self.rows.records if key not in made]))
        self.pane.retitle()
        self.refresh_bindings()

    @on(VirtualTable.Moved)
    def _moved(self) -> None:
        self.refresh_bindings()

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        task = self.task_here()
        if task is not None:
            self.app.push_screen(TaskScreen(self.client, task))

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()

    def action_refresh(self) -> None:
        self._due = True
        self.tick()


def timers_note(answer: Json) -> Safe:
    """That nobody keeps time, and what is overdue for it; empty when all is well."""
    overdue = [str(Safe(name)) for name in answer.get("overdue") or ()]
    late = f"overdue: {', '.join(overdue)}" if overdue else ""
    nobody = "" if answer.get("timekeeper") else "no timekeeper (opsconsole worker --stay)"
    return join([Safe(part) for part in (nobody, late) if part], ", ")


class TaskScreen(Controlled):
    """One task: how far it is, and what it prints, from its beginning."""

    def __init__(self, client: Client, task: TaskRow) -> None:
        super().__init__()
        self.client = client
        self.row = task
        self.pane = LogPane(LogView(), Safe("task"))
        self.pane.log_view.painter.wrapping = True
        self._lines = OutputLines()
        self._news = TargetNews()

    def compose(self) -> ComposeResult:
        yield HeaderLine()
        yield self.pane
        yield StatusLine()

    def on_mount(self) -> None:
        self.pane.body.focus()
        self.set_interval(TICK, self._retitle)
        self._retitle()
        self.follow()

    def place(self) -> list[Safe]:
        return [self.row.summary, Safe("task")]

    def again(self) -> Callable[[], ConsoleScreen]:
        return lambda: TaskScreen(self.client, self.row)

    def task_here(self) -> TaskRow:
        return self.row

    def _retitle(self) -> None:
        self.pane.heading = join([Safe("task"), headline(self.row, time.time()), self.row.summary], " · ")
        self.pane.retitle()

    @work(group="task", exclusive=True, exit_on_error=False)
    async def follow(self) -> None:
        """Feed the log from where it is; a stream that breaks is taken up at the piece after the last one seen."""
        seq = 0
        while True:
            try:
                async with events(self.client, "tasks.follow", {"id": self.row.id, "after": seq}) as stream:
                    async for event in stream:
                        seq = max(seq, int(event.get("seq") or 0))
                        await self._take(event)
                        if event.get("event") == "end":
                            return
            except OperationFailed as error:
                self._say(f"{error.message} – trying again")
                if error.exit_status not in (1, 5, 6):
                    return
            await asyncio.sleep(AGAIN_AFTER)

    async def _take(self, event: Json) -> None:
        kind = event.get("event")
        if kind == "output":
            self.pane.log_view.feed(self._lines.of(event))
            return
        if kind == "away":
            self._say(f"{event.get('message')} – waiting for it", ERROR)
            return
        if kind == "end":
            self.pane.log_view.feed(self._lines.left())
        found = await self.client.call("tasks.get", {"id": self.row.id})
        before, self.row = self.row, parse_task(found)
        results = found.get("results") or ()
        self.pane.log_view.fit_sources(source_cells(results))
        if 0 < before.attempt < self.row.attempt:
            self._say("its worker is gone; another one goes on with it", 4)
        self.pane.log_view.feed(self._news.of(results))
        if kind == "end":
            self._say(f"ended: {self.row.state}")
        self._retitle()
        self.refresh_bindings()

    def _say(self, text: str, priority: int = NO_LEVEL) -> None:
        self.pane.log_view.feed([LogLine(None, Safe(""), Safe("task"), priority, Safe(f"— {text}"))])

    def action_back(self) -> None:
        if not self.pane.step_back():
            super().action_back()
