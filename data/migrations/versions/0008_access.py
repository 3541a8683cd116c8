"""Codes for a new password, limited attempts, when a token was last used; journal lines are counted per kind.

Revision: 0008, after 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from data.migrations.columns import BIG, INTEGER, MOMENT, TEXT, must, refers

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_COUNT = """
UPDATE audit SET ordinal = counted.ordinal
FROM (SELECT seq, row_number() OVER (PARTITION BY kind ORDER BY seq) AS ordinal FROM audit) AS counted
WHERE counted.seq = audit.seq
"""


def upgrade() -> None:
    op.add_column("auth_token", sa.Column("last_used_at", MOMENT, nullable=True))
    op.create_table(
        "password_reset",
        *must(INTEGER, "id", "user_id"),
        *must(TEXT, "code_hash", "issued_by"),
        *must(MOMENT, "created_at", "expires_at"),
        refers("password_reset", "user_id", "user.id", cascade=True),
        sa.PrimaryKeyConstraint("id", name="pk_password_reset"),
        sa.UniqueConstraint("code_hash", name="uq_password_reset_code_hash"),
    )
    op.create_index("ix_password_reset_user_id", "password_reset", ["user_id"])
    op.create_table(
        "attempt",
        *must(INTEGER, "id"),
        *must(TEXT, "purpose", "subject"),
        *must(MOMENT, "at"),
        sa.PrimaryKeyConstraint("id", name="pk_attempt"),
    )
    op.create_index("ix_attempt_purpose", "attempt", ["purpose", "subject", "at"])
    op.add_column("audit", sa.Column("ordinal", BIG, nullable=False, server_default="0"))
    op.execute(_COUNT)
    op.create_index("ix_audit_kind_ordinal", "audit", ["kind", "ordinal"])
