"""The demo's certificate authority: believable, and made the way everything is made."""

from __future__ import annotations

from collections import Counter

from opsconsole.demo import vpn
from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from tests.opsconsole.houses import Bench, small_bench

__all__ = ["small_bench"]


async def test_clients_of_every_kind_and_a_list_of_today(small_bench: Bench) -> None:
    root = await small_bench.user("root", admin=True)
    await small_bench.environment("prod", "prod")
    await vpn.fill(small_bench.house, root)
    ctx = Context(small_bench.house, root)
    page = await dispatch.call(ctx, "vpn.clients.list", {"size": 100})
    assert Counter(one["status"] for one in page["clients"]) == {"valid": 18, "expired": 2, "revoked": 2}
    seen = {one["name"]: one["last_seen"] for one in page["clients"]}
    assert seen["branch-aarhus"] is None and seen["branch-berlin"]["server"] == "vpn-1"
    assert all(one["last_seen"]["at"] < one["expiry_date"] for one in page["clients"] if one["last_seen"])
    [ca] = await dispatch.call(ctx, "vpn.cas.list")
    assert (ca["name"], ca["crl_status"]["alarm"], ca["crl_status"]["entries"]) == (vpn.NAME, "ok", 2)
    assert (await dispatch.call(ctx, "audit.verify"))["verdict"] == "intact"
