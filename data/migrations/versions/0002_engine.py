"""Runs, leases, the audit chain, the outbox of the change feed, settings.

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from data.migrations.columns import BIG, FLAG, INTEGER, JSON, MOMENT, TEXT, may, must, refers

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for make in TABLES:
        make()
    head = sa.table("audit_head", *map(sa.column, ("id", "step", "last_seq", "mac")))
    op.bulk_insert(head, [{"id": 1, "step": 0, "last_seq": 0, "mac": ""}])


def _run() -> None:
    op.create_table(
        "run",
        *must(TEXT, "id", "operation", "actor"),
        *may(INTEGER, "actor_id"),
        *must(TEXT, "source"),
        *may(JSON, "input", "plan"),
        *may(TEXT, "plan_digest"),
        *must(TEXT, "state"),
        *may(BIG, "lease_token"),
        *must(JSON, "holder"),
        *must(MOMENT, "started_at", "heartbeat_at"),
        *may(MOMENT, "finished_at"),
        *may(TEXT, "reason", "incident_id"),
        *may(JSON, "error", "answer"),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
    )
    op.create_index("ix_run_operation_started_at", "run", ["operation", "started_at"])
    op.create_index("ix_run_state_heartbeat_at", "run", ["state", "heartbeat_at"])


def _run_target() -> None:
    op.create_table(
        "run_target",
        *must(BIG, "id"),
        *must(TEXT, "run_id"),
        *must(INTEGER, "position"),
        *must(TEXT, "kind"),
        *may(TEXT, "object_id"),
        *must(TEXT, "name"),
        *may(TEXT, "host"),
        *must(TEXT, "state"),
        *may(MOMENT, "started_at", "finished_at"),
        *may(JSON, "before", "after", "error"),
        refers("run_target", "run_id", "run.id", cascade=True),
        sa.PrimaryKeyConstraint("id", name="pk_run_target"),
        sa.UniqueConstraint("run_id", "position", name="uq_run_target_run_id_position"),
    )
    op.create_index("ix_run_target_object", "run_target", ["kind", "object_id"])


def _lease() -> None:
    op.create_table(
        "lease",
        *must(TEXT, "resource", "holder", "actor"),
        *must(BIG, "token"),
        *must(TEXT, "purpose"),
        *must(MOMENT, "acquired_at", "heartbeat_at", "expires_at"),
        *must(FLAG, "released"),
        sa.PrimaryKeyConstraint("resource", name="pk_lease"),
    )
    op.create_index("ix_lease_expires_at", "lease", ["expires_at"])


def _change() -> None:
    op.create_table(
        "change",
        *must(BIG, "id"),
        *must(MOMENT, "at"),
        *must(TEXT, "entity", "key", "verb"),
        *may(TEXT, "run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_change"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_change_at", "change", ["at"])


def _setting() -> None:
    op.create_table(
        "setting",
        *must(TEXT, "key"),
        *may(JSON, "value"),
        *must(TEXT, "updated_by"),
        *must(MOMENT, "updated_at"),
        sa.PrimaryKeyConstraint("key", name="pk_setting"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", BIG, autoincrement=False, nullable=False),
        *must(BIG, "step"),
        *must(INTEGER, "position"),
        *must(MOMENT, "at"),
        *must(TEXT, "kind", "operation", "actor"),
        *may(INTEGER, "actor_id"),
        *must(TEXT, "source"),
        *may(TEXT, "target_kind", "target_id", "target_name", "environment"),
        *must(TEXT, "result"),
        *may(TEXT, "error_code", "reason"),
        *may(JSON, "detail", "before", "after"),
        *may(TEXT, "run_id", "plan_digest", "incident_id"),
        *must(TEXT, "mac"),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
    )
    op.create_index("ix_audit_actor_seq", "audit", ["actor", "seq"])
    op.create_index("ix_audit_kind_seq", "audit", ["kind", "seq"])
    op.create_index("ix_audit_run_id", "audit", ["run_id"])
    op.create_index("ix_audit_step", "audit", ["step", "position"])
    op.create_index("ix_audit_target", "audit", ["target_kind", "target_id", "seq"])


def _audit_step() -> None:
    op.create_table(
        "audit_step",
        sa.Column("step", BIG, autoincrement=False, nullable=False),
        *must(MOMENT, "at"),
        *must(BIG, "first_seq", "last_seq"),
        *must(INTEGER, "count"),
        *must(TEXT, "prev_mac", "mac"),
        sa.PrimaryKeyConstraint("step", name="pk_audit_step"),
    )


def _audit_head() -> None:
    op.create_table(
        "audit_head",
        sa.Column("id", INTEGER, autoincrement=False, nullable=False),
        *must(BIG, "step", "last_seq"),
        *must(TEXT, "mac"),
        sa.PrimaryKeyConstraint("id", name="pk_audit_head"),
    )


TABLES = (
    _run,
    _run_target,
    _lease,
    _change,
    _setting,
    _audit,
    _audit_step,
    _audit_head,
)
