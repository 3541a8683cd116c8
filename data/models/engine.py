"""What the engine keeps of every change: runs, leases, the audit chain, the outbox of the change feed, settings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import Field

from data.models.columns import BIG_ID, JSON_TYPE, Record, UtcDateTime, utc_now


class Run(Record, table=True):
    """One execution, committed before its first effect. `id` is a UUIDv7 string, `holder` {host, boot_id, pid, start}.

    `state` is running, finished, partial, failed, cancelled, unknown or refused. A running row whose holder is dead is
    unknown, but for those of a task (`task`), which the next worker takes up.
    """

    __tablename__ = "run"
    __table_args__ = (
        Index("ix_run_state_heartbeat_at", "state", "heartbeat_at"),
        Index("ix_run_operation_started_at", "operation", "started_at"),
    )

    id: str = Field(primary_key=True)
    operation: str
    actor: str
    actor_id: int | None = None
    source: str = ""
    input: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)
    plan: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)
    plan_digest: str | None = None
    state: str = "running"
    lease_token: int | None = Field(default=None, sa_type=BIG_ID)
    holder: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_TYPE)
    started_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    heartbeat_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reason: str | None = None
    incident_id: str | None = None
    error: dict[str, Any] | None = Field(default=None, sa_type=JSON_TYPE)
    answer: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)
    task: bool = False


_IN_FLIGHT = text("state = 'in_flight'")


class RunTarget(Record, table=True):
    """One object of a run. `state` is waiting, in_flight, done, failed, unknown, skipped or cancelled.

    `progress` is how far a task is with it (`{step, of, said}`), so that who takes it over goes on from there.
    """

    __tablename__ = "run_target"
    __table_args__ = (
        UniqueConstraint("run_id", "position"),
        Index("ix_run_target_object", "kind", "object_id"),
        Index("ix_run_target_in_flight", "host", sqlite_where=_IN_FLIGHT, postgresql_where=_IN_FLIGHT),
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG_ID)
    run_id: str = Field(foreign_key="run.id", ondelete="CASCADE")
    position: int
    kind: str
    object_id: str | None = None
    name: str
    host: str | None = None
    state: str = "waiting"
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    before: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)
    after: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)
    error: dict[str, Any] | None = Field(default=None, sa_type=JSON_TYPE)
    wave: int = 0
    progress: dict[str, Any] | None = Field(default=None, sa_type=JSON_TYPE)


class Lease(Record, table=True):
    """Who acts on a resource now. A row stays after release, so that `token`, the fence, only ever grows."""

    __tablename__ = "lease"

    resource: str = Field(primary_key=True)
    holder: str
    actor: str
    token: int = Field(sa_type=BIG_ID)
    purpose: str = ""
    acquired_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    heartbeat_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)
    released: bool = False


class Audit(Record, table=True):
    """One line of the journal: append-only, `seq` without gaps, `mac` chained through its step.

    `ordinal` counts the lines of one kind from 1 without gaps: page and number of a projection need no counting.
    `host` is that of `detail`, to be found by. Both are made of what is signed, and not signed themselves.
    """

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_kind_seq", "kind", "seq"),
        Index("ix_audit_target", "target_kind", "target_id", "seq"),
        Index("ix_audit_actor_seq", "actor", "seq"),
        Index("ix_audit_step", "step", "position"),
        Index("ix_audit_run_id", "run_id"),
        Index("ix_audit_kind_ordinal", "kind", "ordinal"),
        Index("ix_audit_host_seq", "host", "seq"),
        Index("ix_audit_at", "at"),
    )

    seq: int = Field(primary_key=True, sa_type=BIG_ID, sa_column_kwargs={"autoincrement": False})
    step: int = Field(sa_type=BIG_ID)
    position: int
    at: datetime = Field(sa_type=UtcDateTime)
    kind: str
    ordinal: int = Field(default=0, sa_type=BIG_ID, sa_column_kwargs={"server_default": "0"})
    operation: str
    actor: str
    actor_id: int | None = None
    source: str = ""
    target_kind: str | None = None
    target_id: str | None = None
    target_name: str | None = None
    environment: str | None = None
    host: str | None = None
    result: str
    error_code: str | None = None
    reason: str | None = None
    detail: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)
    before: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)
    after: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)
    run_id: str | None = None
    plan_digest: str | None = None
    incident_id: str | None = None
    mac: str


class AuditStep(Record, table=True):
    """One link of the chain: the lines `first_seq`..`last_seq` written in one transaction."""

    __tablename__ = "audit_step"

    step: int = Field(primary_key=True, sa_type=BIG_ID, sa_column_kwargs={"autoincrement": False})
    at: datetime = Field(sa_type=UtcDateTime)
    first_seq: int = Field(sa_type=BIG_ID)
    last_seq: int = Field(sa_type=BIG_ID)
    count: int
    prev_mac: str
    mac: str


class AuditHead(Record, table=True):
    """The end of the chain: the one row (`id` 1) a record transaction locks. Seeded with step 0 and an empty mac."""

    __tablename__ = "audit_head"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    step: int = Field(default=0, sa_type=BIG_ID)
    last_seq: int = Field(default=0, sa_type=BIG_ID)
    mac: str = ""


class Change(Record, table=True):
    """Outbox of the change feed: written in the transaction that made the change, trimmed after a day."""

    __tablename__ = "change"
    __table_args__ = (Index("ix_change_at", "at"), {"sqlite_autoincrement": True})

    id: int = Field(default=None, primary_key=True, sa_type=BIG_ID)
    at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    entity: str
    key: str
    verb: str
    run_id: str | None = None


class LookedAfter(Record, table=True):
    """Somebody looked after an end nobody wanted: `kind` task or run. Until then it is shown to whoever may see it."""

    __tablename__ = "looked_after"

    kind: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    by: str
    by_id: int
    at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    note: str


class Notice(Record, table=True):
    """Outbox of what is told outside (`channel` webhook or mail): written with what it tells of (`about` is its id).

    `state` is waiting, sent or given_up. `recipients` are those still to be told; `next_at` is the next try, moved on
    by whoever tries, so that nobody else does meanwhile.
    """

    __tablename__ = "notice"
    __table_args__ = (
        Index("ix_notice_state_next_at", "state", "next_at"),
        Index("ix_notice_about", "about"),
    )

    id: str = Field(primary_key=True)
    channel: str
    event: str
    about: str
    body: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_TYPE)
    recipients: list[str] = Field(default_factory=list, sa_type=JSON_TYPE)
    actor_id: int | None = None
    state: str = "waiting"
    attempts: int = 0
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    next_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    sent_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_error: str | None = None


class Setting(Record, table=True):
    """One setting of the whole installation."""

    __tablename__ = "setting"

    key: str = Field(primary_key=True)
    value: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)
    updated_by: str = ""
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
