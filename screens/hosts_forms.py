"""The forms of the hosts screen: which fields, in which words, and what they carry out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from opsconsole.client import Client, Json
from screens.frame import Console
from screens.performing import Order, Performing
from screens.render.form import Field, fields, schema
from screens.render.waves import WAVES, options
from screens.text import Safe
from screens.widgets.form import Choices, Form

HELPS: Final = {
    "name": "what everybody calls it; also the name looked up in ssh_config",
    "host_type": "where the machine comes from",
    "address": "where ssh connects to; empty: the name, or what ssh_config says",
    "ssh_port": "empty: 22, or what ssh_config says",
    "ssh_user": "empty: what ssh_config says, else your own name",
    "become": "whether sudo -n may be used there",
    "environment": "its ring; empty: the default one",
    "tags": "words to find it by with #tag",
    "memory": "MiB",
    "cpu": "cores",
    "level": "prod adds a rung to every confirmation",
    "colour_role": "a colour of the theme; empty: by level",
    "read_only": "yes refuses every change on what stands in it",
    "reason": "shown to whoever wants to change something here",
    "until": "empty: until somebody ends it",
    "path": "a file on the machine the console runs on, or paste the text below",
    "content": "the text of the file, instead of a path",
    "include": "only hosts matching these globs, for example web*",
    "exclude": "without hosts matching these globs",
    "timeout": "seconds; then the host itself ends it. Empty: an hour",
    "run_as": "another account there; empty: the one we log in with",
    "cwd": "where it runs; empty: the home of that account",
    "description": "what it is for",
}
_ORDER: Final = (
    *("path", "content", "include", "exclude", "reason", "until"),
    *("name", "host_type", "address", "ssh_port", "ssh_user", "become", "environment", "tags", "description"),
)
_KINDS: Final = {"path": "text", "content": "long"}
_IMPORTS: Final = {
    "hosts.import_ssh_config": ("Import from ssh_config", "~/.ssh/config"),
    "hosts.import_inventory": ("Import an Ansible inventory", ""),
    "hosts.import_netbox": ("Import devices from NetBox", ""),
}
"""Title and first path per kind of file."""


class HostForms:
    """Makes the forms. What each carries out goes through `Performing`: plan, confirmation, result."""

    def __init__(self, console: Console, client: Client) -> None:
        self._console = console
        self._client = client

    def create(self) -> Form:
        """A new host."""
        return self._form("hosts.create", "New host", {}, "adding the host {name}", hide=("ip_address",))

    def edit(self, record: Mapping[str, Any]) -> Form:
        """Another value for some fields; a host that somebody else changed meanwhile is refused."""
        name = str(record.get("name"))
        return self._form(
            "hosts.update",
            f"Host {name}",
            {"id": record.get("id"), "version": record.get("version")},
            f"changing {_kept(name)}",
            hide=("id", "version", "ip_address"),
            before=record,
        )

    def maintenance(self, records: Sequence[Mapping[str, Any]]) -> Form:
        """Nobody else may change anything on them meanwhile; said once, done on each."""
        operation = "hosts.maintenance.begin"
        names = [Safe(record.get("name")) for record in records]
        title = f"Maintenance of {names[0] if len(names) == 1 else f'{len(names)} hosts'}"
        performing = Performing(self._console, self._client)

        async def submit(data: Json) -> Any:
            orders = {
                name: Order(operation, {"id": record.get("id"), **data}, Safe(f"beginning maintenance of {name}"))
                for name, record in zip(names, records, strict=True)
            }
            if len(orders) == 1:
                return await performing.finish(orders[names[0]])
            return await performing.each(Safe(f"beginning maintenance of {len(names)} hosts"), orders) or None

        return Form(title, _arranged(fields(schema(operation), ("id",))), submit, helps=HELPS)

    def execute(self, records: Sequence[Mapping[str, Any]]) -> Form:
        """A script for one or many hosts; a worker runs it there, whoever watches."""
        names = [Safe(record.get("name")) for record in records]
        where = names[0] if len(names) == 1 else Safe(f"{len(names)} hosts")
        performing = Performing(self._console, self._client)
        script = Field("script", "long", required=True, help="for /bin/sh, or for what a first line #! names")

        async def submit(data: Json) -> Any:
            task, rest = options(data)
            given = {**rest, "hosts": [record.get("id") for record in records], "steps": [rest.pop("script")]}
            given.pop("script", None)
            order = Order("hosts.execute", given, Safe(f"running it on {where}"), task=task)
            done = await performing.run(order)
            if done is not None:
                await performing.report(order, done)
            return done

        shown = [script, *WAVES, *fields(schema("hosts.execute"), ("hosts", "steps"))]
        return Form(f"Run on {where}", shown, submit, helps=HELPS)

    def environment(self) -> Form:
        """A new ring of machines."""
        return self._form("environments.create", "New environment", {}, "adding the environment {name}")

    def import_from(self, operation: str) -> Form:
        """Hosts out of a file; the plan is the preview."""
        title, place = _IMPORTS[operation]
        return self._form(operation, title, {}, "importing hosts", preview=True, given={"path": place})

    def _form(
        self,
        operation: str,
        title: str,
        fixed: Json,
        label: str,
        *,
        hide: Sequence[str] = (),
        before: Mapping[str, Any] | None = None,
        given: Mapping[str, str] | None = None,
        preview: bool = False,
    ) -> Form:
        performing = Performing(self._console, self._client)

        async def submit(data: Json) -> Any:
            if before is not None and not data:
                self._console.say("nothing differs, so nothing was sent")
                return {}
            said = Safe(label.format(**{"name": "", **data}))
            order = Order(operation, {**fixed, **data}, said, preview=preview)
            done = await performing.run(order)
            if done is not None:
                await performing.report(order, done)
            return done

        return Form(
            title,
            _arranged(fields(schema(operation), hide)),
            submit,
            before=before,
            given=given,
            choices={"environment": self._environments()},
            helps=HELPS,
        )

    def _environments(self) -> Choices:
        async def ask() -> list[str]:
            answer = await self._client.call("environments.list")
            return [str(row.get("name")) for row in rows_of(answer)]

        return ask


def rows_of(answer: Any) -> list[Json]:
    """The rows of a list answer, whether bare, paged or under its own name."""
    if isinstance(answer, Mapping):
        answer = next((value for value in answer.values() if isinstance(value, list)), [])
    return [row for row in answer or () if isinstance(row, dict)]


def _arranged(found: Sequence[Field]) -> list[Field]:
    """What is asked for most often first; a path is one line and the text of a file is not."""
    place = {name: number for number, name in enumerate(_ORDER)}
    return [
        replace(field, kind=_KINDS.get(field.name, field.kind))
        for field in sorted(found, key=lambda field: place.get(field.name, len(place)))
    ]


def _kept(name: str) -> str:
    """A name inside a text that is formatted later."""
    return name.replace("{", "{{").replace("}", "}}")
