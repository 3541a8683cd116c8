"""What every screen and dialog has in common: the app as they see it, sizes, and a sentence when too small."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, cast

from textual import events as events_of_library
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.worker import Worker, WorkerState

from opsconsole.client import Client, Json, OperationFailed
from opsconsole.engine.bugs import note
from screens.shell.painted import PaintedApp
from screens.text import Safe, content, join

if TYPE_CHECKING:
    from screens.render.record import Thing
    from screens.shell.palette import Offer
    from screens.widgets.header import Heading
    from screens.widgets.lines import LogLine
    from screens.widgets.table import VirtualTable

R = TypeVar("R")

SMALLEST: Final = (60, 15)
WIDTHS: Final = [(0, "-tiny"), (SMALLEST[0], "-narrow"), (100, "-wide"), (160, "-xwide")]
HEIGHTS: Final = [(0, "-flat"), (SMALLEST[1], "-tall")]
ROLE_PRIORITY: Final = {"bad": 3, "warn": 4, "ok": 5}
ARM_AFTER: Final = 0.3
"""Seconds a dialog that confirms is on the screen before an Enter typed then may count."""


class Console(PaintedApp[int]):
    """The app as its screens use it: the door to the house, one place to say something, and the mode it runs in."""

    client: Client | None = None
    ascii = False
    started_read_only = False
    heading_hidden = False

    def __init__(self) -> None:
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self.facts: Json = {}
        self.waiting: Json = {}
        self.messages: deque[LogLine] = deque(maxlen=1000)

    @property
    def read_only(self) -> Safe:
        """Why nothing may be changed; empty when it may."""
        if self.started_read_only:
            return Safe("started with --readonly")
        return Safe(self.facts.get("read_only"))

    def arrived(self, screen: ConsoleScreen) -> None:
        """A screen is on top now; who keeps the trail notes it."""

    def send_to_terminal(self, data: str) -> None:
        """Bytes of our own that are no part of a frame, such as a text for the clipboard."""
        if self._driver is not None:
            self._driver.write(data)
            self._driver.flush()

    def say(self, text: str, role: str = "") -> None:
        """Tell the operator something: five seconds at the bottom, and kept for `!`."""
        from screens.widgets.lines import LogLine

        safe = Safe(text)
        priority = ROLE_PRIORITY.get(role, 6)
        self.messages.append(LogLine(time.time(), Safe(""), Safe(""), priority, safe))
        for screen in reversed(self.screen_stack):
            if isinstance(screen, ConsoleScreen):
                screen.show_flash(safe, role)
                break

    def say_failure(self, doing: str, error: OperationFailed) -> None:
        """The same for something the house refused or could not do."""
        where = f" ({error.field})" if error.field else ""
        self.say(join([Safe(doing), Safe(f"{error.message}{where}")], ": "), "bad")


def report_worker(console: Console, event: Worker.StateChanged) -> None:
    """A worker that fell over is a bug of ours: it is said, and the rest of the screen goes on."""
    if event.state is WorkerState.ERROR:
        error = event.worker.error
        if error is not None:
            note(error)
        console.say(f"a bug of ours in {event.worker.group}: {type(error).__name__}: {error}", "bad")


class TooSmall(Widget):
    """Covers a screen in a window too small for it."""

    SCOPED_CSS = False
    DEFAULT_CSS = """
    TooSmall { layer: over; display: none; width: 100%; height: 100%; background: $background; overflow: hidden; }
    .-tiny > TooSmall { display: block; }
    .-flat > TooSmall { display: block; }
    """

    def render(self) -> Content:
        size = self.app.size
        width, height = SMALLEST
        return content(f"The window is {size.width}x{size.height}; opsconsole needs {width}x{height}. ctrl+q quits.")


def too_small(screen: Screen[R]) -> bool:
    """Whether the operator cannot see this screen, so that nothing may be confirmed on it."""
    width, height = SMALLEST
    return screen.app.size.width < width or screen.app.size.height < height


class ConsoleScreen(Screen[None]):
    """A full screen: `q` and `esc` go one step back."""

    HORIZONTAL_BREAKPOINTS = WIDTHS
    VERTICAL_BREAKPOINTS = HEIGHTS
    DEFAULT_CSS = """
    ConsoleScreen { layers: base over; }
    ConsoleScreen.-no-heading #heading { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back", id="screen.back", show=False),
    ]
    _heading_shown: Heading | None = None

    @property
    def console(self) -> Console:
        return cast(Console, self.app)

    def on_mount(self) -> None:
        self.mount(TooSmall())

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        report_worker(self.console, event)

    def on_screen_resume(self) -> None:
        self.set_class(self.console.heading_hidden, "-no-heading")
        self.console.arrived(self)

    def show_flash(self, text: Safe, role: str) -> None:
        """Show a message of the console; the status line does it where there is one."""
        from screens.widgets.status import StatusLine

        for line in self.query(StatusLine):
            line.flash(text, role)

    def show_waiting(self) -> None:
        """What waits for the operator has changed; the root of a mode has it in its heading."""
        if self._heading_shown is not None:
            self.show_heading(self._heading_shown)

    def show_heading(self, heading: Heading) -> None:
        """Write the top line, and give the frame the colour of what is at stake."""
        self._heading_shown = heading
        from screens.widgets.header import heading_text
        from screens.widgets.line import Line

        self.query_one("#heading", Line).show(heading_text(heading, self.console.waiting))
        for level in ("dev", "stage", "prod"):
            self.set_class(heading.level == level, f"-level-{level}")

    def host_here(self) -> str:
        """The host that what is under the cursor belongs to; empty for none."""
        return ""

    def place(self) -> list[Safe]:
        """What tells this screen from others of its depth; empty for the root of a mode."""
        return []

    def thing(self) -> Thing | None:
        """The object under the cursor, as the journal and the rights know it."""
        return None

    def again(self) -> Callable[[], ConsoleScreen] | None:
        """How to make this screen once more after it was left; None for the root of a mode."""
        return None

    def crumbs(self) -> list[Safe]:
        """Its part of the way that leads here: what it is, and how its list is narrowed."""
        return [*self.place(), *(crumb for table in self._tables() for crumb in filter_crumb(table.rows.filter))]

    def on_key(self, event: events_of_library.Key) -> None:
        """A key whose action is greyed says why, instead of doing nothing in silence."""
        bound = self.active_bindings.get(event.key)
        if bound is not None and not bound.enabled:
            self.console.say(str(self.why_not(bound.binding.action)), "warn")

    def why_not(self, action: str) -> Safe:
        """Why an action is greyed now."""
        reason = self.console.read_only
        return join([Safe("read-only:"), reason], " ") if reason else Safe("not possible now")

    def narrow(self, text: str) -> None:
        """Set the filter of its list."""
        for table in self._tables():
            table.narrowed(table.rows.set_filter(text))

    def objects(self, text: str, limit: int) -> list[Offer]:
        """Rows of its lists that fit a text, for the palette."""
        from screens.shell.palette import offers_of

        return [offer for table in self._tables() for offer in offers_of(table, text, limit)][:limit]

    def has_row(self, key: str) -> bool:
        """Whether a list here has this row, shown or not."""
        return any(key in table.rows.records for table in self._tables())

    def go_to(self, key: str) -> None:
        """Put the cursor on a row by its key, also where the filter hides it."""
        for table in self._tables():
            if key in table.rows.records:
                if table.rows.position(key) is None:
                    table.changed(table.rows.set_filter(""))
                table.move_to(key)
                table.focus()
                return

    def _tables(self) -> list[VirtualTable[Any]]:
        from screens.widgets.table import VirtualTable

        return list(self.query(VirtualTable))

    def on_virtual_table_edited(self) -> None:
        from screens.widgets.status import StatusLine

        for line in self.query(StatusLine):
            line.hints()

    def action_back(self) -> None:
        """One step back; the root of a mode stays."""
        if len(self.app.screen_stack) > 1:
            self.app.pop_screen()


def filter_crumb(text: str) -> list[Safe]:
    """A filter as a crumb: environments and tags as typed, words after a slash."""
    words = text.split()
    marked = [word for word in words if word.lstrip("!")[:1] in ("@", "#")]
    others = " ".join(word for word in words if word not in marked)
    return [Safe(" ".join([*marked, *([f"/{others}"] if others else [])]))] if words else []


class ConsoleModal(ModalScreen[R], Generic[R]):
    """A dialog; `esc` closes it with nothing done."""

    HORIZONTAL_BREAKPOINTS = WIDTHS
    VERTICAL_BREAKPOINTS = HEIGHTS
    DEFAULT_CSS = """
    ConsoleModal { layers: base over; align: center middle; background: $background 60%; }
    ConsoleModal:ansi { background: ansi_default; }
    ConsoleModal > .dialog {
        width: 90%; max-width: 110; height: auto; max-height: 100%;
        border: round $primary; padding: 0 1; background: $surface;
    }
    ConsoleModal > .dialog.-prod { border: heavy $error; }
    ConsoleModal.-narrow > .dialog { width: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel", id="dialog.cancel"),
    ]

    AROUND: ClassVar[int] = 4
    """Lines of the dialog beside its scrolling `.body`, which takes what height is left."""
    CONFIRMS: ClassVar[bool] = False
    """Whether Enter can set something off here that was not meant, so that it counts only when typed after reading."""
    shown_at: float | None = None
    """When the dialog came, by the monotonic clock; None before."""

    @property
    def console(self) -> Console:
        return cast(Console, self.app)

    def on_mount(self) -> None:
        self.shown_at = time.monotonic()
        self.mount(TooSmall())

    def on_resize(self) -> None:
        for body in self.query(".body"):
            body.styles.max_height = max(self.size.height - 2 - self.AROUND, 3)

    def action_cancel(self) -> None:
        self.dismiss(None)


@asynccontextmanager
async def events(client: Client, operation: str, data: Mapping[str, Any]) -> AsyncIterator[AsyncIterator[Json]]:
    """A stream that is closed when the block is left, however it is left, so that the work behind it ends too."""
    stream = client.stream(operation, data)
    try:
        yield stream
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


@contextmanager
def reported(console: Console, doing: str) -> Iterator[None]:
    """Work for the operator: what the house refuses becomes a message, not a crash."""
    try:
        yield
    except OperationFailed as error:
        console.say_failure(doing, error)
