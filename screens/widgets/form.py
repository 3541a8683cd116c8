"""A form made from an operation's input schema: it stays open until the house has said yes, so nothing typed is lost.

What is wrong is said at its field while it is typed; what only the house can know comes back to the field it is about.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Input, TextArea
from textual.worker import Worker, WorkerState

from opsconsole.client import Json, OperationFailed
from screens.frame import ConsoleModal, report_worker
from screens.render.form import Field, Wrong, changed, hint, read, shown
from screens.text import Safe, content, join
from screens.widgets.inputs import Area, Entry, Pick
from screens.widgets.line import Line, Sentence
from screens.widgets.menu import Entry as Choice
from screens.widgets.menu import Menu

Submit = Callable[[Json], Awaitable[Any]]
"""Takes what was typed; answers None when the operator thought better of it, and then the form stays."""

Choices = Callable[[], Awaitable[Sequence[str]]]
LABEL: Final = 18
KEYS: Final = "* is needed · enter next · ctrl+s go on · esc leave"
_SEVERAL_LINES: Final = ("long", "rows", "json")
_SHOWN_CHOICES: Final = 500


class FieldRow(Vertical):
    """Label, input, and below them what is wrong."""

    DEFAULT_CSS = f"""
    FieldRow {{ height: auto; }}
    FieldRow > Horizontal {{ height: auto; }}
    FieldRow .label {{ width: {LABEL}; }}
    FieldRow Input {{ width: 1fr; background: $boost; border: none; height: 1; padding: 0; }}
    FieldRow .wrong {{ display: none; margin-left: {LABEL}; height: auto; }}
    FieldRow.-wrong .wrong {{ display: block; }}
    """

    def __init__(self, field: Field, before: Any, help_: str, given: str | None = None) -> None:
        super().__init__(id=f"row-{field.name}")
        self.field = field
        self.help = join([part for part in (Safe(help_), hint(field)) if part], " · ")
        self.choices: list[str] = []
        self.touched = False
        self.start = shown(field, before) if given is None else given
        self.input = self._input()

    def _input(self) -> Widget:
        kind = self.field.kind
        if kind == "secret":
            return Input(password=True, placeholder="not shown", compact=True)
        if kind in _SEVERAL_LINES:
            return Area(self.start)
        if kind in ("choice", "yesno"):
            choices = list(self.field.choices) if kind == "choice" else ["yes", "no"]
            optional = not self.start or (self.field.nullable and not self.field.required)
            return Pick(["", *choices] if optional else choices, self.start)
        return Entry(self.start)

    def compose(self) -> ComposeResult:
        star = "*" if self.field.required else " "
        with Horizontal():
            yield Line(content((f"{star}{self.field.label}", "bold" if self.field.required else "")), classes="label")
            yield self.input
        yield Sentence(classes="wrong")

    @property
    def typed(self) -> str:
        widget = self.input
        if isinstance(widget, TextArea):
            return widget.text
        return widget.value if isinstance(widget, (Input, Pick)) else ""

    @property
    def dirty(self) -> bool:
        return self.typed != self.start

    def value(self) -> Any:
        """What was typed as a value; raises `Wrong`."""
        value = read(self.field, self.typed)
        if self.choices and isinstance(value, str) and value not in self.choices:
            close = [choice for choice in self.choices if value.lower() in choice.lower()] or self.choices
            more = ", …" if len(close) > 5 else ""
            raise Wrong(f"there is no {value}; there are: {', '.join(close[:5])}{more}")
        return value

    def say(self, text: str) -> None:
        """Show what is wrong; empty takes it away."""
        self.set_class(bool(text), "-wrong")
        self.query_one(".wrong", Sentence).say(Safe(text), "bad")

    def check(self, *, all_of_it: bool) -> bool:
        """Say what is wrong with the typed text. A field nobody typed into yet is left in peace unless `all_of_it`."""
        try:
            self.value()
        except Wrong as wrong:
            self.say(str(wrong) if self.touched or all_of_it else "")
            return False
        self.say("")
        return True

    def set(self, value: str) -> None:
        if isinstance(self.input, Pick):
            self.input.choose(value)
        elif isinstance(self.input, Input):
            self.input.value = value
            self.input.cursor_position = len(value)

    def forget(self) -> None:
        """A secret is gone as soon as it is not needed."""
        if self.field.kind == "secret" and isinstance(self.input, Input):
            self.input.clear()


def _taken(row: FieldRow, value: str | None) -> None:
    if value is not None:
        row.set(value)


class Form(ConsoleModal[Any]):
    """Answers with what `submit` answered, or None after esc.

    `before` are the values there are, of which only those that differ are sent; `given` are texts that stand in the
    fields at first and are sent like typed ones.
    """

    AROUND = 5
    DEFAULT_CSS = """
    Form .body { height: auto; }
    Form .hint { color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "send", "go on", id="form.send"),
        Binding("enter", "next", "next field", id="form.next", show=False),
        Binding("down", "move(1)", "next field", id="form.down", show=False),
        Binding("up", "move(-1)", "previous field", id="form.up", show=False),
        Binding("f4", "list", "choices", id="form.list"),
    ]

    def __init__(
        self,
        title: str,
        fields: Sequence[Field],
        submit: Submit,
        *,
        before: Mapping[str, Any] | None = None,
        given: Mapping[str, str] | None = None,
        choices: Mapping[str, Choices] | None = None,
        helps: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._heading = Safe(title)
        self._submit = submit
        self._before = {field.name: field.default for field in fields} | dict(before or {})
        self._choices = dict(choices or {})
        helps, given = helps or {}, given or {}
        self.rows = [
            FieldRow(field, self._before.get(field.name), helps.get(field.name, ""), given.get(field.name))
            for field in fields
        ]
        self._sending = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Line(content((self._heading, "bold")))
            with VerticalScroll(classes="body", can_focus=False):
                yield from self.rows
            yield Sentence(id="hint", classes="hint")
            yield Sentence(id="state")

    def on_mount(self) -> None:
        self._say(KEYS)
        if self.rows:
            self.rows[0].input.focus()
        for row in self.rows:
            if row.field.name in self._choices:
                self.load_choices(row, self._choices[row.field.name])

    @work(group="choices", exit_on_error=False)
    async def load_choices(self, row: FieldRow, ask: Choices) -> None:
        """Choices come when they come; without them the house still checks what was typed."""
        try:
            row.choices = [str(Safe(choice)) for choice in await ask()]
        except OperationFailed as error:
            self._say(f"no choices for {row.field.label}: {error.message}", "warn")
            return
        if isinstance(row.input, Entry):
            row.input.offer(row.choices)
        self._hint()

    def _say(self, text: str, role: str = "muted") -> None:
        self.query_one("#state", Sentence).say(Safe(text), role)

    @property
    def current(self) -> FieldRow | None:
        """The row with the focus."""
        return next((row for row in self.rows if row.input.has_focus), None)

    @property
    def dirty(self) -> bool:
        return any(row.dirty for row in self.rows)

    def _hint(self) -> None:
        row = self.current
        listed = f"f4 lists {len(row.choices)}" if row and row.choices else ""
        self.query_one("#hint", Sentence).say(join([p for p in (row.help if row else "", listed) if p], " · "), "muted")

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self._hint()

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        for row in self.rows:
            if row.input is event.widget and row.dirty:
                row.touched = True
                row.check(all_of_it=False)

    @on(Input.Changed)
    @on(TextArea.Changed)
    @on(Pick.Changed)
    def _typed(self, event: Input.Changed | TextArea.Changed | Pick.Changed) -> None:
        event.stop()
        row = next((row for row in self.rows if row.input is event.control), None)
        if row is not None and (row.touched or row.dirty):
            row.touched = True
            row.check(all_of_it=False)
            if not self._sending:
                self._say(KEYS)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_next()

    def action_move(self, steps: int) -> None:
        row = self.current
        if row is not None:
            at = self.rows.index(row) + steps
            if 0 <= at < len(self.rows):
                self.rows[at].input.focus()

    def action_next(self) -> None:
        """The next field; behind the last one the form goes on."""
        if self.current is self.rows[-1]:
            self.action_send()
        else:
            self.action_move(1)

    def action_list(self) -> None:
        row = self.current
        choices = row.choices or list(row.field.choices) if row else []
        if row is None or not choices:
            self._say("this field has no list of choices", "warn")
            return
        entries = [Choice(choice, "", Safe(choice)) for choice in choices[:_SHOWN_CHOICES]]
        self.app.push_screen(Menu(Safe(row.field.label), entries), lambda value: _taken(row, value))

    def action_send(self) -> None:
        """Hand in what is typed, unless something is wrong with it."""
        if self._sending:
            return
        wrong = [row for row in self.rows if not row.check(all_of_it=True)]
        if wrong:
            wrong[0].input.focus()
            self._say(f"{len(wrong)} field{'s' if len(wrong) > 1 else ''} not right yet", "warn")
            return
        values = {row.field.name: row.value() for row in self.rows}
        self._sending = True
        self.send(changed([row.field for row in self.rows], values, self._before))

    @work(group="send", exit_on_error=False)
    async def send(self, data: Json) -> None:
        self._say("asking …", "busy")
        try:
            answer = await self._submit(data)
        except OperationFailed as error:
            self._refused(error)
            return
        finally:
            self._sending = False
        if answer is None:
            self._say("nothing was done; what you typed is still here")
            return
        self._leave(answer)

    def _refused(self, error: OperationFailed) -> None:
        """The error goes to its field, where there is one."""
        name = (error.field or "").partition(".")[0].partition("[")[0]
        row = next((row for row in self.rows if row.field.name == name), None)
        self._say("refused; see the field" if row else error.message, "bad")
        if row is not None:
            row.say(error.message)
            row.input.focus()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        report_worker(self.console, event)
        if event.state is WorkerState.ERROR:
            self._say("a bug of ours; what you typed is still here", "bad")

    def _leave(self, answer: Any) -> None:
        for row in self.rows:
            row.forget()
        self.dismiss(answer)

    def action_cancel(self) -> None:
        """Leave; asks first when something was typed."""
        if not self.dirty:
            self._leave(None)
            return
        entries = [
            Choice("stay", "n", Safe("stay in the form")),
            Choice("leave", "y", Safe("leave; what you typed is lost")),
        ]
        self.app.push_screen(Menu(Safe("Something was typed"), entries), self._cancelled)

    def _cancelled(self, chosen: str | None) -> None:
        if chosen == "leave":
            self._leave(None)
