"""What the home screen shows: failed services counted with their sight, ends of tasks by time, what was looked after.

Revision: 0012, after 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from data.migrations.columns import INTEGER, JSON, MOMENT, TEXT, must

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("host_observation", sa.Column("failed", INTEGER, nullable=True))
    op.add_column("host_observation", sa.Column("failing", JSON, nullable=True))
    op.create_index("ix_host_observation_kind_failed", "host_observation", ["kind", "failed"])
    op.create_index("ix_task_state_finished_at", "task", ["state", "finished_at"])
    op.create_table(
        "looked_after",
        *must(TEXT, "kind", "id", "by"),
        *must(INTEGER, "by_id"),
        *must(MOMENT, "at"),
        *must(TEXT, "note"),
        sa.PrimaryKeyConstraint("kind", "id", name="pk_looked_after"),
    )
