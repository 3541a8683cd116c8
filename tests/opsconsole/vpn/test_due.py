"""Lists are signed anew before they end; what nobody can sign by itself is an alarm."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from opsconsole.engine.context import Context
from opsconsole.engine.errors import ConsoleError
from opsconsole.vpn.due import resign
from tests.opsconsole.houses import Bench
from tests.opsconsole.vpn.support import Outside, ca, client, newest_crl, revoke


async def test_signed_again_at_half_of_its_life_and_only_once(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    made = await ca(bench, root)
    await revoke(bench, root, await client(bench, root, made["id"], "gone"))
    now = datetime.now(UTC)
    assert await resign(bench.house, now + timedelta(days=14)) == {"signed": [], "waiting": []}
    later = now + timedelta(days=15, hours=1)
    answers = await asyncio.gather(*(resign(bench.house, later) for _ in range(4)))
    signed = [one for answer in answers for one in answer["signed"]]
    assert [(one["ca"], one["number"]) for one in signed] == [("Branches", 3)]
    crl = await newest_crl(bench, root, made["id"])
    assert (crl["number"], crl["entries"]) == (3, 1)
    assert datetime.fromisoformat(crl["next_update"]) > now + timedelta(days=44)
    entry = (await bench.journal())[-1]
    assert (entry.operation, entry.actor, entry.target_name) == ("vpn.crls.sign", "timer", "Branches")
    assert (await bench.call(root, "audit.verify"))["verdict"] == "intact"


async def test_what_cannot_be_signed_by_itself_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    root = await bench.user("root", admin=True)
    await ca(bench, root, "locked", passphrase="x")
    await bench.call(root, "vpn.cas.import", {"cert": Outside().cert})
    now = datetime.now(UTC)
    first = await bench.call(root, "vpn.crls.due")
    assert [(one["ca"], one["alarm"], one["by_itself"]) for one in first["due"]] == [("Elsewhere", "missing", False)]
    answer = await resign(bench.house, now + timedelta(days=16))
    assert answer["signed"] == []
    assert len(answer["waiting"]) == 2
    with pytest.raises(ConsoleError, match=r"locked: soon, .*vpn\.crls\.sign"):
        await resign(bench.house, now + timedelta(days=25))
    monkeypatch.setattr(Context, "now", lambda self: now + timedelta(days=31))
    due = await bench.call(root, "vpn.crls.due")
    assert [one["alarm"] for one in due["due"]] == ["expired", "missing"]


async def test_locked_secrets_do_not_stop_the_others(small_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from data.errors import SecretsLocked

    root = await small_bench.user("root", admin=True)
    await ca(small_bench, root)

    def locked(home: object, create: bool) -> bytes:
        raise SecretsLocked("locked", remedy="unlock")

    monkeypatch.setattr("opsconsole.vpn.keys._data_key", locked)
    with pytest.raises(ConsoleError, match="the secrets are locked"):
        await resign(small_bench.house, datetime.now(UTC) + timedelta(days=29))
