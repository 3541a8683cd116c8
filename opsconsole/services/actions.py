"""services.start | stop | restart | enable | disable | reload | reset_failed, and services.action for five of them.

One class for all: the plan looks at every host once, refuses what systemd would refuse, says what would be hit, and
notices what carries our own connection. What counts as done is in `verify.py`; the guard is in `selfcut.py`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from drivers.errors import Refused, TimedOut, Unreachable
from drivers.systemd import UnitState, act, carriers, dependencies, show
from opsconsole.engine.context import Context
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import (
    EmptyList,
    RequiredFieldMissing,
    ServiceActionFailed,
    ServiceActionUnknown,
    StateConflict,
)
from opsconsole.engine.plan import Plan, Target, some
from opsconsole.engine.registry import Change, Outcome, change
from opsconsole.hosts.lookup import highest_level
from opsconsole.services import observe, selfcut, verify
from opsconsole.services.inputs import Item, ServiceAction, ServiceTargets
from opsconsole.services.observe import Sight
from opsconsole.services.project import enabled_of, service_name, status_of
from opsconsole.services.reads import hosts_of, raised
from opsconsole.services.refusals import manual, refusal
from opsconsole.services.resolve import resolve

MANAGE = "module.service.manage_service"
LOGIN = "host.login_host"
_LOOP_SECONDS = 60.0
FIVE = ("start", "restart", "stop", "enable", "disable")
_WANTED = {
    "start": {"status": "started"},
    "restart": {"status": "started", "invocation_id": "a new one"},
    "stop": {"status": "stopped"},
    "enable": {"enabled": "enabled"},
    "disable": {"enabled": "disabled"},
    "reload": {"status": "started"},
    "reset_failed": {"active": "not failed"},
}
_UNDO = {
    "start": "stop it again",
    "restart": "nothing to undo: it runs as before, under a new invocation",
    "reload": "nothing to undo: put the configuration back and reload again",
    "reset_failed": "nothing to undo: only the memory of the failure goes; the journal keeps it",
    "stop": "start it again",
    "enable": "disable it again",
    "disable": "enable it again",
}


class ServiceChange(Change[ServiceTargets]):
    """One verb on one or many services of one or many hosts."""

    verb: ClassVar[str] = ""
    many_as_task = True

    def __init__(self, ctx: Context, given: ServiceTargets) -> None:
        super().__init__(ctx, given)
        self.concurrency = given.limit

    async def plan(self) -> Plan:
        items = self._items()
        hosts = {
            ref: host
            for ref in dict.fromkeys(item.host for item in items)
            for host in await hosts_of(self.ctx, [ref], permission=LOGIN)
        }
        unique = list({host.id: host for host in hosts.values()}.values())
        sights = {s.host.id: s for s in await observe.look_at_all(self.ctx, unique, retry=True)}
        self._refuse_silent(items, {item.host: sights[hosts[item.host].id] for item in items})
        targets: list[Target] = []
        dependents: list[str] = []
        for item in items:
            sight = sights[hosts[item.host].id]
            for unit in await self._units(sight, item.name):
                targets.append(self._target(sight, unit))
                dependents += self._hits(sight, unit)
        return Plan(
            operation=self.operation_id(),
            summary=f"{self.verb.replace('_', '-')} {_named(targets)}",
            targets=tuple(targets),
            verification=verify.SAID[self.verb],
            undo=_UNDO.get(self.verb),
            reversible=True,
            danger=DANGER[self.verb],
            level=highest_level(unique),
            dependents=tuple(dict.fromkeys(dependents)),
            input={"verb": self.verb},
        )

    def operation_id(self) -> str:
        return f"services.{self.verb}"

    def _refuse_silent(self, items: Sequence[Item], sights: Mapping[int | str, Sight]) -> None:
        """Nothing is planned blindly. The error says which targets stand in the way, and in `rest` what can be done
        without them, as `items` to ask for instead."""
        silent = [item for item in items if sights[item.host].error is not None]
        if not silent:
            return
        rest = [item for item in items if sights[item.host].error is None]
        error = raised(sights[silent[0].host])
        error.targets = [
            {"host": sights[i.host].host.name, "name": i.name, "error": sights[i.host].error} for i in silent
        ]
        if rest:
            names = some(list(dict.fromkeys(sights[item.host].host.name for item in silent)))
            error.message = f"{len(silent)} of {len(items)} services are on hosts without an answer ({names}): {error}"
            error.data["rest"] = [item.model_dump() for item in rest]
        raise error

    def _items(self) -> list[Item]:
        if self.input.items is not None:
            if not self.input.items:
                raise EmptyList(field="items")
            return self.input.items
        if self.input.name is None:
            raise RequiredFieldMissing(field="name")
        return [Item(host=self.input.host, name=self.input.name)]

    async def _units(self, sight: Sight, name: str) -> tuple[UnitState, ...]:
        meant = resolve(sight, name)
        units = await self._in_full(sight, meant.units)
        where = f"{sight.host.name}/{meant.row['name']}"
        reason = refusal(meant.row, self.verb)
        if reason is None:
            reason = next((said for unit in units if (said := manual(unit, self.verb))), None)
        if reason is not None:
            state = meant.row["unit_file_state"] if self.verb in {"enable", "disable"} else meant.row["active"]
            raise StateConflict(
                f"{self.verb} of {where} is not possible: {reason}", field="name", state=state, action=self.verb
            )
        if not sight.facts["privileged"]:
            raise translate(
                Refused(
                    sight.host.name,
                    f"{self.verb} {meant.row['name']}",
                    "we are not root there and sudo -n does not allow systemctl",
                    remedy="add a NOPASSWD line for systemctl to the sudoers of this user, or log in as root",
                )
            )
        return units

    async def _in_full(self, sight: Sight, units: tuple[UnitState, ...]) -> tuple[UnitState, ...]:
        """Units that are only on disk, asked for by name: only then does systemd say what it would refuse."""
        asked = [unit.id for unit in units if unit.installed_only]
        if not asked:
            return units
        runner = await self.ctx.house.fleet.runner(sight.host)
        seen = await show(runner, asked, timeout=self.ctx.house.settings.snapshot_timeout)
        return tuple(seen.get(unit.id, unit) for unit in units)

    def _target(self, sight: Sight, unit: UnitState) -> Target:
        host, name = sight.host, service_name(unit.id)
        carried = None
        if self.verb in selfcut.CUTTING and sight.units is not None:
            kind = self.ctx.house.fleet.connection_kind(host)
            carried = carriers(sight.units.units, "ssh" if kind == "ssh" else "local").get(unit.id)
        warnings = [f"carries our own way in ({carried}); {selfcut.promise(self.ctx)}"] if carried else []
        if unit.need_daemon_reload:
            warnings.append("its unit file changed on disk: systemctl daemon-reload has not been run")
        if unit.triggered_by and self.verb == "stop":
            warnings.append(f"may be started again by {', '.join(unit.triggered_by)}")
        return Target(
            kind="service",
            id=f"{host.id}/{unit.id}",
            name=name,
            host=host.name,
            resource=f"host:{host.id}/unit:{unit.id}",
            subject=host.subject("service", f"{host.name}/{name}"),
            before=before(unit, time.time()),
            after=_WANTED[self.verb],
            warnings=tuple(warnings),
            evidence_age=sight.age,
            say_name=carried is not None,
            work={"host": host, "unit": unit, "carried": carried},
        )

    def _hits(self, sight: Sight, unit: UnitState) -> list[str]:
        if self.verb not in selfcut.CUTTING or sight.units is None:
            return []
        units = sight.units.units
        return [
            f"{sight.host.name}: {service_name(name)} (through {service_name(by)})"
            for name, by in dependencies(units, unit.id).items()
            if name in units and units[name].active_state in {"active", "activating", "reloading"}
        ]

    async def execute(self, target: Target) -> dict[str, Any] | None:
        host, unit = target.work["host"], target.work["unit"]
        runner = await self.ctx.house.fleet.runner(host, retry=True)
        if self.verb == "start" and unit.active_state == "active":
            return {"already": True}
        if target.work["carried"] and self.verb in selfcut.CUTTING:
            await selfcut.guarded(self.ctx, host, runner, self.verb, unit)
            return {}
        try:
            done = await act(
                runner, self.verb.replace("_", "-"), unit.id, timeout=self.ctx.house.settings.action_timeout
            )
        except (Unreachable, TimedOut) as error:
            return {"lost": str(error)}
        return {} if done.ok else {"failed": done.stderr.decode("utf-8", "replace").strip()[:500]}

    async def verify(self, target: Target, effect: dict[str, Any] | None) -> dict[str, Any] | None:
        host, unit = target.work["host"], target.work["unit"]
        runner = await self.ctx.house.fleet.runner(host, retry=True)
        seen, problem = await verify.outcome(
            runner, self.verb, unit, effect or {}, min_uptime=self.ctx.house.settings.min_uptime
        )
        if problem is not None:
            raise ServiceActionFailed(
                action=self.verb, service=target.name, host=host.name, reason=problem, state=_state(seen)
            )
        return _state(seen)

    async def proven(self, target: Target, before: dict[str, Any]) -> dict[str, Any] | None:
        """A new invocation proves a restart, the wanted state the others; what was so before proves nothing."""
        state = _state(target.work["unit"])
        changed = {
            "start": state["status"] == "started" != before.get("status"),
            "stop": state["status"] == "stopped" != before.get("status"),
            "restart": state["status"] == "started" and state["invocation_id"] != before.get("invocation_id"),
            "enable": state["enabled"] == "enabled" != before.get("enabled"),
            "disable": state["enabled"] == "disabled" != before.get("enabled"),
        }
        return state if changed.get(self.verb) and "active" in before else None

    async def settle(self, outcomes: list[Outcome]) -> None:
        """Look again at every host concerned, so that all consoles show what is now."""
        hosts = {o.target.work["host"].id: o.target.work["host"] for o in outcomes if o.state != "skipped"}
        await observe.look_at_all(self.ctx, list(hosts.values()), retry=True)

    @classmethod
    def narrow(cls, given: dict[str, Any], targets: list[dict[str, Any]]) -> dict[str, Any]:
        items = [{"host": target["host"], "name": f"{target['name']}.service"} for target in targets]
        kept = {key: value for key, value in given.items() if key in {"action", "limit"}}
        return {**kept, "items": items}


def _named(targets: Sequence[Target]) -> str:
    """What is acted on, in a line: up to three by name, more by their number first, as a narrow list cuts the end."""
    names = list(dict.fromkeys(f"{target.host}/{target.name}" for target in targets))
    if len(names) <= 3:
        return ", ".join(names)
    same = {target.name for target in targets}
    if len(same) == 1:
        return f"{same.pop()} on {len(names)} hosts: {some([str(target.host) for target in targets])}"
    return f"{len(names)} services: {some(names)}"


def before(unit: UnitState, now: float) -> dict[str, Any]:
    """The state a plan starts from. A unit in a crash loop is another one every few seconds, and a plan bound to one of
    those moments could never be confirmed: of it the plan says only that it loops."""
    state = _state(unit)
    settled = unit.active_state == "active" and now - (unit.state_change or 0.0) > _LOOP_SECONDS
    if not unit.n_restarts or unit.active_state in {"failed", "inactive"} or settled:
        return state
    return {"status": "restarting by itself", **{key: state[key] for key in ("enabled", "unit_file_state")}}


def _state(unit: UnitState) -> dict[str, Any]:
    return {
        "status": status_of(unit),
        "enabled": enabled_of(unit),
        "active": unit.active_state,
        "sub": unit.sub_state,
        "result": unit.result,
        "unit_file_state": unit.unit_file_state,
        "invocation_id": unit.invocation_id or None,
    }


DANGER = {
    "start": "low",
    "enable": "low",
    "reload": "low",
    "reset_failed": "low",
    "stop": "high",
    "restart": "high",
    "disable": "high",
}


def _declare(verb: str, summary: str, key: str) -> type[ServiceChange]:
    cls = type(f"Service_{verb}", (ServiceChange,), {"verb": verb, "__module__": __name__})
    return change(
        f"services.{verb}",
        summary=summary,
        permission=MANAGE,
        target_permission=LOGIN,
        input=ServiceTargets,
        kind="action",
        danger=DANGER[verb],  # type: ignore[arg-type]
        objects=("service",),
        bulk=True,
        key=key,
    )(cls)


BY_VERB = {
    "start": _declare("start", "Start a service (services.action with action=start)", "S"),
    "restart": _declare("restart", "Restart a service (services.action with action=restart)", "R"),
    "stop": _declare("stop", "Stop a service (services.action with action=stop)", "T"),
    "enable": _declare("enable", "Enable a service at boot (services.action with action=enable)", "E"),
    "disable": _declare("disable", "Disable a service at boot (services.action with action=disable)", "D"),
    "reload": _declare("reload", "Have a service read its configuration again", "L"),
    "reset_failed": _declare("reset_failed", "Forget that a service failed (systemctl reset-failed)", "F"),
}


@change(
    "services.action",
    summary="Run start, restart, stop, enable or disable on a service",
    permission=MANAGE,
    target_permission=LOGIN,
    input=ServiceAction,
    kind="action",
    danger="high",
    objects=("service",),
    bulk=True,
)
class Action(ServiceChange):
    """The document's one call for five verbs; it plans, confirms and audits as the verb itself would."""

    def __init__(self, ctx: Context, given: ServiceAction) -> None:
        super().__init__(ctx, given)
        if given.action not in FIVE:
            raise ServiceActionUnknown(action=given.action[:60], known=", ".join(FIVE), field="action")
        self.verb = given.action  # type: ignore[misc]

    def operation_id(self) -> str:
        return "services.action"
