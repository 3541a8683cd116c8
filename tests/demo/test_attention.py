"""The demo's home screen has something of everything, and it can be dealt with."""

from __future__ import annotations

from opsconsole.demo import attention, vpn
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.perform import Consent
from tests.opsconsole.houses import Bench, small_bench

__all__ = ["small_bench"]


async def test_what_colleagues_left_can_be_dealt_with(small_bench: Bench) -> None:
    root = await small_bench.user("root", admin=True)
    await small_bench.environment("prod", "prod")
    before = small_bench.house.settings
    await attention.fill(small_bench.house, root, await vpn.fill(small_bench.house, root))
    assert small_bench.house.settings == before
    ctx = Context(small_bench.house, root)
    sections = {one["id"]: one["items"] for one in (await dispatch.call(ctx, "home.show"))["sections"]}
    [review], [approval], [task] = sections["reviews"], sections["approvals"], sections["tasks"]
    assert (review["who"], review["state"], review["on"]) == ("kim", "to review", ["branch-malmo"])
    assert (approval["who"], approval["state"]) == ("lee", "to approve")
    assert (task["state"], task["level"], task["operations"]) == ("unknown", "unknown", ["home.looked_after"])
    await dispatch.call(ctx, "approvals.approve", {"id": approval["id"]}, Consent("yes"))
    await dispatch.call(ctx, "reviews.close", {"id": review["id"], "note": "right"})
    await dispatch.call(ctx, "home.looked_after", {"kind": "task", "id": task["id"], "note": "all three are current"})
    after = {one["id"] for one in (await dispatch.call(ctx, "home.show"))["sections"]}
    assert not {"reviews", "approvals", "tasks"} & after
    assert (await dispatch.call(ctx, "audit.verify"))["verdict"] == "intact"
