"""The journal: every way to tamper with it is seen and told from the others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session

import opsconsole.hosts.changes
import opsconsole.journal.audit  # noqa: F401
from data.models import Audit
from opsconsole.engine import audit
from opsconsole.engine.caller import Caller
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.errors import (
    ConsoleError,
    HostAgentCallFailed,
    InvalidParameter,
    PermissionDenied,
    StateConflict,
)
from tests.opsconsole.houses import Bench
from tests.opsconsole.probes import NAME, Probe

Damage = Callable[[Session], Any]


def sql(*statements: str) -> Damage:
    def work(tx: Session) -> None:
        for statement in statements:
            tx.connection().execute(text(statement))

    return work


def copy_row(tx: Session) -> None:
    """A row that looks right, behind the last one."""
    row = tx.get(Audit, 6)
    assert row is not None
    tx.add(Audit(**{**row.model_dump(), "seq": 7}))


SWAP = (
    "UPDATE audit SET seq = -2 WHERE seq = 2",
    "UPDATE audit SET seq = 2 WHERE seq = 3",
    "UPDATE audit SET seq = 3 WHERE seq = -2",
)
ROWS = "DELETE FROM audit WHERE step > 2"
STEPS = "DELETE FROM audit_step WHERE step > 2"
HEAD = "UPDATE audit_head SET step = 2, last_seq = 4, mac = (SELECT mac FROM audit_step WHERE step = 2)"

CASES: dict[str, tuple[Damage, list[str]]] = {
    "number among its kind edited": (sql("UPDATE audit SET ordinal = 9 WHERE seq = 3"), ["edited"]),
    "hidden under another host": (sql("UPDATE audit SET host = 'elsewhere' WHERE seq = 3"), ["edited"]),
    "actor edited": (sql("UPDATE audit SET actor = 'eve' WHERE seq = 3"), ["edited"]),
    "result edited": (sql("UPDATE audit SET result = 'failed' WHERE seq = 6"), ["edited"]),
    "time edited": (sql("UPDATE audit SET at = (SELECT at FROM audit WHERE seq = 1) WHERE seq = 6"), ["edited"]),
    "hmac edited": (sql("UPDATE audit SET mac = 'ff' WHERE seq = 3"), ["edited"]),
    "first deleted": (sql("DELETE FROM audit WHERE seq = 1"), ["deleted"]),
    "middle deleted": (sql("DELETE FROM audit WHERE seq = 4"), ["deleted"]),
    "whole step deleted": (
        sql("DELETE FROM audit WHERE step = 2", "DELETE FROM audit_step WHERE step = 2"),
        ["deleted"],
    ),
    "inserted": (copy_row, ["inserted"]),
    "reordered": (sql(*SWAP), ["reordered"]),
    "step edited": (
        sql("UPDATE audit_step SET at = (SELECT at FROM audit_step WHERE step = 1) WHERE step = 2"),
        ["chain"],
    ),
    "head edited": (sql("UPDATE audit_head SET mac = 'ff'"), ["chain"]),
    "tail cut: rows": (sql(ROWS), ["tail_cut"]),
    "tail cut: rows and steps": (sql(ROWS, STEPS), ["tail_cut"]),
    "tail cut: rows, steps, head": (sql(ROWS, STEPS, HEAD), ["tail_cut"]),
}


async def written(bench: Bench) -> Caller:
    """Three steps of two rows each."""
    root = await bench.user("root", admin=True)
    for _ in range(3):
        await bench.call(root, NAME, {"count": 2})
    return root


async def test_intact(bench: Bench, probe: type[Probe]) -> None:
    root = await written(bench)
    report = await bench.call(root, "audit.verify")
    assert (report["verdict"], report["kinds"], report["rows"], report["steps"]) == ("intact", [], 6, 3)
    assert report["unanchored_rows"] == 6


@pytest.mark.parametrize("case", CASES)
async def test_damage_is_told_apart(bench: Bench, probe: type[Probe], case: str) -> None:
    root = await written(bench)
    damage, kinds = CASES[case]
    await bench.database.write(damage)
    report = await bench.call(root, "audit.verify")
    assert (report["verdict"], report["kinds"]) == ("broken", kinds), report["findings"]


async def test_another_key_does_not_open_it(bench: Bench, probe: type[Probe]) -> None:
    root = await written(bench)
    bench.house.audit_key = bytes(32)
    assert (await bench.call(root, "audit.verify"))["kinds"] == ["edited"]


async def test_a_cut_with_the_home_rewound_is_seen_by_the_anchor_off_the_box(
    bench: Bench, probe: type[Probe], tmp_path: Path
) -> None:
    away = tmp_path / "away"
    bench.house.settings = replace(bench.house.settings, anchors=(f"file:{away}",))
    root = await written(bench)
    before = (tmp_path / "audit.anchor").read_text()
    sent = await bench.call(root, "audit.anchor")
    assert sent["anchored"] == [{"where": f"file:{away}", "step": 3, "last_seq": 6}]
    report = await bench.call(root, "audit.verify")
    assert (report["verdict"], report["anchor"]["step"], report["unanchored_rows"]) == ("intact", 3, 1)

    await bench.call(root, NAME, {"count": 2})
    assert (await bench.call(root, "audit.verify"))["unanchored_rows"] == 3

    await bench.database.write(sql(ROWS, STEPS, HEAD))
    (tmp_path / "audit.anchor").write_text(json.dumps(json.loads(before) | {"step": 2, "last_seq": 4}))
    (tmp_path / "audit.anchor").unlink()
    report = await bench.call(root, "audit.verify")
    assert report["kinds"] == ["tail_cut"]
    assert str(away) in report["findings"][0]["message"]
    away.unlink()
    report = await bench.call(root, "audit.verify")
    assert (report["verdict"], report["unanchored_rows"]) == ("intact", 4)


async def test_a_rewritten_history_does_not_fit_the_anchor(bench: Bench, probe: type[Probe], tmp_path: Path) -> None:
    """Somebody with the key who writes the chain anew is caught by a head noted elsewhere."""
    away = tmp_path / "away"
    bench.house.settings = replace(bench.house.settings, anchors=(f"file:{away}",))
    root = await written(bench)
    await bench.call(root, "audit.anchor")

    def rewrite(tx: Session) -> None:
        sql("DELETE FROM audit", "DELETE FROM audit_step", "UPDATE audit_head SET step = 0, last_seq = 0, mac = ''")(tx)
        for _ in range(4):
            audit.append(tx, bench.house.audit_key, [audit.Entry("x.y", "nobody", "done")] * 2, at=audit.now())

    await bench.database.write(rewrite)
    report = await bench.call(root, "audit.verify")
    assert report["kinds"] == ["chain"]
    assert any(str(away) in finding["message"] for finding in report["findings"])


async def test_anchors_in_git_and_nowhere(small_bench: Bench, probe: type[Probe], tmp_path: Path) -> None:
    root = await written(small_bench)
    with pytest.raises(StateConflict):
        await small_bench.call(root, "audit.anchor")
    tree = tmp_path / "tree"
    tree.mkdir()
    subprocess.run(["git", "init", "-q", str(tree)], check=True)  # noqa: ASYNC221
    settings = small_bench.house.settings
    small_bench.house.settings = replace(settings, anchors=(f"git:{tree}",))
    await small_bench.call(root, "audit.anchor")
    log = subprocess.run(  # noqa: ASYNC221
        ["git", "-C", str(tree), "log", "--format=%s"], check=True, capture_output=True, text=True
    )
    assert log.stdout == "audit head 3\n"
    for place, error in ((f"file:{tree}/no/such", HostAgentCallFailed), ("pigeon:x", InvalidParameter)):
        small_bench.house.settings = replace(settings, anchors=(place,))
        with pytest.raises(ConsoleError) as failed:
            await small_bench.call(root, "audit.anchor")
        assert failed.value.as_json()["code"] == error.code


async def test_records_by_page_and_by_key(bench: Bench, probe: type[Probe]) -> None:
    root = await written(bench)
    ann = await bench.user("ann", "service.manage_service", "host.manage_host")
    await bench.call(ann, NAME, {"count": 1})
    await bench.call(root, "hosts.create", {"name": "web", "host_type": "PHY_HOST"})
    with pytest.raises(PermissionDenied):
        await bench.call(ann, "hosts.create", {"name": "db", "host_type": "PHY_HOST"})

    async def ids(**query: Any) -> list[int]:
        answer = await bench.call(root, "audit.records.list", {"page_size": 100, **query})
        return [row["id"] for row in answer["results"]]

    assert await ids() == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert await ids(operator="ann") == [9, 7]
    assert await ids(operation="hosts") == [9, 8]
    assert await ids(target="WEB") == [8]
    assert await ids(result="refused") == [9]
    assert await ids(before=4) == [3, 2, 1]
    first = (await bench.journal())[2]
    at = utc_text(first.at)
    assert await ids(time__lt=at, time__gt=at) == [4, 3]
    page = await bench.call(root, "audit.records.list", {"page": 2, "page_size": 4})
    assert ([row["id"] for row in page["results"]], page["prev"], page["next"], page["count"]) == (
        [5, 4, 3, 2],
        1,
        3,
        9,
    )
    by_key = await bench.call(root, "audit.records.list", {"before": 6, "page_size": 2})
    assert ([row["id"] for row in by_key["results"]], by_key["next"]) == ([5, 4], 4)
    refused = (await bench.call(root, "audit.records.list", {"result": "refused"}))["results"][0]
    assert (refused["operator"], refused["error"]) == ("ann", "permission_denied")
    assert "module.host.add_host" in refused["op_detail"]["message"]


async def test_secrets_are_starred(bench: Bench, probe: type[Probe]) -> None:
    root = await bench.user("root", admin=True)
    await bench.call(root, NAME, {"count": 1, "password": "hunter2"})
    row = (await bench.journal())[0]
    assert (row.before["password"], row.after["password"]) == ("***", "***")
    dumped = await bench.database.read(
        lambda tx: (
            str(tx.connection().execute(text("SELECT input, answer FROM run")).all())
            + str(tx.connection().execute(text("SELECT before, after FROM run_target")).all())
        )
    )
    assert "***" in dumped
    for secret in ("hunter2", "old", "new", "answer"):
        assert f'"{secret}"' not in dumped
