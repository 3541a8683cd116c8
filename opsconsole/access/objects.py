"""The kinds of things rights are given on, with their tables, flags and names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, or_, select

from data.models import Application, ApplicationGrant, BusinessGrant, Host, HostGrant, Production
from opsconsole.engine.caller import Caller
from opsconsole.engine.errors import ObjectNotFound, PermissionUndefined
from opsconsole.engine.permissions import APPLICATION_FLAGS, BUSINESS_FLAGS, HOST_FLAGS, MODULE_FLAGS
from opsconsole.engine.visible import visible


@dataclass(frozen=True, slots=True)
class Kind:
    """`prefix` begins the permission, `word` is the documents' resource type, `label` the field with the name."""

    prefix: str
    word: str
    label: str
    view: str
    flags: tuple[str, ...]
    table: Any
    grants: Any
    of: str
    name: str

    def reference(self) -> Any:
        return getattr(self.grants, self.of)

    def names(self) -> Any:
        return getattr(self.table, self.name)

    def seen_by(self, caller: Caller) -> ColumnElement[bool]:
        return visible(caller, self.view)


HOSTS = Kind("host", "host", "hostname", "host.view_host", HOST_FLAGS, Host, HostGrant, "host_id", "name")
APPLICATIONS = Kind(
    "app", "application", "app_name", "app.view_app", APPLICATION_FLAGS, Application, ApplicationGrant,
    "application_id", "full_name",
)  # fmt: skip
BUSINESSES = Kind(
    "business", "business", "name", "business.view", BUSINESS_FLAGS, Production, BusinessGrant, "production_id", "name"
)
KINDS = {kind.word: kind for kind in (HOSTS, APPLICATIONS, BUSINESSES)}


def find_object(tx: Session, caller: Caller, kind: Kind, ref: int | str, field: str) -> tuple[int, str]:
    """Id and name of one the caller may see."""
    number = int(ref) if isinstance(ref, int) or (ref.isascii() and ref.isdigit()) else 0
    wanted = select(kind.table.id, kind.names()).where(
        or_(kind.names() == str(ref), col(kind.table.id) == (number if number < 2**31 else 0)), kind.seen_by(caller)
    )
    rows = tx.exec(wanted).all()
    found = next((row for row in rows if row[1] == ref), None) or next((row for row in rows if row[0] == number), None)
    if found is None:
        raise ObjectNotFound(entity=kind.word, id=ref, hint=f"; see: {kind.word}s list", field=field)
    return int(found[0]), str(found[1])


def check_flags(wanted: Mapping[str, bool], known: tuple[str, ...], where: str) -> None:
    """PermissionUndefined for the first flag that does not exist."""
    for flag in wanted:
        if flag not in known:
            raise PermissionUndefined(permission=flag, field=where, known=list(known))


def check_module(module: str, flags: Mapping[str, bool], where: str) -> None:
    if module not in MODULE_FLAGS:
        raise PermissionUndefined(permission=module, field=where, known=list(MODULE_FLAGS))
    check_flags(flags, MODULE_FLAGS[module], where)
