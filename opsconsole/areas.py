"""Every module that declares operations, in the order of the screens; the index is made from exactly these."""

AREAS = (
    "opsconsole.services.reads",
    "opsconsole.services.actions",
    "opsconsole.services.watch",
    "opsconsole.services.journal",
    "opsconsole.hosts.reads",
    "opsconsole.hosts.changes",
    "opsconsole.hosts.guards",
    "opsconsole.hosts.keys",
    "opsconsole.hosts.imports",
    "opsconsole.hosts.environments",
    "opsconsole.access.authorizations",
    "opsconsole.access.credentials",
    "opsconsole.access.explain",
    "opsconsole.access.grants",
    "opsconsole.access.roles",
    "opsconsole.access.users",
    "opsconsole.journal.audit",
    "opsconsole.journal.leases",
    "opsconsole.journal.runs",
)
