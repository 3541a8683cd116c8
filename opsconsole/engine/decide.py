"""May he? One pure function, for every operation and every object; `visible.py` says the same in SQL.

Order: signed in and enabled → module switched on → permission → freezes (read-only, environment, protected,
maintenance). Grants only add; a freeze only takes away; nothing depends on the order of grants.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from opsconsole.engine.caller import Caller
from opsconsole.engine.permissions import ENABLE_FLAG, OBJECT_KINDS, alternatives


@dataclass(frozen=True, slots=True)
class Needs:
    """What an operation asks for: the part of its declaration that `decide()` looks at.

    `target_permission` is a second permission that must hold on the target as well (services: `host.login_host`).
    """

    operation: str
    permission: str
    kind: str = "read"
    danger: str = "none"
    module: str | None = None
    target_permission: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """The object in question, as far as permissions go. `ids` holds the id per object kind that carries grants
    (`host`, `app`, `business`); `owner_id` the user it belongs to (for `self`)."""

    kind: str
    name: str
    ids: tuple[tuple[str, int], ...] = ()
    owner_id: int | None = None
    environment: str | None = None
    environment_read_only: bool = False
    protected: bool = False
    maintenance_by: str | None = None
    maintenance_reason: str | None = None
    maintenance_until: datetime | None = None

    def id_of(self, kind: str) -> int | None:
        return dict(self.ids).get(kind)


@dataclass(frozen=True, slots=True)
class Decision:
    """`because` is a sentence for people, `missing` the permissions that would help, `code` the error's code."""

    allowed: bool
    because: str
    missing: tuple[str, ...] = ()
    code: str = ""


def holds(caller: Caller, permission: str, subject: Subject | None) -> bool:
    """Whether one single permission (no ` | `) holds; without a subject: whether it could hold on some object."""
    if permission == "public":
        return True
    if permission == "self":
        return subject is None or subject.owner_id == caller.user_id
    if caller.administrator:
        return True
    prefix, _, rest = permission.partition(".")
    if prefix == "module":
        module, _, flag = rest.partition(".")
        return (module, flag) in caller.rights.modules
    module, _, for_all = OBJECT_KINDS[prefix]
    general = for_all.get(rest)
    if general is not None and (module, general) in caller.rights.modules:
        return True
    if subject is None:
        return any(rest in flags for flags in caller.rights.objects.get(prefix, {}).values())
    return rest in caller.rights.on(prefix, subject.id_of(prefix))


def holds_everywhere(caller: Caller, permission: str) -> bool:
    """Whether it holds whatever the object is, so that nobody need look at each of them."""
    for way in alternatives(permission):
        if way == "public" or (caller.administrator and way != "self"):
            return True
        prefix, _, rest = way.partition(".")
        if prefix == "module" and holds(caller, way, None):
            return True
        if prefix in OBJECT_KINDS:
            module, _, for_all = OBJECT_KINDS[prefix]
            if (module, for_all.get(rest)) in caller.rights.modules:
                return True
    return False


def decide(caller: Caller, needs: Needs, subject: Subject | None = None, *, now: datetime | None = None) -> Decision:
    """Whether `caller` may run an operation on `subject` (None: on anything at all), and why or why not."""
    if not caller.enabled:
        return Decision(False, f"the user {caller.username} is disabled", code="user_disabled")
    ways = alternatives(needs.permission)
    if not caller.signed_in and "public" not in ways:
        return Decision(False, f"{caller.username} is not a user of this console", ways, "not_signed_in")
    if needs.module is not None and not caller.administrator and "public" not in ways and "self" not in ways:
        switch = ENABLE_FLAG[needs.module]
        if (needs.module, switch) not in caller.rights.modules:
            missing = (f"module.{needs.module}.{switch}",)
            return Decision(
                False, f"the module {needs.module} is not switched on for {caller.username}", missing, "module_disabled"
            )
    if not any(holds(caller, way, subject) for way in ways):
        return Decision(False, f"{caller.username} does not hold {needs.permission}", ways, "permission_denied")
    second = needs.target_permission
    if second is not None and not any(holds(caller, way, subject) for way in alternatives(second)):
        return Decision(False, f"{caller.username} does not hold {second}", alternatives(second), "permission_denied")
    frozen = frozen_because(caller, needs, subject, now or datetime.now(UTC))
    if frozen is not None:
        return Decision(False, frozen, code="read_only")
    return Decision(True, "administrator" if caller.administrator else f"holds {needs.permission}")


def frozen_because(caller: Caller, needs: Needs, subject: Subject | None, now: datetime) -> str | None:
    """The freeze that stands in the way, or None. Reads are never frozen."""
    if needs.kind == "read":
        return None
    if caller.read_only is not None:
        return caller.read_only
    if subject is None:
        return None
    if subject.environment_read_only:
        return f"the environment {subject.environment} is read-only"
    if subject.protected and needs.danger == "high":
        return f"{subject.name} is protected; take the protection off first"
    until = subject.maintenance_until
    if subject.maintenance_by and subject.maintenance_by != caller.username and (until is None or until > now):
        reason = subject.maintenance_reason or "no reason given"
        return f"{subject.name} is in maintenance by {subject.maintenance_by}: {reason}"
    return None
