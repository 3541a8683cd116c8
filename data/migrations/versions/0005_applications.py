"""Applications: a version for two writers at once, and a text index over names and full names.

Revision: 0005, after 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from data.migrations.columns import INTEGER
from data.textsearch import index_statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    op.add_column("application", sa.Column("version", INTEGER, nullable=False, server_default="1"))
    pattern = " text_pattern_ops" if dialect == "postgresql" else ""
    statements = index_statements(dialect, "application", ("name", "full_name"))
    statements.append(f"CREATE INDEX application_search_path ON application (lower(full_name){pattern})")
    for statement in statements:
        op.execute(sa.text(statement.replace(":", "\\:")))
