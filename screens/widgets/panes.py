"""A list with its title line and its prompts: what a screen puts in its body, and what logs have of it too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget

from screens.text import Safe, content, join
from screens.widgets.line import Line
from screens.widgets.rows import Change
from screens.widgets.table import VirtualTable

if TYPE_CHECKING:
    from screens.frame import Console
    from screens.widgets.filter import Prompt

T = TypeVar("T")


class Pane(Vertical):
    """Title, body, and a prompt that is there only while it is used."""

    DEFAULT_CSS = """
    Pane { height: 1fr; width: 1fr; }
    Pane > .title { text-style: bold; background: $panel; }
    Pane > .prompt { height: 1; }
    Pane > .prompt > Line { width: auto; }
    """

    def __init__(self, body: Widget, name: str, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.body = body
        self.heading = Safe(name)
        self.note = Safe("")
        self._before = ""

    def compose(self) -> ComposeResult:
        yield Line(classes="title")
        yield self.body

    def summary(self) -> Safe:
        """What the title says after the name."""
        raise NotImplementedError

    def state(self) -> Safe:
        """What must not be overlooked, before all the rest."""
        return Safe("")

    def apply(self, purpose: str, text: str) -> None:
        """What was typed into a prompt takes effect."""
        raise NotImplementedError

    def kept(self, purpose: str, text: str) -> None:
        """What was typed into a prompt was confirmed."""

    def retitle(self) -> None:
        """Write the title again."""
        parts = [part for part in (self.heading, self.state(), self.note, self.summary()) if part]
        for line in self.query(".title").results(Line):
            line.show(content((join(parts, " · "), "bold")))

    async def ask(self, purpose: str, value: str, hint: str, *, anew: bool = False) -> None:
        """Open a prompt; the value comes back by itself when it is left with esc.

        With `anew` the line is empty, and nothing typed means the value it had.
        """
        from screens.widgets.filter import Prompt, label

        if self.query(".prompt"):
            return
        self._before = value
        prompt = Prompt(purpose, "" if anew else value, f"{value} again, or {hint}" if anew and value else hint)
        prompt.anew = anew
        await self.mount(Horizontal(Line(label(purpose)), prompt, classes="prompt"))
        self.query_one(".prompt > Line").styles.width = len(purpose) + 1
        prompt.focus()

    async def on_prompt_typed(self, event: Prompt.Typed) -> None:
        self.apply(event.prompt.purpose, event.text)

    async def on_prompt_left(self, event: Prompt.Left) -> None:
        typed = event.text or (self._before if event.prompt.anew else "")
        kept = typed if event.kept else self._before
        await self.query(".prompt").remove()
        self.apply(event.prompt.purpose, kept)
        self.body.focus()
        if event.kept:
            self.kept(event.prompt.purpose, event.text)

    def choose(self, title: str, choices: list[tuple[str, str]], then: Callable[[str], None]) -> None:
        """A menu; `then` is called with what was chosen."""
        from screens.widgets.menu import Entry, Menu

        def chosen(choice: str | None) -> None:
            if choice is not None:
                then(choice)

        entries = [Entry(choice, "", Safe(words)) for choice, words in choices]
        self.app.push_screen(Menu(Safe(title), entries), chosen)

    @property
    def _console_app(self) -> Console:
        return cast("Console", self.app)


class ListPane(Pane, Generic[T]):
    """A table with filter, sort, groups, a choice of columns and a freeze. The table's id names its choices."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", id="list.filter"),
        Binding("o", "sort", "sort by", id="list.sort", show=False),
        Binding("O", "reverse", "reverse the order", id="list.reverse", show=False),
        Binding("b", "group", "group by", id="list.group", show=False),
        Binding("c", "columns", "columns", id="list.columns", show=False),
        Binding("z", "freeze", "freeze", id="list.freeze", show=False),
    ]

    class Frozen(Message):
        """The list was frozen, or goes on."""

        def __init__(self, pane: ListPane[Any], frozen: bool) -> None:
            super().__init__()
            self.pane = pane
            self.frozen = frozen

    def __init__(self, table: VirtualTable[T], name: str, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(table, name, id=id)
        self.table = table
        self._recalled = False
        self._ageing: Timer | None = None

    def summary(self) -> Safe:
        return self.table.rows.summary()

    @property
    def frozen(self) -> bool:
        return self.table.rows.frozen_since is not None

    def state(self) -> Safe:
        since = self.table.rows.frozen_since
        return Safe("") if since is None else Safe(f"FROZEN {max(int(self.table.now() - since), 0)}s (z goes on)")

    def apply(self, purpose: str, text: str) -> None:
        self.table.narrowed(self.table.rows.set_filter(text))

    @on(VirtualTable.Edited)
    def _edited(self) -> None:
        self._recall()
        self.retitle()

    async def action_filter(self) -> None:
        await self.ask("/", self.table.rows.filter, "words  !not  column:value  @environment  #tag  ~fuzzy")

    def action_freeze(self) -> None:
        """Keep the list as it is while the fleet goes on; again to catch up."""
        rows = self.table.rows
        if self.frozen:
            self.table.changed(rows.thaw())
            if self._ageing is not None:
                self._ageing.stop()
        else:
            rows.freeze(self.table.now())
            self._ageing = self.set_interval(1.0, self.retitle)
        self.post_message(self.Frozen(self, self.frozen))
        self.retitle()

    def action_reverse(self) -> None:
        rows = self.table.rows
        self.table.changed(rows.set_sort(rows.sort_column, not rows.reverse))

    def action_sort(self) -> None:
        columns = self.table.rows.spec.columns
        choices = [("", "natural order"), *((column.id, column.title.lower()) for column in columns)]
        self.choose("sort by", choices, self._sort)

    def _sort(self, column: str) -> None:
        self.table.changed(self.table.rows.set_sort(column))

    def action_group(self) -> None:
        groupings = self.table.rows.spec.groupings
        choices = [("", "no groups"), *((grouping.id, grouping.title) for grouping in groupings)]
        self.choose("group by", choices, self._group)

    def _group(self, grouping: str) -> None:
        self.table.changed(self.table.rows.set_group(grouping))

    # Columns

    def _recall(self) -> None:
        """The columns this person chose, once the house has said where its home is."""
        home, name = self._home()
        if self._recalled or home is None:
            return
        from screens.widgets.columns import BrokenChoices, ColumnChoices

        self._recalled = True
        try:
            chosen = ColumnChoices(home).read().get(name, ())
        except BrokenChoices as error:
            self._console_app.say(f"the usual columns: {error}", "warn")
        else:
            if chosen:
                self.table.choose_columns(chosen)

    def action_columns(self) -> None:
        from screens.widgets.columns import ColumnsPane

        self._recall()
        pane = ColumnsPane(self.table.rows.spec.columns, self.table.chosen)
        self.app.push_screen(pane, self._keep_columns)

    def _keep_columns(self, chosen: list[str] | None) -> None:
        if chosen is None:
            return
        from screens.widgets.columns import BrokenChoices, ColumnChoices

        self.table.choose_columns(chosen)
        home, name = self._home()
        if home is None:
            return
        try:
            ColumnChoices(home).write(name, chosen)
        except BrokenChoices as error:
            self._console_app.say(f"the choice is good until the end only: {error}", "warn")

    def _home(self) -> tuple[str | None, str]:
        """The home of the house if it is known and the list is one whose columns are kept."""
        home = getattr(self.app, "facts", {}).get("home")
        return (str(home) if home and self.table.id else None), self.table.id or ""

    def step_back(self) -> bool:
        """Undo one narrowing: an open range, the filter, then the marks; False when there is none."""
        rows = self.table.rows
        if rows.marking.anchor is not None:
            rows.marking.cancel_range()
            self.table.changed(Change(order=True))
        elif rows.filter:
            self.table.changed(rows.set_filter(""))
        elif rows.marks:
            self.table.action_clear_marks()
        else:
            return False
        return True
