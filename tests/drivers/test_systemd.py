"""The systemd driver against real systemd: every verb with its effect read back, and the way home kept open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from drivers import systemd
from drivers.errors import ProtocolError, Refused, TimedOut, Unsupported
from drivers.local import LocalRunner
from drivers.runner import Completed, Runner
from drivers.ssh import SshRunner
from tests.drivers.support import Desk
from tests.lab import units
from tests.lab.guests import Guest
from tests.lab.sshfarm import Node

pytestmark = pytest.mark.lab


@pytest_asyncio.fixture
async def root(desk: Desk, guest_a: Guest) -> AsyncIterator[SshRunner]:
    """Root on guest_a; the units that tests touch are put back."""
    yield desk.runner(guest_a)
    names = "work.service work@b.service reloads.service static.service conditional.service slowstop.service"
    await asyncio.to_thread(
        guest_a.sh, f"systemctl unmask -q {names} needswork; systemctl stop {names} needswork boundtowork; "
        "systemctl enable -q work.service; systemctl disable -q work@b; systemctl reset-failed; "
        "systemctl restart broken || true; systemctl start work work@a"
    )  # fmt: skip


async def _snapshot(runner: Runner) -> systemd.HostUnits:
    return await systemd.snapshot(runner, timeout=30, instance_configs=units.INSTANCE_CONFIGS)


async def test_one_round_trip_shows_every_kind_of_unit(root: SshRunner, guest_a: Guest) -> None:
    host = await _snapshot(root)
    assert host.failed_to_parse == 0
    assert host.boot_id == (await asyncio.to_thread(guest_a.sh, "cat /proc/sys/kernel/random/boot_id")).strip()
    assert (host.euid, host.sudo) == (0, None)
    assert host.systemd_version is not None
    assert host.systemd_version >= 239
    assert host.clock_skew is not None
    assert abs(host.clock_skew) < 1
    work = host.units["work.service"]
    assert (work.active_state, work.sub_state, work.unit_file_state) == ("active", "running", "enabled")
    assert work.main_pid
    assert work.active_enter is not None
    assert abs(work.active_enter - time.time()) < 3600
    assert (host.units["masked.service"].load_state, host.units["masked.service"].installed_only) == ("masked", True)
    static = host.units["static.service"]
    assert (static.unit_file_state, static.installed_only, static.description) == (
        "static",
        True,
        "Has no install section",
    )
    assert host.units["weird.service"].description == units.WEIRD_DESCRIPTION
    assert host.find("sshd.service") is host.units["ssh.service"]


async def test_a_failed_unit_and_a_crash_loop(root: SshRunner) -> None:
    host = await _snapshot(root)
    broken = host.units["broken.service"]
    assert (broken.active_state, broken.result, broken.exec_main_status) == ("failed", "exit-code", 3)
    before = host.units["crashloop.service"].n_restarts
    assert before is not None
    async with asyncio.timeout(10):
        while True:
            crash = (await systemd.show(root, ["crashloop.service"], timeout=20))["crashloop.service"]
            if crash.n_restarts is not None and crash.n_restarts > before and crash.sub_state == "auto-restart":
                break
            await asyncio.sleep(0.1)
    assert crash.active_state == "activating"


async def test_template_instances_from_everywhere(root: SshRunner, guest_a: Guest) -> None:
    await asyncio.to_thread(guest_a.sh, "systemctl start work@b; systemctl stop work@a")
    found = (await _snapshot(root)).units
    instances = {name: unit for name, unit in found.items() if unit.template == "work@.service"}
    assert set(instances) == {*units.ENABLED_INSTANCES, units.STARTED_BUT_NOT_ENABLED, units.CONFIG_ONLY_INSTANCE}
    assert instances["work@b.service"].sources == ("loaded",)
    assert instances["work@a.service"].sources[-1].startswith("wants:/etc/systemd/system/multi-user.target.wants/")
    assert (instances["work@a.service"].active_state, instances["work@a.service"].unit_file_state) == (
        "inactive",
        "enabled",
    )
    assert instances[r"work@with\x2ddash.service"].instance == "with-dash"
    config = instances[units.CONFIG_ONLY_INSTANCE]
    assert config.sources == ("config:/etc/labwork/fromconfig.conf",)
    assert (config.installed_only, config.unit_file_state) == (True, "disabled")
    assert found["work@.service"].is_template


async def test_unit_files_are_asked_again_only_when_one_changed(root: SshRunner, guest_a: Guest) -> None:
    first = await _snapshot(root)
    guest_a.sh("true")  # a login makes a scope among the transient units, and is no change of a unit file
    again = await systemd.snapshot(root, timeout=30, instance_configs=units.INSTANCE_CONFIGS, earlier=first)
    assert again.files is first.files
    lasting = [{name for name in seen.units if "@1" not in name} for seen in (first, again)]
    assert lasting[0] == lasting[1]  # but for the managers of users who log in meanwhile
    await systemd.act(root, "disable", "work.service", timeout=20)
    changed = await systemd.snapshot(root, timeout=30, instance_configs=units.INSTANCE_CONFIGS, earlier=again)
    assert changed.files.stamp != first.files.stamp
    assert changed.files.entries["work.service"].state == "disabled"
    guest_a.sh("systemd-run --quiet --unit=passing /usr/bin/sleep infinity")
    passing = await systemd.snapshot(root, timeout=30, instance_configs=units.INSTANCE_CONFIGS, earlier=changed)
    assert passing.files.entries["passing.service"].state == "transient"
    guest_a.sh("systemctl stop passing")


async def test_an_unprivileged_user_sees_all_and_may_nothing(desk: Desk, guest_a: Guest, root: SshRunner) -> None:
    host = await _snapshot(desk.runner(guest_a, "ops"))
    assert host.euid
    assert host.sudo is False
    assert "work.service" in host.units
    assert host.failed_to_parse == 0
    for verb in ("restart", "stop", "disable"):
        with pytest.raises(Refused, match="password is required") as refused:
            await systemd.act(desk.runner(guest_a, "ops"), verb, "work.service", timeout=20)
        assert refused.value.code == "privilege"
    assert (await systemd.show(root, ["work.service"], timeout=20))["work.service"].active_state == "active"


async def test_sudo_for_systemctl_is_enough(desk: Desk, guest_a: Guest) -> None:
    admin = desk.runner(guest_a, "admin1")
    assert (await _snapshot(admin)).sudo is True
    before = (await systemd.show(admin, ["work.service"], timeout=20))["work.service"]
    assert (await systemd.act(admin, "restart", "work.service", timeout=20)).ok
    after = (await systemd.show(admin, ["work.service"], timeout=20))["work.service"]
    assert before.invocation_id != after.invocation_id


async def test_start_stop_restart_reload(root: SshRunner) -> None:
    async def now() -> systemd.UnitState:
        return (await systemd.show(root, ["reloads.service"], timeout=20))["reloads.service"]

    assert (await systemd.act(root, "start", "reloads.service", timeout=20)).ok
    started = await now()
    assert started.active_state == "active"
    assert (await systemd.act(root, "reload", "reloads.service", timeout=20)).ok
    assert (await now()).invocation_id == started.invocation_id
    assert (await systemd.act(root, "restart", "reloads.service", timeout=20)).ok
    restarted = await now()
    assert restarted.invocation_id != started.invocation_id
    assert restarted.main_pid != started.main_pid
    assert (await systemd.act(root, "stop", "reloads.service", timeout=20)).ok
    assert (await now()).active_state == "inactive"


async def test_enable_disable_mask_unmask(root: SshRunner) -> None:
    for verb, expected in (("disable", "disabled"), ("enable", "enabled"), ("mask", "masked"), ("unmask", "disabled")):
        unit = "work@b.service" if "mask" in verb else "work.service"
        assert (await systemd.act(root, verb, unit, timeout=20)).ok
        assert (await systemd.show(root, [unit], timeout=20))[unit].unit_file_state == expected


async def test_reset_failed_and_daemon_reload(root: SshRunner, guest_a: Guest) -> None:
    assert (await systemd.act(root, "reset-failed", "broken.service", timeout=20)).ok
    assert (await systemd.show(root, ["broken.service"], timeout=20))["broken.service"].active_state == "inactive"
    await asyncio.to_thread(guest_a.sh, "touch /etc/systemd/system/work.service")
    assert (await systemd.show(root, ["work.service"], timeout=20))["work.service"].need_daemon_reload
    assert (await systemd.act(root, "daemon-reload", timeout=20)).ok
    assert not (await systemd.show(root, ["work.service"], timeout=20))["work.service"].need_daemon_reload


async def test_a_job_that_fails_is_an_answer(root: SshRunner, guest_a: Guest) -> None:
    await asyncio.to_thread(
        guest_a.sh, "printf '[Service]\\nType=oneshot\\nExecStart=/bin/false\\n' > /run/systemd/system/fails.service"
    )
    done = await systemd.act(root, "start", "fails.service", timeout=20)
    assert done.exit_status == 1
    assert b"failed" in done.stderr
    assert (await systemd.show(root, ["fails.service"], timeout=20))["fails.service"].result == "exit-code"


async def test_a_condition_that_is_not_met(root: SshRunner) -> None:
    assert (await systemd.act(root, "start", "conditional.service", timeout=20)).ok
    unit = (await systemd.show(root, ["conditional.service"], timeout=20))["conditional.service"]
    assert (unit.active_state, unit.condition_result) == ("inactive", False)


@pytest.mark.parametrize(
    ("verb", "unit", "code"),
    [
        ("start", "nope.service", "not_found"),
        ("enable", "nope.service", "not_found"),
        ("start", "masked.service", "masked"),
        ("start", "refuses.service", "invalid"),
        ("start", "work@.service", "invalid"),
        ("enable", "work@.service", "invalid"),
        ("reload", "work.service", "invalid"),
        ("start", "no name", "invalid"),
        ("start", "--help", "invalid"),
        ("restart", "[/x]\x1b[31m.service", "invalid"),
        ("stop", "x" * 300 + ".service", "invalid"),
    ],
)
async def test_what_systemd_refuses(root: SshRunner, verb: str, unit: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        await systemd.act(root, verb, unit, timeout=20)
    assert refused.value.code == code
    assert refused.value.host == "a"
    assert "\x1b" not in str(refused.value)


async def test_an_unknown_verb_is_our_own_mistake(root: SshRunner) -> None:
    with pytest.raises(ValueError, match="poweroff"):
        await systemd.act(root, "poweroff", "work.service", timeout=20)


async def test_a_slow_stop_runs_into_the_deadline_and_ends_later(root: SshRunner) -> None:
    assert (await systemd.act(root, "start", "slowstop.service", timeout=20)).ok
    with pytest.raises(TimedOut):
        await systemd.act(root, "stop", "slowstop.service", timeout=1)
    unit = (await systemd.show(root, ["slowstop.service"], timeout=20))["slowstop.service"]
    assert unit.active_state == "deactivating"


async def test_show_knows_what_does_not_exist(root: SshRunner) -> None:
    found = await systemd.show(root, ["nope.service", "sshd.service"], timeout=20)
    assert found["nope.service"].load_state == "not-found"
    assert found["sshd.service"].id == "ssh.service"
    assert await systemd.show(root, [], timeout=20) == {}


async def test_cat_gives_the_files_with_their_drop_ins(root: SshRunner, guest_a: Guest) -> None:
    await asyncio.to_thread(
        guest_a.sh,
        "mkdir -p /run/systemd/system/work@a.service.d; "
        "printf '[Service]\\nNice=5\\n' > /run/systemd/system/work@a.service.d/nice.conf; systemctl daemon-reload",
    )
    text = await systemd.cat(root, "work@a.service")
    assert "# /etc/systemd/system/work@.service" in text
    assert "Nice=5" in text
    with pytest.raises(Refused) as refused:
        await systemd.cat(root, "nope.service")
    assert refused.value.code == "not_found"


async def test_what_hangs_on_a_unit(root: SshRunner, guest_a: Guest) -> None:
    await asyncio.to_thread(guest_a.sh, "systemctl start needswork boundtowork")
    found = (await _snapshot(root)).units
    assert systemd.dependencies(found, "work.service") == {
        "needswork.service": "work.service",
        "boundtowork.service": "work.service",
    }
    assert "work.service" in systemd.dependencies(found, "needswork.service", reverse=False)


async def test_our_own_way_in_is_known(root: SshRunner) -> None:
    found = systemd.carriers((await _snapshot(root)).units)
    assert found["ssh.service"] == "the ssh server"
    assert "needed by ssh.service" in found["sysinit.target"]
    assert "work.service" not in found


async def _after(runner: Runner, deadman: systemd.Deadman, *waiting: systemd.DeadmanState) -> systemd.DeadmanState:
    """Its first other state."""
    for _ in range(200):
        state = await systemd.deadman_state(runner, deadman)
        if state not in waiting:
            return state
        await asyncio.sleep(0.1)
    raise TimeoutError(state)


async def test_a_dead_man_fires_by_itself_after_the_line_was_cut(root: SshRunner, guest_a: Guest) -> None:
    deadman = await systemd.arm_deadman(root, "start", "ssh.service", 2, "fires")
    assert await systemd.deadman_state(root, deadman) == "armed"
    stop = "systemctl stop ssh.service; systemctl is-active ssh.service"
    assert (await root.run(stop, timeout=20)).stdout == b"inactive\n"
    with pytest.raises(Exception, match="refused"):
        await root.fresh()
    assert await _after(root, deadman, "armed", "firing") == "fired"
    await root.fresh()
    assert await systemd.disarm(root, deadman) == "fired"
    assert await systemd.deadman_state(root, deadman) == "gone"
    assert (await asyncio.to_thread(guest_a.sh, "systemctl is-active ssh.service")).strip() == "active"


async def test_a_dead_man_disarmed_in_time_does_nothing(desk: Desk, guest_a: Guest) -> None:
    admin = desk.runner(guest_a, "admin1")
    deadman = await systemd.arm_deadman(admin, "start", "static.service", 1, "calm")
    assert await systemd.disarm(admin, deadman) == "armed"
    assert await systemd.disarm(admin, deadman) == "gone"
    await asyncio.sleep(1.5)
    assert (await systemd.show(admin, ["static.service"], timeout=20))["static.service"].active_state == "inactive"


async def test_a_dead_man_that_could_not_restore(root: SshRunner) -> None:
    deadman = await systemd.arm_deadman(root, "start", "nope.service", 1, "fails")
    assert await _after(root, deadman, "armed", "firing") == "failed"
    assert await systemd.disarm(root, deadman) == "failed"


async def test_who_may_not_arm_a_dead_man(desk: Desk, guest_a: Guest) -> None:
    with pytest.raises(Refused) as refused:
        await systemd.arm_deadman(desk.runner(guest_a, "ops"), "start", "work.service", 5, "no")
    assert refused.value.code == "privilege"
    for verb, seconds, tag in (("stop", 5, "t"), ("start", 0, "t"), ("start", 5, "a b")):
        with pytest.raises(ValueError, match="dead-man"):
            await systemd.arm_deadman(desk.runner(guest_a), verb, "work.service", seconds, tag)


async def test_a_host_without_systemd(desk: Desk, plain_host: Node) -> None:
    if (await LocalRunner().run("test -d /run/systemd/system", timeout=20)).ok:
        pytest.skip("plain sshd has systemd behind it on this machine")
    runner = desk.runner(plain_host)
    with pytest.raises(Unsupported, match="no systemd here"):
        await systemd.snapshot(runner, timeout=20)
    with pytest.raises((Unsupported, Refused)):
        await systemd.act(runner, "restart", "ssh.service", timeout=20)


class _Says:
    """A host that answers anything with the same."""

    def __init__(self, stdout: bytes, stderr: bytes = b"", status: int = 0) -> None:
        self.name = "web1"
        self._done = Completed(status, stdout, stderr, 0.1)

    async def run(self, command: str, *, stdin: bytes = b"", timeout: float, become: bool = False) -> Completed:
        del command, stdin, timeout, become
        return self._done


@pytest.mark.parametrize(
    ("stdout", "stderr", "expected"),
    [
        (b"", b"This account is currently not available.", "not available"),
        (b"@@opsconsole host\nsystemd=yes\n@@opsconsole show\nId=a.service\n", b"", "incomplete"),
        (b"@@opsconsole host\nsystemd=yes\n@@opsconsole show\nNo bus\nshow_failed=1\n@@opsconsole end\n", b"",
         "No bus"),
        (b"@@opsconsole host\nsystemd=yes\n@@opsconsole end\n", b"", "listed nothing"),
    ],
)  # fmt: skip
async def test_an_answer_that_cannot_be_used(stdout: bytes, stderr: bytes, expected: str) -> None:
    with pytest.raises(ProtocolError, match=expected):
        await systemd.snapshot(_Says(stdout, stderr), timeout=5)  # type: ignore[arg-type]
