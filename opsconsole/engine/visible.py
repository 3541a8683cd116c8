"""`decide()` in SQL: which rows of a table may this caller see. Property-tested to agree with it on every row."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, false, true
from sqlmodel import col, or_, select

from data.models import Application, ApplicationGrant, BusinessGrant, Host, HostGrant, Production
from opsconsole.engine.caller import Caller
from opsconsole.engine.permissions import OBJECT_KINDS

_TABLES: dict[str, tuple[Any, Any, Any]] = {
    "host": (Host, HostGrant, HostGrant.host_id),
    "app": (Application, ApplicationGrant, ApplicationGrant.application_id),
    "business": (Production, BusinessGrant, BusinessGrant.production_id),
}


def visible(caller: Caller, permission: str) -> ColumnElement[bool]:
    """A WHERE clause on the table of the permission's kind, for example `visible(caller, "host.view_host")`."""
    if not caller.enabled:
        return false()
    if caller.administrator:
        return true()
    kind, _, flag = permission.partition(".")
    module, _, for_all = OBJECT_KINDS[kind]
    general = for_all.get(flag)
    if general is not None and (module, general) in caller.rights.modules:
        return true()
    table, grant, of = _TABLES[kind]
    granted = select(of).where(
        grant.flag == flag,
        or_(
            (col(grant.subject_type) == "user") & (col(grant.subject_id) == caller.user_id),
            (col(grant.subject_type) == "role") & col(grant.subject_id).in_(caller.role_ids),
        ),
    )
    return col(table.id).in_(granted)
