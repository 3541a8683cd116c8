"""The verbs of systemctl on a simulated machine: they take their time, fail where the unit fails, and say what
systemctl says. Answers are `(exit status, stderr)`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from drivers.systemd_names import split_instance
from opsconsole.demo.machine import SimMachine, Transient, Unit, title
from opsconsole.demo.render import templates

Said = tuple[int, str]
_DONE: Said = (0, "")
_START_SECONDS, _STOP_SECONDS, _SLOW_STOP_SECONDS = (0.1, 0.4), (0.05, 0.25), 3.0
_NO_INSTALL = (
    "The unit files have no installation config (WantedBy=, RequiredBy=, UpheldBy=, Also=, or Alias= settings in the "
    "[Install] section, and DefaultInstance= for template units). This means they are not meant to be enabled or "
    "disabled using systemctl.\n"
)


class Jobs:
    """What runs on one machine now. A job goes on when the one who asked for it is gone, as in systemd."""

    def __init__(self, machine: SimMachine) -> None:
        self._machine = machine
        self._locks: dict[str, asyncio.Lock] = {}
        self._running: set[asyncio.Task[Said]] = set()

    async def run(self, verb: str, names: list[str]) -> Said:
        """One `systemctl VERB -- NAMES`; the worst status and everything said."""
        if verb == "daemon-reload":
            return self._daemon_reload()
        task = asyncio.create_task(self._all(verb, names))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _all(self, verb: str, names: list[str]) -> Said:
        if verb == "reset-failed" and not names:
            names = [unit.name for unit in self._machine.units.values() if unit.active == "failed"]
        said = [await self._one(verb, name) for name in names]
        return max((status for status, _ in said), default=0), "".join(text for _, text in said)

    async def _one(self, verb: str, name: str) -> Said:
        machine = self._machine
        machine.advance()
        unit = machine.names.get(name)
        if unit is None:
            return self._stranger(verb, name)
        if verb in {"start", "restart", "reload"} and unit.masked:
            return 1, f"Failed to {verb} {name}: Unit {name} is masked.\n"
        if unit.spec.refuse_manual and verb in {"stop", "restart"}:
            return 4, (
                f"Failed to {verb} {name}: Operation refused, unit {name} may be requested by dependency only "
                "(it is configured to refuse manual start/stop).\n"
            )
        verbs: dict[str, Callable[[Unit], Awaitable[Said]]] = {
            "start": self._start, "stop": self._stop, "restart": self._restart, "reload": self._reload,
        }  # fmt: skip
        if verb in verbs:
            return await verbs[verb](unit)
        return self._file_verb(verb, unit)

    def _stranger(self, verb: str, name: str) -> Said:
        machine = self._machine
        stem = name.rpartition(".")[0]
        if stem in machine.transients and verb in {"stop", "reset-failed"}:
            del machine.transients[stem]
            return _DONE
        split = split_instance(name)
        if verb == "stop":
            return (5, f"Failed to stop {name}: Unit {name} not loaded.\n")
        if verb == "reset-failed":
            return (1, f"Failed to reset failed state of unit {name}: Unit {name} not loaded.\n")
        if split is not None and split[0] in templates(machine):
            return (1, f"Job for {name} failed because the control process exited with error code.\n")
        if verb in {"enable", "disable", "mask", "unmask"}:
            return (1, f"Failed to {verb} unit: Unit file {name} does not exist.\n")
        return (5, f"Failed to {verb} {name}: Unit {name} not found.\n")

    # Jobs

    async def _start(self, unit: Unit) -> Said:
        async with self._lock(unit):
            if unit.active == "active":
                return self._warning(unit)
            for name in (*unit.spec.requires, *unit.spec.binds_to):
                needed = self._machine.units[f"{name}.service"]
                if not needed.up and (needed.masked or (await self._start(needed))[0]):
                    return 1, f"A dependency job for {unit.name} failed. See 'journalctl -xe' for details.\n"
            return await self._launch(unit)

    async def _launch(self, unit: Unit) -> Said:
        machine = self._machine
        now = machine.advance()
        if unit.spec.behaviour == "unmet":
            unit.condition_at, unit.condition = now, False
            machine.note(now, unit, 5, f"{title(unit)} was skipped because of an unmet condition check.")
            return _DONE
        machine.launch(unit, now)
        await asyncio.sleep(machine.rng.uniform(*_START_SECONDS))
        if machine.launched(unit, machine.advance()):
            return self._warning(unit)
        return 1, (
            f"Job for {unit.name} failed because the control process exited with error code.\n"
            f'See "systemctl status {unit.name}" and "journalctl -xeu {unit.name}" for details.\n'
        )

    async def _stop(self, unit: Unit) -> Said:
        async with self._lock(unit):
            await self._take_down(unit)
        return _DONE

    async def _take_down(self, unit: Unit) -> list[Unit]:
        """Stop a unit and before it what hangs on it; answers what else went down."""
        machine = self._machine
        machine.advance()
        hanging = [other for other in machine.dependents(unit) if other.up]
        for other in (*reversed(hanging), unit):
            await self._down(other)
        return hanging

    async def _down(self, unit: Unit) -> None:
        machine = self._machine
        now = machine.advance()
        if not unit.up:
            if unit.active == "failed":
                machine.enter(unit, now, "inactive", "dead")
            return
        machine.enter(unit, now, "deactivating", "stop-sigterm")
        machine.note(now, unit, 6, f"Stopping {title(unit)}...")
        slow = unit.spec.behaviour == "slow"
        await asyncio.sleep(_SLOW_STOP_SECONDS if slow else machine.rng.uniform(*_STOP_SECONDS))
        machine.went_down(unit, machine.advance())

    async def _restart(self, unit: Unit) -> Said:
        """What hung on the unit comes back with it."""
        async with self._lock(unit):
            hanging = await self._take_down(unit)
            answer = await self._launch(unit)
            for other in hanging if answer[0] == 0 else ():
                await self._launch(other)
        return answer

    async def _reload(self, unit: Unit) -> Said:
        machine = self._machine
        if not unit.spec.reload:
            return 1, f"Failed to reload {unit.name}: Job type reload is not applicable for unit {unit.name}.\n"
        if unit.active != "active":
            return 1, f"{unit.name} is not active, cannot reload.\n"
        async with self._lock(unit):
            sub = unit.sub
            machine.enter(unit, machine.advance(), "reloading", "reload")
            machine.note(machine.clock(), unit, 6, f"Reloading {title(unit)}...")
            await asyncio.sleep(machine.rng.uniform(*_STOP_SECONDS))
            now = machine.advance()
            machine.enter(unit, now, "active", sub)
            machine.note(now, unit, 6, f"Reloaded {title(unit)}.")
        return self._warning(unit)

    # Files

    def _file_verb(self, verb: str, unit: Unit) -> Said:
        machine = self._machine
        if verb == "reset-failed":
            if unit.active == "failed":
                machine.enter(unit, machine.clock(), "inactive", "dead")
            unit.restarts = 0
            return _DONE
        if verb in {"enable", "disable"} and unit.masked:
            return 1, f"Failed to {verb} unit: Unit file {unit.name} is masked.\n"
        if verb in {"enable", "disable"} and unit.state not in {"enabled", "disabled"}:
            return 1, _NO_INSTALL
        wanted = {"enable": "enabled", "disable": "disabled", "mask": "masked"}
        plain = unit.spec.state if unit.spec.state != "masked" else "disabled"
        unit.state, before = wanted.get(verb, plain if unit.masked else unit.state), unit.state
        if unit.state != before:
            machine.files_changed += 1
        link = f"/etc/systemd/system/multi-user.target.wants/{unit.name}"
        if unit.state == before:
            return _DONE
        if verb == "enable":
            return 0, f"Created symlink {link}.\n"
        return 0, f"Removed {link}.\n" if verb == "disable" else ""

    def _daemon_reload(self) -> Said:
        for unit in self._machine.units.values():
            unit.pending_reload = False
        return _DONE

    def _warning(self, unit: Unit) -> Said:
        if not unit.pending_reload:
            return _DONE
        return 0, (
            f"Warning: The unit file, source configuration file or drop-ins of {unit.name} changed on disk. Run "
            "'systemctl daemon-reload' to reload units.\n"
        )

    def _lock(self, unit: Unit) -> asyncio.Lock:
        return self._locks.setdefault(unit.name, asyncio.Lock())

    # Dead-men

    def arm(self, tag: str, seconds: float, verb: str, unit: str) -> Said:
        """`systemd-run --on-active`: do this later, whoever is still connected then."""
        machine = self._machine
        if tag in machine.transients:
            return 1, f"Failed to start transient timer unit: Unit {tag}.timer was already loaded.\n"
        machine.transients[tag] = Transient(verb, unit)
        asyncio.get_running_loop().call_later(seconds, self._fire, tag)
        return _DONE

    def _fire(self, tag: str) -> None:
        transient = self._machine.transients.get(tag)
        if transient is None:
            return
        transient.timer, transient.service = "inactive", "activating"
        task = asyncio.create_task(self._all(transient.verb, [transient.unit]))
        self._running.add(task)

        def ended(done: asyncio.Task[Said]) -> None:
            self._running.discard(done)
            good = not done.cancelled() and done.exception() is None and done.result()[0] == 0
            transient.service = "active" if good else "failed"

        task.add_done_callback(ended)
