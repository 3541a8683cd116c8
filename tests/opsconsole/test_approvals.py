"""A second person: asked for, decided, used once; and every way in which it must not work."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session

import opsconsole.approvals.changes
import opsconsole.approvals.reads
import opsconsole.journal.audit
import opsconsole.journal.runs  # noqa: F401
from data.models import Approval, Run
from opsconsole.engine import approvals as engine
from opsconsole.engine.context import Context
from opsconsole.engine.errors import (
    ApprovalInvalid,
    ApprovalRequired,
    ConfirmationRequired,
    InvalidParameter,
    LeaseHeld,
    NobodyCanApprove,
    ObjectNotFound,
    PermissionDenied,
    PlanStale,
    RequiredFieldMissing,
    StateConflict,
    UserDisabled,
)
from opsconsole.engine.perform import Consent
from tests.opsconsole.houses import Bench
from tests.opsconsole.probes import NAME as PROBE
from tests.opsconsole.probes import Probe
from tests.opsconsole.second import pair
from tests.opsconsole.wiping import NAME, Wipe

pytestmark = pytest.mark.usefixtures("wipe")


def later(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    moment = datetime.now(UTC) + timedelta(hours=hours)
    monkeypatch.setattr(Context, "now", lambda self: moment)
    monkeypatch.setattr("opsconsole.engine.audit.now", lambda: moment)


async def test_what_is_missing_and_who_could(bench: Bench, wipe: type[Wipe]) -> None:
    two = await pair(bench)
    with pytest.raises(ApprovalRequired) as refused:
        await two.perform("2 default")
    said = refused.value
    assert (said.exit_status, said.data["rung"], said.data["expect"]) == (7, 4, "approval")
    assert said.data["eligible"] == ["bob"]
    planned = await bench.plan(two.ann, NAME, two.given)
    assert (planned["rung"], planned["eligible"], planned["break_glass"]) == (4, ["bob"], True)
    assert planned["digest"] == said.data["plan_digest"]
    with pytest.raises(ApprovalRequired):
        await two.perform(planned["digest"])
    assert wipe.wiped == []


async def test_asked_approved_and_used_once(bench: Bench, wipe: type[Wipe]) -> None:
    two = await pair(bench)
    approval_id = await two.ask()
    asked = await bench.call(two.bob, "approvals.get", {"id": approval_id, "fresh": True})
    assert (asked["state"], asked["requester"], asked["may_decide"], asked["mine"]) == ("pending", "ann", True, False)
    assert [target["name"] for target in asked["plan"]["targets"]] == ["old-1", "old-2"]
    assert asked["fresh"]["same"] is True
    assert asked["fresh"]["plan"]["targets"][0]["before"] == {"location": None}
    with pytest.raises(ApprovalInvalid, match="nobody has decided it yet"):
        await two.perform(approval_id)
    with pytest.raises(ConfirmationRequired):
        await bench.call(two.bob, "approvals.approve", {"id": approval_id})
    answer = await two.approve(approval_id)
    assert (answer["state"], answer["decided_by"]) == ("approved", "bob")
    assert wipe.wiped == []
    await two.perform(approval_id)
    assert [name for name, _ in wipe.wiped] == ["old-1", "old-2"]
    row = await two.row(approval_id)
    run = await bench.database.read(lambda tx: tx.get(Run, row.run_id))
    assert (row.state, run and run.operation, run and run.state) == ("used", NAME, "finished")
    with pytest.raises(ApprovalInvalid, match="used already"):
        await two.perform(approval_id)
    assert len(wipe.wiped) == 2


async def test_everything_is_in_the_journal(bench: Bench) -> None:
    two = await pair(bench)
    root = await bench.user("root", admin=True)
    await two.perform(await two.approved())
    rows = [(row.operation, row.actor, row.result) for row in await bench.journal()]
    assert rows == [
        ("approvals.request", "ann", "done"),
        ("approvals.approve", "bob", "done"),
        (NAME, "ann", "done"),
        (NAME, "ann", "done"),
    ]
    last = (await bench.journal())[-1]
    assert last.detail["approved_by"] == "bob"
    assert (await bench.call(root, "audit.verify"))["verdict"] == "intact"


async def test_the_requester_never_approves_himself(bench: Bench, wipe: type[Wipe]) -> None:
    """Not as himself, not for another, not behind another's token."""
    two = await pair(bench)
    approval_id = await two.ask()
    with pytest.raises(PermissionDenied, match="second person to himself"):
        await two.approve(approval_id, two.ann)
    root = await bench.user("root", admin=True)
    yes = Consent(confirm="yes")
    for laundered in (replace(two.bob, on_behalf="ann"), replace(two.bob, login="ann")):
        with pytest.raises(PermissionDenied, match="second person to himself"):
            await two.as_somebody(laundered, "approvals.approve", {"id": approval_id}, yes)
    # root asks as ann, and cannot agree as root
    for_ann = replace(two.ann, on_behalf="root")
    wanted = {"operation": NAME, "input": two.given | {"level": "quick"}, "reason": "scrap"}
    asked = await two.as_somebody(for_ann, "approvals.request", wanted, Consent())
    with pytest.raises(PermissionDenied, match="root cannot be the second person"):
        await two.approve(asked["id"], root)
    # bob agrees, and cannot do it as ann
    await two.approve(approval_id)
    with pytest.raises(ApprovalInvalid, match="bob cannot be the second person"):
        await two.as_somebody(replace(two.ann, on_behalf="bob"), NAME, two.given, Consent(confirm=approval_id))
    refused = [row for row in await bench.journal() if row.result == "refused"]
    assert {row.operation for row in refused} == {"approvals.approve", NAME}
    assert wipe.wiped == []


async def test_an_approver_needs_the_permission_on_every_target(bench: Bench) -> None:
    two = await pair(bench)
    cid = await bench.user("cid", hosts={two.hosts[0]: "view_host delete_host"})
    dora = await bench.user("dora", "audit.view_audit")
    approval_id = await two.ask()
    for other in (cid, dora):
        with pytest.raises(PermissionDenied) as refused:
            await two.approve(approval_id, other)
        assert refused.value.data["who_could"] == "bob"
        with pytest.raises(PermissionDenied):
            await bench.call(other, "approvals.reject", {"id": approval_id, "reason": "no"})
    with pytest.raises(ObjectNotFound):
        await bench.call(cid, "approvals.get", {"id": approval_id})
    shown = await bench.call(dora, "approvals.get", {"id": approval_id, "fresh": True})
    assert (shown["may_decide"], shown["fresh"]["plan"]) == (False, None)
    await two.disable("bob")
    with pytest.raises(UserDisabled):
        await two.approve(approval_id)
    assert (await two.row(approval_id)).state == "pending"


async def test_a_plan_that_changed_is_not_approved_and_not_done(bench: Bench, wipe: type[Wipe]) -> None:
    two = await pair(bench)
    first, second = await two.approved(), await two.ask(level="quick")
    await two.move_host()
    with pytest.raises(PlanStale, match="must ask again"):
        await two.approve(second)
    shown = await bench.call(two.bob, "approvals.get", {"id": second, "fresh": True})
    assert (shown["fresh"]["same"], shown["state"]) == (False, "pending")
    with pytest.raises(PlanStale, match="another plan"):
        await two.perform(first)
    assert wipe.wiped == []
    await two.perform(await two.approved())


async def test_an_approval_serves_one_input_only(bench: Bench, wipe: type[Wipe]) -> None:
    """The digest of a plan cannot tell one secret from another; the approval can."""
    two = await pair(bench)
    approval_id = await two.approved(password="first")
    for other in ("second", None):
        with pytest.raises((ApprovalInvalid, PlanStale)):
            await two.perform(approval_id, password=other)
    with pytest.raises(PlanStale):
        await two.perform(approval_id, password="first", level="quick")
    assert wipe.wiped == []
    await two.perform(approval_id, password="first")
    assert wipe.wiped[0] == ("old-1", "first")


async def test_only_the_requester_uses_it(bench: Bench, wipe: type[Wipe]) -> None:
    two = await pair(bench)
    cid = await bench.user("cid", hosts=dict.fromkeys(two.hosts, "delete_host view_host"))
    approval_id = await two.approved()
    for other in (cid, two.bob):
        with pytest.raises(ApprovalInvalid, match="none with this id for this user"):
            await two.perform(approval_id, by=other)
        with pytest.raises((PermissionDenied, ObjectNotFound)):
            await bench.call(other, "approvals.perform", {"id": approval_id}, confirm=approval_id)
    with pytest.raises(ApprovalInvalid, match="none with this id"):
        await two.perform("01900000-0000-7000-8000-000000000000")
    assert wipe.wiped == []


async def test_expired(bench: Bench, wipe: type[Wipe], monkeypatch: pytest.MonkeyPatch) -> None:
    two = await pair(bench)
    late, approved = await two.ask(password="s3cret"), await two.approved()
    heard: list[tuple[str, str]] = []
    monkeypatch.setattr(engine, "on_decided", [lambda tx, row: heard.append((row.id, row.state))])
    later(monkeypatch, bench.house.settings.approval_hours + 0.01)
    listed = await bench.call(two.ann, "approvals.list", {"state": "expired"})
    assert {row["id"] for row in listed["results"]} == {late, approved}
    with pytest.raises(StateConflict, match="is expired"):
        await two.approve(late)
    with pytest.raises(ApprovalInvalid, match="expired at"):
        await two.perform(approved)
    with pytest.raises(StateConflict, match="is expired"):
        await bench.call(two.ann, "approvals.perform", {"id": approved}, confirm=approved)
    await bench.house.sweep(force=True)
    assert sorted(heard) == sorted([(late, "expired"), (approved, "expired")])
    assert ((await two.row(late)).state, (await two.row(late)).sealed) == ("expired", None)
    ended = [row.target_id for row in await bench.journal() if row.operation == "approvals.expire"]
    assert sorted(str(one) for one in ended) == sorted([late, approved])
    assert await bench.house.sweep(force=True) == []
    assert len(heard) == 2
    assert wipe.wiped == []


@pytest.mark.parametrize("lost", ["all rights", "one target", "disabled", "deleted name"])
async def test_the_approver_must_still_be_fit_when_it_is_used(bench: Bench, wipe: type[Wipe], lost: str) -> None:
    two = await pair(bench)
    approval_id = await two.approved()
    if lost == "disabled":
        await two.disable("bob")
    elif lost == "deleted name":

        def rename(tx: Session) -> None:
            tx.connection().execute(text("UPDATE \"user\" SET username = 'robert' WHERE username = 'bob'"))

        await two.edit(rename)
    else:
        await two.take_rights("bob", two.hosts[1] if lost == "one target" else None)
    with pytest.raises(ApprovalInvalid, match="bob"):
        await two.perform(approval_id)
    assert wipe.wiped == []
    assert (await two.row(approval_id)).state == "approved"


async def test_the_administrator_behind_an_approval_must_be_fit_too(bench: Bench, wipe: type[Wipe]) -> None:
    two = await pair(bench)
    await bench.user("root", admin=True)
    approval_id = await two.ask()
    for_bob = replace(two.bob, on_behalf="root")
    await two.as_somebody(for_bob, "approvals.approve", {"id": approval_id}, Consent(confirm="yes"))
    await two.disable("root")
    with pytest.raises(ApprovalInvalid, match="root is disabled"):
        await two.perform(approval_id)
    assert wipe.wiped == []


async def test_a_requester_without_rights_is_not_approved(bench: Bench) -> None:
    two = await pair(bench)
    approval_id = await two.ask()
    await two.take_rights("ann")
    with pytest.raises(ApprovalInvalid, match="ann may not do it any more"):
        await two.approve(approval_id)
    shown = await bench.call(two.bob, "approvals.get", {"id": approval_id, "fresh": True})
    assert shown["fresh"]["error"]["code"] == "approval_invalid"
    assert [row.actor for row in await bench.journal() if row.result == "refused"] == []  # ann has attempted nothing
    with pytest.raises(PermissionDenied):
        await two.perform(approval_id)


async def test_nobody_could_approve(bench: Bench) -> None:
    two = await pair(bench)
    await two.take_rights("bob", two.hosts[0])
    with pytest.raises(NobodyCanApprove, match=r"host\.delete_host") as refused:
        await two.ask()
    assert (refused.value.exit_status, refused.value.data["administrators"]) == (3, "nobody")
    with pytest.raises(ApprovalRequired, match=r"nobody else holds host\.delete_host") as required:
        await two.perform()
    assert required.value.data["eligible"] == []
    await bench.user("root", admin=True)
    assert (await two.row(await two.ask())).state == "pending"


async def test_rejected_and_withdrawn(bench: Bench, wipe: type[Wipe]) -> None:
    two = await pair(bench)
    rejected = await two.ask()
    with pytest.raises((RequiredFieldMissing, InvalidParameter)):
        await bench.call(two.bob, "approvals.reject", {"id": rejected, "reason": "  "})
    with pytest.raises(PermissionDenied, match="only ann can withdraw"):
        await bench.call(two.bob, "approvals.withdraw", {"id": rejected})
    await bench.call(two.bob, "approvals.reject", {"id": rejected, "reason": "still in use"})
    with pytest.raises(ApprovalInvalid, match=r"it was rejected by bob.*still in use"):
        await two.perform(rejected)
    withdrawn = await two.ask()
    await bench.call(two.ann, "approvals.withdraw", {"id": withdrawn})
    for call in (two.approve(withdrawn), bench.call(two.ann, "approvals.withdraw", {"id": withdrawn})):
        with pytest.raises(StateConflict, match="is withdrawn"):
            await call
    taken_back = await two.approved()
    with pytest.raises(StateConflict, match="is approved by bob"):
        await two.approve(taken_back)
    await bench.call(two.bob, "approvals.reject", {"id": taken_back, "reason": "wait"})
    with pytest.raises(ApprovalInvalid, match="it was rejected"):
        await two.perform(taken_back)
    assert wipe.wiped == []


async def test_asking_where_nobody_has_to_agree(bench: Bench, probe: type[Probe]) -> None:
    two = await pair(bench)
    root = await bench.user("root", admin=True)
    cases: list[tuple[Any, type[Exception], str]] = [
        ({"operation": PROBE, "input": {}}, InvalidParameter, "needs no second person"),
        ({"operation": "runs.list", "input": {}}, InvalidParameter, "only reads"),
        ({"operation": "approvals.approve", "input": {"id": "x"}}, ObjectNotFound, "no approval"),
        ({"operation": "probe.wiep", "input": {}}, ObjectNotFound, "no operation"),
        ({"operation": NAME, "input": {}}, RequiredFieldMissing, "hosts"),
        ({"operation": NAME, "input": {"hosts": two.hosts, "how": 1}}, InvalidParameter, "no such field"),
    ]
    for wanted, error, said in cases:
        with pytest.raises(error, match=said):
            await bench.call(root, "approvals.request", wanted | {"reason": "r"})
    with pytest.raises((RequiredFieldMissing, InvalidParameter), match="reason"):
        await bench.call(root, "approvals.request", {"operation": NAME, "input": two.given, "reason": ""})
    assert (await bench.call(root, "approvals.list"))["count"] == 0


async def test_the_same_is_asked_once(bench: Bench) -> None:
    two = await pair(bench)
    first = await two.ask()
    with pytest.raises(StateConflict) as again:
        await two.ask()
    assert again.value.data == {"approval_id": first, "state": "pending"}
    await two.ask(level="quick")
    await bench.call(two.ann, "approvals.withdraw", {"id": first})
    await two.ask()


async def test_an_inbox_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    two = await pair(bench)
    monkeypatch.setattr(engine, "MOST_OPEN", 2)
    await two.ask()
    await two.ask(level="quick")
    with pytest.raises(StateConflict, match="withdraw what is not needed"):
        await two.ask(level="slow")


async def test_perform_takes_the_input_from_the_request(bench: Bench, wipe: type[Wipe]) -> None:
    two = await pair(bench)
    approval_id = await two.approved(password="s3cret")
    planned = await bench.plan(two.ann, "approvals.perform", {"id": approval_id})
    assert (planned["operation"], planned["rung"]) == (NAME, 4)
    with pytest.raises(ApprovalRequired):
        await bench.call(two.ann, "approvals.perform", {"id": approval_id}, confirm="yes")
    await bench.call(two.ann, "approvals.perform", {"id": approval_id}, confirm=approval_id)
    assert sorted(wipe.wiped) == [("old-1", "s3cret"), ("old-2", "s3cret")]
    with pytest.raises(StateConflict, match="is used"):
        await bench.call(two.ann, "approvals.perform", {"id": approval_id}, confirm=approval_id)


async def test_no_secret_lies_in_the_database(bench: Bench) -> None:
    """Not while it waits, not after; nowhere in any table or row."""
    two = await pair(bench)
    secrets = ("hunter2-password", "hunter2-pin")
    given: dict[str, Any] = {"password": secrets[0], "disks": [{"name": "sda", "pin": secrets[1]}]}

    async def everything() -> str:
        def work(tx: Session) -> str:
            found = []
            for table in ("approval", "run", "run_target", "audit", "change", "review"):
                rows = tx.connection().execute(text(f"SELECT * FROM {table}"))  # noqa: S608 - names of our own
                found += [repr(tuple(row)) for row in rows]
            return "\n".join(found)

        return await bench.database.read(work)

    asked = await two.ask(**given)
    held = await everything()
    assert "old-1" in held
    assert not [secret for secret in secrets if secret in held]
    row = await two.row(asked)
    assert row.input["password"] == "***"
    assert row.input["disks"] == [{"name": "sda", "pin": "***"}]
    opened = json.loads(await bench.house.unseal(row.sealed or b"", context=engine.sealed_for(asked)))
    assert opened == [[["password"], secrets[0]], [["disks", 0, "pin"], secrets[1]]]
    await two.approve(asked)
    await two.perform(asked, **given)
    assert not [secret for secret in secrets if secret in await everything()]
    assert (await two.row(asked)).sealed is None


@pytest.mark.parametrize("field", ["hosts", "level"])
async def test_an_input_changed_in_the_database_is_noticed(bench: Bench, field: str) -> None:
    two = await pair(bench)
    approval_id = await two.ask()

    def tamper(tx: Session) -> None:
        row = tx.get(Approval, approval_id)
        assert row is not None
        row.input = row.input | {field: two.hosts[:1] if field == "hosts" else "quick"}
        tx.add(row)

    await two.edit(tamper)
    with pytest.raises(ApprovalInvalid, match="not the one it was asked for with"):
        await two.approve(approval_id)


async def test_what_cannot_begin_does_not_use_it_up(bench: Bench, wipe: type[Wipe]) -> None:
    from opsconsole.engine import leases

    two = await pair(bench)
    approval_id = await two.approved()
    now = datetime.now(UTC)
    resource = f"host:{two.hosts[1]}"
    await bench.database.write(
        lambda tx: leases.acquire(tx, [resource], holder="else", actor="cid", purpose="at work", now=now)
    )
    with pytest.raises(LeaseHeld):
        await two.perform(approval_id)
    assert (await two.row(approval_id)).state == "approved"
    await bench.database.write(lambda tx: leases.release(tx, "else"))
    await two.perform(approval_id)
    assert len(wipe.wiped) == 2


async def test_a_listener_decides_within_the_same_transaction(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails undoes the decision; one that waits for a task sees it as it will be."""
    two = await pair(bench)
    approval_id = await two.ask()

    def broken(tx: Session, row: Approval) -> None:
        raise StateConflict("the task is gone")

    monkeypatch.setattr(engine, "on_decided", [broken])
    with pytest.raises(StateConflict, match="the task is gone"):
        await two.approve(approval_id)
    assert (await two.row(approval_id)).state == "pending"
    heard: list[tuple[str, str | None]] = []
    monkeypatch.setattr(engine, "on_decided", [lambda tx, row: heard.append((row.state, row.decided_by))])
    await two.approve(approval_id)
    assert heard == [("approved", "bob")]


async def test_an_approval_of_a_task_serves_that_task_alone(bench: Bench, wipe: type[Wipe]) -> None:
    two = await pair(bench)
    approval_id = await two.approved()

    def bind(tx: Session) -> None:
        row = engine.locked(tx, approval_id)
        row.task_id = "task-1"
        tx.add(row)

    await two.edit(bind)
    asked, now = await two.row(approval_id), datetime.now(UTC)
    with pytest.raises(ApprovalInvalid, match="task-1"):
        await two.perform(approval_id)
    with pytest.raises(StateConflict, match="begins by itself"):
        await bench.call(two.ann, "approvals.perform", {"id": approval_id}, confirm=approval_id)

    async def consumed(task: str | None, bound_to: str = asked.bound_to) -> Approval:
        def work(tx: Session) -> Approval:
            more = {"task_id": task, "bound_to": bound_to}
            return engine.consume(tx, approval_id, asked.plan_digest, two.ann.user_id, now, **more)  # type: ignore[arg-type]

        return await bench.database.write(work)

    for task in ("task-2", None):
        with pytest.raises(ApprovalInvalid):
            await consumed(task)
    with pytest.raises(ApprovalInvalid, match="another input"):
        await consumed("task-1", "another")
    used = await consumed("task-1")
    assert (used.state, used.run_id) == ("used", "task-1")
    with pytest.raises(ApprovalInvalid, match="used already"):
        await consumed("task-1")
    assert wipe.wiped == []


async def test_who_sees_what_waits(bench: Bench) -> None:
    two = await pair(bench)
    eve = await bench.user("eve", "service.view_service")
    root = await bench.user("root", admin=True)
    first, second = await two.ask(), await two.ask(level="quick")

    async def seen(caller: Any, **query: Any) -> list[str]:
        return [row["id"] for row in (await bench.call(caller, "approvals.list", query))["results"]]

    assert await seen(two.bob) == await seen(two.ann) == await seen(root) == [second, first]
    assert await seen(eve) == []
    assert await seen(two.bob, to_decide=True) == [second, first]
    assert await seen(two.ann, to_decide=True) == []
    assert await seen(two.ann, mine=True, state="pending") == [second, first]
    digest = (await two.row(first)).plan_digest
    assert await seen(two.ann, plan_digest=digest) == [first]
    counts = await bench.call(two.bob, "approvals.count")
    assert counts.pop("to_decide") == 2
    assert set(counts.values()) == {0}
    await two.approve(first)
    assert (await bench.call(two.bob, "approvals.count"))["to_decide"] == 1
    mine = await bench.call(two.ann, "approvals.count")
    assert (mine["mine_pending"], mine["mine_approved"], mine["to_decide"]) == (1, 1, 0)
    assert (await bench.call(eve, "approvals.count"))["to_decide"] == 0
    with pytest.raises(ObjectNotFound):
        await bench.call(eve, "approvals.get", {"id": first})
    with pytest.raises(InvalidParameter):
        await bench.call(eve, "approvals.list", {"state": "agreed"})


async def test_others_hear_of_it_within_a_second(bench: Bench) -> None:
    import asyncio

    from data.feed import Feed

    two = await pair(bench)
    feed = Feed(bench.database)
    position = await feed.position()
    approval_id = await two.approved()
    seen: list[tuple[str, str, str]] = []
    async with asyncio.timeout(10):
        async for batch in feed.changes(position):
            seen += [(row.entity, row.key, row.verb) for row in batch if row.entity == "approval"]
            if len(seen) == 2:
                break
    feed.close()
    assert seen == [("approval", approval_id, "created"), ("approval", approval_id, "updated")]


async def test_over_budget_with_a_standing_plan(bench: Bench, probe: type[Probe]) -> None:
    """The same ladder for what is only too much at once."""
    object.__setattr__(bench.house.settings, "budget_dev", 3)
    ann = await bench.user("ann", "service.manage_service")
    bob = await bench.user("bob", "service.manage_service")
    given = {"count": 4, "danger": "low"}
    with pytest.raises(ApprovalRequired, match="over the budget"):
        await bench.call(ann, PROBE, given, confirm="4")
    asked = await bench.call(ann, "approvals.request", {"operation": PROBE, "input": given, "reason": "all"})
    assert (asked["why"], asked["eligible"]) == ("4 targets are over the budget of 3 in dev", ["bob"])
    await bench.call(bob, "approvals.approve", {"id": asked["id"], "reason": "fine"}, confirm="yes")
    await bench.call(ann, PROBE, given, confirm=asked["id"])
    assert sorted(probe.executed) == [0, 1, 2, 3]
