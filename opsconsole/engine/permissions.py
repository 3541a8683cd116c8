"""The words of the permission model: modules, their flags, and what stands for what.

A permission is written `module.M.FLAG`, `host.FLAG`, `app.FLAG`, `business.FLAG`, `self` or `public`; several joined
by ` | ` mean that one of them suffices.
"""

from __future__ import annotations

from typing import Final

HOST_FLAGS: Final = (
    "view_host",
    "edit_host",
    "delete_host",
    "init_host",
    "restart_host",
    "login_host",
    "deactivate_host",
)
APPLICATION_FLAGS: Final = (
    "view_app",
    "edit_app",
    "delete_app",
    "deploy_app",
    "review_app_deploy_task",
    "restart_app",
    "view_app_log",
    "view_app_monitor",
)
BUSINESS_FLAGS: Final = ("view", "edit", "delete")

MODULE_FLAGS: Final[dict[str, tuple[str, ...]]] = {
    "resource_request": (
        "enable_resource_req",
        "approve_host_req",
        "approve_domain_req",
        "approve_ssl_cert_req",
        "create_resource_req",
        "manage_package",
    ),
    "application": ("enable_app_mgmt", "view_app", "create_app", "delete_app", "edit_app"),
    "dns": ("enable_dns_mgmt", "manage_dns_server"),
    "host": ("enable_host_mgmt", "add_host", "edit_host", "delete_host", "manage_host"),
    "business": ("enable_business_mgmt", "view_business", "add_business", "delete_business", "edit_business"),
    "navigator": ("enable_navigator", "view_navigator", "manage_navigator"),
    "common_tools": ("enable_common_tools", "enable_cdn_refresher", "enable_jumpserver_log_mgmt"),
    "deploy_template": ("enable_deploy_template_mgmt", "manage_deploy_template"),
    "service": ("enable_service_mgmt", "view_service", "manage_service"),
    "vpn": (
        "enable_vpn_mgmt",
        "view_vpn_client",
        "create_vpn_client",
        "edit_vpn_client",
        "revoke_vpn_client",
        "manage_vpn_ca",
        "manage_vpn_server",
        "export_vpn_key",
    ),
    "access": (
        "enable_access_mgmt",
        "view_user",
        "manage_user",
        "view_role",
        "manage_role",
        "grant_permission",
        "manage_auth_token",
        "manage_credential",
    ),
    "audit": ("enable_audit", "view_audit", "export_audit"),
    "trs": (
        "enable_trs_mgmt",
        "view_trs",
        "manage_trs_project",
        "manage_trs_instance",
        "assign_trs_instance",
        "manage_trs_network",
        "manage_trs_volume",
        "view_trs_session",
    ),
    "dci": (
        "enable_dci_mgmt",
        "view_server",
        "power_server",
        "manage_server_network",
        "manage_server_owner",
        "diag_server",
        "wipe_server",
        "install_server",
        "manage_inventory",
    ),
    "ipam": ("enable_ipam", "view_ip", "manage_ip", "manage_network"),
}

ENABLE_FLAG: Final[dict[str, str]] = {module: flags[0] for module, flags in MODULE_FLAGS.items()}

MODULE_OF_AREA: Final[dict[str, str]] = {
    "cmdb": "application",
    "cmdb.productions": "business",
    "hosts": "host",
    "requests": "resource_request",
    "dns": "dns",
    "tools": "common_tools",
    "tools.navigators": "navigator",
    "deploy": "application",
    "deploy.templates": "deploy_template",
    "deploy.scripts": "deploy_template",
    "deploy.credentials": "deploy_template",
    "services": "service",
    "vpn": "vpn",
    "access": "access",
    "audit": "audit",
    "trs": "trs",
    "dci": "dci",
    "ipam": "ipam",
    "environments": "host",
}

# The module flag that names the same right for all objects.
FOR_ALL_HOSTS: Final[dict[str, str]] = {
    "edit_host": "edit_host",
    "delete_host": "delete_host",
    "view_host": "manage_host",
    "init_host": "manage_host",
    "restart_host": "manage_host",
    "login_host": "manage_host",
    "deactivate_host": "manage_host",
}
FOR_ALL_APPLICATIONS: Final[dict[str, str]] = {
    "view_app": "view_app",
    "edit_app": "edit_app",
    "delete_app": "delete_app",
}
FOR_ALL_BUSINESSES: Final[dict[str, str]] = {
    "view": "view_business",
    "edit": "edit_business",
    "delete": "delete_business",
}

# Each object kind that carries grants of its own: prefix of the permission, module, flags, flags for all.
OBJECT_KINDS: Final[dict[str, tuple[str, tuple[str, ...], dict[str, str]]]] = {
    "host": ("host", HOST_FLAGS, FOR_ALL_HOSTS),
    "app": ("application", APPLICATION_FLAGS, FOR_ALL_APPLICATIONS),
    "business": ("business", BUSINESS_FLAGS, FOR_ALL_BUSINESSES),
}


def module_of(operation: str) -> str | None:
    """The module an operation belongs to, by the longest matching area; None = no switch (runs, leases, doctor)."""
    parts = operation.split(".")
    for length in (2, 1):
        module = MODULE_OF_AREA.get(".".join(parts[:length]))
        if module is not None:
            return module
    return None


def alternatives(permission: str) -> tuple[str, ...]:
    """The ways to satisfy a permission: its parts between ` | `."""
    return tuple(part.strip() for part in permission.split("|"))
