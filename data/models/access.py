"""Who may do what: people, roles, and one row per right given."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlalchemy.schema import SchemaItem
from sqlmodel import Field

from data.models.columns import Record, UtcDateTime, utc_now


class User(Record, table=True):
    """A person. `username` is the operating-system login unless an outside identity service says otherwise."""

    __tablename__ = "user"

    id: int = Field(default=None, primary_key=True)
    username: str = Field(unique=True)
    email: str | None = Field(default=None, unique=True)
    phone: str | None = None
    full_name: str | None = None
    password_hash: str | None = Field(default=None, repr=False)
    status: str = "enabled"
    vlans_per_user: int = 5
    external_id: str | None = Field(default=None, index=True)
    domain_name: str = "default"
    password_expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    grace_logins: int | None = None
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class Role(Record, table=True):
    """A named bundle of rights; the two built-in ones cannot be renamed or deleted."""

    __tablename__ = "role"

    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    creator: str = ""
    builtin: bool = False


class UserRole(Record, table=True):
    """Membership."""

    __tablename__ = "user_role"

    user_id: int = Field(foreign_key="user.id", primary_key=True, ondelete="CASCADE")
    role_id: int = Field(foreign_key="role.id", primary_key=True, ondelete="CASCADE", index=True)


def _grant_rules(table: str, of: str) -> tuple[SchemaItem, ...]:
    return (
        UniqueConstraint("subject_type", "subject_id", of, "flag", name=f"uq_{table}"),
        Index(f"ix_{table}_{of}", of, "flag"),
        CheckConstraint("subject_type IN ('user', 'role')", name="subject_type"),
    )


class ModuleGrant(Record, table=True):
    """One flag of one module given to one subject."""

    __tablename__ = "module_grant"
    __table_args__ = _grant_rules("module_grant", "module_name")

    id: int = Field(default=None, primary_key=True)
    subject_type: str
    subject_id: int
    module_name: str
    flag: str
    granted_by: str
    granted_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class HostGrant(Record, table=True):
    """One flag of one host given to one subject."""

    __tablename__ = "host_grant"
    __table_args__ = _grant_rules("host_grant", "host_id")

    id: int = Field(default=None, primary_key=True)
    subject_type: str
    subject_id: int
    host_id: int = Field(foreign_key="host.id", ondelete="CASCADE")
    flag: str
    granted_by: str
    granted_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class ApplicationGrant(Record, table=True):
    """One flag of one application given to one subject; nothing is inherited along the tree."""

    __tablename__ = "application_grant"
    __table_args__ = _grant_rules("application_grant", "application_id")

    id: int = Field(default=None, primary_key=True)
    subject_type: str
    subject_id: int
    application_id: int = Field(foreign_key="application.id", ondelete="CASCADE")
    flag: str
    granted_by: str
    granted_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class BusinessGrant(Record, table=True):
    """One flag of one product line given to one subject."""

    __tablename__ = "business_grant"
    __table_args__ = _grant_rules("business_grant", "production_id")

    id: int = Field(default=None, primary_key=True)
    subject_type: str
    subject_id: int
    production_id: int = Field(foreign_key="production.id", ondelete="CASCADE")
    flag: str
    granted_by: str
    granted_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class AuthToken(Record, table=True):
    """A token for programs. Only its hash is kept; `last_four` is what lists show."""

    __tablename__ = "auth_token"

    id: int = Field(default=None, primary_key=True)
    name: str
    value_hash: str = Field(unique=True, repr=False)
    last_four: str
    description: str | None = None
    creator: str
    user_id: int = Field(foreign_key="user.id", ondelete="CASCADE", index=True)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class LoginSession(Record, table=True):
    """A signed-in client of the application interface; only the hash of its token is kept."""

    __tablename__ = "login_session"

    id: int = Field(default=None, primary_key=True)
    user_id: int = Field(foreign_key="user.id", ondelete="CASCADE", index=True)
    token_hash: str = Field(unique=True, repr=False)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    client_ip: str | None = None


class PasswordReset(Record, table=True):
    """A code that sets a new password once; only its hash is kept. `issued_by` is empty when it went out by mail."""

    __tablename__ = "password_reset"

    id: int = Field(default=None, primary_key=True)
    user_id: int = Field(foreign_key="user.id", ondelete="CASCADE", index=True)
    code_hash: str = Field(unique=True, repr=False)
    issued_by: str = ""
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class Attempt(Record, table=True):
    """One try at something that is limited (a password, a code, a mail); old ones are trimmed by the next try."""

    __tablename__ = "attempt"
    __table_args__ = (Index("ix_attempt_purpose", "purpose", "subject", "at"),)

    id: int = Field(default=None, primary_key=True)
    purpose: str
    subject: str
    at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
