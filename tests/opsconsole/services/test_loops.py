"""A unit in a crash loop has a plan that stays the same from one moment of the loop to the next."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.systemd import UnitState
from opsconsole.services.actions import before

NOW = 1_800_000_000.0


def unit(active: str, sub: str, **more: Any) -> UnitState:
    return UnitState(id="app.service", active_state=active, sub_state=sub, load_state="loaded", **more)


def test_every_moment_of_a_crash_loop_looks_the_same() -> None:
    moments = [
        unit("activating", "auto-restart", n_restarts=7, invocation_id="a", result="exit-code"),
        unit("activating", "start", n_restarts=8, invocation_id="b"),
        unit("active", "running", n_restarts=8, invocation_id="b", state_change=NOW - 2),
        unit("deactivating", "stop-sigterm", n_restarts=8, invocation_id="b"),
    ]
    states = [before(moment, NOW) for moment in moments]
    assert all(state == states[0] for state in states)
    assert states[0]["status"] == "restarting by itself"


@pytest.mark.parametrize(
    "settled",
    [
        unit("active", "running", n_restarts=8, invocation_id="b", state_change=NOW - 3600),
        unit("failed", "failed", n_restarts=5, invocation_id="b", result="start-limit-hit"),
        unit("inactive", "dead", n_restarts=5),
        unit("active", "running", n_restarts=0, invocation_id="b", state_change=NOW - 2),
        unit("activating", "start", invocation_id="b"),
    ],
)
def test_a_settled_unit_is_bound_to_its_state(settled: UnitState) -> None:
    state = before(settled, NOW)
    assert state["active"] == settled.active_state
    assert state["invocation_id"] == (settled.invocation_id or None)
