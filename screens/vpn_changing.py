"""What can be done with VPN clients from their screen: forms, plans, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from textual import work

from opsconsole.client import Client, Json
from screens.frame import reported
from screens.listing import ListScreen
from screens.performing import Done, Order, Performing
from screens.render.vpn import CaRow, ClientRow
from screens.text import Safe
from screens.vpn_forms import VpnForms
from screens.vpn_menus import entries
from screens.widgets.menu import Entry, Menu

_CHANGING: Final = ("new", "edit", "renew", "revoke", "enforce", "export", "bring")


class VpnChanging(ListScreen[ClientRow]):
    """The acting half of the screen; what it knows of clients and authorities comes from the other half."""

    cas: list[CaRow]

    def chosen(self) -> list[ClientRow]:
        """The marked rows, else the one under the cursor."""
        raise NotImplementedError

    def made(self, key: str) -> None:
        """A client was made or changed here: read it, and put the cursor on it."""
        raise NotImplementedError

    def look_again(self) -> None:
        """What is shown in full may be another now."""
        raise NotImplementedError

    def ca_of(self, row: ClientRow) -> Json:
        """The record of a client's authority."""
        return next((dict(ca.record) for ca in self.cas if ca.id == row.record.get("ca_id")), {})

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What changes something is greyed, not hidden, while nothing may be changed."""
        return None if action in _CHANGING and self.console.read_only else True

    def _open(self, make: Callable[[VpnForms], Any]) -> None:
        client = self.console.client
        if client is None:
            self.console.say("still starting; try again in a moment", "warn")
            return
        self.app.push_screen(make(VpnForms(self.console, client)), self._done)

    def _done(self, answer: Any) -> None:
        made = answer.answer if isinstance(answer, Done) else None
        if isinstance(made, dict) and made.get("id") is not None:
            self.made(str(made["id"]))
        self.look_again()

    def _with_ca(self, make: Callable[[VpnForms, Json], Any]) -> None:
        """With the authority of the row under the cursor's; asks where there are several."""
        if not self.cas:
            self.console.say("there is no authority yet: A makes or takes over one", "warn")
        elif len(self.cas) == 1:
            self._open(lambda forms: make(forms, dict(self.cas[0].record)))
        else:
            found = [Entry(str(ca.id), "", Safe(f"{ca.name} ({ca.key})")) for ca in self.cas]
            by_id = {str(ca.id): dict(ca.record) for ca in self.cas}
            self.app.push_screen(
                Menu(Safe("of which authority"), found),
                lambda chosen: self._open(lambda forms: make(forms, by_id[chosen])) if chosen else None,
            )

    def _with_rows(self, make: Callable[[VpnForms, list[ClientRow]], Any]) -> None:
        rows = self.chosen()
        if rows:
            self._open(lambda forms: make(forms, rows))
        else:
            self.console.say("no client here", "warn")

    def action_new(self) -> None:
        self._with_ca(lambda forms, ca: forms.create(ca))

    def action_edit(self) -> None:
        self._with_rows(lambda forms, rows: forms.edit(dict((self.current or rows[0]).record)))

    def action_renew(self) -> None:
        self._with_rows(
            lambda forms, rows: forms.renew((self.current or rows[0]).record, self.ca_of(self.current or rows[0]))
        )

    def action_export(self) -> None:
        def make(forms: VpnForms, rows: list[ClientRow]) -> Any:
            return forms.export(rows[0].record) if len(rows) == 1 else forms.export_many([row.record for row in rows])

        self._with_rows(make)

    def action_revoke(self) -> None:
        """Where a passphrase has to be given a form asks for it; else straight to the plan."""
        rows, client = self.chosen(), self.console.client
        if not rows or client is None:
            self.console.say("no client here", "warn")
            return
        locked = [ca for ca in map(self.ca_of, rows) if ca.get("key_state") == "passphrase"]
        if locked:
            self._open(lambda forms: forms.revoke([row.record for row in rows], locked[0]))
            return
        one = len(rows) == 1
        data: Json = {"id": rows[0].id} if one else {"items": [row.id for row in rows]}
        label = Safe(f"revoking {rows[0].name}" if one else f"revoking {len(rows)} clients")
        self.perform(client, Order(f"vpn.clients.{'revoke' if one else 'revoke_many'}", data, label))

    @work(group="act", exit_on_error=False)
    async def perform(self, client: Client, order: Order) -> None:
        """Plan, confirm, call, report."""
        with reported(self.console, order.label):
            done = await Performing(self.console, client).finish(order)
            if done is not None and order.operation.startswith("vpn.clients.revoke"):
                self._say_open(done)
        self.look_again()

    def _say_open(self, done: Done) -> None:
        """What is not true yet on some server; the timer and F go on with it."""
        answer = done.answer if isinstance(done.answer, dict) else {}
        left = answer.get("not_effective") or ()
        if left:
            why = left[0].get("why_not") or answer.get("error")
            self.console.say(f"revoked and signed, not in force everywhere yet: {Safe(why)} (F goes on)", "warn")

    def action_enforce(self) -> None:
        """Go on with a revocation that is not effective yet."""
        row, client = self.current, self.console.client
        if row is None or client is None or not row.record.get("revoked"):
            self.console.say("no revoked client here", "warn")
            return
        label = Safe(f"locking out {row.name}")
        self.perform(client, Order("vpn.revocations.enforce", {"client_id": row.id}, label))

    def action_bring(self) -> None:
        """From where?"""
        found = [
            Entry("vpn.clients.import", "k", Safe("one client: its key and certificate")),
            Entry("vpn.clients.create_many", "c", Safe("new clients out of a CSV")),
        ]
        self.app.push_screen(
            Menu(Safe("VPN clients from elsewhere"), found),
            lambda chosen: self._with_ca(lambda forms, ca: forms.bring(chosen, ca)) if chosen else None,
        )

    def action_actions(self) -> None:
        """Everything that can be done here, with the reason where it cannot."""
        rows = self.chosen()
        if not rows:
            self.console.say("no client here", "warn")
            return
        title = rows[0].name if len(rows) == 1 else Safe(f"{len(rows)} clients")
        self.app.push_screen(Menu(title, entries(rows, self.console.read_only)), self._act)

    async def _act(self, chosen: str | None) -> None:
        if chosen:
            await self.run_action(chosen)
