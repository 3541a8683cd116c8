"""OpenVPN servers, what was last seen of them, and how far each revocation got on each of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field

from data.models.columns import JSON_TYPE, Record, UtcDateTime, utc_now


class VpnServer(Record, table=True):
    """A daemon that lets the clients of one authority in. `crl_path` and `management` are null when the configuration
    on the host says them; `environment_id` null means that of the host. `version` grows with every change."""

    __tablename__ = "vpn_server"

    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    host_id: int = Field(foreign_key="host.id", index=True)
    ca_id: int = Field(foreign_key="certificate_authority.id", index=True)
    environment_id: int | None = Field(default=None, foreign_key="environment.id", index=True)
    unit: str | None = None
    config_path: str
    crl_path: str | None = None
    management: str | None = None
    description: str = ""
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    version: int = 1


VpnServer.__mapper__.version_id_col = VpnServer.__table__.c.version  # type: ignore[attr-defined]


class VpnServerSight(Record, table=True):
    """The last look at a server: an observation, never a record. `facts` are those of the last look that succeeded at
    `seen_at`; `error` says why the newest one (`observed_at`) did not."""

    __tablename__ = "vpn_server_sight"

    server_id: int = Field(primary_key=True, foreign_key="vpn_server.id", ondelete="CASCADE")
    state: str
    error: dict[str, Any] | None = Field(default=None, sa_type=JSON_TYPE)
    observed_at: datetime = Field(sa_type=UtcDateTime)
    seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    facts: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)


class VpnClientSight(Record, table=True):
    """When a client was last seen connected, and on which server: an observation, never a record, one row a client.
    `server` is the name the server had then; `evidence` is what its daemon said of the session."""

    __tablename__ = "vpn_client_sight"

    client_id: int = Field(primary_key=True, foreign_key="vpn_client.id", ondelete="CASCADE")
    server: str
    seen_at: datetime = Field(sa_type=UtcDateTime)
    evidence: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)


class RevocationStep(Record, table=True):
    """How far one revoked certificate is on one server. `step` is published, loaded, session_gone, or blocked (an
    emergency without the authority's key); `state` ok or failed. A missing row is a step nobody has seen done."""

    __tablename__ = "revocation_step"
    __table_args__ = (
        CheckConstraint("step IN ('published', 'loaded', 'session_gone', 'blocked')", name="step"),
        CheckConstraint("state IN ('ok', 'failed')", name="state"),
        Index("ix_revocation_step_server_id", "server_id", "step", "state"),
    )

    certificate_id: int = Field(primary_key=True, foreign_key="vpn_certificate.id")
    server_id: int = Field(primary_key=True, foreign_key="vpn_server.id", ondelete="CASCADE")
    step: str = Field(primary_key=True)
    state: str
    at: datetime = Field(sa_type=UtcDateTime)
    evidence: Any = Field(default=None, sa_type=JSON_TYPE, nullable=True)
    error: dict[str, Any] | None = Field(default=None, sa_type=JSON_TYPE)
