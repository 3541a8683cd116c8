"""Approvals and the reviews of what was done without one.

Revision: 0007, after 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from data.migrations.columns import BYTES, INTEGER, JSON, MOMENT, TEXT, may, must

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _approval()
    _review()


def _approval() -> None:
    op.create_table(
        "approval",
        *must(TEXT, "id", "operation", "summary", "why"),
        *must(JSON, "input"),
        *may(BYTES, "sealed"),
        *must(TEXT, "bound_to"),
        *must(JSON, "plan"),
        *must(TEXT, "plan_digest"),
        *must(JSON, "subjects"),
        *must(TEXT, "permission", "level", "requester"),
        *must(INTEGER, "requester_id"),
        *must(JSON, "requester_persons"),
        *must(TEXT, "source", "reason"),
        *must(MOMENT, "requested_at", "expires_at"),
        *must(TEXT, "state"),
        *may(TEXT, "decided_by"),
        *may(INTEGER, "decided_by_id"),
        *must(JSON, "decided_persons"),
        *may(MOMENT, "decided_at"),
        *may(TEXT, "decision_reason"),
        *may(MOMENT, "used_at"),
        *may(TEXT, "task_id", "run_id", "incident_id"),
        sa.PrimaryKeyConstraint("id", name="pk_approval"),
    )
    op.create_index("ix_approval_plan_digest", "approval", ["plan_digest"])
    op.create_index("ix_approval_requester_id_requested_at", "approval", ["requester_id", "requested_at"])
    op.create_index("ix_approval_state_expires_at", "approval", ["state", "expires_at"])


def _review() -> None:
    op.create_table(
        "review",
        *must(TEXT, "id"),
        *may(TEXT, "run_id", "task_id"),
        *must(TEXT, "operation", "summary", "plan_digest"),
        *must(JSON, "subjects"),
        *must(TEXT, "level", "who"),
        *must(INTEGER, "who_id"),
        *must(JSON, "who_persons"),
        *must(TEXT, "reason"),
        *must(MOMENT, "opened_at"),
        *may(TEXT, "closed_by"),
        *may(INTEGER, "closed_by_id"),
        *may(MOMENT, "closed_at"),
        *may(TEXT, "note", "incident_id"),
        sa.PrimaryKeyConstraint("id", name="pk_review"),
    )
    op.create_index("ix_review_closed_at_opened_at", "review", ["closed_at", "opened_at"])
    op.create_index("ix_review_run_id", "review", ["run_id"])
    op.create_index("ix_review_who_id_opened_at", "review", ["who_id", "opened_at"])
