"""An approval is used once, however many come for it at once; and nothing but an approval opens the top rung."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, select

import opsconsole.approvals.changes
import opsconsole.journal.audit  # noqa: F401
from data.models import Approval, Review, Run, User
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.errors import ConsoleError
from opsconsole.engine.perform import Consent
from tests.data.helpers import url_of
from tests.opsconsole.houses import Bench
from tests.opsconsole.second import pair
from tests.opsconsole.wiping import NAME, Wipe

ROOT = Path(__file__).parents[2]
PROCESSES = 4


def _started(command: list[str]) -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)


async def test_several_processes_come_for_one_approval(bench: Bench, wipe: type[Wipe]) -> None:
    two = await pair(bench)
    approval_id = await two.approved()
    hosts = [str(host) for host in two.hosts]
    command = [sys.executable, "-P", "-m", "tests.opsconsole.wiped"]
    arguments = [str(bench.house.home), url_of(bench.database), "ann", approval_id, *hosts]
    children = [_started([*command, *arguments]) for _ in range(PROCESSES)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [(await asyncio.to_thread(child.communicate, timeout=60))[0].split() for child in children]
    assert sorted(said) == [["approval_invalid", "0"]] * (PROCESSES - 1) + [["done", "2"]]
    runs = await bench.database.read(lambda tx: tx.exec(select(Run).where(Run.operation == NAME)).all())
    assert [(run.state, run.id) for run in runs] == [("finished", (await two.row(approval_id)).run_id)]


async def test_use_and_rejection_at_the_same_moment(bench: Bench, wipe: type[Wipe]) -> None:
    """Whichever is first: what was rejected was not done, and what was done cannot be rejected any more."""
    two = await pair(bench)
    for _ in range(5):
        approval_id = await two.approved()
        wipe.wiped = []
        results = await asyncio.gather(
            two.perform(approval_id),
            bench.call(two.bob, "approvals.reject", {"id": approval_id, "reason": "stop"}),
            return_exceptions=True,
        )
        state = (await two.row(approval_id)).state
        assert [isinstance(result, ConsoleError) for result in results] == (
            [False, True] if state == "used" else [True, False]
        )
        assert len(wipe.wiped) == (2 if state == "used" else 0)


async def test_two_approvers_at_the_same_moment(bench: Bench, wipe: type[Wipe]) -> None:
    two = await pair(bench)
    cid = await bench.user("cid", hosts=dict.fromkeys(two.hosts, "view_host delete_host"))
    approval_id = await two.ask()
    results = await asyncio.gather(two.approve(approval_id), two.approve(approval_id, cid), return_exceptions=True)
    assert sorted(isinstance(result, ConsoleError) for result in results) == [False, True]
    agreed = [
        row.actor for row in await bench.journal() if row.operation == "approvals.approve" and row.result == "done"
    ]
    assert agreed == [(await two.row(approval_id)).decided_by]


CONFIRMS = (
    "yes",
    "2",
    "old-1",
    "2 default",
    "2 old-1",
    "approval",
    "break-glass",
    "digest",
    "id",
    "id",
    "other id",
    "ID",
    "",
    None,
)
SPOILED = (
    "nothing", "pending", "rejected", "withdrawn", "expired", "used", "no such state", "late", "digest", "bound",
    "requester", "approver is requester", "approver gone", "approver unfit", "approver disabled", "task", "persons",
)  # fmt: skip


@pytest.mark.parametrize("spoiled", SPOILED)
async def test_an_approval_that_is_not_whole_opens_nothing(small_bench: Bench, wipe: type[Wipe], spoiled: str) -> None:
    await _attempt(small_bench, wipe, "id", spoiled, False, "because", True, "right")


@given(
    confirm=st.sampled_from(CONFIRMS),
    spoiled=st.sampled_from(SPOILED),
    break_glass=st.booleans(),
    reason=st.sampled_from((None, "", " ", "because")),
    glass=st.booleans(),
    seen=st.sampled_from((None, "right", "wrong")),
)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_nothing_else_opens_the_top_rung(
    small_bench: Bench, wipe: type[Wipe], confirm: str | None, spoiled: str, break_glass: bool, reason: str | None,
    glass: bool, seen: str | None,
) -> None:  # fmt: skip
    """Whatever is typed, and whatever became of the approval: done is only what has one that is whole, or what broke
    the glass with a reason where that is allowed; and each leaves its mark."""
    asyncio.run(_attempt(small_bench, wipe, confirm, spoiled, break_glass, reason, glass, seen))


async def _attempt(
    bench: Bench, wipe: type[Wipe], confirm: str | None, spoiled: str, break_glass: bool, reason: str | None,
    glass: bool, seen: str | None,
) -> None:  # fmt: skip
    two = await _pair_once(bench)
    object.__setattr__(bench.house.settings, "break_glass", glass)
    approval_id, other = await two.approved(), await two.approved(level="quick")
    digest = (await two.row(approval_id)).plan_digest
    await bench.database.write(lambda tx: _spoil(tx, approval_id, spoiled))
    texts = {"digest": digest, "id": approval_id, "other id": other, "ID": f" {approval_id} "}
    given_confirm = texts.get(confirm, confirm) if confirm is not None else None
    shown = {"right": digest, "wrong": "0" * 64}.get(seen or "")
    consent = Consent(given_confirm, reason, shown, break_glass)
    wipe.wiped = []
    reviews = await _reviews(bench)
    try:
        await dispatch.call(Context(bench.house, await bench.caller("ann")), NAME, two.given, consent)
        done = True
    except ConsoleError:
        done = False
    whole = confirm in {"id", "ID"} and spoiled == "nothing"
    names_one = confirm in {"id", "other id", "ID"}
    broken = break_glass and glass and bool((reason or "").strip()) and not names_one
    try:
        assert done == ((whole or broken) and seen != "wrong")
        assert len(wipe.wiped) == (2 if done else 0)
        assert await _reviews(bench) - reviews == (1 if done and broken else 0)
        assert ((await two.row(approval_id)).state == "used") == ((done and whole) or spoiled == "used")
    finally:
        await bench.database.write(_forget)


async def _pair_once(bench: Bench) -> Any:
    from tests.opsconsole.second import Pair

    known = await bench.database.read(lambda tx: tx.exec(select(User).where(User.username == "ann")).first())
    if known is None:
        await bench.user("eve")
        return await pair(bench)
    hosts = await bench.call(await bench.caller("ann"), "hosts.list")
    ids = sorted(host["id"] for host in hosts["results"] if host["name"].startswith("old-"))
    return Pair(bench, await bench.caller("ann"), await bench.caller("bob"), ids)


def _spoil(tx: Session, approval_id: str, how: str) -> None:
    row = tx.get(Approval, approval_id)
    bob = tx.exec(select(User).where(User.username == "bob")).one()
    eve = tx.exec(select(User).where(User.username == "eve")).one()
    assert row is not None
    if how in {"pending", "rejected", "withdrawn", "expired", "used", "no such state"}:
        row.state = how
    elif how == "late":
        row.expires_at = datetime.now(UTC) - timedelta(seconds=1)
    elif how == "digest":
        row.plan_digest = "1" * 64
    elif how == "bound":
        row.bound_to = "2" * 64
    elif how == "requester":
        row.requester_id = eve.id
    elif how == "approver is requester":
        row.decided_by, row.decided_by_id, row.decided_persons = row.requester, row.requester_id, [row.requester]
    elif how == "approver gone":
        row.decided_by_id = None
    elif how == "approver unfit":
        row.decided_by, row.decided_by_id, row.decided_persons = "eve", eve.id, ["eve"]
    elif how == "approver disabled":
        bob.status = "disabled"
        tx.add(bob)
    elif how == "task":
        row.task_id = "task-1"
    elif how == "persons":
        row.decided_persons = [*row.decided_persons, "ann"]
    tx.add(row)


def _forget(tx: Session) -> None:
    bob = tx.exec(select(User).where(User.username == "bob")).one()
    bob.status = "enabled"
    tx.add(bob)
    for row in tx.exec(select(Approval)):
        tx.delete(row)


async def _reviews(bench: Bench) -> int:
    return len(await bench.database.read(lambda tx: tx.exec(select(Review.id)).all()))
