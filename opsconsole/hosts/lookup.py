"""Hosts by id or name, as every area asks for them: only those the caller may see exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, or_, select

from data.models import Environment, Host, HostTag
from opsconsole.engine.caller import Caller
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import ObjectNotFound
from opsconsole.engine.visible import visible

LEVELS = {"dev": 0, "stage": 1, "prod": 2}
HostRef = int | str
_SEEDED = "default"
_NAMES_COMPARED = 5000


@dataclass(frozen=True, slots=True)
class HostFacts:
    """A host's record as plans and drivers need it, free of any session.

    `level` is that of its environment; a host without one counts as in `default`, and as `prod` when there is no such
    environment, because an unknown ring must not soften a confirmation.
    """

    id: int
    name: str
    host_type: str
    status: str
    address: str | None
    ssh_port: int | None
    ssh_user: str | None
    credential_id: int | None
    become: bool
    local: bool
    environment: str | None
    environment_id: int | None
    level: str
    environment_read_only: bool
    protected: bool
    maintenance_by: str | None
    maintenance_reason: str | None
    maintenance_until: datetime | None
    tags: tuple[str, ...]

    @property
    def resource(self) -> str:
        """What a lease on the whole host is taken on."""
        return f"host:{self.id}"

    def subject(self, kind: str = "host", name: str | None = None) -> Subject:
        """This host, or something on it (`kind`, `name`), as `decide()` asks for it."""
        return Subject(
            kind=kind,
            name=self.name if name is None else name,
            ids=(("host", self.id),),
            environment=self.environment,
            environment_read_only=self.environment_read_only,
            protected=self.protected,
            maintenance_by=self.maintenance_by,
            maintenance_reason=self.maintenance_reason,
            maintenance_until=self.maintenance_until,
        )


def highest_level(hosts: Iterable[HostFacts]) -> str:
    """The level a plan over these hosts has; `dev` for none."""
    return max((host.level for host in hosts), key=LEVELS.__getitem__, default="dev")


def seen_by(caller: Caller, permission: str = "host.view_host") -> ColumnElement[bool]:
    """WHERE clause on `Host`: those he may view, and those he holds `permission` on (its name may be seen there)."""
    clause = visible(caller, "host.view_host")
    return clause if permission == "host.view_host" else or_(clause, visible(caller, permission))


def find_host(tx: Session, caller: Caller, ref: HostRef, *, permission: str = "host.view_host") -> Host:
    """The host with this name or id. ObjectNotFound names the nearest visible ones; an invisible host is not found.

    A name of digits alone wins over the id.
    """
    return _find_all(tx, caller, [ref], permission)[0]


def visible_hosts(
    tx: Session, caller: Caller, refs: Sequence[HostRef] | None = None, *, permission: str = "host.view_host"
) -> list[HostFacts]:
    """Facts of the hosts meant by `refs` in that order, each once; None = every visible host, by name."""
    if refs is None:
        query = select(Host).where(seen_by(caller, permission)).order_by(col(Host.name))
        return facts_of(tx, tx.exec(query).all())
    found = _find_all(tx, caller, refs, permission)
    return facts_of(tx, list({host.id: host for host in found}.values()))


def facts_of(tx: Session, hosts: Sequence[Host]) -> list[HostFacts]:
    """Facts of loaded rows, with two statements however many they are."""
    environments = {row.id: row for row in tx.exec(select(Environment)).all()}
    seeded = next((row for row in environments.values() if row.name == _SEEDED), None)
    tags = tags_of(tx, [host.id for host in hosts])
    return [_facts(host, environments.get(host.environment_id or 0, seeded), tags.get(host.id, ())) for host in hosts]


def subject_of(tx: Session, host: Host) -> Subject:
    """The subject of one loaded host."""
    return facts_of(tx, [host])[0].subject()


def tags_of(tx: Session, ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Sorted tags by host id."""
    found: dict[int, list[str]] = {}
    for start in range(0, len(ids), 500):
        chunk = ids[start : start + 500]
        for row in tx.exec(select(HostTag).where(col(HostTag.host_id).in_(chunk)).order_by(col(HostTag.tag))):
            found.setdefault(row.host_id, []).append(row.tag)
    return {key: tuple(value) for key, value in found.items()}


def _find_all(tx: Session, caller: Caller, refs: Sequence[HostRef], permission: str) -> list[Host]:
    names = [ref for ref in refs if isinstance(ref, str)]
    ids = [number for ref in refs if (number := _as_id(ref)) is not None]
    by_name: dict[str, Host] = {}
    by_id: dict[int, Host] = {}
    for start in range(0, max(len(names), len(ids)), 500):
        asked = or_(col(Host.name).in_(names[start : start + 500]), col(Host.id).in_(ids[start : start + 500]))
        for row in tx.exec(select(Host).where(asked, seen_by(caller, permission))):
            by_name[row.name] = by_id[row.id] = row
    found: list[Host] = []
    for ref in refs:
        host = by_name.get(ref) if isinstance(ref, str) else None
        host = host or by_id.get(_as_id(ref) or 0)
        if host is None:
            raise ObjectNotFound(entity="host", id=ref, hint=_nearest(tx, caller, str(ref), permission), field="host")
        found.append(host)
    return found


def _as_id(ref: HostRef) -> int | None:
    """The id a reference may mean; None for what fits no id column."""
    if isinstance(ref, str):
        return int(ref) if ref.isascii() and ref.isdigit() and len(ref) < 10 else None
    return ref if 0 < ref < 2**31 else None


def _nearest(tx: Session, caller: Caller, wrong: str, permission: str) -> str:
    query = select(Host.name).where(seen_by(caller, permission)).order_by(col(Host.name)).limit(_NAMES_COMPARED)
    close = difflib.get_close_matches(wrong, tx.exec(query).all(), n=3, cutoff=0.5)
    return f"; did you mean {', '.join(close)}?" if close else "; see: hosts list"


def _facts(host: Host, environment: Environment | None, tags: tuple[str, ...]) -> HostFacts:
    return HostFacts(
        id=host.id,
        name=host.name,
        host_type=host.host_type,
        status=host.status,
        address=host.address,
        ssh_port=host.ssh_port,
        ssh_user=host.ssh_user,
        credential_id=host.ssh_credential_id,
        become=host.become,
        local=host.local,
        environment=environment.name if environment else None,
        environment_id=environment.id if environment else None,
        level=environment.level if environment else "prod",
        environment_read_only=bool(environment and environment.read_only),
        protected=host.protected,
        maintenance_by=host.maintenance_by,
        maintenance_reason=host.maintenance_reason,
        maintenance_until=host.maintenance_until,
        tags=tags,
    )
