"""Product lines, applications, where they run and who answers for them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from data.models.columns import Record, UtcDateTime, utc_now


class Production(Record, table=True):
    """A product line."""

    __tablename__ = "production"

    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    description: str | None = None


class Application(Record, table=True):
    """One node of the application tree; `full_name` is the dotted path from the root, kept for search.

    `version` grows by one with every flushed change of a loaded row; a write over a newer one raises.
    """

    __tablename__ = "application"

    id: int = Field(default=None, primary_key=True)
    name: str
    full_name: str = Field(unique=True)
    description: str | None = None
    application_type: str | None = None
    run_user: str | None = None
    directory: str | None = None
    startup_cmd: str | None = None
    stop_cmd: str | None = None
    stdout_path: str | None = None
    stderr_path: str | None = None
    pid_path: str | None = None
    parent_id: int | None = Field(default=None, foreign_key="application.id", index=True)
    production_id: int | None = Field(default=None, foreign_key="production.id", index=True)
    protected: bool = False
    maintenance_reason: str | None = None
    maintenance_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    maintenance_by: str | None = None
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    version: int = 1


Application.__mapper__.version_id_col = Application.__table__.c.version  # type: ignore[attr-defined]


class AppInstance(Record, table=True):
    """An application on a host."""

    __tablename__ = "app_instance"
    __table_args__ = (UniqueConstraint("application_id", "host_id"),)

    id: int = Field(default=None, primary_key=True)
    application_id: int = Field(foreign_key="application.id", ondelete="CASCADE")
    host_id: int = Field(foreign_key="host.id", index=True)
    status: str = "stopped"
    version: str = ""


class ResponsePerson(Record, table=True):
    """Who answers for an application, as `dev`, `ops`, `qa` or `pm`."""

    __tablename__ = "response_person"

    application_id: int = Field(foreign_key="application.id", primary_key=True, ondelete="CASCADE")
    user_id: int = Field(foreign_key="user.id", primary_key=True, ondelete="CASCADE", index=True)
    type: str = Field(primary_key=True)


class ApplicationRequirement(Record, table=True):
    """`application_id` does not work without `required_id`."""

    __tablename__ = "application_requirement"

    application_id: int = Field(foreign_key="application.id", primary_key=True, ondelete="CASCADE")
    required_id: int = Field(foreign_key="application.id", primary_key=True, ondelete="CASCADE", index=True)
