"""The forms of the application tree: which fields, in which words, and what they carry out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from opsconsole.client import Client, Json
from screens.frame import Console
from screens.hosts_forms import rows_of
from screens.performing import Order, Performing
from screens.render.form import Field, fields, schema
from screens.text import Safe
from screens.widgets.form import Choices, Form

HELPS: Final = {
    "name": "one node of the path, without a dot",
    "parent_app": "full name of the application it hangs under; empty: a root",
    "parent": "full name of the application they are to hang under; empty: they become roots",
    "application_type": "a word of yours",
    "run_user": "the user its process runs as",
    "directory": "where it is deployed; its commands run there",
    "startup_cmd": "starts it, as run user in its directory",
    "stop_cmd": "stops it",
    "stdout_path": "its log",
    "stderr_path": "its error log",
    "pid_path": "the file with its process id; tells whether it runs",
    "production": "its product line",
    "host": "name of the host it runs on from now on",
    "required": "full name of what it does not work without",
    "user": "user name",
    "type": "dev, ops, qa or pm",
}
_LINKS: Final = ("child_apps", "required_apps", "response_person")
_ORDER: Final = (
    *("name", "parent_app", "production", "application_type", "run_user", "directory", "startup_cmd", "stop_cmd"),
    *("stdout_path", "stderr_path", "pid_path", "description"),
)
_ONE_LINE: Final = frozenset(_ORDER) - {"description"}


class CmdbForms:
    """Makes the forms. What each carries out goes through `Performing`: plan, confirmation, result."""

    def __init__(self, console: Console, client: Client) -> None:
        self._console = console
        self._client = client

    def create(self, parent: str) -> Form:
        """A new application, under the one the cursor is on."""
        found = _arranged(fields(schema("cmdb.applications.create"), _LINKS))
        submit = self._submit("cmdb.applications.create", {}, Safe("adding the application"))
        return Form(
            "New application",
            found,
            submit,
            given={"parent_app": parent} if parent else {},
            choices={"production": self._lines()},
            helps=HELPS,
        )

    def edit(self, record: Mapping[str, Any]) -> Form:
        """Other fields; one that somebody else changed meanwhile is refused."""
        hide = (*_LINKS, "id", "version", "parent_app")
        fixed = {"id": record.get("id"), "version": record.get("version")}
        label = Safe(f"changing {Safe(record.get('full_name'))}")
        submit = self._submit("cmdb.applications.update", fixed, label, preview=True, changed=True)
        found = _arranged(fields(schema("cmdb.applications.update"), hide))
        return Form(Safe(f"Application {Safe(record.get('full_name'))}"), found, submit, before=record, helps=HELPS)

    def move(self, ids: Sequence[int], about: str) -> Form:
        """Under another parent; the plan shows every full name that changes."""

        async def submit(data: Json) -> Any:
            parent = data.get("parent")
            items = [{"id": number} for number in ids]
            label = Safe(f"moving {about}")
            if parent:
                return await self._run(
                    Order("cmdb.child_apps.add", {"id": parent, "items": items}, label, preview=True)
                )
            done = None
            for number in ids:
                order = Order("cmdb.applications.update", {"id": number, "parent_app": None}, label, preview=True)
                done = await self._run(order)
                if done is None:
                    break
            return done

        return Form(Safe(f"Move {about}"), [Field("parent", "text")], submit, helps=HELPS)

    def attach(self, ids: Sequence[int], about: str) -> Form:
        """To a product line, or out of the one it is in."""

        async def submit(data: Json) -> Any:
            items = [{"id": number} for number in ids]
            label = Safe(f"attaching {about}")
            operation = "cmdb.productions.applications.add"
            order = Order(operation, {"id": data["production"], "items": items}, label, preview=True)
            return await self._run(order)

        found = [Field("production", "text", required=True)]
        return Form(Safe(f"Product line of {about}"), found, submit, choices={"production": self._lines()}, helps=HELPS)

    def require(self, number: int, about: str) -> Form:
        """Something it does not work without."""

        async def submit(data: Json) -> Any:
            items = [{"id": data["required"]}]
            label = Safe(f"{about} requires {Safe(data['required'])}")
            order = Order("cmdb.required_apps.add", {"id": number, "items": items}, label, preview=True)
            return await self._run(order)

        return Form(Safe(f"{about} requires"), [Field("required", "text", required=True)], submit, helps=HELPS)

    def instance(self, number: int, about: str) -> Form:
        """On one more host."""

        async def submit(data: Json) -> Any:
            items = [{"hostid": data["host"]}]
            label = Safe(f"adding {about} on {Safe(data['host'])}")
            order = Order("cmdb.instances.add", {"id": number, "items": items}, label, preview=True)
            return await self._run(order)

        return Form(Safe(f"New instance of {about}"), [Field("host", "text", required=True)], submit, helps=HELPS)

    def person(self, number: int, about: str) -> Form:
        """Who answers for it, and as what."""

        async def submit(data: Json) -> Any:
            items = [{"id": data["user"], "type": data["type"]}]
            label = Safe(f"{Safe(data['user'])} answers for {about}")
            order = Order("cmdb.response_persons.add", {"id": number, "items": items}, label)
            return await self._run(order)

        found = [
            Field("user", "text", required=True),
            Field("type", "choice", required=True, choices=("dev", "ops", "qa", "pm")),
        ]
        return Form(Safe(f"Who answers for {about}"), found, submit, helps=HELPS)

    def production(self) -> Form:
        """A new product line."""
        submit = self._submit("cmdb.productions.create", {}, Safe("adding the product line"))
        return Form("New product line", fields(schema("cmdb.productions.create")), submit, helps=HELPS)

    def _submit(self, operation: str, fixed: Json, label: Safe, *, preview: bool = False, changed: bool = False) -> Any:
        async def submit(data: Json) -> Any:
            if changed and not data:
                self._console.say("nothing differs, so nothing was sent")
                return {}
            return await self._run(Order(operation, {**fixed, **data}, label, preview=preview))

        return submit

    async def _run(self, order: Order) -> Any:
        performing = Performing(self._console, self._client)
        done = await performing.run(order)
        if done is not None:
            await performing.report(order, done)
        return done

    def _lines(self) -> Choices:
        async def ask() -> list[str]:
            answer = await self._client.call("cmdb.productions.list", {"page_size": 200})
            return [str(row.get("name")) for row in rows_of(answer)]

        return ask


def _arranged(found: Sequence[Field]) -> list[Field]:
    """What is asked for most often first; paths and commands are one line, however long they may be."""
    place = {name: number for number, name in enumerate(_ORDER)}
    return [
        replace(field, kind="text") if field.name in _ONE_LINE and field.kind == "long" else field
        for field in sorted(found, key=lambda field: place.get(field.name, len(place)))
    ]
