"""What is in flight on a host, found at once among all that ever was.

Revision: 0014, after 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    in_flight = sa.text("state = 'in_flight'")
    op.create_index(
        "ix_run_target_in_flight", "run_target", ["host"], sqlite_where=in_flight, postgresql_where=in_flight
    )
