"""Stopping or restarting what carries our own connection, with a way back that needs no connection.

Before the action the host arms a timer that starts the unit again; after it we must come in anew. If we can, the timer
is taken away; if not, it fires, and the answer says so.
"""

from __future__ import annotations

import asyncio
import time

from drivers.errors import DriverError
from drivers.runner import Runner
from drivers.systemd import Deadman, UnitState, act, arm_deadman, deadman_state, disarm
from opsconsole.engine.context import Context
from opsconsole.engine.errors import OutcomeUnknown, ServiceActionFailed
from opsconsole.engine.ids import uuid7
from opsconsole.hosts.lookup import HostFacts

CUTTING = frozenset({"stop", "restart"})
_GRACE = 40.0
_PAUSE = 2.0


def promise(ctx: Context) -> str:
    return f"the host starts it again by itself after {ctx.house.settings.deadman_seconds} s unless we come back in"


async def guarded(ctx: Context, host: HostFacts, runner: Runner, verb: str, unit: UnitState) -> None:
    """Arm, act, come in anew, disarm. Raises ServiceActionFailed when the timer had to bring the unit back."""
    seconds = ctx.house.settings.deadman_seconds
    deadman = await arm_deadman(runner, "start", unit.id, seconds, uuid7().replace("-", ""))
    fires_at = time.monotonic() + seconds
    acted: str | None = None
    try:
        done = await act(runner, verb, unit.id, timeout=min(ctx.house.settings.action_timeout, seconds))
        if not done.ok:
            acted = done.stderr.decode("utf-8", "replace").strip()[:500]
    except DriverError as error:
        acted = str(error)
    if await _back_in(ctx, host, until=fires_at - _PAUSE):
        before = await _disarmed(ctx, host, deadman)
        if before in {"fired", "failed"}:
            raise ServiceActionFailed(
                action=verb, service=unit.id, host=host.name, reason="the dead-man fired before we were back in"
            )
        if acted is not None and verb == "stop":
            raise ServiceActionFailed(action=verb, service=unit.id, host=host.name, reason=acted)
        return
    if not await _back_in(ctx, host, until=fires_at + _GRACE):
        raise OutcomeUnknown(
            reason=f"{verb} of {unit.id} cut the way to {host.name}, and the dead-man did not bring it back within "
            f"{seconds + _GRACE:.0f} s",
            check=f"{unit.id} on the console of {host.name}",
        )
    await _disarmed(ctx, host, deadman)
    raise ServiceActionFailed(
        action=verb,
        service=unit.id,
        host=host.name,
        reason=f"it cut our own way in; the host started it again by itself after {seconds} s",
    )


async def _back_in(ctx: Context, host: HostFacts, *, until: float) -> bool:
    while True:
        try:
            await ctx.house.fleet.prove_way_in(host)
        except DriverError:
            if time.monotonic() + _PAUSE >= until:
                return False
            await asyncio.sleep(_PAUSE)
        else:
            return True


async def _disarmed(ctx: Context, host: HostFacts, deadman: Deadman) -> str:
    runner = await ctx.house.fleet.runner(host, retry=True)
    if await deadman_state(runner, deadman) == "gone":
        return "gone"
    return await disarm(runner, deadman)
