"""Cutting the branch we sit on: the name must be typed, and the host brings the branch back by itself."""

from __future__ import annotations

import time

import pytest

from opsconsole.engine.errors import ConfirmationRequired, ConsoleError
from tests.lab.guests import Guest
from tests.opsconsole.services.conftest import Desk, MakeDesk

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]


@pytest.fixture
async def desk(desks: MakeDesk, guest_b: Guest) -> Desk:
    return await desks(guest_b, settings="min_uptime = 0.5\ndeadman_seconds = 12\nconnect_timeout = 3.0\n")


def timers(guest: Guest) -> str:
    return guest.sh("systemctl list-units --all --plain --no-legend 'opsconsole-deadman-*'").strip()


async def test_the_plan_says_so_and_asks_for_the_name(desk: Desk) -> None:
    plan = await desk.plan("services.restart", host="b", name="ssh")
    assert (plan["rung"], plan["expect"], plan["needs_reason"]) == (3, "ssh", True)
    assert "carries our own way in" in plan["targets"][0]["warnings"][0]
    with pytest.raises(ConfirmationRequired):
        await desk.call("services.restart", confirm="yes", host="b", name="ssh")
    with pytest.raises(ConfirmationRequired) as caught:
        await desk.call("services.restart", confirm="ssh", host="b", name="ssh")
    assert caught.value.field == "reason"


async def test_what_needs_it_counts_too(desk: Desk) -> None:
    plan = await desk.plan("services.restart", host="b", name="work")
    assert plan["rung"] == 1


async def test_a_restart_of_sshd_goes_through_and_the_dead_man_is_taken_away(desk: Desk, guest_b: Guest) -> None:
    before = guest_b.sh("systemctl show -p InvocationID --value ssh")
    assert await desk.call("services.restart", confirm="ssh", reason="new keys", host="b", name="ssh") == {}
    assert guest_b.sh("systemctl show -p InvocationID --value ssh") != before
    assert timers(guest_b) == ""


async def test_a_stop_of_sshd_is_undone_by_the_host_itself(desk: Desk, guest_b: Guest) -> None:
    started = time.monotonic()
    with pytest.raises(ConsoleError) as caught:
        await desk.call("services.stop", confirm="ssh", reason="oops", host="b", name="ssh")
    assert "started it again by itself" in caught.value.message
    assert time.monotonic() - started >= 10
    assert guest_b.sh("systemctl is-active ssh").strip() == "active"
    assert timers(guest_b) == ""
