"""The outbox of what is told outside.

Revision: 0013, after 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from data.migrations.columns import INTEGER, JSON, MOMENT, TEXT, may, must

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notice",
        *must(TEXT, "id", "channel", "event", "about"),
        *must(JSON, "body", "recipients"),
        *may(INTEGER, "actor_id"),
        *must(TEXT, "state"),
        *must(INTEGER, "attempts"),
        *must(MOMENT, "created_at", "next_at"),
        *may(MOMENT, "sent_at"),
        *may(TEXT, "last_error"),
        sa.PrimaryKeyConstraint("id", name="pk_notice"),
    )
    op.create_index("ix_notice_about", "notice", ["about"])
    op.create_index("ix_notice_state_next_at", "notice", ["state", "next_at"])
