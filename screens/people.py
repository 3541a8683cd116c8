"""People and rights: users, roles and tokens, each in a table; what they may is one step further in."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import ScreenResume

from opsconsole.client import Client, Json
from screens.frame import ConsoleScreen, reported
from screens.people_forms import PeopleForms, ShownOnce, secret_in
from screens.performing import Done, Order, Performing
from screens.render.people import ROLES, TOKENS, USERS, PlainRow, role_row, token_row, user_row
from screens.render.record import Thing
from screens.text import Safe
from screens.widgets.header import Heading
from screens.widgets.line import Line
from screens.widgets.menu import Entry, Menu
from screens.widgets.panes import ListPane
from screens.widgets.rows import Rows
from screens.widgets.status import StatusLine
from screens.widgets.table import VirtualTable

KINDS: Final = {"users": USERS, "roles": ROLES, "tokens": TOKENS}
PAGE: Final = 200
_ENTITIES: Final = frozenset({"user", "role", "token"})
_CHANGING: Final = ("new", "edit", "switch", "delete", "roles", "grant", "code")


class PeopleScreen(ConsoleScreen):
    """`tab` goes from users to roles to tokens; enter shows what the one under the cursor may, and by what."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "kind(1)", "users/roles/tokens", id="people.next_kind"),
        Binding("shift+tab", "kind(-1)", "back", id="people.kind_before", show=False),
        Binding("n", "new", "new", id="people.new"),
        Binding("e", "edit", "edit", id="people.edit"),
        Binding("a", "actions", "actions", id="people.actions"),
        Binding("r", "roles", "roles", id="people.roles", show=False),
        Binding("R", "unroles", "take roles", id="people.unroles", show=False),
        Binding("g", "grant", "grant", id="people.grant"),
        Binding("S", "switch", "disable or enable", id="people.switch", show=False),
        Binding("C", "code", "code for a new password", id="people.code", show=False),
        Binding("D", "delete", "delete", id="people.delete", show=False),
        Binding("ctrl+r", "refresh", "refresh", id="people.refresh", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.kind = "users"
        self.tables: dict[str, Rows[PlainRow]] = {kind: Rows(spec) for kind, spec in KINDS.items()}
        self._following: Client | None = None
        self._due = True

    def compose(self) -> ComposeResult:
        yield Line(id="heading")
        self.panes: dict[str, ListPane[PlainRow]] = {}
        for kind, rows in self.tables.items():
            table = VirtualTable(rows, ascii=self.console.ascii, empty="asking …", id=f"people-{kind}")
            self.panes[kind] = ListPane(table, " · ".join(f"[{k}]" if k == kind else k for k in KINDS))
            self.panes[kind].display = kind == self.kind
            yield self.panes[kind]
        yield StatusLine()

    def on_mount(self) -> None:
        self.table.focus()
        for pane in self.panes.values():
            pane.retitle()
        self.set_interval(1.0, self._tick)
        self._tick()

    @on(ScreenResume)
    def _back_again(self) -> None:
        self._tick()

    @property
    def table(self) -> VirtualTable[PlainRow]:
        return self.panes[self.kind].table

    @property
    def current(self) -> PlainRow | None:
        """The row under the cursor."""
        return self.table.rows.records.get(self.table.cursor or "")

    @property
    def name_here(self) -> str:
        record: Mapping[str, Any] = self.current.record if self.current is not None else {}
        return str(record.get("username") or record.get("name") or "")

    def thing(self) -> Thing | None:
        if self.current is None:
            return None
        return Thing(self.kind[:-1], str(self.current.record.get("id")), self.name_here)

    # Knowing

    def _tick(self) -> None:
        client = self.console.client
        self._heading()
        if client is None or not self.is_current:
            return
        if self._following is not client:
            self._following = client
            self.follow(client)
        if self._due:
            self.load(client)

    def _heading(self) -> None:
        facts = self.console.facts
        who = Safe(f"{Safe(facts.get('user'))}@{Safe(facts.get('hostname'))}" if facts else "connecting …")
        nothing = Safe("")
        self.show_heading(
            Heading(Safe("people"), who, nothing, "", 0, 0, 0, self.console.read_only, frozen=False, oldest=None)
        )

    @work(group="follow", exclusive=True, exit_on_error=False)
    async def follow(self, client: Client) -> None:
        async for batch in client.changes():
            self._due = self._due or any(row.get("lost") or row.get("entity") in _ENTITIES for row in batch)

    @work(group="load", exclusive=True, exit_on_error=False)
    async def load(self, client: Client) -> None:
        """Users and roles, then the tokens, which not everybody may see."""
        self._due = False
        with reported(self.console, "listing the users"):
            users = await _all_pages(client, "access.users.list")
            self._take("users", {str(user.get("id")): user_row(user) for user in users})
            members: dict[Any, list[str]] = {}
            for user in users:
                for role in user.get("roles") or ():
                    members.setdefault(role.get("id"), []).append(str(user.get("username")))
            roles = await _all_pages(client, "access.roles.list")
            made = {str(role.get("id")): role_row(role, members.get(role.get("id"), ())) for role in roles}
            self._take("roles", made)
        with reported(self.console, "listing the tokens"):
            tokens = await _all_pages(client, "access.tokens.list")
            now = time.time()
            self._take("tokens", {str(token.get("id")): token_row(token, now) for token in tokens})

    def _take(self, kind: str, made: dict[str, PlainRow]) -> None:
        pane, rows = self.panes[kind], self.tables[kind]
        pane.table.empty = Safe(f"no {kind}: n makes one")
        pane.table.changed(rows.update(made, [key for key in rows.records if key not in made]))
        pane.retitle()

    # Moving

    def action_kind(self, steps: int) -> None:
        kinds = list(KINDS)
        self.kind = kinds[(kinds.index(self.kind) + steps) % len(kinds)]
        for kind, pane in self.panes.items():
            pane.display = kind == self.kind
        self.table.focus()

    def action_back(self) -> None:
        if not self.panes[self.kind].step_back():
            super().action_back()

    def action_refresh(self) -> None:
        self._due = True
        self._tick()

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        from screens.rights import RightsScreen

        if self.current is not None:
            word = "role" if self.kind == "roles" else "user"
            name = str(self.current.record.get("user")) if self.kind == "tokens" else self.name_here
            self.app.push_screen(RightsScreen(word, name))

    # Changing

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return None if action in _CHANGING and self.console.read_only else True

    def _open(self, make: Callable[[PeopleForms], Any]) -> None:
        client = self.console.client
        if client is None:
            self.console.say("still starting; try again in a moment", "warn")
        else:
            self.app.push_screen(make(PeopleForms(self.console, client)), self._done)

    def _done(self, answer: Any) -> None:
        self.show_once(answer.answer if isinstance(answer, Done) else None)
        self.action_refresh()

    def show_once(self, answer: Any) -> None:
        """A secret in the answer is shown now and never again."""
        secret = secret_in(answer)
        if secret is None:
            return
        code = "reset_code" in answer
        title = f"the code for a new password of {answer.get('user')}" if code else f"the token {answer.get('name')}"
        notes = (
            ["Hand it over; it is good once, for 30 minutes: opsconsole access users reset-password asks for it."]
            if code
            else ["Keep it in a file of mode 0600, for --token-file.", "Here only its hash is kept."]
        )
        self.app.push_screen(ShownOnce(Safe(title), secret, notes))

    def action_new(self) -> None:
        self._open(lambda forms: forms.new(self.kind))

    def action_edit(self) -> None:
        row = self.current
        if row is None:
            self.console.say("nobody here", "warn")
        else:
            self._open(lambda forms: forms.edit(self.kind, dict(row.record)))

    def action_grant(self) -> None:
        """Rights of a module; those on one host or application are given from there, or by `:`."""
        if self.current is not None and self.kind != "tokens":
            self._open(lambda forms: forms.grant(self.kind[:-1], self.name_here))

    def action_roles(self) -> None:
        self._membership("access.users.assign_roles", "give a role to")

    def action_unroles(self) -> None:
        self._membership("access.users.remove_roles", "take a role from")

    def _membership(self, operation: str, doing: str) -> None:
        row = self.current
        if row is None or self.kind != "users":
            self.console.say("on a user: tab goes there", "warn")
            return
        has = {str(role.get("name")) for role in row.record.get("roles") or ()}
        names = [str(role.record.get("name")) for role in self.tables["roles"].records.values()]
        wanted = [name for name in names if (name in has) == (operation == "access.users.remove_roles")]
        if not wanted:
            self.console.say("there is none to choose", "warn")
            return
        doing = f"{doing} {self.name_here}"

        def chosen(name: str | None) -> None:
            if name:
                self._do(operation, {"id": row.record.get("id"), "items": [{"id": name}]}, f"{doing}: {name}")

        self.app.push_screen(Menu(Safe(doing), [Entry(name, "", Safe(name)) for name in wanted]), chosen)

    def action_switch(self) -> None:
        row = self.current
        if row is None or self.kind != "users":
            self.console.say("on a user: tab goes there", "warn")
            return
        verb = "disable" if row.record.get("status") == "enabled" else "enable"
        self._do(f"access.users.{verb}", {"id": row.record.get("id")}, f"{verb} {self.name_here}")

    def action_code(self) -> None:
        row = self.current
        if row is not None and self.kind == "users":
            self._do("access.users.issue_code", {"id": row.record.get("id")}, f"make a code for {self.name_here}")

    def action_delete(self) -> None:
        row = self.current
        if row is None or self.kind == "users":
            self.console.say("users are disabled, not deleted: the journal names them", "warn")
        else:
            self._do(f"access.{self.kind}.delete", {"id": row.record.get("id")}, f"delete {self.name_here}")

    def _do(self, operation: str, data: Json, doing: str) -> None:
        client = self.console.client
        if client is not None:
            self.perform(client, Order(operation, data, Safe(doing)))

    @work(group="act", exit_on_error=False)
    async def perform(self, client: Client, order: Order) -> None:
        with reported(self.console, order.label):
            done = await Performing(self.console, client).finish(order)
            if done is not None:
                self.show_once(done.answer)
        self.action_refresh()

    def action_actions(self) -> None:
        row = self.current
        if row is None:
            self.console.say("nobody here", "warn")
        else:
            found = entries(self.kind, row, self.console.read_only)
            self.app.push_screen(Menu(Safe(self.name_here), found), self._chosen)

    async def _chosen(self, chosen: str | None) -> None:
        if chosen:
            await self.run_action(chosen)


def entries(kind: str, row: PlainRow, read_only: Safe) -> list[Entry]:
    """What can be done to a user, role or token, with the reason where it cannot."""
    frozen = Safe(f"read-only: {read_only}") if read_only else Safe("")
    user = frozen or (Safe("") if kind == "users" else Safe("only for users"))
    person = frozen or (Safe("only for users and roles") if kind == "tokens" else Safe(""))
    keeps = frozen or (Safe("users are disabled, not deleted") if kind == "users" else Safe(""))
    verb = "disable" if row.record.get("status") == "enabled" else "enable"
    found = [
        ("edit", "e", "edit", frozen),
        ("roles", "r", "give a role", user),
        ("unroles", "R", "take a role", user),
        ("grant", "g", "give or take rights of a module", person),
        ("switch", "S", f"{verb} the user", user),
        ("code", "C", "a code for a new password", user),
        ("delete", "D", "delete", keeps),
        ("app.history", "H", "its history", Safe("")),
    ]
    return [Entry(name, letter, Safe(title), not why, why) for name, letter, title, why in found]


async def _all_pages(client: Client, operation: str) -> list[Json]:
    found: list[Json] = []
    page: int | None = 1
    while page is not None:
        answer = await client.call(operation, {"page": page, "page_size": PAGE})
        found += [row for row in answer.get("results") or () if isinstance(row, dict)]
        page = answer.get("next")
    return found
