"""Every table, one module per area. A table model is never built from what a user typed: validate first, then copy."""

from data.models.access import (
    ApplicationGrant,
    Attempt,
    AuthToken,
    BusinessGrant,
    HostGrant,
    LoginSession,
    ModuleGrant,
    PasswordReset,
    Role,
    User,
    UserRole,
)
from data.models.approvals import Approval, Review
from data.models.cmdb import AppInstance, Application, ApplicationRequirement, Production, ResponsePerson
from data.models.columns import UtcDateTime, utc_now
from data.models.engine import Audit, AuditHead, AuditStep, Change, Lease, LookedAfter, Notice, Run, RunTarget, Setting
from data.models.hosts import SERVICES_SEEN, Credential, Environment, Host, HostObservation, HostTag
from data.models.tasks import Job, Task, TaskOutput, Worker
from data.models.vpn import CertificateAuthority, VpnCertificate, VpnClient, VpnCrl
from data.models.vpn_servers import RevocationStep, VpnClientSight, VpnServer, VpnServerSight

__all__ = [
    "SERVICES_SEEN",
    "AppInstance",
    "Application",
    "ApplicationGrant",
    "ApplicationRequirement",
    "Approval",
    "Attempt",
    "Audit",
    "AuditHead",
    "AuditStep",
    "AuthToken",
    "BusinessGrant",
    "CertificateAuthority",
    "Change",
    "Credential",
    "Environment",
    "Host",
    "HostGrant",
    "HostObservation",
    "HostTag",
    "Job",
    "Lease",
    "LoginSession",
    "LookedAfter",
    "ModuleGrant",
    "Notice",
    "PasswordReset",
    "Production",
    "ResponsePerson",
    "Review",
    "RevocationStep",
    "Role",
    "Run",
    "RunTarget",
    "Setting",
    "Task",
    "TaskOutput",
    "User",
    "UserRole",
    "UtcDateTime",
    "VpnCertificate",
    "VpnClient",
    "VpnClientSight",
    "VpnCrl",
    "VpnServer",
    "VpnServerSight",
    "Worker",
    "utc_now",
]
