"""The simulated machines by themselves: what is installed, what changes with time, what is answered and what is not."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable

import pytest

from drivers.runner import become_root
from drivers.systemd_names import valid_unit_name
from drivers.systemd_script import snapshot_script
from opsconsole.demo import journal
from opsconsole.demo.answers import Answer, Answers
from opsconsole.demo.catalogue import FLEET, ROLES, Machine
from opsconsole.demo.machine import SimMachine
from opsconsole.demo.talk import TALK

LOOPING = next(plan for plan in FLEET if plan.name == "stage-app-2")
PLAIN = next(plan for plan in FLEET if plan.name == "web-2")


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let the machines believe that this many seconds more have gone by."""
    ahead = 0.0
    real = time.time

    def go_on(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds

    monkeypatch.setattr("opsconsole.demo.machine.time.time", lambda: real() + ahead)
    return go_on


async def ask(plan: Machine, command: str, stdin: str = "") -> Answer:
    """The answer to a command as ssh would carry it, what was written before its end included."""
    early: list[bytes] = []

    async def write(data: bytes) -> None:
        early.append(data)

    line = "exec " + shlex.join(["/bin/sh", "-c", command])
    answer = await Answers(SimMachine(plan)).run(line, stdin.encode(), write)
    return Answer(answer.status, b"".join(early) + answer.stdout, answer.stderr)


def test_the_fleet_is_what_was_promised() -> None:
    assert len(FLEET) == len({plan.name for plan in FLEET}) == 30
    ways = [plan.way for plan in FLEET]
    assert (ways.count("refuses"), ways.count("swallows"), ways.count("slow")) == (1, 1, 1)
    assert {plan.environment for plan in FLEET} == {"prod", "stage", "dev"}
    assert all(25 <= len(plan.specs()) <= 60 for plan in FLEET)


@pytest.mark.parametrize("plan", FLEET, ids=lambda plan: plan.name)
def test_every_machine_is_sound(plan: Machine) -> None:
    machine = SimMachine(plan)
    for unit in machine.units.values():
        assert valid_unit_name(unit.name)
        assert unit.spec.talk in TALK
        assert all(
            f"{name}.service" in machine.units
            for name in (*unit.spec.requires, *unit.spec.binds_to, *unit.spec.part_of)
        )
    assert all(role in ROLES for role in plan.roles)
    assert machine.journal.count > 50


def test_there_is_everything_an_operator_may_meet() -> None:
    machines = [SimMachine(plan) for plan in FLEET]
    units = [unit for machine in machines for unit in machine.units.values()]
    assert sum(unit.active == "failed" for unit in units) >= 4
    assert any(unit.masked for unit in units)
    assert {"static", "generated", "disabled", "enabled"} <= {unit.state for unit in units}
    assert any(unit.pending_reload for unit in units)
    assert any(not unit.condition for unit in units)
    assert {priority for lines in TALK.values() for priority, _ in lines} == set(range(8))


def test_a_crash_loop_goes_on_until_it_is_stopped(later: Callable[[float], None]) -> None:
    machine = SimMachine(LOOPING)
    unit = machine.units["report-generator.service"]
    before, invocation = unit.restarts, unit.invocation
    later(60)
    machine.advance()
    assert 7 <= unit.restarts - before <= 12
    assert unit.invocation != invocation
    machine.went_down(unit, machine.clock())
    stopped = unit.restarts
    later(60)
    machine.advance()
    assert (unit.restarts, unit.active) == (stopped, "inactive")


def test_a_machine_nobody_looked_at_for_days_answers_at_once(later: Callable[[float], None]) -> None:
    machine = SimMachine(PLAIN)
    before = machine.journal.count
    later(5 * 86400)
    machine.advance()
    assert machine.journal.count - before < 20_000
    newest = next(machine.journal.after(machine.journal.count - 1))
    assert machine.clock() - newest.at < 30


def test_the_journal_forgets_what_is_old() -> None:
    kept = journal.Journal("h", "a" * 32, "b" * 32)
    for number in range(journal.KEPT * 2):
        kept.add(float(number), 6, "x.service", "line", pid=7, identifier="x")
    assert kept.count == journal.KEPT * 2
    found = list(kept.after(0))
    assert journal.KEPT <= len(found) <= journal.KEPT * 1.25
    assert [line.number for line in kept.after(kept.count - 3)] == [kept.count - 2, kept.count - 1, kept.count]


def test_text_that_is_not_printable_is_numbers_as_in_the_real_one() -> None:
    kept = journal.Journal("h", "a" * 32, "b" * 32)
    kept.add(1.0, 6, "x.service", "plain ünïcode", pid=7, identifier="x")
    kept.add(2.0, 6, "x.service", "esc \x1b[31m and \udcff", pid=7, identifier="x")
    plain, odd = (json.loads(kept.as_json(line))["MESSAGE"] for line in kept.after(0))
    assert plain == "plain ünïcode"
    assert bytes(odd) == b"esc \x1b[31m and \xff"


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf /",
        "systemctl poweroff",
        "systemctl show --no-pager",
        "systemctl show -p Id -- x.service; reboot",
        become_root("sh -c 'systemctl stop nginx'"),
        become_root("systemctl edit nginx.service"),
        "exec $s journalctl --vacuum-size=1",
        "exec $s journalctl -n 1; reboot",
        "'unbalanced",
        "",
    ],
)
async def test_what_our_drivers_do_not_send_is_unknown(command: str) -> None:
    answer = await ask(PLAIN, command)
    assert (answer.status, answer.stdout) == (127, b"")


async def test_only_our_own_script_is_taken() -> None:
    script = snapshot_script({"openvpn@.service": "/etc/openvpn/*.conf"}, privileges=True)
    assert (await ask(PLAIN, "exec /bin/sh -s", script)).status == 0
    assert (await ask(PLAIN, "exec /bin/sh -s", script + "reboot\n")).status == 127
    assert (await ask(PLAIN, "exec /bin/sh -s", "reboot\n")).status == 127


async def test_who_one_is() -> None:
    root = next(plan for plan in FLEET if plan.user == "root")
    powerless = next(plan for plan in FLEET if not plan.sudo)
    assert (await ask(root, "id -u")).stdout == b"0\n"
    assert (await ask(PLAIN, "id -u")).stdout == b"1000\n"
    assert (await ask(PLAIN, become_root("id -u"))).stdout == b"0\n"
    refused = await ask(powerless, become_root("systemctl stop -- named.service"))
    assert (refused.status, refused.stderr) == (1, "sudo: a password is required\n")
