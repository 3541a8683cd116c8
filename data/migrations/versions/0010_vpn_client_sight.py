"""When each VPN client was last seen, and on which server.

Revision: 0010, after 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from data.migrations.columns import INTEGER, JSON, MOMENT, TEXT, may, must, refers

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vpn_client_sight",
        *must(INTEGER, "client_id"),
        *must(TEXT, "server"),
        *must(MOMENT, "seen_at"),
        *may(JSON, "evidence"),
        refers("vpn_client_sight", "client_id", "vpn_client.id", cascade=True),
        sa.PrimaryKeyConstraint("client_id", name="pk_vpn_client_sight"),
    )
