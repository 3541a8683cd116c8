"""How an application is written on the outside: the fields one may give, and the object that is answered."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, StrictInt, StrictStr
from sqlmodel import Session, col, select

from data.models import Application, ApplicationRequirement, Production, ResponsePerson, utc_now
from opsconsole.cmdb.lookup import CHUNK, AppFacts, facts_of
from opsconsole.engine.caller import Caller
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.decide import Needs, decide
from opsconsole.engine.permissions import APPLICATION_FLAGS
from opsconsole.engine.registry import Input, Json

COLUMNS = (
    "name", "description", "application_type", "run_user", "directory", "startup_cmd", "stop_cmd", "stdout_path",
    "stderr_path", "pid_path",
)  # fmt: skip
FULL_NAME_BYTES = 2000
PersonType = Literal["dev", "ops", "qa", "pm"]


def _shown(value: str) -> str:
    for sign in value:
        if unicodedata.category(sign)[0] == "C":
            raise ValueError(f"the character U+{ord(sign):04X} is a control or invisible one and not allowed")
    return value


def application_name(value: str) -> str:
    """One node of the path: no dot, nothing invisible, no blank at its ends."""
    if "." in value:
        raise ValueError("a name is one node of the path and has no dot; say parent_app for where it hangs")
    if value != value.strip():
        raise ValueError("no blank at the beginning or end")
    return _shown(unicodedata.normalize("NFC", value))


def _command(value: str) -> str:
    if any(ord(sign) < 32 and sign not in "\t\n" for sign in value) or "\x7f" in value:
        raise ValueError("control characters are not allowed")
    return value


def _path(value: str) -> str:
    _shown(value)
    if value and not value.startswith("/"):
        raise ValueError("an absolute path, beginning with /")
    return value


def _reference(value: Any) -> Any:
    return None if value in (0, "0", "") else value


def _refs(value: Any) -> Any:
    """Ids, full names, or the documents' objects with an id."""
    if isinstance(value, (list, tuple)):
        return [one["id"] if isinstance(one, dict) and set(one) == {"id"} else one for one in value]
    return [value] if isinstance(value, (str, int)) and not isinstance(value, bool) else value


Ref = StrictInt | Annotated[StrictStr, Field(min_length=1, max_length=FULL_NAME_BYTES)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(application_name)]
Line = Annotated[str, Field(max_length=255), AfterValidator(_shown)]
Text = Annotated[str, Field(max_length=1_000_000), AfterValidator(_command)]
Command = Annotated[str, Field(max_length=8000), AfterValidator(_command)]
Path = Annotated[str, Field(max_length=4000), AfterValidator(_path)]
Refs = Annotated[list[Ref], Field(max_length=5000), BeforeValidator(_refs)]
Login = Annotated[str, Field(max_length=64, pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.@+-]*\$?)?$")]


class OneApplication(Input):
    """An application by id or full name."""

    id: Annotated[Ref, Field(validation_alias=AliasChoices("id", "application"), description="id or full name")]


class Item(Input):
    id: Ref


Items = Annotated[list[Item], Field(min_length=1, max_length=5000)]


class OneOfMany(OneApplication):
    """An application and the ones it is to be linked with."""

    items: Items


class ApplicationFields(Input):
    """What may be given on creation and on change. An empty text clears it, null clears a reference.

    `child_apps`, `required_apps` and `response_person` are the whole list and replace the one there is; a person who is
    new in it becomes `ops`, one who stays keeps his types.
    """

    description: Text | None = None
    application_type: Annotated[
        Line | None, BeforeValidator(lambda value: str(value) if type(value) is int else value)
    ] = None
    run_user: Annotated[Login | None, Field(validation_alias=AliasChoices("run_user", "run_users"))] = None
    directory: Path | None = None
    startup_cmd: Command | None = None
    stop_cmd: Command | None = None
    stdout_path: Path | None = None
    stderr_path: Path | None = None
    pid_path: Path | None = None
    parent_app: Annotated[Ref | None, BeforeValidator(_reference)] = None
    child_apps: Refs = []
    required_apps: Refs = []
    response_person: Refs = []

    def columns(self) -> Json:
        """The given plain fields, emptied ones as None."""
        given = {name: getattr(self, name) for name in COLUMNS if name in self.model_fields_set}
        return {name: None if value == "" else value for name, value in given.items()}


_DANGER = {"delete_app": "high", "restart_app": "high"}
_NEEDS = tuple(
    (
        flag,
        Needs(
            operation=f"cmdb.{flag}",
            permission=f"app.{flag}",
            kind="read" if flag.startswith("view") else "write",
            danger=_DANGER.get(flag, "low"),
            module="application",
        ),
    )
    for flag in APPLICATION_FLAGS
)


def available_actions(facts: AppFacts, caller: Caller, now: datetime) -> dict[str, bool]:
    """Per application permission, whether the caller can use it on this one now: rights and freezes."""
    subject = facts.subject()
    return {flag: decide(caller, needs, subject, now=now).allowed for flag, needs in _NEEDS}


def application_json(row: Application, facts: AppFacts, has_child: bool, actions: dict[str, bool]) -> Json:
    """The application object of every answer."""
    return {
        "id": row.id,
        "name": row.name,
        "full_name": row.full_name,
        **{name: getattr(row, name) for name in COLUMNS[1:]},
        "parent_app": row.parent_id,
        "has_child": has_child,
        "production": row.production_id,
        "environment": facts.environment,
        "level": facts.level,
        "protected": row.protected,
        "maintenance": _maintenance(row),
        "version": row.version,
        "created_at": utc_text(row.created_at),
        "updated_at": utc_text(row.updated_at),
        "available_actions": actions,
    }


def _maintenance(row: Application) -> Json | None:
    until = row.maintenance_until
    if row.maintenance_by is None or (until is not None and until <= utc_now()):
        return None
    return {"by": row.maintenance_by, "reason": row.maintenance_reason, "until": utc_text(until) if until else None}


def applications_json(tx: Session, rows: Sequence[Application], caller: Caller, now: datetime) -> list[Json]:
    """The objects of several rows, in order."""
    parents = with_children(tx, [row.id for row in rows])
    return [
        application_json(row, facts, row.id in parents, available_actions(facts, caller, now))
        for row, facts in zip(rows, facts_of(tx, rows), strict=True)
    ]


def with_children(tx: Session, ids: Sequence[int]) -> set[int]:
    """Those of `ids` that have a child."""
    found: set[int] = set()
    for start in range(0, len(ids), CHUNK):
        wanted = select(Application.parent_id).where(col(Application.parent_id).in_(ids[start : start + CHUNK]))
        found |= {parent for parent in tx.exec(wanted.distinct()) if parent is not None}
    return found


def full_json(tx: Session, rows: Sequence[Application], caller: Caller, now: datetime) -> list[Json]:
    """The objects with their links: `child_apps`, `required_apps`, `response_person` as ids, and the line's name."""
    ids = [row.id for row in rows]
    children = _links(tx, Application.parent_id, Application.id, ids)
    required = _links(tx, ApplicationRequirement.application_id, ApplicationRequirement.required_id, ids)
    persons = _links(tx, ResponsePerson.application_id, ResponsePerson.user_id, ids)
    lines = {row.production_id for row in rows if row.production_id is not None}
    named = {row.id: row.name for row in tx.exec(select(Production).where(col(Production.id).in_(lines)))}
    return [
        shown
        | {
            "child_apps": children.get(row.id, []),
            "required_apps": required.get(row.id, []),
            "response_person": persons.get(row.id, []),
            "production_name": named.get(row.production_id or 0),
        }
        for row, shown in zip(rows, applications_json(tx, rows, caller, now), strict=True)
    ]


def _links(tx: Session, source: Any, target: Any, ids: Sequence[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for start in range(0, len(ids), CHUNK):
        wanted = select(source, target).where(source.in_(ids[start : start + CHUNK])).distinct().order_by(target)
        for one, other in tx.exec(wanted):
            found.setdefault(one, []).append(other)
    return found
