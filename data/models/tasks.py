"""Work that outlives the console: tasks, what they print, the workers that do them, and timers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary, UniqueConstraint
from sqlmodel import Field

from data.models.columns import BIG_ID, JSON_TYPE, Record, UtcDateTime, utc_now


class Task(Record, table=True):
    """One change that a worker performs. `id` is a UUIDv7 string and also the id of its run, once that has begun.

    `state` is pending, waiting (for what `waiting_for` says), running, paused, finished, partial, failed, timeout,
    cancelled or unknown. `wanted` is what somebody asked a running task for: pause or cancel. `executor_id` names the
    worker at work and `attempt` grows with every one that took it up; `leg` grows with every resumption after a pause.
    `sealed` is the whole input when it holds secrets, erased at the end; `input` never holds any.
    """

    __tablename__ = "task"
    __table_args__ = (
        Index("ix_task_state_created_at", "state", "created_at"),
        Index("ix_task_operation_state", "operation", "state", "finished_at"),
        Index("ix_task_state_finished_at", "state", "finished_at"),
        Index("ix_task_actor_id_created_at", "actor_id", "created_at"),
        Index("ix_task_approval_id", "approval_id"),
    )

    id: str = Field(primary_key=True)
    operation: str
    summary: str = ""
    actor: str
    actor_id: int
    on_behalf: str | None = None
    source: str = ""
    reason: str | None = None
    incident_id: str | None = None
    input: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)
    sealed: bytes | None = Field(default=None, sa_type=LargeBinary)
    plan: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)
    plan_digest: str = ""
    options: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_TYPE)
    approval_id: str | None = None
    state: str = "pending"
    waiting_for: str | None = None
    wanted: str | None = None
    wanted_by: str | None = None
    executor_id: str | None = None
    attempt: int = 0
    leg: int = 0
    total: int = 0
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    error: dict[str, Any] | None = Field(default=None, sa_type=JSON_TYPE)
    answer: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)


class TaskOutput(Record, table=True):
    """A piece of what one step of one target printed: `data` begins at byte `offset` of that step's output.

    The unique key is what keeps a byte from being written twice by two workers; `id` is the order for readers.
    """

    __tablename__ = "task_output"
    __table_args__ = (
        UniqueConstraint("task_id", "position", "step", "offset"),
        Index("ix_task_output_task_id_id", "task_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: int = Field(default=None, primary_key=True, sa_type=BIG_ID)
    task_id: str = Field(foreign_key="task.id", ondelete="CASCADE")
    position: int
    step: int = 0
    offset: int = Field(default=0, sa_type=BIG_ID)
    at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    data: bytes = Field(sa_type=LargeBinary)


class Worker(Record, table=True):
    """A process that does tasks. Its tasks may be taken over when it is dead or its heartbeat has expired."""

    __tablename__ = "worker"
    __table_args__ = (Index("ix_worker_heartbeat_at", "heartbeat_at"),)

    id: str = Field(primary_key=True)
    holder: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_TYPE)
    stay: bool = False
    started_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    heartbeat_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Job(Record, table=True):
    """A timer: what is done every so often by whichever worker is alive. `last_error` is that of the last run."""

    __tablename__ = "job"

    name: str = Field(primary_key=True)
    next_due: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime, index=True)
    last_started: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_finished: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_error: str | None = None
    last_result: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)
    executor_id: str | None = None
