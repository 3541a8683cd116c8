"""Journal lines are found by the host they were about, and by time.

Revision: 0009, after 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from data.migrations.columns import TEXT

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_HOST = {"sqlite": "json_extract(detail, '$.host')", "postgresql": "detail ->> 'host'"}


def upgrade() -> None:
    op.add_column("audit", sa.Column("host", TEXT, nullable=True))
    op.execute(f"UPDATE audit SET host = {_HOST[op.get_context().dialect.name]} WHERE detail IS NOT NULL")
    op.create_index("ix_audit_host_seq", "audit", ["host", "seq"])
    op.create_index("ix_audit_at", "audit", ["at"])
