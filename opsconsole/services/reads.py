"""services.list, services.get, services.instances.*, the unit file and what hangs on a unit."""

from __future__ import annotations

from typing import Any

from drivers.systemd import cat, dependencies
from opsconsole.engine.context import Context
from opsconsole.engine.decide import decide
from opsconsole.engine.errors import ConsoleError, HostUnreachable
from opsconsole.engine.registry import find, read
from opsconsole.hosts.lookup import HostFacts, visible_hosts
from opsconsole.services import observe
from opsconsole.services.inputs import ListServices, OneInstance, OneService
from opsconsole.services.observe import Sight
from opsconsole.services.project import Row, as_instance, as_service
from opsconsole.services.refusals import refusal
from opsconsole.services.resolve import instance, resolve

VIEW = "module.service.view_service"
ACTIONS = ("start", "stop", "restart", "reload", "enable", "disable", "reset_failed")


async def hosts_of(
    ctx: Context, refs: list[int | str] | None, *, permission: str = "host.view_host"
) -> list[HostFacts]:
    return await ctx.database.read(lambda tx: visible_hosts(tx, ctx.caller, refs, permission=permission))


async def sight_of(ctx: Context, host: int | str, *, permission: str = "host.view_host") -> Sight:
    """One host looked at now; its own error when it cannot be."""
    facts = (await hosts_of(ctx, [host], permission=permission))[0]
    sight = await observe.look(ctx, facts, observe.known_services(ctx), retry=True)
    if sight.error is not None:
        raise raised(sight)
    return sight


def raised(sight: Sight) -> ConsoleError:
    """The error of a host that could not be looked at, with the code and exit status of its cause."""
    error = sight.error or {}
    for cls in _all(ConsoleError):
        if cls.code == error.get("code"):
            again = cls(error["message"], **error.get("data", {}))
            again.field = "host"
            return again
    return HostUnreachable(host=sight.host.name, reason=error.get("message", sight.state))


def _all(cls: type[ConsoleError]) -> list[type[ConsoleError]]:
    return [cls, *(found for sub in cls.__subclasses__() for found in _all(sub))]


@read(
    "services.list",
    summary="List the systemd services known to the console; main=true keeps only the main services",
    permission=VIEW,
    input=ListServices,
    objects=("service",),
)
async def list_services(ctx: Context, query: ListServices) -> dict[str, Any]:
    """`services`: rows of all hosts; `hosts`: state and age of each. One host asked for by name raises its error."""
    refs = query.hosts if query.hosts is not None else None
    single = query.host is not None and refs is None
    if single and query.host is not None:
        refs = [query.host]
    hosts = await hosts_of(ctx, refs)
    if query.cached:
        kept = await observe.cached(ctx, hosts)
        sights = [kept.get(host.id) or Sight(host, "never seen", cached=True) for host in hosts]
    else:
        sights = await observe.look_at_all(ctx, hosts, retry=single)
    if single and sights[0].error is not None and not query.cached:
        raise raised(sights[0])
    services = []
    for sight in sights:
        allowed = _allowed(ctx, sight.host)
        services += [
            as_service(row, sight.host.name) | {"available_actions": available(row, allowed)}
            for row in sight.rows
            if row["parent"] is None and (row["main"] or not query.main)
        ]
    hosts_json = [
        {"host": s.host.name, "state": s.state, "age": None if s.age is None else round(s.age, 1), "error": s.error}
        for s in sights
    ]
    return {"services": services, "hosts": hosts_json}


def _allowed(ctx: Context, host: HostFacts) -> dict[str, str | None]:
    """Per action why not (None: allowed), as far as rights go; one answer for all services of a host."""
    subject = host.subject("service")
    verdicts: dict[str, str | None] = {}
    for action in ACTIONS:
        decision = decide(ctx.caller, find(f"services.{action}").needs, subject, now=ctx.now())
        verdicts[action] = None if decision.allowed else decision.because
    return verdicts


def available(row: Row, allowed: dict[str, str | None]) -> dict[str, bool]:
    return {action: because is None and refusal(row, action) is None for action, because in allowed.items()}


@read(
    "services.get",
    summary="Show one service by its systemd name",
    permission=VIEW,
    input=OneService,
    objects=("service",),
)
async def get_service(ctx: Context, query: OneService) -> dict[str, Any]:
    """The service, and per action whether it is possible now and why or why not."""
    sight = await sight_of(ctx, query.host)
    meant = resolve(sight, query.name)
    allowed = _allowed(ctx, sight.host)
    actions = {}
    for action, because in allowed.items():
        reason = because or refusal(meant.row, action) or _unprivileged(sight)
        actions[action] = {"allowed": reason is None, "because": reason or "possible now"}
    shown = as_service(meant.row, sight.host.name)
    if len(meant.units) == 1 and not meant.row["multiple_instances"]:
        unit = meant.units[0]
        shown |= {
            "main_pid": unit.main_pid,
            "exec_main_status": unit.exec_main_status,
            "invocation_id": unit.invocation_id or None,
            "fragment_path": unit.fragment_path or None,
            "condition_result": unit.condition_result,
            "triggered_by": list(unit.triggered_by),
            "status_text": unit.status_text,
        }
    return shown | {"available_actions": actions, "host_state": sight.host_json()}


def _unprivileged(sight: Sight) -> str | None:
    if sight.facts.get("privileged", True):
        return None
    return f"we are not root on {sight.host.name} and sudo -n does not allow systemctl there"


@read(
    "services.instances.list",
    summary="List the instances of a service that has several instances",
    permission=VIEW,
    input=OneService,
    objects=("service",),
)
async def list_instances(ctx: Context, query: OneService) -> dict[str, Any]:
    """Empty for a service without several instances."""
    sight = await sight_of(ctx, query.host)
    meant = resolve(sight, query.name)
    found = [row for row in sight.rows if row["parent"] == meant.row["name"]] if meant.row["multiple_instances"] else []
    return {"instances": [as_instance(row, sight.host.name) for row in found]}


@read(
    "services.instances.get",
    summary="Show one instance of a service",
    permission=VIEW,
    input=OneInstance,
    objects=("service_instance",),
)
async def get_instance(ctx: Context, query: OneInstance) -> dict[str, Any]:
    sight = await sight_of(ctx, query.host)
    return as_instance(instance(sight, query.name, query.instance_name), sight.host.name)


@read(
    "services.unit_file",
    summary="Show the unit file of a service and its drop-ins",
    permission=VIEW,
    input=OneService,
    objects=("service",),
)
async def unit_file(ctx: Context, query: OneService) -> dict[str, Any]:
    sight = await sight_of(ctx, query.host)
    meant = resolve(sight, query.name)
    runner = await ctx.house.fleet.runner(sight.host)
    unit = meant.row["unit"]
    return {"host": sight.host.name, "unit": unit, "text": await cat(runner, unit)}


@read(
    "services.dependencies",
    summary="Show what a service cannot run without and what would be hit when it stops",
    permission=VIEW,
    input=OneService,
    objects=("service",),
)
async def show_dependencies(ctx: Context, query: OneService) -> dict[str, Any]:
    """`needs` and `hits`: unit → the unit through which it hangs on this one."""
    sight = await sight_of(ctx, query.host)
    meant = resolve(sight, query.name)
    units = sight.units.units if sight.units else {}
    needs: dict[str, str] = {}
    hits: dict[str, str] = {}
    for unit in meant.units:
        needs |= dependencies(units, unit.id, reverse=False)
        hits |= dependencies(units, unit.id)
    return {"host": sight.host.name, "unit": meant.row["unit"], "needs": needs, "hits": hits}
