"""The second person: what was asked for and decided, and what was done without one and is looked at afterwards."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary
from sqlmodel import Field

from data.models.columns import JSON_TYPE, Record, UtcDateTime, utc_now


class Approval(Record, table=True):
    """A request that somebody else agree to one planned change. `id` is a UUIDv7 string.

    `state` is pending, approved, rejected, withdrawn, expired or used. `input` is what was given, without its secrets;
    these are in `sealed` until the request has ended. `bound_to` is an HMAC over the whole input, secrets included.
    `subjects` are the targets as permissions see them: `[kind, name, {object kind: id}, owner id, environment]`.
    `requester_persons` and `decided_persons` name everybody who sat behind the caller (`--as`, a token's presenter).
    """

    __tablename__ = "approval"
    __table_args__ = (
        Index("ix_approval_state_expires_at", "state", "expires_at"),
        Index("ix_approval_requester_id_requested_at", "requester_id", "requested_at"),
        Index("ix_approval_plan_digest", "plan_digest"),
    )

    id: str = Field(primary_key=True)
    operation: str
    summary: str = ""
    why: str = ""
    input: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_TYPE)
    sealed: bytes | None = Field(default=None, sa_type=LargeBinary)
    bound_to: str
    plan: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_TYPE)
    plan_digest: str
    subjects: list[Any] = Field(default_factory=list, sa_type=JSON_TYPE)
    permission: str
    level: str
    requester: str
    requester_id: int
    requester_persons: list[str] = Field(default_factory=list, sa_type=JSON_TYPE)
    source: str = ""
    reason: str
    requested_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    state: str = "pending"
    decided_by: str | None = None
    decided_by_id: int | None = None
    decided_persons: list[str] = Field(default_factory=list, sa_type=JSON_TYPE)
    decided_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    decision_reason: str | None = None
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    task_id: str | None = None
    run_id: str | None = None
    incident_id: str | None = None


class Review(Record, table=True):
    """A change that was done without its second person (break-glass), open until somebody else has looked at it.

    `self_closed`: nobody else could, and it was closed by the one who broke the glass.
    """

    __tablename__ = "review"
    __table_args__ = (
        Index("ix_review_closed_at_opened_at", "closed_at", "opened_at"),
        Index("ix_review_who_id_opened_at", "who_id", "opened_at"),
        Index("ix_review_run_id", "run_id"),
    )

    id: str = Field(primary_key=True)
    run_id: str | None = None
    task_id: str | None = None
    operation: str
    summary: str = ""
    plan_digest: str
    subjects: list[Any] = Field(default_factory=list, sa_type=JSON_TYPE)
    level: str
    who: str
    who_id: int
    who_persons: list[str] = Field(default_factory=list, sa_type=JSON_TYPE)
    reason: str
    opened_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    closed_by: str | None = None
    closed_by_id: int | None = None
    closed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    note: str | None = None
    self_closed: bool = False
    incident_id: str | None = None
