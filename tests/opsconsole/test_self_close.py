"""A review that nobody else could close: closed by the one who broke the glass, on record, and only then."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import Session

import opsconsole.approvals.reads
import opsconsole.approvals.reviews
import opsconsole.home.show
import opsconsole.journal.audit
from data.models import HostGrant, Review
from opsconsole.engine import users
from opsconsole.engine.caller import Caller
from opsconsole.engine.errors import ConfirmationRequired, ConsoleError, PermissionDenied, StateConflict
from opsconsole.engine.perform import Consent
from tests.drivers.test_webhook import Receiver
from tests.opsconsole.houses import Bench
from tests.opsconsole.second import Pair, pair
from tests.opsconsole.wiping import NAME

pytestmark = pytest.mark.usefixtures("wipe")


async def alone(bench: Bench, *others: str) -> tuple[Pair, dict[str, Any]]:
    """ann is the only one who could: bob's rights are gone. She broke the glass; answers the review as she sees it."""
    two = await pair(bench)
    await two.take_rights("bob")
    for other in others:
        await bench.user(other, hosts={two.hosts[0]: "view_host delete_host"})
    await two.as_somebody(two.ann, NAME, two.given, Consent(reason="fire", break_glass=True))
    return two, await review_of(bench, two.ann)


async def review_of(bench: Bench, caller: Caller, state: str = "open") -> dict[str, Any]:
    [found] = (await bench.call(caller, "reviews.list", {"state": state}))["results"]
    return dict(found)


async def test_nobody_else_could_so_he_does_it_on_record(bench: Bench) -> None:
    two, review = await alone(bench, "eve")
    assert (review["may_close"], review["may_self_close"], review["because"]) == (True, True, None)
    close = {"id": review["id"], "note": "looked at it the next morning"}
    plan = await bench.plan(two.ann, "reviews.close", close)
    assert (plan["rung"], plan["expect"], plan["why"]) == (1, "yes", "nobody else looks at it")
    assert plan["warnings"] == ["nobody else could close it; that you closed it yourself is kept and told"]
    with pytest.raises(ConfirmationRequired):
        await bench.call(two.ann, "reviews.close", close)
    answer = await bench.call(two.ann, "reviews.close", close, confirm="yes")
    assert (answer["state"], answer["self_closed"], answer["closed_by"]) == ("closed", True, "ann")
    [row] = [row for row in await bench.journal() if row.operation == "reviews.close"]
    assert (row.actor, row.result, row.after["state"], row.after["note"]) == (
        "ann",
        "done",
        "self-closed",
        close["note"],
    )
    assert (await review_of(bench, two.ann, "closed"))["self_closed"] is True
    with pytest.raises(StateConflict, match="closed by himself, ann"):
        await bench.call(two.ann, "reviews.close", close, confirm="yes")
    root = await bench.user("root", admin=True)
    assert (await bench.call(root, "audit.verify"))["verdict"] == "intact"


async def test_a_single_administrator(bench: Bench) -> None:
    """The first user of a database of one's own."""
    root = await bench.user("root", admin=True)
    two = Pair(bench, root, root, [await bench.host("old-1")])
    await two.as_somebody(root, NAME, two.given, Consent(reason="fire", break_glass=True))
    review = await review_of(bench, root)
    await bench.call(root, "reviews.close", {"id": review["id"], "note": "right"}, confirm="yes")
    assert (await review_of(bench, root, "closed"))["self_closed"] is True
    assert (await bench.call(root, "approvals.count"))["my_reviews"] == 0


async def test_somebody_who_came_since_it_was_planned_stands_in_the_way(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entitled user is made between the plan and the record: it is looked at again under the lock."""
    two, review = await alone(bench)
    close = {"id": review["id"], "note": "n"}
    before = opsconsole.approvals.reviews.CloseReview.execute

    async def meanwhile(self: Any, target: Any) -> Any:
        await bench.user("cid", hosts=dict.fromkeys(two.hosts, "view_host delete_host"))
        return await before(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(opsconsole.approvals.reviews.CloseReview, "execute", meanwhile)
        with pytest.raises(StateConflict, match="as long as somebody else could close it"):
            await bench.call(two.ann, "reviews.close", close, confirm="yes")
    assert (await review_of(bench, two.ann))["may_close"] is False
    cid = await bench.caller("cid")
    answer = await bench.call(cid, "reviews.close", close)
    assert (answer["self_closed"], answer["closed_by"]) == (False, "cid")


async def test_an_entitled_user_made_at_the_same_moment(bench: Bench) -> None:
    """Whichever is committed first: closed by himself before there was another, or refused."""
    two, review = await alone(bench)
    results = await asyncio.gather(
        bench.call(two.ann, "reviews.close", {"id": review["id"], "note": "n"}, confirm="yes"),
        bench.user("cid", hosts=dict.fromkeys(two.hosts, "view_host delete_host")),
        return_exceptions=True,
    )
    assert isinstance(results[1], Caller)
    if isinstance(results[0], dict):
        assert results[0]["self_closed"] is True
    else:
        assert isinstance(results[0], ConsoleError)
        assert (await review_of(bench, two.ann))["may_close"] is False


async def test_a_disabled_one_could_not_and_one_enabled_again_could(bench: Bench) -> None:
    two = await pair(bench)
    await two.as_somebody(two.ann, NAME, two.given, Consent(reason="fire", break_glass=True))
    assert (await review_of(bench, two.ann))["may_close"] is False
    await two.disable("bob")
    assert (await review_of(bench, two.ann))["may_self_close"] is True


async def test_who_lost_the_right_closes_nothing(bench: Bench) -> None:
    """Having broken the glass is no right of its own."""
    two, review = await alone(bench)
    await two.take_rights("ann")
    with pytest.raises(PermissionDenied, match="who could: nobody yet"):
        await bench.call(two.ann, "reviews.close", {"id": review["id"], "note": "n"}, confirm="yes")


async def test_whoever_sat_behind_it_is_no_second_person(bench: Bench) -> None:
    """An administrator who acted as ann: there is one more person only when it was ann herself."""
    two = await pair(bench)
    await two.take_rights("bob")
    root = await bench.user("root", admin=True)
    as_ann = replace(two.ann, on_behalf="root")
    await two.as_somebody(as_ann, NAME, two.given, Consent(reason="fire", break_glass=True))
    review = await review_of(bench, root)
    assert (review["persons"], review["may_self_close"]) == (["ann", "root"], True)
    await bench.user("vic", admin=True)
    assert (await review_of(bench, root))["may_close"] is False


async def test_more_candidates_than_are_looked_at_prove_nothing(
    small_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    two, _ = await alone(small_bench)
    ids = [(await small_bench.user(name)).user_id for name in ("u1", "u2", "u3")]

    def work(tx: Session) -> None:
        g: dict[str, Any] = {"subject_type": "user", "host_id": two.hosts[0], "flag": "delete_host", "granted_by": "t"}
        tx.add_all([HostGrant(subject_id=user_id, **g) for user_id in ids])

    await small_bench.database.write(work)
    with monkeypatch.context() as patch:
        patch.setattr(users, "_MANY", 2)
        patch.setattr(users, "_LOOKED_AT", 3)
        assert (await review_of(small_bench, two.ann))["may_close"] is False
    assert (await review_of(small_bench, two.ann))["may_close"] is True


async def test_it_is_told_as_what_it_is(small_bench: Bench) -> None:
    two, review = await alone(small_bench)
    receiver = Receiver()
    try:
        object.__setattr__(small_bench.house.settings, "webhook", receiver.url)
        await small_bench.call(two.ann, "reviews.close", {"id": review["id"], "note": "n"}, confirm="yes")
        assert [body["event"] for _, body in receiver.told] == ["review_self_closed"]
    finally:
        receiver.close()


async def test_what_an_operation_that_is_gone_left_can_still_be_closed(bench: Bench) -> None:
    """Renamed or removed since: administrators decide, and no list fails of it."""
    root, vic, eve = await bench.user("root", admin=True), await bench.user("vic", admin=True), await bench.user("eve")
    row = Review(id="r1", operation="no.such.operation", plan_digest="d", subjects=[["host", "h", {}, None, None]],
                 level="dev", who="root", who_id=root.user_id, who_persons=["root"], reason="fire")  # fmt: skip
    await bench.database.write(lambda tx: tx.add(row))
    for caller, may in ((root, False), (vic, True)):
        assert (await review_of(bench, caller))["may_close"] is may
        assert (await bench.call(caller, "home.count"))["open_reviews"] == 1
    assert (await bench.call(eve, "home.count"))["open_reviews"] == 0
    with pytest.raises(PermissionDenied, match="who could: vic"):
        await bench.call(eve, "reviews.close", {"id": "r1", "note": "n"})
    answer = await bench.call(vic, "reviews.close", {"id": "r1", "note": "n"})
    assert (answer["state"], answer["self_closed"]) == ("closed", False)
