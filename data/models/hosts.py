"""The managed machines, where they stand, and what was last seen of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field

from data.models.columns import JSON_TYPE, Record, UtcDateTime, utc_now


class Environment(Record, table=True):
    """A ring of machines under one policy; a plan is judged by the highest level it touches."""

    __tablename__ = "environment"
    __table_args__ = (CheckConstraint("level IN ('prod', 'stage', 'dev')", name="level"),)

    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    level: str = "dev"
    colour_role: str = ""
    read_only: bool = False


class Credential(Record, table=True):
    """A secret with a name. `sealed` opens only with the data key; `public` holds what may be shown (a fingerprint)."""

    __tablename__ = "credential"

    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    kind: str
    username: str | None = None
    environment_id: int | None = Field(default=None, foreign_key="environment.id", index=True)
    sealed: bytes
    public: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_TYPE)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class Host(Record, table=True):
    """A managed machine. `memory` is in MiB, `address` null means: resolve the name.

    `version` grows by one with every flushed change of a loaded row; a write over a newer one raises.
    """

    __tablename__ = "host"

    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    host_type: str
    status: str = "raw"
    os_status: str | None = None
    os_type: str | None = None
    cpu: int | None = None
    memory: int | None = None
    location: str | None = None
    description: str | None = None
    environment_id: int | None = Field(default=None, foreign_key="environment.id", index=True)
    protected: bool = False
    maintenance_reason: str | None = None
    maintenance_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    maintenance_by: str | None = None
    address: str | None = None
    ssh_port: int | None = None
    ssh_user: str | None = None
    ssh_credential_id: int | None = Field(default=None, foreign_key="credential.id", index=True)
    become: bool = True
    local: bool = False
    dci_server_id: int | None = None
    zabbix_groups: list[str] = Field(default_factory=list, sa_type=JSON_TYPE)
    zabbix_templates: list[str] = Field(default_factory=list, sa_type=JSON_TYPE)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    version: int = 1


Host.__mapper__.version_id_col = Host.__table__.c.version  # type: ignore[attr-defined]


class HostTag(Record, table=True):
    """A word on a host; inventory groups become tags."""

    __tablename__ = "host_tag"

    host_id: int = Field(foreign_key="host.id", primary_key=True, ondelete="CASCADE")
    tag: str = Field(primary_key=True, index=True)


SERVICES_SEEN = "services"
"""The kind of an observation that is a look at all services of a host."""


class HostObservation(Record, table=True):
    """The last thing a driver saw of one host, by kind: an observation, never a record.

    `payload` is zlib-compressed JSON, `digest` names its content so that an unchanged sight need not be shown again.
    `failed` counts what was an error in it (null: not counted then), `failing` names the first of them.
    """

    __tablename__ = "host_observation"
    __table_args__ = (Index("ix_host_observation_kind_failed", "kind", "failed"),)

    host_id: int = Field(foreign_key="host.id", primary_key=True, ondelete="CASCADE")
    kind: str = Field(primary_key=True)
    state: str
    error: dict[str, Any] | None = Field(default=None, sa_type=JSON_TYPE)
    observed_at: datetime = Field(sa_type=UtcDateTime)
    duration_ms: int | None = None
    payload: bytes | None = None
    digest: str | None = None
    failed: int | None = None
    failing: list[Any] | None = Field(default=None, sa_type=JSON_TYPE)
