"""Hosts, people, applications and rights, with what a new installation begins with.

Revision: 0001
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from data.migrations.columns import BYTES, FLAG, INTEGER, JSON, MOMENT, TEXT, may, must, refers
from data.textsearch import index_statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for make in TABLES:
        make()
    for statement in index_statements(op.get_bind().dialect.name, "host", ("name", "description")):
        op.execute(sa.text(statement.replace(":", "\\:")))
    _seed()


def _environment() -> None:
    op.create_table(
        "environment",
        *must(INTEGER, "id"),
        *must(TEXT, "name", "level", "colour_role"),
        *must(FLAG, "read_only"),
        sa.CheckConstraint("level IN ('prod', 'stage', 'dev')", name="ck_environment_level"),
        sa.PrimaryKeyConstraint("id", name="pk_environment"),
        sa.UniqueConstraint("name", name="uq_environment_name"),
    )


def _credential() -> None:
    op.create_table(
        "credential",
        *must(INTEGER, "id"),
        *must(TEXT, "name", "kind"),
        *may(TEXT, "username"),
        *may(INTEGER, "environment_id"),
        *must(BYTES, "sealed"),
        *must(JSON, "public"),
        *must(MOMENT, "created_at", "updated_at"),
        refers("credential", "environment_id", "environment.id"),
        sa.PrimaryKeyConstraint("id", name="pk_credential"),
        sa.UniqueConstraint("name", name="uq_credential_name"),
    )
    op.create_index("ix_credential_environment_id", "credential", ["environment_id"])


def _host() -> None:
    op.create_table(
        "host",
        *must(INTEGER, "id"),
        *must(TEXT, "name", "host_type", "status"),
        *may(TEXT, "os_status", "os_type"),
        *may(INTEGER, "cpu", "memory"),
        *may(TEXT, "location", "description"),
        *may(INTEGER, "environment_id"),
        *must(FLAG, "protected"),
        *may(TEXT, "maintenance_reason"),
        *may(MOMENT, "maintenance_until"),
        *may(TEXT, "maintenance_by", "address"),
        *may(INTEGER, "ssh_port"),
        *may(TEXT, "ssh_user"),
        *may(INTEGER, "ssh_credential_id"),
        *must(FLAG, "become", "local"),
        *may(INTEGER, "dci_server_id"),
        *must(JSON, "zabbix_groups", "zabbix_templates"),
        *must(MOMENT, "created_at", "updated_at"),
        *must(INTEGER, "version"),
        refers("host", "environment_id", "environment.id"),
        refers("host", "ssh_credential_id", "credential.id"),
        sa.PrimaryKeyConstraint("id", name="pk_host"),
        sa.UniqueConstraint("name", name="uq_host_name"),
    )
    op.create_index("ix_host_environment_id", "host", ["environment_id"])
    op.create_index("ix_host_ssh_credential_id", "host", ["ssh_credential_id"])


def _host_tag() -> None:
    op.create_table(
        "host_tag",
        *must(INTEGER, "host_id"),
        *must(TEXT, "tag"),
        refers("host_tag", "host_id", "host.id", cascade=True),
        sa.PrimaryKeyConstraint("host_id", "tag", name="pk_host_tag"),
    )
    op.create_index("ix_host_tag_tag", "host_tag", ["tag"])


def _host_observation() -> None:
    op.create_table(
        "host_observation",
        *must(INTEGER, "host_id"),
        *must(TEXT, "kind", "state"),
        *may(JSON, "error"),
        *must(MOMENT, "observed_at"),
        *may(INTEGER, "duration_ms"),
        *may(BYTES, "payload"),
        *may(TEXT, "digest"),
        refers("host_observation", "host_id", "host.id", cascade=True),
        sa.PrimaryKeyConstraint("host_id", "kind", name="pk_host_observation"),
    )


def _user() -> None:
    op.create_table(
        "user",
        *must(INTEGER, "id"),
        *must(TEXT, "username"),
        *may(TEXT, "email", "phone", "full_name", "password_hash"),
        *must(TEXT, "status"),
        *must(INTEGER, "vlans_per_user"),
        *may(TEXT, "external_id"),
        *must(TEXT, "domain_name"),
        *may(MOMENT, "password_expires_at"),
        *may(INTEGER, "grace_logins"),
        *must(MOMENT, "created_at", "updated_at"),
        sa.PrimaryKeyConstraint("id", name="pk_user"),
        sa.UniqueConstraint("email", name="uq_user_email"),
        sa.UniqueConstraint("username", name="uq_user_username"),
    )
    op.create_index("ix_user_external_id", "user", ["external_id"])


def _role() -> None:
    op.create_table(
        "role",
        *must(INTEGER, "id"),
        *must(TEXT, "name", "creator"),
        *must(FLAG, "builtin"),
        sa.PrimaryKeyConstraint("id", name="pk_role"),
        sa.UniqueConstraint("name", name="uq_role_name"),
    )


def _user_role() -> None:
    op.create_table(
        "user_role",
        *must(INTEGER, "user_id", "role_id"),
        refers("user_role", "role_id", "role.id", cascade=True),
        refers("user_role", "user_id", "user.id", cascade=True),
        sa.PrimaryKeyConstraint("user_id", "role_id", name="pk_user_role"),
    )
    op.create_index("ix_user_role_role_id", "user_role", ["role_id"])


def _auth_token() -> None:
    op.create_table(
        "auth_token",
        *must(INTEGER, "id"),
        *must(TEXT, "name", "value_hash", "last_four"),
        *may(TEXT, "description"),
        *must(TEXT, "creator"),
        *must(INTEGER, "user_id"),
        *must(MOMENT, "created_at"),
        *may(MOMENT, "expires_at"),
        refers("auth_token", "user_id", "user.id", cascade=True),
        sa.PrimaryKeyConstraint("id", name="pk_auth_token"),
        sa.UniqueConstraint("value_hash", name="uq_auth_token_value_hash"),
    )
    op.create_index("ix_auth_token_user_id", "auth_token", ["user_id"])


def _login_session() -> None:
    op.create_table(
        "login_session",
        *must(INTEGER, "id", "user_id"),
        *must(TEXT, "token_hash"),
        *must(MOMENT, "created_at", "expires_at"),
        *may(TEXT, "client_ip"),
        refers("login_session", "user_id", "user.id", cascade=True),
        sa.PrimaryKeyConstraint("id", name="pk_login_session"),
        sa.UniqueConstraint("token_hash", name="uq_login_session_token_hash"),
    )
    op.create_index("ix_login_session_user_id", "login_session", ["user_id"])


def _production() -> None:
    op.create_table(
        "production",
        *must(INTEGER, "id"),
        *must(TEXT, "name"),
        *may(TEXT, "description"),
        sa.PrimaryKeyConstraint("id", name="pk_production"),
        sa.UniqueConstraint("name", name="uq_production_name"),
    )


def _application() -> None:
    op.create_table(
        "application",
        *must(INTEGER, "id"),
        *must(TEXT, "name", "full_name"),
        *may(
            TEXT,
            "description",
            "application_type",
            "run_user",
            "directory",
            "startup_cmd",
            "stop_cmd",
            "stdout_path",
            "stderr_path",
            "pid_path",
        ),
        *may(INTEGER, "parent_id", "production_id"),
        *must(FLAG, "protected"),
        *may(TEXT, "maintenance_reason"),
        *may(MOMENT, "maintenance_until"),
        *may(TEXT, "maintenance_by"),
        *must(MOMENT, "created_at", "updated_at"),
        refers("application", "parent_id", "application.id"),
        refers("application", "production_id", "production.id"),
        sa.PrimaryKeyConstraint("id", name="pk_application"),
        sa.UniqueConstraint("full_name", name="uq_application_full_name"),
    )
    op.create_index("ix_application_parent_id", "application", ["parent_id"])
    op.create_index("ix_application_production_id", "application", ["production_id"])


def _app_instance() -> None:
    op.create_table(
        "app_instance",
        *must(INTEGER, "id", "application_id", "host_id"),
        *must(TEXT, "status", "version"),
        refers("app_instance", "application_id", "application.id", cascade=True),
        refers("app_instance", "host_id", "host.id"),
        sa.PrimaryKeyConstraint("id", name="pk_app_instance"),
        sa.UniqueConstraint("application_id", "host_id", name="uq_app_instance_application_id_host_id"),
    )
    op.create_index("ix_app_instance_host_id", "app_instance", ["host_id"])


def _response_person() -> None:
    op.create_table(
        "response_person",
        *must(INTEGER, "application_id", "user_id"),
        *must(TEXT, "type"),
        refers("response_person", "application_id", "application.id", cascade=True),
        refers("response_person", "user_id", "user.id", cascade=True),
        sa.PrimaryKeyConstraint("application_id", "user_id", "type", name="pk_response_person"),
    )
    op.create_index("ix_response_person_user_id", "response_person", ["user_id"])


def _application_requirement() -> None:
    op.create_table(
        "application_requirement",
        *must(INTEGER, "application_id", "required_id"),
        refers("application_requirement", "application_id", "application.id", cascade=True),
        refers("application_requirement", "required_id", "application.id", cascade=True),
        sa.PrimaryKeyConstraint("application_id", "required_id", name="pk_application_requirement"),
    )
    op.create_index("ix_application_requirement_required_id", "application_requirement", ["required_id"])


def _grant(table: str, of: str, *references: sa.ForeignKeyConstraint) -> None:
    op.create_table(
        table,
        *must(INTEGER, "id"),
        *must(TEXT, "subject_type"),
        *must(INTEGER, "subject_id"),
        *must(INTEGER if references else TEXT, of),
        *must(TEXT, "flag", "granted_by"),
        *must(MOMENT, "granted_at"),
        *references,
        sa.CheckConstraint("subject_type IN ('user', 'role')", name=f"ck_{table}_subject_type"),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        sa.UniqueConstraint("subject_type", "subject_id", of, "flag", name=f"uq_{table}"),
    )
    op.create_index(f"ix_{table}_{of}", table, [of, "flag"])


def _grants() -> None:
    _grant("module_grant", "module_name")
    for kind, of in (("host", "host"), ("application", "application"), ("business", "production")):
        table = f"{kind}_grant"
        _grant(table, f"{of}_id", refers(table, f"{of}_id", f"{of}.id", cascade=True))


def _seed() -> None:
    now = datetime.now(UTC)
    environment = sa.table("environment", *map(sa.column, ("name", "level", "colour_role", "read_only")))
    op.bulk_insert(environment, [{"name": "default", "level": "dev", "colour_role": "", "read_only": False}])
    role = sa.table("role", *map(sa.column, ("name", "creator", "builtin")))
    op.bulk_insert(role, [{"name": name, "creator": "", "builtin": True} for name in ("@admin", "@user")])
    _seed_local_host(now)


def _seed_local_host(now: datetime) -> None:
    host = sa.table(
        "host",
        sa.column("name"),
        sa.column("host_type"),
        sa.column("status"),
        sa.column("environment_id"),
        sa.column("protected"),
        sa.column("become"),
        sa.column("local"),
        sa.column("zabbix_groups", JSON),
        sa.column("zabbix_templates", JSON),
        sa.column("created_at", MOMENT),
        sa.column("updated_at", MOMENT),
        sa.column("version"),
    )
    row = {"name": "local", "host_type": "PHY_HOST", "status": "inited", "environment_id": 1, "protected": False}
    row |= {"become": True, "local": True, "zabbix_groups": [], "zabbix_templates": []}
    op.bulk_insert(host, [row | {"created_at": now, "updated_at": now, "version": 1}])


TABLES = (
    _environment,
    _credential,
    _host,
    _host_tag,
    _host_observation,
    _user,
    _role,
    _user_role,
    _auth_token,
    _login_session,
    _production,
    _application,
    _app_instance,
    _response_person,
    _application_requirement,
    _grants,
)
