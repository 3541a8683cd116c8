"""The journal that survives its own administrator.

Append-only. Each row carries an HMAC over its canonical JSON; each transaction is one step of a chain over the row
HMACs and the step before. The key is a 0600 file apart from the database. The newest head is also kept beside the
database (`audit.anchor`) and, on request or by setting, off the box; without such an anchor a cut tail cannot be seen.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, col, func, select

from data.models import Audit, AuditHead, AuditStep
from opsconsole.engine.canonical import canonical, dumps, utc_text

SECRET_NAMES = frozenset(
    {
        "password",
        "passphrase",
        "private_key",
        "key",
        "secret",
        "value",
        "token",
        "original_password",
        "new_password",
        "community",
        "reset_code",
        "ovpn",
        "pkcs12",
        "static_key",
        "ca_passphrase",
        "new_passphrase",
    }
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row to be written. `kind` is operation for everything that has no projection of its own
    (dns, host, application, module_grant, resource_grant)."""

    operation: str
    actor: str
    result: str
    actor_id: int | None = None
    source: str = ""
    kind: str = "operation"
    target_kind: str | None = None
    target_id: str | None = None
    target_name: str | None = None
    environment: str | None = None
    error_code: str | None = None
    reason: str | None = None
    detail: Any = None
    before: Any = None
    after: Any = None
    run_id: str | None = None
    plan_digest: str | None = None
    incident_id: str | None = None


TOLD = frozenset({"dns", "host", "application"})
_MAX_TEXT, _MAX_VALUE = 2000, 200

SIGNED = (
    "seq", "step", "position", "kind", "operation", "actor", "actor_id", "source", "target_kind", "target_id",
    "target_name", "environment", "result", "error_code", "reason", "detail", "before", "after", "run_id",
    "plan_digest", "incident_id",
)  # fmt: skip


def now() -> datetime:
    return datetime.now(UTC)


def head_of(tx: Session) -> dict[str, Any]:
    """`{step, last_seq, mac}` of the newest step, as anchors keep it."""
    head = tx.exec(select(AuditHead).where(AuditHead.id == 1)).one()
    return {"step": head.step, "last_seq": head.last_seq, "mac": head.mac}


def redact(value: Any) -> Any:
    """The same structure with `***` in place of every secret field."""
    if isinstance(value, dict):
        return {k: "***" if k in SECRET_NAMES and v not in (None, "") else redact(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(item) for item in value]
    return value


def mac_of(key: bytes, value: Any) -> str:
    return hmac.new(key, canonical(value), hashlib.sha256).hexdigest()


def row_content(row: Audit) -> dict[str, Any]:
    """What the row's HMAC covers: every field but the HMAC itself."""
    return {name: getattr(row, name) for name in SIGNED} | {"at": utc_text(row.at)}


def step_content(step: AuditStep, macs: Sequence[str]) -> dict[str, Any]:
    return {
        "step": step.step,
        "at": utc_text(step.at),
        "first_seq": step.first_seq,
        "last_seq": step.last_seq,
        "count": step.count,
        "prev_mac": step.prev_mac,
        "rows": list(macs),
    }


def append(tx: Session, key: bytes, entries: Iterable[Entry], *, at: datetime) -> AuditHead | None:
    """Write one step with one row per entry, inside the caller's transaction; the head is locked until its commit.

    Answers the new head (None when there was nothing to write).
    """
    wanted = list(entries)
    if not wanted:
        return None
    head = tx.exec(select(AuditHead).where(AuditHead.id == 1).with_for_update()).one()
    number, first = head.step + 1, head.last_seq + 1
    macs: list[str] = []
    counted: dict[str, int] = {}
    for position, entry in enumerate(wanted):
        row = Audit(
            seq=first + position,
            step=number,
            position=position,
            at=at,
            mac="",
            ordinal=_next_of(tx, entry.kind, counted),
            host=host_of(entry.detail),
            **{name: getattr(entry, name) for name in SIGNED if name not in {"seq", "step", "position"}},
        )
        row.detail, row.before, row.after = redact(row.detail), redact(row.before), redact(row.after)
        _tell(row)
        row.mac = mac_of(key, row_content(row))
        macs.append(row.mac)
        tx.add(row)
    step = AuditStep(
        step=number,
        at=at,
        first_seq=first,
        last_seq=first + len(wanted) - 1,
        count=len(wanted),
        prev_mac=head.mac,
        mac="",
    )
    step.mac = mac_of(key, step_content(step, macs))
    tx.add(step)
    head.step, head.last_seq, head.mac = step.step, step.last_seq, step.mac
    tx.add(head)
    return head


def _next_of(tx: Session, kind: str, counted: dict[str, int]) -> int:
    """The number of the next row among those of its kind; the head is locked, so nobody else counts meanwhile."""
    if kind not in counted:
        newest = select(func.max(Audit.ordinal)).where(col(Audit.kind) == kind)
        with tx.no_autoflush:
            counted[kind] = tx.exec(newest).one() or 0
    counted[kind] += 1
    return counted[kind]


def host_of(detail: Any) -> str | None:
    """The host a row is about, as its detail says."""
    host = detail.get("host") if isinstance(detail, dict) else None
    return host if isinstance(host, str) else None


def _tell(row: Audit) -> None:
    """Rows of the documents' lists say in words what was done; the words are part of what is signed."""
    detail = row.detail if isinstance(row.detail, dict) else {}
    if row.kind in TOLD and "text" not in detail:
        verb = str(detail.get("op_type") or row.operation.rpartition(".")[2]).replace("_", " ")
        text = sentence(verb, row.target_kind or row.kind, row.target_name or "", row.before, row.after)
        row.detail = {**detail, "text": text}


def sentence(verb: str, kind: str, name: str, before: Any, after: Any) -> str:
    """`update host web1: status attached → offline; cpu 4 → 8`; at most 2000 signs."""
    old, new = (value if isinstance(value, dict) else {} for value in (before, after))
    names = [field for field in (old | new) if old.get(field) != new.get(field)]
    fields = [f"{field} {_short(old.get(field))} → {_short(new.get(field))}" for field in names]
    said = f"{verb} {kind} {name}" + (f": {'; '.join(fields)}" if fields and verb != "delete" else "")
    return said if len(said) <= _MAX_TEXT else f"{said[: _MAX_TEXT - 1]}…"


def _short(value: Any) -> str:
    if value is None or value == "":
        return "–"
    text = value if isinstance(value, str) else dumps(value)
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 1]}…"
