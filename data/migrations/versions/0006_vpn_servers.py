"""OpenVPN servers, what was last seen of them, and the steps of revocations.

Revision: 0006, after 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from data.migrations.columns import INTEGER, JSON, MOMENT, TEXT, may, must, refers

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vpn_server",
        *must(INTEGER, "id"),
        *must(TEXT, "name"),
        *must(INTEGER, "host_id", "ca_id"),
        *may(INTEGER, "environment_id"),
        *may(TEXT, "unit"),
        *must(TEXT, "config_path"),
        *may(TEXT, "crl_path", "management"),
        *must(TEXT, "description"),
        *must(MOMENT, "created_at", "updated_at"),
        *must(INTEGER, "version"),
        refers("vpn_server", "host_id", "host.id"),
        refers("vpn_server", "ca_id", "certificate_authority.id"),
        refers("vpn_server", "environment_id", "environment.id"),
        sa.PrimaryKeyConstraint("id", name="pk_vpn_server"),
        sa.UniqueConstraint("name", name="uq_vpn_server_name"),
    )
    for column in ("host_id", "ca_id", "environment_id"):
        op.create_index(f"ix_vpn_server_{column}", "vpn_server", [column])
    op.create_table(
        "vpn_server_sight",
        *must(INTEGER, "server_id"),
        *must(TEXT, "state"),
        *may(JSON, "error"),
        *must(MOMENT, "observed_at"),
        *may(MOMENT, "seen_at"),
        *may(JSON, "facts"),
        refers("vpn_server_sight", "server_id", "vpn_server.id", cascade=True),
        sa.PrimaryKeyConstraint("server_id", name="pk_vpn_server_sight"),
    )
    op.create_table(
        "revocation_step",
        *must(INTEGER, "certificate_id", "server_id"),
        *must(TEXT, "step", "state"),
        *must(MOMENT, "at"),
        *may(JSON, "evidence", "error"),
        sa.CheckConstraint("step IN ('published', 'loaded', 'session_gone', 'blocked')", name="ck_revocation_step_step"),
        sa.CheckConstraint("state IN ('ok', 'failed')", name="ck_revocation_step_state"),
        refers("revocation_step", "certificate_id", "vpn_certificate.id"),
        refers("revocation_step", "server_id", "vpn_server.id", cascade=True),
        sa.PrimaryKeyConstraint("certificate_id", "server_id", "step", name="pk_revocation_step"),
    )
    op.create_index("ix_revocation_step_server_id", "revocation_step", ["server_id", "step", "state"])
