"""One simulated machine: its units, how they change by themselves, and what they write meanwhile.

Time is only looked at when somebody asks (`advance`): then everything due until now happens in its order.
"""

from __future__ import annotations

import heapq
import itertools
import random
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from opsconsole.demo.catalogue import Machine, Spec
from opsconsole.demo.journal import Journal
from opsconsole.demo.talk import speak

HISTORY = 300.0
"""Seconds of journal a machine has when it is first looked at."""

_SILENT_AFTER = 900.0
_CRASHES_AFTER, _RESTARTS_AFTER = 1.2, 5.0


@dataclass(slots=True)
class Unit:
    """The state of one unit. Times are Unix seconds by the machine's clock, 0 for never."""

    spec: Spec
    state: str
    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    invocation: str = ""
    pid: int = 0
    exit_status: int = 0
    restarts: int = 0
    changed: float = 0.0
    entered: float = 0.0
    condition_at: float = 0.0
    condition: bool = True
    pending_reload: bool = False

    @property
    def name(self) -> str:
        return self.spec.unit

    @property
    def masked(self) -> bool:
        return self.state.startswith("masked")

    @property
    def up(self) -> bool:
        return self.active in {"active", "activating", "reloading"}

    @property
    def loaded(self) -> bool:
        """Whether systemd keeps it in memory, rather than only on disk."""
        wanted = self.state in {"enabled", "enabled-runtime", "generated"} or self.spec.triggered_by
        return self.active != "inactive" or bool(wanted)


@dataclass(slots=True)
class Transient:
    """A `systemd-run --on-active` of a dead-man."""

    verb: str
    unit: str
    timer: str = "active"
    service: str = "inactive"


class SimMachine:
    """The model behind one host. `clock` is the machine's own."""

    def __init__(self, plan: Machine) -> None:
        self.plan = plan
        self.rng = random.Random(f"demo:{plan.name}")  # noqa: S311 - believable, not secret
        self.boot_id = self._id()
        self.machine_id = self._id()
        self.journal = Journal(plan.name, self.machine_id, self.boot_id)
        self.units = {spec.unit: Unit(spec, spec.state, pending_reload=spec.pending_reload) for spec in plan.specs()}
        self.names = {name: unit for unit in self.units.values() for name in names_of(unit.spec)}
        self.transients: dict[str, Transient] = {}
        self.files_changed = 0
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._seen = self.clock()
        began = self._seen - HISTORY
        self.booted = began - self.rng.uniform(2, 90) * 86400
        for unit in self.units.values():
            self._boot(unit)
        self.at(began, self._chat)
        self.advance()

    def clock(self) -> float:
        return time.time() + self.plan.skew

    def at(self, when: float, work: Callable[[float], None]) -> None:
        """Have `work` done with its own time once the clock has passed `when`."""
        heapq.heappush(self._due, (when, next(self._order), work))

    def advance(self) -> float:
        """Let everything happen that is due; answers the time now."""
        now = self.clock()
        while self._due and self._due[0][0] <= now:
            when, _, work = heapq.heappop(self._due)
            work(when)
        self._seen = now
        return now

    def note(self, when: float, unit: Unit, priority: int, message: str) -> None:
        """A line of systemd about a unit."""
        self.journal.add(when, priority, unit.name, message)

    def say(self, when: float, unit: Unit, priority: int, message: str) -> None:
        """A line of the unit's own."""
        program = unit.spec.name.partition("@")[0]
        pid = unit.pid or self.rng.randrange(400, 60_000)
        self.journal.add(when, priority, unit.name, message, pid=pid, identifier=program)

    def dependents(self, unit: Unit) -> list[Unit]:
        """Units that go down with this one: those that require it, are bound to it or part of it, however far."""
        found: list[Unit] = []
        todo = [unit]
        while todo:
            name = todo.pop().spec.name
            for other in self.units.values():
                spec = other.spec
                if name in (*spec.requires, *spec.binds_to, *spec.part_of) and other not in found and other is not unit:
                    found.append(other)
                    todo.append(other)
        return found

    # Transitions

    def enter(self, unit: Unit, when: float, active: str, sub: str, *, result: str = "success") -> None:
        if active == "active" and unit.active != "active":
            unit.entered = when
        if active != unit.active or sub != unit.sub:
            unit.changed = when
        unit.active, unit.sub, unit.result = active, sub, result
        if active in {"inactive", "failed"} or sub in {"exited", "auto-restart"}:
            unit.pid = 0

    def launch(self, unit: Unit, when: float) -> None:
        """The job begins: a new invocation."""
        unit.invocation = self._id()
        unit.condition_at, unit.condition = when, True
        self.enter(unit, when, "activating", "start")
        self.note(when, unit, 6, f"Starting {title(unit)}...")

    def launched(self, unit: Unit, when: float) -> bool:
        """The job is over; answers whether it did what it should."""
        behaviour = unit.spec.behaviour
        if behaviour == "fails":
            self.crash(unit, when)
            self.note(when, unit, 3, f"Failed to start {title(unit)}.")
            return False
        if behaviour == "oneshot":
            self.enter(unit, when, "inactive", "dead")
            self.note(when, unit, 6, f"{unit.name}: Deactivated successfully.")
            self.note(when, unit, 6, f"Finished {title(unit)}.")
            return True
        self.enter(unit, when, "active", "exited" if behaviour == "remains" else "running")
        unit.pid = 0 if behaviour == "remains" else self.rng.randrange(400, 60_000)
        self.note(when, unit, 6, f"{'Finished' if behaviour == 'remains' else 'Started'} {title(unit)}.")
        if behaviour == "loops":
            self.at(when + _CRASHES_AFTER, lambda then: self._loop_crash(unit, unit.invocation, then))
        return True

    def crash(self, unit: Unit, when: float) -> None:
        """The main process ends badly."""
        unit.exit_status = 1
        self.say(when, unit, 3, "fatal: cannot bind to the configured address: Address already in use")
        self.note(when, unit, 5, f"{unit.name}: Main process exited, code=exited, status=1/FAILURE")
        self.note(when, unit, 4, f"{unit.name}: Failed with result 'exit-code'.")
        self.enter(unit, when, "failed", "failed", result="exit-code")

    def went_down(self, unit: Unit, when: float) -> None:
        self.enter(unit, when, "inactive", "dead")
        unit.exit_status = 0
        self.note(when, unit, 6, f"{unit.name}: Deactivated successfully.")
        self.note(when, unit, 6, f"Stopped {title(unit)}.")

    def _loop_crash(self, unit: Unit, invocation: str, when: float) -> None:
        if unit.invocation != invocation or not unit.up:
            return
        self.crash(unit, when)
        self.enter(unit, when, "activating", "auto-restart", result="exit-code")
        self.at(when + _RESTARTS_AFTER, lambda then: self._loop_start(unit, invocation, then))

    def _loop_start(self, unit: Unit, invocation: str, when: float) -> None:
        if unit.invocation != invocation or unit.sub != "auto-restart":
            return
        unit.restarts += 1
        self.note(when, unit, 6, f"{unit.name}: Scheduled restart job, restart counter is at {unit.restarts}.")
        self.launch(unit, when)
        self.launched(unit, when + 0.05)

    # The past

    def _boot(self, unit: Unit) -> None:
        spec, when = unit.spec, self.booted + self.rng.uniform(1, 30)
        wanted = spec.state in {"enabled", "static", "generated"}
        if spec.initially == "inactive" or not wanted or spec.behaviour == "oneshot":
            if spec.behaviour == "oneshot" and spec.triggered_by:
                unit.invocation, unit.changed = self._id(), self.clock() - self.rng.uniform(1, 20) * 3600
            return
        unit.invocation, unit.condition_at = self._id(), when
        if spec.behaviour == "unmet":
            unit.condition = False
        elif spec.initially == "failed" or spec.behaviour == "fails":
            self.enter(unit, when, "active", "running")
            failed_at = self.clock() - self.rng.uniform(10, HISTORY - 10)
            self.at(failed_at, lambda then: self.crash(unit, then))
        elif spec.behaviour == "loops":
            unit.restarts = self.rng.randrange(150, 900)
            self.enter(unit, self.clock() - HISTORY, "activating", "auto-restart", result="exit-code")
            self.at(self.clock() - HISTORY, lambda then: self._loop_start(unit, unit.invocation, then))
        else:
            self.enter(unit, when, "active", "exited" if spec.behaviour == "remains" else "running")
            unit.pid = 0 if spec.behaviour == "remains" else self.rng.randrange(400, 60_000)

    def _chat(self, when: float) -> None:
        """One line of some running service, and the appointment for the next."""
        talkers = [unit for unit in self.units.values() if unit.active == "active" and unit.sub == "running"]
        weights = [1 if unit.spec.talk in {"quiet", "system"} else 8 for unit in talkers]
        if talkers:
            unit = self.rng.choices(talkers, weights)[0]
            self.say(when, unit, *speak(self.rng, unit.spec.talk, self.plan.name))
        # After a long time without anybody looking only the last minutes are told.
        base = max(when, self.clock() - _SILENT_AFTER)
        self.at(base + self.rng.expovariate(self.plan.rate), self._chat)

    def _id(self) -> str:
        return uuid.UUID(int=self.rng.getrandbits(128), version=4).hex


def title(unit: Unit) -> str:
    """How systemd calls a unit in its lines."""
    return f"{unit.name} - {unit.spec.description}"


def names_of(spec: Spec) -> Iterable[str]:
    """A unit's name and its other names."""
    return (spec.unit, *(f"{alias}.service" for alias in spec.aliases))
