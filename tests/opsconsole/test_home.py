"""What needs attention, by the rights of whoever asks; unknown is a state of its own; counting has an end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, select

import opsconsole.home.looked_after
import opsconsole.home.show  # noqa: F401
from data.models import (
    AuthToken,
    HostObservation,
    Job,
    Lease,
    Run,
    RunTarget,
    Task,
    User,
    VpnClient,
    VpnServer,
    VpnServerSight,
    Worker,
)
from opsconsole.engine import anchors, dispatch, holder
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.errors import (
    InvalidParameter,
    NotSignedIn,
    ObjectNotFound,
    PermissionDenied,
    ReadOnly,
    RequiredFieldMissing,
    StateConflict,
    UserDisabled,
)
from opsconsole.engine.ids import uuid7
from opsconsole.engine.perform import Consent
from opsconsole.home.parts import MOST_SHOWN
from opsconsole.services.observe import failing_of
from tests.opsconsole.houses import Bench
from tests.opsconsole.second import pair
from tests.opsconsole.vpn.support import Outside, ca, client
from tests.opsconsole.wiping import NAME


async def sections(bench: Bench, caller: Caller) -> dict[str, Any]:
    answer = await bench.call(caller, "home.show")
    return {section["id"]: section for section in answer["sections"]}


async def add(bench: Bench, *rows: Any) -> None:
    await bench.database.write(lambda tx: tx.add_all(rows))


def task(who: Caller, state: str, **more: Any) -> Task:
    return Task(
        id=uuid7(), operation="hosts.execute", summary=f"a {state} one", actor=who.username, actor_id=who.user_id,
        state=state, **more,
    )  # fmt: skip


def sight(host: int, state: str = "ok", *, ago: float = 1, **more: Any) -> HostObservation:
    at = datetime.now(UTC) - timedelta(minutes=ago)
    return HostObservation(host_id=host, kind="services", state=state, observed_at=at, **more)


async def test_an_empty_house_says_only_what_is_so(bench: Bench) -> None:
    ann = await bench.user("ann")
    answer = await bench.call(ann, "home.show")
    assert [section["id"] for section in answer["sections"]] == ["timers"]
    assert answer["needing"] == {"red": 0, "amber": 1, "unknown": 0}


@pytest.mark.usefixtures("wipe")
async def test_reviews_of_everybody_who_may_see_them(bench: Bench) -> None:
    two = await pair(bench)
    eve, auditor = await bench.user("eve"), await bench.user("aud", "audit.view_audit")
    await two.as_somebody(two.ann, NAME, two.given, Consent(reason="fire", break_glass=True))
    [mine] = (await sections(bench, two.ann))["reviews"]["items"]
    assert (mine["level"], mine["state"], mine["who"], mine["why"]) == ("amber", "in review", "ann", "fire")
    assert (mine["on"], mine["operations"]) == (["old-1", "old-2"], [])
    [his] = (await sections(bench, two.bob))["reviews"]["items"]
    assert (his["level"], his["state"], his["operations"]) == ("red", "to review", ["reviews.close"])
    [seen] = (await sections(bench, auditor))["reviews"]["items"]
    assert (seen["state"], seen["operations"]) == ("in review", [])
    assert "reviews" not in await sections(bench, eve)
    assert [(await bench.call(who, "home.count"))["open_reviews"] for who in (two.ann, two.bob, auditor, eve)] == [
        1, 1, 1, 0,
    ]  # fmt: skip
    await two.take_rights("bob")
    [alone] = (await sections(bench, two.ann))["reviews"]["items"]
    assert (alone["level"], alone["state"], alone["operations"]) == ("red", "close it yourself", ["reviews.close"])


@pytest.mark.usefixtures("wipe")
async def test_approvals_by_whose_turn_it_is(bench: Bench) -> None:
    two = await pair(bench)
    approval_id = await two.ask()
    [his] = (await sections(bench, two.bob))["approvals"]["items"]
    assert (his["level"], his["state"], his["who"], his["why"]) == ("amber", "to approve", "ann", "it is scrap")
    [mine] = (await sections(bench, two.ann))["approvals"]["items"]
    assert (mine["level"], mine["state"], mine["operations"]) == ("busy", "waiting", ["approvals.withdraw"])
    await two.approve(approval_id)
    [mine] = (await sections(bench, two.ann))["approvals"]["items"]
    assert (mine["level"], mine["state"], mine["operations"]) == ("amber", "approved", ["approvals.perform"])
    assert "approvals" not in await sections(bench, two.bob)


async def test_tasks_under_way_and_those_that_ended_badly(bench: Bench) -> None:
    ann, eve = await bench.user("ann"), await bench.user("eve")
    auditor = await bench.user("aud", "audit.view_audit")
    now, old = datetime.now(UTC), datetime.now(UTC) - timedelta(days=2)
    await add(
        bench,
        task(ann, "running", started_at=now),
        task(ann, "waiting", waiting_for="unlock"),
        task(ann, "waiting", waiting_for="lease"),
        task(ann, "paused"),
        task(ann, "failed", finished_at=now, error={"message": "no such host"}),
        task(ann, "failed", finished_at=old),
        task(ann, "unknown", finished_at=old, created_at=old),
        task(ann, "finished", finished_at=now),
        task(ann, "cancelled", finished_at=now),
    )
    found = (await sections(bench, ann))["tasks"]
    assert found["level"] == "red"
    assert sorted((one["level"], one["state"], one["why"]) for one in found["items"]) == [
        ("amber", "paused", None),
        ("amber", "waiting", "waits for unlocked secrets: opsconsole unlock"),
        ("busy", "running", None),
        ("busy", "waiting", "waits for the lease of somebody else"),
        ("red", "failed", "no such host"),
        ("unknown", "unknown", None),
    ]
    assert "tasks" not in await sections(bench, eve)
    theirs = (await sections(bench, auditor))["tasks"]["items"]
    assert len(theirs) == 6
    assert {tuple(one["operations"]) for one in theirs} == {()}


async def test_many_are_counted_to_an_end_and_the_newest_shown(bench: Bench) -> None:
    ann = await bench.user("ann")
    now = datetime.now(UTC)
    await add(bench, *(task(ann, "failed", finished_at=now) for _ in range(1005)))
    found = (await sections(bench, ann))["tasks"]
    assert (len(found["items"]), found["count"], found["more"]) == (MOST_SHOWN, 1000, True)


async def test_what_was_looked_after_is_gone_for_everybody(bench: Bench) -> None:
    ann, bob = await bench.user("ann"), await bench.user("bob", "audit.view_audit")
    root = await bench.user("root", admin=True)
    bad = task(ann, "unknown", finished_at=datetime.now(UTC))
    good = task(ann, "finished", finished_at=datetime.now(UTC))
    run = Run(id=uuid7(), operation="services.restart", actor="ann", actor_id=ann.user_id, state="unknown")
    of_task = Run(id=uuid7(), operation="hosts.execute", actor="ann", actor_id=ann.user_id, state="unknown", task=True)
    bad_id, good_id, run_id, of_task_id = bad.id, good.id, run.id, of_task.id
    await add(bench, bad, good, run, of_task)
    await add(bench, RunTarget(run_id=run_id, position=0, kind="service", name="nginx", host="web1", state="unknown"))
    found = await sections(bench, ann)
    [shown] = found["runs"]["items"]
    assert (shown["id"], shown["on"], shown["operations"]) == (run_id, ["web1/nginx"], ["home.looked_after"])
    assert "compare it with what was wanted" in shown["why"]
    said = {"kind": "task", "id": bad_id, "note": "all three hosts are as wanted"}
    with pytest.raises(PermissionDenied, match="could not do it himself"):
        await bench.call(bob, "home.looked_after", said)
    eve = await bench.user("eve")
    for other in ({**said, "id": "nothing"}, {**said, "kind": "run"}):
        with pytest.raises(ObjectNotFound):
            await bench.call(ann, "home.looked_after", other)
    with pytest.raises(ObjectNotFound):
        await bench.call(eve, "home.looked_after", said)
    for wrong in ({"kind": "task", "id": good_id}, {"kind": "run", "id": of_task_id}):
        with pytest.raises(StateConflict):
            await bench.call(ann, "home.looked_after", {**wrong, "note": "n"})
    with pytest.raises(InvalidParameter):
        await bench.call(ann, "home.looked_after", {**said, "note": "  "})
    with pytest.raises(RequiredFieldMissing):
        await bench.call(ann, "home.looked_after", {"kind": "task", "id": bad_id})
    with pytest.raises(ReadOnly):
        await bench.call(ann.with_read_only("drill"), "home.looked_after", said)
    answer = await bench.call(ann, "home.looked_after", said)
    assert (answer["by"], answer["note"]) == ("ann", said["note"])
    with pytest.raises(StateConflict, match="ann has looked after it already: all three"):
        await bench.call(root, "home.looked_after", said)
    await bench.call(root, "home.looked_after", {"kind": "run", "id": run_id, "note": "seen"})
    assert {"tasks", "runs"} & set(await sections(bench, ann)) == set()
    rows = [row for row in await bench.journal() if row.operation == "home.looked_after" and row.result == "done"]
    assert [(row.actor, row.target_kind, row.after["note"]) for row in rows] == [
        ("ann", "task", said["note"]),
        ("root", "run", "seen"),
    ]


async def test_who_keeps_time_and_what_is_late(bench: Bench) -> None:
    ann = await bench.user("ann")
    late = datetime.now(UTC) - timedelta(hours=3)
    await add(bench, Job(name="runs.sweep", next_due=late, last_started=late, last_finished=late),
              Job(name="tasks.trim", next_due=datetime.now(UTC), last_started=late, last_error="no room"))  # fmt: skip
    found = (await sections(bench, ann))["timers"]["items"]
    assert [(one["name"], one["level"], one["state"], one["why"]) for one in found] == [
        ("timekeeper", "red", "no timekeeper", None),
        ("runs.sweep", "amber", "overdue", None),
        ("tasks.trim", "amber", "failed", "no room"),
    ]
    count = await bench.call(ann, "home.count")
    assert (count["timekeeper"], count["overdue"]) == (False, 1)
    await add(bench, Worker(id="w1", holder=holder.here(), stay=True))
    count = await bench.call(ann, "home.count")
    assert count["timekeeper"] is True


async def test_hosts_by_state_with_the_age_of_the_oldest_sight(bench: Bench) -> None:
    await bench.environment("live", "prod")
    up, slow, down, never = [await bench.host(name, environment="live") for name in ("up", "slow", "down", "never")]
    other, hidden = await bench.host("other"), await bench.host("hidden")
    gone = await bench.host("gone", environment="live", status="offline")
    ann = await bench.user("ann", hosts=dict.fromkeys((up, slow, down, never, other, gone), "view_host"))
    root = await bench.user("root", admin=True)
    await add(bench, sight(up), sight(slow, ago=60), sight(down, "unreachable", ago=5), sight(other), sight(hidden),
              sight(gone, "unreachable"))  # fmt: skip
    found = (await sections(bench, ann))["hosts"]
    assert found["count"] == 5
    assert [(one["environment"], one["level"], one["state"], one["number"], one["on"]) for one in found["items"]] == [
        ("live", "red", "unreachable", 1, ["down"]),
        ("live", "unknown", "never seen", 1, ["never"]),
        ("live", "unknown", "up when last seen", 1, ["slow"]),
        ("live", "ok", "up", 1, []),
        ("default", "ok", "up", 1, []),
    ]
    oldest = datetime.fromisoformat(found["items"][2]["observed_at"])
    assert timedelta(minutes=59) < datetime.now(UTC) - oldest < timedelta(minutes=62)
    everything = (await sections(bench, root))["hosts"]
    assert {one["state"]: one["number"] for one in everything["items"] if one["environment"] == "default"}["up"] == 2
    assert "hosts" not in await sections(bench, await bench.user("eve"))


async def test_failed_services_of_the_last_sight(bench: Bench) -> None:
    one, two, uncounted = [await bench.host(name) for name in ("h1", "h2", "h3")]
    ann = await bench.user("ann", "service.view_service", hosts={one: "view_host", uncounted: "view_host"})
    nobody = await bench.user("bob", hosts={one: "view_host"})
    rows = [
        {"unit": f"{name}.service", "name": name, "status": status, "parent": parent, "main": name == "nginx",
         "sub": "failed", "result": "exit-code"}
        for name, status, parent in (("cron", "error", None), ("nginx", "error", None), ("ok", "started", None),
                                     ("app-1", "error", "app"))
    ]  # fmt: skip
    failed, failing = failing_of(rows)
    assert (failed, [one["name"] for one in failing]) == (2, ["nginx", "cron"])
    await add(bench, sight(one, failed=failed, failing=failing), sight(two, failed=failed, failing=failing),
              sight(uncounted, duration_ms=5))  # fmt: skip
    found = (await sections(bench, ann))["services"]
    assert [(item["name"], item["host"], item["why"], item["level"]) for item in found["items"]] == [
        ("nginx", "h1", "failed, exit-code", "amber"),
        ("cron", "h1", "failed, exit-code", "amber"),
        ("hosts", None, None, "unknown"),
    ]
    assert found["items"][0]["id"] == f"{one}/nginx.service"
    assert "services" not in await sections(bench, nobody)


async def test_leases_held_long_and_access_that_ends(bench: Bench) -> None:
    ann, bob = await bench.user("ann"), await bench.user("bob")
    keeper = await bench.user("key", "access.manage_auth_token")
    now = datetime.now(UTC)
    soon = now + timedelta(days=3)

    def work(tx: Session) -> None:
        for name, age in (("host:1", 60), ("host:2", 1)):
            held = now - timedelta(minutes=age)
            tx.add(Lease(resource=name, holder="r", actor="ann", token=1, purpose="a deploy", acquired_at=held,
                         expires_at=now + timedelta(minutes=1)))  # fmt: skip
        for name, ends in (("ci", soon), ("long", now + timedelta(days=90)), ("over", now - timedelta(days=60))):
            tx.add(AuthToken(name=name, value_hash=name, last_four="1234", creator="x", user_id=bob.user_id,
                             expires_at=ends))  # fmt: skip
        me = tx.get(User, ann.user_id)
        assert me is not None
        me.password_expires_at = now - timedelta(hours=1)
        tx.add(me)

    await bench.database.write(work)
    mine = await sections(bench, ann)
    assert [(one["name"], one["what"]) for one in mine["leases"]["items"]] == [("host:1", "a deploy")]
    assert [(one["kind"], one["state"]) for one in mine["access"]["items"]] == [("user", "ended")]
    his = await sections(bench, bob)
    assert "leases" not in his
    assert [(one["name"], one["who"], one["state"]) for one in his["access"]["items"]] == [("ci", "bob", "ends")]
    assert [one["name"] for one in (await sections(bench, keeper))["access"]["items"]] == ["ci"]


async def test_a_journal_that_was_cut_is_seen_at_once(bench: Bench) -> None:
    root, ann = await bench.user("root", admin=True), await bench.user("ann")
    with pytest.raises(ObjectNotFound):
        await bench.call(root, "home.looked_after", {"kind": "task", "id": "x", "note": "n"})
    host = await bench.host("h1")
    await bench.call(root, "hosts.protect", {"id": host})
    [line] = (await sections(bench, root))["journal"]["items"]
    assert (line["level"], line["state"]) == ("ok", "in order")
    assert "journal" not in await sections(bench, ann)
    anchors.note_at_home(bench.house.home, step=99, last_seq=200, mac="0" * 64)
    [line] = (await sections(bench, root))["journal"]["items"]
    assert (line["level"], line["state"]) == ("red", "cut")


async def test_what_the_vpn_will_refuse_soon(bench: Bench) -> None:
    root, eve = await bench.user("root", admin=True), await bench.user("eve")
    now = datetime.now(UTC)
    made = await ca(bench, root)
    await bench.call(root, "vpn.cas.import", {"cert": Outside().cert})
    ends = {"fine": 300, "soon": 20, "over": -3, "forgotten": -40, "revoked": 10}
    ids = {name: (await client(bench, root, made["id"], name))["id"] for name in ends}
    host = await bench.host("gate")

    def work(tx: Session) -> None:
        for name, days in ends.items():
            row = tx.get_one(VpnClient, ids[name])
            row.expiry_date, row.revoked = now + timedelta(days=days), name == "revoked"
            tx.add(row)
        for name in ("seen", "unseen"):
            tx.add(VpnServer(name=name, host_id=host, ca_id=made["id"], config_path="/etc/openvpn/s.conf"))
        tx.flush()
        seen = tx.exec(select(VpnServer).where(VpnServer.name == "seen")).one()
        facts = {"config": {"missing": True, "path": "/etc/openvpn/s.conf"}}
        at = now - timedelta(hours=2)
        tx.add(VpnServerSight(server_id=seen.id, state="ok", observed_at=at, seen_at=at, facts=facts))

    await bench.database.write(work)
    found = (await sections(bench, root))["vpn"]
    assert {(one["level"], one["kind"], one["name"], one["state"]) for one in found["items"]} == {
        ("red", "vpn_crl", "Elsewhere", "CRL missing"),
        ("red", "vpn_server", "seen", "config missing"),
        ("amber", "vpn_server", "seen", "daemon unknown"),
        ("unknown", "vpn_server", "unseen", "never seen"),
        ("red", "vpn_client", "over", "ended"),
        ("amber", "vpn_client", "soon", "ends"),
    }
    [config] = [one for one in found["items"] if one["state"] == "config missing"]
    assert datetime.fromisoformat(config["observed_at"]) == now - timedelta(hours=2)
    assert "vpn" not in await sections(bench, eve)


async def test_an_authority_and_a_list_that_are_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    root = await bench.user("root", admin=True)
    await ca(bench, root, expiration=400)
    now = datetime.now(UTC)
    assert "vpn" not in await sections(bench, root)
    for later, wanted in ((16, []), (28, [("red", "CRL soon")]), (31, [("red", "CRL expired")]),
                          (300, [("red", "CRL expired"), ("amber", "CA ends")]),
                          (401, [("red", "CRL expired"), ("red", "CA over")])):  # fmt: skip
        monkeypatch.setattr(Context, "now", lambda self, days=later: now + timedelta(days=days))
        found = (await sections(bench, root)).get("vpn", {"items": []})
        assert [(one["level"], one["state"]) for one in found["items"]] == wanted


async def test_nobody_who_is_no_user_sees_anything(bench: Bench) -> None:
    gone = await bench.user("gone", enabled=False)
    for caller, error in ((gone, UserDisabled), (replace(gone, enabled=True, signed_in=False), NotSignedIn)):
        for operation in ("home.show", "home.count"):
            with pytest.raises(error):
                await dispatch.call(Context(bench.house, caller), operation, {})
    ann = await bench.user("ann")
    with pytest.raises(InvalidParameter):
        await bench.call(ann, "home.show", {"limit": 3})
