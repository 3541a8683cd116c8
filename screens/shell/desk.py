"""What works on every screen: modes and the way back, the command line, the palette, panes, copying and dumping."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import work
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widget import Widget

from opsconsole.client import Client, OperationFailed
from opsconsole.engine import locations
from screens.frame import Console, ConsoleModal, ConsoleScreen
from screens.shell.modes import MODES, NUMBERS, on_key, title_of
from screens.shell.themes import theme_name
from screens.shell.trail import Place, Trail
from screens.text import Safe, join

if TYPE_CHECKING:
    from screens.shell.commands import Call, Command
    from screens.shell.history import History
    from screens.shell.palette import Offer


class Desk(Console):
    """The actions; the composition is the app's."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"go('{key}')", title_of(key), id=f"go.{key}", show=False) for key in NUMBERS),
        Binding("colon", "command", "command", id="command.open"),
        Binding("ctrl+p", "palette", "find", id="palette.open"),
        Binding("left_square_bracket", "trail(-1)", "back", id="nav.back", show=False),
        Binding("right_square_bracket", "trail(1)", "forward", id="nav.forward", show=False),
        Binding("minus", "last", "the last place", id="nav.last", show=False),
        Binding("ctrl+o", "jump", "jump to a pane", id="nav.jump", show=False),
        Binding("ctrl+e", "heading", "header on or off", id="view.header", show=False),
        Binding("f11", "maximise", "this pane alone", id="view.maximise", show=False),
        Binding("y", "copy_name", "copy the name", id="copy.name", show=False),
        Binding("Y", "copy_row", "copy the row", id="copy.row", show=False),
        Binding("ctrl+s", "dump", "save what is shown", id="dump.table", show=False),
        Binding("f8", "dump_screen", "save the screen", id="dump.screen", show=False),
        Binding("t", "tasks", "tasks", id="tasks.drawer", show=False),
        Binding("s", "shell", "a shell on the host", id="shell.open", show=False),
        Binding("H", "history", "its history", id="object.history", show=False),
        Binding("W", "who_may", "who may what", id="object.who_may", show=False),
        Binding("ctrl+z", "to_shell", "to the shell", id="suspend", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.trail = Trail()
        self._travelling = False
        self._history: History | None = None

    def use_theme(self, name: str) -> None:
        """Colours by one of our names; without colour only light and dark ground differ."""
        self.theme = theme_name(name, os.environ, no_color=self.no_color)

    # Places

    def all_screens(self) -> Iterator[Screen[Any]]:
        """The screens of all modes."""
        for stack in self._screen_stacks.values():
            yield from stack

    def arrived(self, screen: ConsoleScreen) -> None:
        """A screen is on top now."""
        stack = self.screen_stack
        if screen in stack:
            depth = stack.index(screen)
            name = " > ".join(screen.place())
            self.trail.visit(Place(self.current_mode, name, depth, screen.again()))

    def crumbs(self, over: Screen[Any]) -> list[Safe]:
        """The way from the mode's root to what is on top."""
        found: list[Safe] = [Safe(self.current_mode)]
        for screen in self.screen_stack:
            if isinstance(screen, ConsoleScreen):
                found += screen.crumbs()
            if screen is over:
                break
        return found

    def action_go(self, key: str) -> None:
        mode = on_key(key)
        if mode is None:
            there = ", ".join(f"{mode.key} {mode.name}" for mode in MODES)
            self.say(f"there is no mode on {key}; there is: {there}", "warn")
        elif self.current_mode != mode.name:
            self.switch_mode(mode.name)

    async def action_trail(self, step: int) -> None:
        await self._travel(self.trail.neighbour(step), "there is nothing further that way")

    async def action_last(self) -> None:
        await self._travel(self.trail.before, "you have been nowhere else yet")

    async def _travel(self, place: Place | None, otherwise: str) -> None:
        """Go to a place: its mode, then down to its screen or up again to it."""
        if place is None:
            self.say(otherwise, "warn")
            return
        if self.current_mode != place.mode:
            await self.switch_mode(place.mode)
        while len(self.screen_stack) > place.depth + 1:
            await self.pop_screen()
        if len(self.screen_stack) == place.depth and place.again is not None:
            await self.push_screen(place.again())
        self.trail.visit(place)

    # Typed and found

    @property
    def mode_names(self) -> list[str]:
        return [mode.name for mode in MODES]

    def action_command(self, text: str = "") -> None:
        if not isinstance(self.screen, ConsoleModal):
            self.read_command(text)

    @work(group="command", exclusive=True, exit_on_error=False)
    async def read_command(self, text: str) -> None:
        from screens.shell.command_line import CommandLine

        command = await self.push_screen_wait(CommandLine(self.mode_names, self.history, text))
        if self.history.problem:
            self.say(self.history.problem, "warn")
            self.history.problem = ""
        if command is not None:
            self.obey(command)

    @property
    def history(self) -> History:
        """Several people share the home of a service account, so there it is not written."""
        if self._history is None:
            from screens.shell.history import NAME, History

            if not self.facts:
                return History(None)
            shared = self.facts.get("captive") or self.facts.get("mode") == "team"
            self._history = History(None if shared else locations.home() / NAME)
        return self._history

    @work(group="act", exit_on_error=False)
    async def obey(self, command: Command) -> None:
        """Do what was typed; in a worker of its own, so that the next line does not end what this one began."""
        from screens.shell.commands import Call, Go

        if isinstance(command, Call):
            await self._call(command)
        elif isinstance(command, Go):
            if self.current_mode != command.mode:
                await self.switch_mode(command.mode)
            if command.filter is not None:
                await self._travel(Place(command.mode, "", 0), "")
                cast(ConsoleScreen, self.screen).narrow(command.filter)
        elif command.name == "q":
            self.exit(0)
        elif command.name == "theme":
            self.use_theme(command.argument)
        else:
            await self.run_action("app.help")

    async def _call(self, call: Call) -> None:
        client = self.client
        if client is None:
            self.say("still starting; try again in a moment", "warn")
        elif call.streams:
            self.say(f"{call.operation} never ends; its screen shows it, and headless: opsconsole call", "warn")
        elif call.reads:
            await self._read(client, call)
        elif self.read_only:
            self.say(join([Safe(f"{call.operation}: read-only:"), self.read_only], " "), "warn")
        else:
            await self._change(client, call)

    async def _read(self, client: Client, call: Call) -> None:
        from screens.shell.answer import AnswerScreen

        try:
            answer = await client.call(call.operation, call.data)
        except OperationFailed as error:
            self.say_failure(call.operation, error)
            return
        self.push_screen(AnswerScreen(call.operation, answer))

    async def _change(self, client: Client, call: Call) -> None:
        from screens.performing import Order, Performing

        performing = Performing(self, client)
        if call.incomplete:
            from screens.shell.asking import form_for

            await self.push_screen_wait(form_for(call, performing))
            return
        try:
            await performing.finish(Order(call.operation, call.data, Safe(call.operation)))
        except OperationFailed as error:
            self.say_failure(call.operation, error)

    def action_tasks(self) -> None:
        """What is under way, over whatever is on the screen; the same key or esc goes back."""
        from screens.tasks import TasksScreen

        if isinstance(self.screen, TasksScreen):
            self.pop_screen()
        elif isinstance(self.screen, ConsoleScreen) and self.client is not None:
            self.push_screen(TasksScreen(self.client))

    def action_palette(self) -> None:
        if isinstance(self.screen, ConsoleScreen):
            self.find(self.screen)

    @work(group="command", exclusive=True, exit_on_error=False)
    async def find(self, screen: ConsoleScreen) -> None:
        from screens.shell.palette import PalettePane

        chosen = await self.push_screen_wait(PalettePane(list(self._offers(screen)), screen.objects))
        kind, _, rest = (chosen or "").partition(":")
        if kind == "object":
            screen.go_to(rest)
        elif kind == "command":
            self.action_command(rest + " ")
        elif kind == "action":
            name = rest.partition("|")
            node = next(
                (found.node for found in screen.active_bindings.values() if _node_id(found.node) == name[0]), self
            )
            await self.run_action(name[2], node)

    def _offers(self, screen: ConsoleScreen) -> Iterable[Offer]:
        """Actions with their keys and why they are greyed, then every operation as a line to be completed."""
        from opsconsole import index
        from screens.shell.palette import Offer
        from screens.widgets.status import key_name

        seen: set[str] = set()
        for key, active in screen.active_bindings.items():
            binding = active.binding
            if binding.system or not binding.description or binding.action in seen:
                continue
            seen.add(binding.action)
            because = Safe("") if active.enabled else screen.why_not(binding.action)
            action = f"action:{_node_id(active.node)}|{binding.action}"
            yield Offer(action, Safe(binding.description), key_name(key), because)
        for row in index.OPERATIONS:
            words = row[0].replace(".", " ").replace("_", "-")
            yield Offer(f"command:{words}", Safe(f"{words} – {row[1]}"), ":")

    # Panes

    @work(group="command", exclusive=True, exit_on_error=False)
    async def action_jump(self) -> None:
        from screens.shell.jump import JumpPane, places

        found = places(self.screen.focus_chain, (self.size.width, self.size.height))
        if len(found) > 1:
            chosen = await self.push_screen_wait(JumpPane(found))
            if chosen is not None:
                chosen.focus()
        else:
            self.say("there is only one pane here")

    def action_heading(self) -> None:
        self.heading_hidden = not self.heading_hidden
        for screen in self.all_screens():
            screen.set_class(self.heading_hidden, "-no-heading")

    def action_maximise(self) -> None:
        """The pane with the focus alone, with its title; again for all."""
        from screens.widgets.panes import Pane

        if self.screen.maximized is not None:
            self.screen.minimize()
        elif isinstance(self.focused, Widget):
            pane = next((node for node in self.focused.ancestors_with_self if isinstance(node, Pane)), self.focused)
            self.screen.maximized = pane

    # The object under the cursor

    def action_history(self) -> None:
        """Everything that happened to it, from anywhere."""
        thing = self.screen.thing() if isinstance(self.screen, ConsoleScreen) else None
        if thing is None:
            self.say("there is no object here whose history could be shown", "warn")
            return
        from screens.records import HistoryScreen

        self.push_screen(HistoryScreen(thing))

    def action_who_may(self) -> None:
        """Everybody's rights on it."""
        from screens.rights import MatrixScreen, RightsScreen, has_matrix

        thing = self.screen.thing() if isinstance(self.screen, ConsoleScreen) else None
        if thing is not None and thing.kind in {"user", "role"}:
            self.push_screen(RightsScreen(thing.kind, thing.name))
        elif thing is None or not has_matrix(thing):
            self.say("rights are given on hosts, applications and product lines", "warn")
        else:
            self.push_screen(MatrixScreen(thing))

    # Taking away

    def _table(self) -> Any:
        from screens.widgets.table import VirtualTable

        table = self.focused
        return table if isinstance(table, VirtualTable) and table.cursor in table.rows.records else None

    def _view(self) -> Any:
        from screens.widgets.spec import View

        return View(time.time(), self.ascii)

    def action_copy_name(self) -> None:
        from screens.shell import taking

        table = self._table()
        if table is None:
            self.say("there is no row here to copy", "warn")
        else:
            name = taking.name_of(taking.cells(table, table.cursor, self._view()))
            taking.copy(self, name, str(Safe(name)))

    @work(group="take", exclusive=True, exit_on_error=False)
    async def action_copy_row(self) -> None:
        from screens.shell import clipboard, taking
        from screens.shell.dump import as_json
        from screens.widgets.menu import Entry, Menu

        table = self._table()
        if table is None:
            self.say("there is no row here to copy", "warn")
            return
        row = taking.cells(table, table.cursor, self._view())
        kinds = [Entry("tsv", "t", Safe("with tabs between")), Entry("json", "j", Safe("as JSON"))]
        kind = await self.push_screen_wait(Menu(Safe("copy the row"), kinds))
        if kind is not None:
            text = clipboard.tsv(row) if kind == "tsv" else as_json(list(row), [list(row.values())])
            taking.copy(self, text, "the row")

    @work(group="take", exclusive=True, exit_on_error=False)
    async def action_dump(self) -> None:
        from screens.shell import taking
        from screens.widgets.log import LogView
        from screens.widgets.menu import Entry, Menu

        name, focused = " ".join(self.crumbs(self.screen)), self.focused
        if isinstance(focused, LogView):
            self._saved(taking.save(self, name, "txt", "\n".join([*taking.log_lines(focused), ""])))
            return
        table = self._table()
        if table is None:
            self.say("there is nothing here to save; F8 saves the screen", "warn")
            return
        kinds = [Entry("csv", "c", Safe("CSV")), Entry("json", "j", Safe("JSON"))]
        kind = await self.push_screen_wait(Menu(Safe(f"save {len(table.rows.shown)} rows as"), kinds))
        if kind is not None:
            self._saved(taking.save(self, name, kind, taking.table_text(table, self._view(), kind)))

    def action_dump_screen(self) -> None:
        from screens.shell import taking

        name = " ".join(self.crumbs(self.screen))
        text = taking.save(self, name, "txt", "\n".join([*taking.screen_lines(self), ""]))
        if text is not None:
            picture = taking.save(self, name, "svg", self.export_screenshot(title="opsconsole"))
            self.say(f"saved {text}" + (f" and {picture.name}" if picture else ""), "ok")

    def _saved(self, path: object) -> None:
        if path is not None:
            self.say(f"saved in {path}", "ok")

    # Out of here

    def action_to_shell(self) -> None:
        """`ctrl+z`, where the person has a shell to come back from."""
        from screens.shell.outside import not_here

        if reason := not_here(self):
            self.say(reason, "warn")
        else:
            self.action_suspend_process()

    def action_shell(self) -> None:
        """A shell on the host under the cursor."""
        screen = self.screen
        host = screen.host_here() if isinstance(screen, ConsoleScreen) else ""
        if not host or self.client is None:
            self.say("no host here", "warn")
        elif self.read_only:
            self.say(join([Safe("a shell: read-only:"), self.read_only], " "), "warn")
        else:
            self.open_shell(self.client, host)

    @work(group="act", exit_on_error=False)
    async def open_shell(self, client: Client, host: str) -> None:
        from screens.shell.outside import shell_on

        await shell_on(self, client, host)

    def copy_to_clipboard(self, text: str) -> None:
        """What the library's own widgets copy goes the same way."""
        from screens.shell import taking

        self._clipboard = text
        taking.copy(self, text, "the selection")


def _node_id(node: object) -> str:
    return f"{type(node).__name__}-{id(node)}"
