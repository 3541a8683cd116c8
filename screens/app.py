"""The console: modes, theme, keys, and the wires between the house and its screens. Nothing is decided here."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual import work
from textual.binding import Binding, BindingType
from textual.events import Event
from textual.filter import LineFilter
from textual.worker import Worker

from opsconsole.client import Client, Json, OperationFailed, Question
from opsconsole.engine import locations
from opsconsole.engine.bugs import note
from screens.frame import ConsoleModal, ConsoleScreen, report_worker
from screens.glyphs import LastFilter
from screens.hangup import leaving_on_signals
from screens.services import ServicesScreen
from screens.shell.ahead import TypeAhead
from screens.shell.desk import Desk
from screens.shell.modes import factories
from screens.shell.themes import AUTO, FRAME_CSS, register
from screens.shell.waiting import NOTIFICATION, Waiting, concerns, more_to_decide
from screens.text import Safe

if TYPE_CHECKING:
    from screens.render.task import TaskRow
    from screens.shell.endings import Endings

ClientFactory = Callable[[], Client]
REFUSED: Final = 2
ENDINGS_AFTER: Final = 0.3
TASK_ENDED: Final = "\x1b]9;opsconsole: a task has ended\x07"
"""For terminals that show a notification; it says nothing of the task."""
TURNED_AWAY: Final = 3
UNWELCOME: Final = ("not_signed_in", "user_disabled")
DISABLED: Final = "the user {user} is disabled; ask an administrator"
PLAIN_TERMS: Final = ("dumb", "unknown", "")
NO_TERMINAL: Final = (
    "opsconsole: this needs a terminal that can draw (TERM is {term!r}, stdin {stdin}a terminal). Without one use the "
    "same operations headless: opsconsole ops, opsconsole call ID, opsconsole services list …\n"
)


class OpsConsole(Desk):
    """Paints first; the house is made in a thread after the first frame."""

    TITLE = "opsconsole"
    ENABLE_COMMAND_PALETTE = False
    MODES: ClassVar[dict[str, Any]] = {**factories(), "services": ServicesScreen}
    DEFAULT_MODE = "services"
    CSS = "Screen { scrollbar-size: 1 1; }" + FRAME_CSS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,f1", "help", "help", id="help.open"),
        Binding("exclamation_mark", "messages", "messages", id="journal.open", show=False),
        Binding("q", "leave", "quit", id="back", show=False),
        Binding("ctrl+q", "quit", "quit", id="quit", show=False, priority=True),
        Binding("ctrl+l", "redraw", "draw the screen anew", id="view.redraw", show=False),
    ]

    def __init__(
        self,
        client_factory: ClientFactory,
        *,
        ascii: bool = False,  # noqa: A002 - the name of the mode everywhere
        readonly: bool = False,
        theme: str = AUTO,
        start: str = "",
    ) -> None:
        if start:
            self.DEFAULT_MODE = start  # type: ignore[misc]  # the library reads it once, from the instance
        super().__init__()
        self._factory = client_factory
        self._last_filter = LastFilter(ascii=ascii)
        self.ascii = ascii
        self.started_read_only = readonly
        self.animation_level = "none"
        self.crash: str | None = None
        self._waiting: Waiting | None = None
        self._endings: Endings | None = None
        self._running_loop: asyncio.AbstractEventLoop | None = None
        self._ahead = TypeAhead(self)
        register(self)
        self.use_theme(theme)

    def on_mount(self) -> None:
        self._running_loop = asyncio.get_running_loop()
        self.app_resume_signal.subscribe(self, lambda _: self.action_redraw())
        self.call_after_refresh(self.connect)

    def leave_soon(self) -> None:
        """End with status 0, asked from a signal handler."""
        if self._running_loop is not None:
            self._running_loop.call_soon_threadsafe(self.exit, 0)

    # The house

    @work(group="connect", exclusive=True, exit_on_error=False)
    async def connect(self) -> None:
        """Make the house in a thread and tell the screens. It opens when it is asked something, which takes the
        processor for half a second: what the screens know already is painted before that."""
        client = await asyncio.to_thread(self._factory)
        self.client = client
        self.each_screen(lambda screen: screen.connected(client))
        self.call_after_refresh(self.listen, client)

    @work(group="listen", exclusive=True, exit_on_error=False)
    async def listen(self, client: Client) -> None:
        """Everything the house tells by itself, and who is asking."""
        self.listen_questions(client)
        self.keep_counting(client)
        self.listen_changes(client)
        try:
            self.facts = await client.facts()
        except OperationFailed as error:
            if error.code in UNWELCOME:
                self.turn_away(error.message)
                return
            self.say_failure("who is asking", error)
        if self.facts.get("enabled") is False:
            self.turn_away(DISABLED.format(user=Safe(self.facts.get("user"))))
            return
        for wrong in self.facts.get("notes") or []:
            self.say(str(Safe(wrong)), "warn")
        await self._take_keymap()
        self.look_for_ends(client)

    async def _take_keymap(self) -> None:
        """The operator's own keys, when there are any; what is wrong with them is said and the rest holds."""
        path = locations.home() / "keymap.toml"
        if not await asyncio.to_thread(path.exists):
            return
        from screens.shell.bindings import load_keymap

        found = await asyncio.to_thread(load_keymap, path)
        self.set_keymap(dict(found.keys))
        for wrong in found.notes:
            self.say(wrong, "warn")

    def each_screen(self, tell: Callable[[ServicesScreen], None]) -> None:
        """Tell every screen that watches the house; those of modes not opened yet ask by themselves when they are."""
        for screen in self.all_screens():
            if isinstance(screen, ServicesScreen):
                tell(screen)

    @work(group="changes", exclusive=True, exit_on_error=False)
    async def listen_changes(self, client: Client) -> None:
        """A lost change feed means that anything may have changed; readings come through the watch."""
        async for batch in client.changes():
            if any(change.get("lost") or change.get("entity") in {"user", "role"} for change in batch):
                await self.still_welcome(client)
            if any(change.get("lost") for change in batch):
                self.each_screen(lambda screen: screen.action_refresh())
            if self._waiting is not None and concerns(batch):
                self._waiting.due()
            if any(change.get("lost") or change.get("entity") == "task" for change in batch):
                self.look_for_ends(client)

    @work(group="endings", exclusive=True, exit_on_error=False)
    async def look_for_ends(self, client: Client) -> None:
        """A task that ends is heard wherever one is. Looked at again in a moment, so that a burst is one look."""
        if self._endings is None:
            from screens.shell.endings import Endings

            self._endings = Endings(client, str(self.facts.get("user") or ""), self._task_ended)
        await asyncio.sleep(ENDINGS_AFTER)
        await self._endings.look()

    def _task_ended(self, task: TaskRow) -> None:
        self.say(f"task {task.summary}: {task.state}; t shows it", task.role)
        self.bell()
        self.send_to_terminal(TASK_ENDED)

    @work(group="waiting", exclusive=True, exit_on_error=False)
    async def keep_counting(self, client: Client) -> None:
        """What waits for the operator stands in every header; what begins to wait is heard."""
        self._waiting = Waiting(client, self._waits)
        await self._waiting.keep()

    def _waits(self, before: Json, now: Json) -> None:
        self.waiting = now
        for screen in self.all_screens():
            if isinstance(screen, ConsoleScreen):
                screen.show_waiting()
        if more_to_decide(before, now):
            self.say("something waits for you: 9 approvals", "warn")
            self.bell()
            self.send_to_terminal(NOTIFICATION)

    async def still_welcome(self, client: Client) -> None:
        """Somebody's rights changed: if they were ours and are gone, the console ends."""
        try:
            self.facts = await client.facts()
        except OperationFailed as error:
            if error.code in UNWELCOME:
                self.turn_away(error.message)
            return
        if self.facts.get("enabled") is False:
            self.turn_away(DISABLED.format(user=Safe(self.facts.get("user"))))

    def turn_away(self, why: str) -> None:
        """End with a sentence and status 3: nobody works on who may not."""
        self.crash = str(Safe(f"opsconsole: {why}"))
        self.exit(TURNED_AWAY, return_code=TURNED_AWAY)

    @work(group="questions", exclusive=True, exit_on_error=False)
    async def listen_questions(self, client: Client) -> None:
        """One dialog after the other; what is given up is answered with None, so that nothing waits for ever."""
        async for question in client.questions():
            await client.answer(question, await self._ask(question))

    async def _ask(self, question: Question) -> str | None:
        from screens.widgets.question import QuestionPane

        return await self.push_screen_wait(QuestionPane(question))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        report_worker(self, event)

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), self._last_filter]

    # Keys

    async def on_event(self, event: Event) -> None:
        if not self._ahead.keeps(event):
            await super().on_event(event)

    def action_help(self) -> None:
        from screens.widgets.help import HelpPane

        if not isinstance(self.screen, ConsoleModal):
            self.push_screen(HelpPane(list(self.screen.active_bindings.items())))

    def action_messages(self) -> None:
        from screens.widgets.help import MessagesPane

        if not isinstance(self.screen, ConsoleModal):
            self.push_screen(MessagesPane(self.messages))

    def action_leave(self) -> None:
        """`q`: out of what is open, at the root out of the console."""
        if isinstance(self.screen, ConsoleModal):
            self.screen.action_cancel()
        elif len(self.screen_stack) > 1:
            self.pop_screen()
        else:
            self.exit(0)

    def _handle_exception(self, error: Exception) -> None:
        """A bug ends the console with a sentence; the library would print every local variable, secrets included."""
        if self.is_headless:
            super()._handle_exception(error)
            return
        self.crash = _sentence(error)
        self.exit(1, return_code=1)


def _sentence(error: Exception) -> str:
    """The sentence about a bug; where it happened is written down for whoever mends it."""
    where = note(error)
    written = f"it is written down in {where}" if where else "it could not be written down"
    return str(Safe(f"opsconsole: a bug of ours: {type(error).__name__}: {error}; {written}"))


def _wanted() -> tuple[str, bool, str]:
    """Theme, mouse and first screen by the settings; most people have none, and reading costs time before the first
    frame."""
    path = locations.home() / "settings.toml"
    if not path.exists():
        return AUTO, True, ""
    from opsconsole.engine import settings

    wanted = settings.load(path)
    return wanted.theme, wanted.mouse, wanted.start


def run(client_factory: ClientFactory, *, ascii: bool = False, readonly: bool = False, mouse: bool = True) -> int:  # noqa: A002
    """Run the console and return its exit status: 0, 1 after a bug of ours, 2 without a usable terminal.

    `client_factory` is called once, in a thread, after the first frame. `ascii` draws no glyph outside ASCII (the Linux
    console gets that by itself); `readonly` greys what acts, the house refuses it as well; without `mouse` the terminal
    selects text as it always does. What the settings say of colours and mouse is read here; what is wrong with them
    the house says.
    """
    term = os.environ.get("TERM", "")
    if term in PLAIN_TERMS or not sys.stdin.isatty() or not sys.__stderr__ or not sys.__stderr__.isatty():
        stdin = "" if sys.stdin.isatty() else "not "
        sys.stderr.write(NO_TERMINAL.format(term=term, stdin=stdin))
        return REFUSED
    theme, wants_mouse, start = _wanted()
    app = OpsConsole(client_factory, ascii=ascii or term == "linux", readonly=readonly, theme=theme, start=start)
    with leaving_on_signals(app.leave_soon):
        app.run(mouse=mouse and wants_mouse)
    if app.crash:
        sys.stderr.write(app.crash + "\n")
    return app.return_code or 0
