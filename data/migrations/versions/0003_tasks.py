"""Tasks, their output, workers and timers.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from data.migrations.columns import BIG, BYTES, FLAG, INTEGER, JSON, MOMENT, TEXT, may, must, refers

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("task", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("run_target", sa.Column("wave", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("run_target", *may(JSON, "progress"))
    _task()
    _task_output()
    _worker()
    _job()


def _task() -> None:
    op.create_table(
        "task",
        *must(TEXT, "id", "operation", "summary", "actor"),
        *must(INTEGER, "actor_id"),
        *may(TEXT, "on_behalf"),
        *must(TEXT, "source"),
        *may(TEXT, "reason", "incident_id"),
        *may(JSON, "input"),
        *may(BYTES, "sealed"),
        *may(JSON, "plan"),
        *must(TEXT, "plan_digest"),
        *must(JSON, "options"),
        *may(TEXT, "approval_id"),
        *must(TEXT, "state"),
        *may(TEXT, "waiting_for", "wanted", "wanted_by", "executor_id"),
        *must(INTEGER, "attempt", "leg", "total"),
        *must(MOMENT, "created_at"),
        *may(MOMENT, "started_at", "finished_at"),
        *may(JSON, "error", "answer"),
        sa.PrimaryKeyConstraint("id", name="pk_task"),
    )
    op.create_index("ix_task_state_created_at", "task", ["state", "created_at"])
    op.create_index("ix_task_operation_state", "task", ["operation", "state", "finished_at"])
    op.create_index("ix_task_actor_id_created_at", "task", ["actor_id", "created_at"])
    op.create_index("ix_task_approval_id", "task", ["approval_id"])


def _task_output() -> None:
    op.create_table(
        "task_output",
        *must(BIG, "id"),
        *must(TEXT, "task_id"),
        *must(INTEGER, "position", "step"),
        *must(BIG, "offset"),
        *must(MOMENT, "at"),
        *must(BYTES, "data"),
        refers("task_output", "task_id", "task.id", cascade=True),
        sa.PrimaryKeyConstraint("id", name="pk_task_output"),
        sa.UniqueConstraint("task_id", "position", "step", "offset", name="uq_task_output_task_id_position_step_offset"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_task_output_task_id_id", "task_output", ["task_id", "id"])


def _worker() -> None:
    op.create_table(
        "worker",
        *must(TEXT, "id"),
        *must(JSON, "holder"),
        *must(FLAG, "stay"),
        *must(MOMENT, "started_at", "heartbeat_at"),
        *may(MOMENT, "ended_at"),
        sa.PrimaryKeyConstraint("id", name="pk_worker"),
    )
    op.create_index("ix_worker_heartbeat_at", "worker", ["heartbeat_at"])


def _job() -> None:
    op.create_table(
        "job",
        *must(TEXT, "name"),
        *must(MOMENT, "next_due"),
        *may(MOMENT, "last_started", "last_finished"),
        *may(TEXT, "last_error"),
        *may(JSON, "last_result"),
        *may(TEXT, "executor_id"),
        sa.PrimaryKeyConstraint("name", name="pk_job"),
    )
    op.create_index("ix_job_next_due", "job", ["next_due"])
