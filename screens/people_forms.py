"""The forms and menus of people and rights: what is asked for before the house is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from opsconsole.client import Client, Json
from screens.frame import Console, ConsoleModal
from screens.performing import Order, Performing
from screens.render.form import fields, schema
from screens.text import Safe, content, wrap
from screens.widgets.form import Choices, Form
from screens.widgets.line import Line

_ONCE = ("value", "reset_code", "token")


class ShownOnce(ConsoleModal[None]):
    """A secret that is shown this once; `y` sends it to the terminal's clipboard."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy_secret", "copy", id="once.copy"),
        Binding("enter,q", "cancel", "close", id="once.close", show=False),
    ]

    def __init__(self, title: Safe, secret: str, notes: Sequence[str]) -> None:
        super().__init__()
        self._heading, self._secret, self._notes = title, secret, notes

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Line(content((self._heading, "bold")))
            yield Line()
            yield Line(content((Safe(self._secret), "bold $accent")))
            yield Line()
            for note in self._notes:
                for line in wrap(Safe(note), 70):
                    yield Line(content(line))
            yield Line(content(("y copy · esc close: it is not shown again", "dim")))

    def action_copy_secret(self) -> None:
        from screens.shell import clipboard

        try:
            sequence = clipboard.sequence(self._secret, os.environ)
        except clipboard.TooLong as error:
            self.console.say(f"not copied: {error}", "warn")
            return
        self.console.send_to_terminal(sequence.data)
        self.console.say("sent to the terminal's clipboard", "ok")


class PeopleForms:
    """Makes the forms; each plans, confirms, calls and reports, and stays open until the house has said yes."""

    def __init__(self, console: Console, client: Client) -> None:
        self._console = console
        self._client = client

    def new(self, kind: str) -> Form:
        """A new user, role or token."""
        operation = "dci.users.create" if kind == "users" else f"access.{kind}.create"
        return self.form(operation, f"New {kind[:-1]}", {}, choices={"role": self._roles})

    def edit(self, kind: str, record: Json) -> Form:
        """Another value for some fields."""
        name = str(record.get("username") or record.get("name"))
        operation = f"access.{kind}.update"
        return self.form(operation, f"{kind[:-1].capitalize()} {name}", {"id": record.get("id")}, before=record)

    def grant(self, word: str, name: str) -> Form:
        """Flags of one module for a user or role."""
        operation = f"access.{word}s.grant_module"
        shown = [field for field in fields(schema(operation)) if field.name in {"module_name", "permissions"}]
        title = f"Rights of {word} {name}: true gives, false takes"
        return self.form(operation, title, {"id": name}, only=[field.name for field in shown], choices=self._modules())

    def form(
        self,
        operation: str,
        title: str,
        fixed: Json,
        *,
        before: Json | None = None,
        only: Sequence[str] | None = None,
        choices: dict[str, Choices] | None = None,
    ) -> Form:
        performing = Performing(self._console, self._client)
        shown = [field for field in fields(schema(operation), list(fixed)) if only is None or field.name in only]

        async def submit(data: Json) -> Any:
            if before is not None and not data:
                self._console.say("nothing differs, so nothing was sent")
                return {}
            order = Order(operation, {**fixed, **data}, Safe(title.lower()))
            done = await performing.run(order)
            if done is not None:
                await performing.report(order, done)
            return done

        return Form(title, shown, submit, before=before, choices=choices)

    async def _roles(self) -> list[str]:
        answer = await self._client.call("access.roles.list", {"page_size": 200})
        return [str(row.get("name")) for row in answer.get("results") or ()]

    def _modules(self) -> dict[str, Choices]:
        async def ask() -> list[str]:
            from opsconsole.engine.permissions import MODULE_FLAGS

            return list(MODULE_FLAGS)

        return {"module_name": ask}


def secret_in(answer: Any) -> str | None:
    """What an answer holds that is shown once."""
    found = next((answer[name] for name in _ONCE if answer.get(name)), None) if isinstance(answer, dict) else None
    return str(found) if found else None
