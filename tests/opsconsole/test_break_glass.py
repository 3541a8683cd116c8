"""Without the second person, at night: allowed to whoever holds the permission, loud, and looked at afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import opsconsole.approvals.reads
import opsconsole.approvals.reviews
import opsconsole.journal.audit  # noqa: F401
from data.models import Review
from opsconsole.engine.errors import (
    ApprovalRequired,
    BreakGlassOff,
    ConfirmationRequired,
    InvalidParameter,
    ObjectNotFound,
    PermissionDenied,
    PlanStale,
    ReadOnly,
    RequiredFieldMissing,
    StateConflict,
)
from opsconsole.engine.perform import Consent
from tests.opsconsole.houses import Bench
from tests.opsconsole.probes import NAME as PROBE
from tests.opsconsole.probes import Probe
from tests.opsconsole.second import Pair, pair
from tests.opsconsole.wiping import NAME, Wipe

pytestmark = pytest.mark.usefixtures("wipe")
REASON = "the rack is on fire and nobody answers"


async def broken(two: Pair, *, reason: str | None = REASON, **more: Any) -> Any:
    caller = await two.bench.caller("ann")
    return await two.as_somebody(caller, NAME, two.given | more, Consent(reason=reason, break_glass=True))


async def open_reviews(bench: Bench, caller: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await bench.call(caller, "reviews.list", {"state": "open"}))["results"]
    return found


async def test_it_goes_on_loudly_and_a_review_stays(bench: Bench, wipe: type[Wipe]) -> None:
    two = await pair(bench)
    root = await bench.user("root", admin=True)
    await broken(two)
    assert len(wipe.wiped) == 2
    loud = [row for row in await bench.journal() if row.kind == "break_glass"]
    assert [(row.operation, row.actor, row.result, row.reason) for row in loud] == [
        (NAME, "ann", "break_glass", REASON)
    ]
    assert loud[0].detail["targets"] == ["old-1", "old-2"]
    done = [row for row in await bench.journal() if row.result == "done"]
    [review] = await open_reviews(bench, two.bob)
    assert [row.detail["break_glass"] for row in done] == [review["id"]] * 2
    assert (review["who"], review["reason"], review["run_id"]) == ("ann", REASON, loud[0].run_id)
    assert (await bench.call(two.bob, "approvals.count"))["reviews"] == 1
    assert (await bench.call(two.ann, "approvals.count"))["my_reviews"] == 1
    assert (await bench.call(root, "audit.verify"))["verdict"] == "intact"
    assert (await bench.call(root, "audit.records.list", {"kind": "break_glass"}))["count"] == 1


async def test_only_somebody_else_closes_it_with_a_note(bench: Bench) -> None:
    two = await pair(bench)
    eve = await bench.user("eve", hosts={two.hosts[0]: "view_host delete_host"})
    root = await bench.user("root", admin=True)
    await broken(two)
    [review] = await open_reviews(bench, two.ann)
    because = "ann cannot be the second person to himself, as long as somebody else could close it"
    assert (review["may_close"], review["because"]) == (False, because)
    close = {"id": review["id"], "note": "looked at the logs; right"}
    for other in (two.ann, replace(root, on_behalf="ann"), replace(two.bob, login="ann")):
        with pytest.raises(PermissionDenied, match="ann cannot be the second person"):
            await two.as_somebody(other, "reviews.close", close, Consent())
    with pytest.raises(PermissionDenied, match=r"who could: root, bob"):
        await bench.call(eve, "reviews.close", close)
    with pytest.raises(ObjectNotFound):
        await bench.call(root, "reviews.close", close | {"id": "nothing"})
    assert {row.actor for row in await bench.journal() if row.result == "refused"} == {"ann", "bob", "eve", "root"}
    assert await open_reviews(bench, eve) == []
    for note, error in (("", InvalidParameter), ("  ", InvalidParameter), (None, RequiredFieldMissing)):
        with pytest.raises(error):
            given = {"id": review["id"]} | ({} if note is None else {"note": note})
            await bench.call(two.bob, "reviews.close", given)
    with pytest.raises(ReadOnly):
        await bench.call(two.bob.with_read_only("drill"), "reviews.close", close)
    answer = await bench.call(two.bob, "reviews.close", close)
    assert (answer["state"], answer["closed_by"], answer["note"]) == ("closed", "bob", close["note"])
    with pytest.raises(StateConflict, match="was closed by bob"):
        await bench.call(root, "reviews.close", close)
    assert await open_reviews(bench, root) == []
    closed = (await bench.call(two.ann, "reviews.list", {"state": "closed"}))["results"]
    assert [row["id"] for row in closed] == [review["id"]]
    assert ("reviews.close", "bob") in [(row.operation, row.actor) for row in await bench.journal()]


async def test_it_replaces_the_second_person_and_nothing_else(bench: Bench, wipe: type[Wipe]) -> None:
    """Not the permission, not the reason, not the plan that was seen."""
    two = await pair(bench)
    eve = await bench.user("eve", hosts={two.hosts[0]: "view_host delete_host"})
    consent = Consent(reason=REASON, break_glass=True)
    with pytest.raises(PermissionDenied):
        await two.as_somebody(eve, NAME, two.given, consent)
    for reason in (None, "", "  "):
        with pytest.raises(ConfirmationRequired, match="a reason is needed"):
            await broken(two, reason=reason)
    with pytest.raises(PlanStale):
        await two.as_somebody(two.ann, NAME, two.given, replace(consent, plan_digest="0" * 64))
    with pytest.raises(ReadOnly):
        await two.as_somebody(two.ann.with_read_only("drill"), NAME, two.given, consent)
    object.__setattr__(bench.house.settings, "break_glass", False)
    with pytest.raises(BreakGlassOff) as off:
        await broken(two)
    assert off.value.exit_status == 3
    assert (await bench.plan(two.ann, NAME, two.given))["break_glass"] is False
    with pytest.raises(ApprovalRequired) as refused:
        await two.perform()
    assert refused.value.data["break_glass"] is False
    assert wipe.wiped == []
    assert await open_reviews(bench, two.ann) == []
    assert [row for row in await bench.journal() if row.kind == "break_glass"] == []


async def test_below_the_top_it_confirms_nothing(bench: Bench, probe: type[Probe]) -> None:
    root = await bench.user("root", admin=True)
    two = Pair(bench, root, root, [])
    with pytest.raises(ConfirmationRequired):
        await two.as_somebody(root, PROBE, {"count": 3, "danger": "low"}, Consent(reason=REASON, break_glass=True))
    await two.as_somebody(root, PROBE, {"count": 3, "danger": "low"}, Consent("3", REASON, break_glass=True))
    assert await open_reviews(bench, root) == []


async def test_what_fails_has_its_review_all_the_same(bench: Bench, probe: type[Probe]) -> None:
    object.__setattr__(bench.house.settings, "budget_dev", 1)
    ann = await bench.user("ann", "service.manage_service")
    two = Pair(bench, ann, ann, [])
    with pytest.raises(Exception, match="failed"):
        await two.as_somebody(
            ann, PROBE, {"count": 2, "danger": "low", "does": {0: "fail"}}, Consent(reason=REASON, break_glass=True)
        )
    [review] = await open_reviews(bench, ann)
    assert review["operation"] == PROBE
    kinds = [row.kind for row in await bench.journal()]
    assert kinds == ["break_glass", "operation", "operation"]


async def test_an_approval_is_used_rather_than_the_glass_broken(bench: Bench, wipe: type[Wipe]) -> None:
    two = await pair(bench)
    approval_id = await two.approved()
    await two.as_somebody(two.ann, NAME, two.given, Consent(approval_id, REASON, break_glass=True))
    assert len(wipe.wiped) == 2
    assert await open_reviews(bench, two.ann) == []
    assert await bench.database.read(lambda tx: tx.get(Review, approval_id)) is None
