"""Whether a review was closed by the one who broke the glass, because nobody else could.

Revision: 0011, after 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from data.migrations.columns import FLAG

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("review", sa.Column("self_closed", FLAG, nullable=False, server_default=sa.false()))
