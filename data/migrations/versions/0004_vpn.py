"""Certificate authorities, VPN clients, their certificates and revocation lists.

Revision: 0004, after 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from data.migrations.columns import BIG, BYTES, FLAG, INTEGER, MOMENT, TEXT, may, must, refers
from data.textsearch import index_statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _certificate_authority()
    _vpn_client()
    _vpn_certificate()
    _vpn_crl()
    for statement in index_statements(op.get_bind().dialect.name, "vpn_client", ("name",)):
        op.execute(sa.text(statement.replace(":", "\\:")))


def _certificate_authority() -> None:
    op.create_table(
        "certificate_authority",
        *must(INTEGER, "id"),
        *must(TEXT, "name"),
        *may(INTEGER, "environment_id"),
        *must(TEXT, "subject", "cert", "chain", "fingerprint", "key_type", "key_state"),
        *may(BYTES, "sealed_key"),
        *must(MOMENT, "not_before", "not_after"),
        *must(INTEGER, "crl_days"),
        *must(BIG, "crl_number"),
        *must(MOMENT, "created_at", "updated_at"),
        sa.CheckConstraint(
            "key_state IN ('sealed', 'passphrase', 'offline')", name="ck_certificate_authority_key_state"
        ),
        refers("certificate_authority", "environment_id", "environment.id"),
        sa.PrimaryKeyConstraint("id", name="pk_certificate_authority"),
        sa.UniqueConstraint("fingerprint", name="uq_certificate_authority_fingerprint"),
        sa.UniqueConstraint("name", name="uq_certificate_authority_name"),
    )
    op.create_index("ix_certificate_authority_environment_id", "certificate_authority", ["environment_id"])


def _vpn_client() -> None:
    op.create_table(
        "vpn_client",
        *must(INTEGER, "id", "ca_id"),
        *must(TEXT, "name", "email", "description", "country", "province", "city", "organization", "sector"),
        *may(BYTES, "sealed_password"),
        *may(INTEGER, "certificate_id"),
        *must(TEXT, "serial"),
        *must(MOMENT, "expiry_date"),
        *must(FLAG, "revoked"),
        *may(MOMENT, "revoked_date"),
        *must(MOMENT, "created_at", "updated_at"),
        refers("vpn_client", "ca_id", "certificate_authority.id"),
        sa.PrimaryKeyConstraint("id", name="pk_vpn_client"),
        sa.UniqueConstraint("name", name="uq_vpn_client_name"),
    )
    op.create_index("ix_vpn_client_ca_id", "vpn_client", ["ca_id", "id"])
    op.create_index("ix_vpn_client_expiry_date", "vpn_client", ["expiry_date", "id"])
    op.create_index("ix_vpn_client_revoked", "vpn_client", ["revoked", "id"])


def _vpn_certificate() -> None:
    op.create_table(
        "vpn_certificate",
        *must(INTEGER, "id", "ca_id"),
        *may(INTEGER, "client_id"),
        *must(TEXT, "serial", "state", "usage", "common_name", "subject"),
        *may(BYTES, "cert", "sealed_key"),
        *must(TEXT, "key_type"),
        *may(MOMENT, "not_before", "not_after", "revoked_at"),
        *may(TEXT, "revoked_by", "revoke_reason"),
        *may(BYTES, "crl_entry"),
        *may(BIG, "crl_number"),
        *must(MOMENT, "created_at"),
        sa.CheckConstraint("state IN ('reserved', 'issued', 'revoked')", name="ck_vpn_certificate_state"),
        refers("vpn_certificate", "ca_id", "certificate_authority.id"),
        refers("vpn_certificate", "client_id", "vpn_client.id"),
        sa.PrimaryKeyConstraint("id", name="pk_vpn_certificate"),
        sa.UniqueConstraint("ca_id", "serial", name="uq_vpn_certificate_ca_id_serial"),
    )
    op.create_index("ix_vpn_certificate_client_id", "vpn_certificate", ["client_id", "id"])
    op.create_index("ix_vpn_certificate_not_after", "vpn_certificate", ["ca_id", "not_after"])
    op.create_index("ix_vpn_certificate_state", "vpn_certificate", ["ca_id", "state", "id"])


def _vpn_crl() -> None:
    op.create_table(
        "vpn_crl",
        *must(INTEGER, "id", "ca_id"),
        *must(BIG, "number"),
        *must(MOMENT, "this_update", "next_update"),
        *must(INTEGER, "entries"),
        *must(TEXT, "sha256", "why"),
        *may(BYTES, "der"),
        *must(MOMENT, "created_at"),
        refers("vpn_crl", "ca_id", "certificate_authority.id"),
        sa.PrimaryKeyConstraint("id", name="pk_vpn_crl"),
        sa.UniqueConstraint("ca_id", "number", name="uq_vpn_crl_ca_id_number"),
    )
