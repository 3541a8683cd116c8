"""What counts as done: evidence other than a return code.

start: active, and still so after `min_uptime` with the same invocation. restart: that, with a new InvocationID. stop:
not running any more. enable, disable: the unit file state. A oneshot that ran through counts as started.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from drivers.errors import DriverError
from drivers.runner import Runner
from drivers.systemd import UnitState, show
from opsconsole.engine.errors import OutcomeUnknown
from opsconsole.services.project import enabled_of

SAID = {
    "start": "active, and still active with the same invocation after the minimum uptime",
    "restart": "a new InvocationID, active, and still so after the minimum uptime",
    "stop": "systemd says inactive",
    "enable": "the unit file state is enabled",
    "disable": "the unit file state is no longer enabled",
    "reload": "still active with the same invocation",
    "reset_failed": "systemd no longer says failed",
}
_SETTLE = 30.0
_STEP = 0.25
_SHOW_TIMEOUT = 15.0
_RECONNECT = 45.0
_MOVING = frozenset({"activating", "deactivating", "reloading", "refreshing"})


async def outcome(
    runner: Runner, verb: str, before: UnitState, effect: dict[str, Any], *, min_uptime: float
) -> tuple[UnitState, str | None]:
    """What the unit is now, and what is wrong with that (None: done). OutcomeUnknown when it cannot be looked at."""
    seen = await _settled(runner, before.id, effect)
    if verb in {"start", "restart"}:
        problem = _running(seen, before if verb == "restart" else None)
        if problem is None and not _ran_through(seen):
            seen, problem = await _stays(runner, seen, min_uptime)
    elif verb == "stop":
        problem = None if seen.active_state in {"inactive", "failed"} else f"it is still {seen.active_state}"
    elif verb == "enable":
        problem = None if enabled_of(seen) == "enabled" else f"its unit file state is {seen.unit_file_state or 'empty'}"
    elif verb == "disable":
        problem = None if enabled_of(seen) == "disabled" else f"its unit file state is {seen.unit_file_state}"
    elif verb == "reload":
        same = seen.active_state == "active" and seen.invocation_id == before.invocation_id
        problem = None if same else f"it is {seen.active_state} ({seen.result})"
    else:
        problem = None if seen.active_state != "failed" else "it is still failed"
    if effect.get("failed"):
        said = str(effect["failed"])
        problem = f"{problem}; systemctl said: {said}" if problem else said
    return seen, problem


async def _look(runner: Runner, unit: str) -> UnitState:
    return (await show(runner, [unit], timeout=_SHOW_TIMEOUT))[unit]


async def _settled(runner: Runner, unit: str, effect: dict[str, Any]) -> UnitState:
    """The unit once it no longer moves. After a lost connection the host gets time to be reached again."""
    deadline = time.monotonic() + _SETTLE
    patience = time.monotonic() + (_RECONNECT if effect.get("lost") else 0.0)
    while True:
        try:
            seen = await _look(runner, unit)
        except DriverError as error:
            if time.monotonic() >= patience:
                raise OutcomeUnknown(
                    reason=str(effect.get("lost") or error), check=f"systemctl status {unit} on {runner.name}"
                ) from error
            await asyncio.sleep(1.0)
            continue
        if seen.active_state not in _MOVING or seen.sub_state.startswith("auto-restart") or time.monotonic() > deadline:
            return seen
        await asyncio.sleep(_STEP)


def _ran_through(unit: UnitState) -> bool:
    """A oneshot without RemainAfterExit: it did its work and is inactive again."""
    return unit.type == "oneshot" and unit.active_state == "inactive" and unit.result == "success"


def _running(seen: UnitState, replaced: UnitState | None) -> str | None:
    if seen.condition_result is False and seen.active_state == "inactive":
        return "a condition of the unit is not met, so systemd did not start it"
    if seen.active_state != "active" and not _ran_through(seen):
        status = f", exit status {seen.exec_main_status}" if seen.exec_main_status else ""
        return f"it is {seen.active_state} ({seen.sub_state}), result {seen.result}{status}"
    if replaced is not None and replaced.invocation_id and seen.invocation_id == replaced.invocation_id:
        return "it still runs under the old InvocationID"
    return None


async def _stays(runner: Runner, first: UnitState, min_uptime: float) -> tuple[UnitState, str | None]:
    """Watch it for the minimum uptime: another invocation or another state means that it did not hold."""
    end = time.monotonic() + min_uptime
    while (left := end - time.monotonic()) > 0:
        await asyncio.sleep(min(left, 1.0))
        seen = await _look(runner, first.id)
        if seen.active_state != "active" or seen.invocation_id != first.invocation_id:
            restarts = f", {seen.n_restarts} restarts" if seen.n_restarts else ""
            return seen, f"it did not stay up: {seen.active_state} ({seen.sub_state}), result {seen.result}{restarts}"
    return first, None
