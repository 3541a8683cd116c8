"""The journal on the screen: kinds, filters, older lines, one line with what differs, verdicts, export, history."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from opsconsole.client import Json, OperationFailed
from screens.app import OpsConsole
from screens.audit import AuditScreen, verdict
from screens.records import HistoryScreen, RecordScreen
from screens.render.record import FIELDS, SPEC, fields_of, lately, parse, thing_of
from screens.shell.answer import AnswerScreen
from screens.text import Safe
from screens.widgets.form import Form
from screens.widgets.rows import View
from tests.screens.fake import HOSTILE, NOW, FakeClient, iso
from tests.screens.support import FixedClock, check_snapshot, console, screen_text, until


def record(number: int, **more: Any) -> Json:
    base: Json = {
        "id": number,
        "op_time": iso(NOW - 60 * (100 - number)),
        "kind": "host",
        "operation_id": "hosts.update",
        "operator": "ann",
        "source": "10.0.0.9",
        "target": {"kind": "host", "id": "5", "name": "web1"},
        "environment": "lab",
        "result": "done",
        "error": None,
        "reason": None,
        "op_detail": {"host": None, "via": "screen", "op_type": "update"},
        "before": {"address": None, "cpu": 4},
        "after": {"address": "10.0.0.1", "cpu": 4},
        "run_id": f"run-{number}",
        "incident_id": None,
        "step": number,
    }
    return {**base, **more}


class House(FakeClient):
    """Pages by key, as the house answers them."""

    def __init__(self, count: int = 6) -> None:
        super().__init__()
        self.records = [record(n) for n in range(1, count + 1)]
        self.records[-1] |= {"result": "refused", "error": "permission_denied", "op_detail": {"message": "not yours"}}
        self.records[-2] |= {"operator": "bob", "reason": "new disk", "operation_id": "services.restart"}
        self.journal.put_nowait({"id": 1, "operator": "a\x1b[2Jb"})
        self.journal.put_nowait(OperationFailed({"code": "module_disabled", "message": "that was all"}, 3))

    async def call(self, operation: str, data: Any = None, **more: Any) -> Any:
        if operation not in {"audit.records.list", "audit.history"}:
            return await super().call(operation, data, **more)
        self.calls.append((operation, dict(data), None, None))
        found = [
            row for row in self.records[::-1] if row["id"] < data["before"] and data.get("kind") in (None, row["kind"])
        ]
        rows = found[: data["page_size"]]
        return {
            "prev": None,
            "next": rows[-1]["id"] if len(found) > len(rows) else None,
            "count": None,
            "results": rows,
        }


@asynccontextmanager
async def journal(
    client: House, size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[OpsConsole, Pilot[int], AuditScreen]]:
    async with console(client, size) as (app, pilot, _):
        await pilot.press("7")
        await until(pilot, lambda: isinstance(app.screen, AuditScreen))
        screen = app.screen
        assert isinstance(screen, AuditScreen)
        await until(pilot, lambda: screen.rows.records)
        await pilot.pause()
        yield app, pilot, screen


def asked(client: FakeClient, operation: str) -> list[Json]:
    return [data for name, data, _, _ in client.calls if name == operation]


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.screens.support import FixedClock

    monkeypatch.setattr("screens.render.record.time", FixedClock)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_journal_in_a_table(size: tuple[int, int]) -> None:
    async with journal(House(), size) as (app, pilot, screen):
        screen.table._clock = FixedClock.time
        screen.table.tick()
        await pilot.pause()
        check_snapshot(app, f"journal-{size[0]}")
        screen.go_to("4")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RecordScreen) and "10.0.0.1" in screen_text(app))
        check_snapshot(app, f"journal-record-{size[0]}")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, AnswerScreen))
        assert '"after": "10.0.0.1"' in screen_text(app)


async def test_older_lines_come_as_one_goes_down() -> None:
    client = House(450)
    async with journal(client) as (_, pilot, screen):
        assert len(screen.rows.records) == 200
        await pilot.press("G")
        await until(pilot, lambda: len(screen.rows.records) == 400)
        await pilot.press("G")
        await until(pilot, lambda: len(screen.rows.records) == 450)
        await pilot.press("G")
        await pilot.pause()
        before = [data["before"] for data in asked(client, "audit.records.list")]
        assert before == [2**61, 251, 51]
        assert screen.table.cursor == "1"


async def test_kinds_and_filters_are_asked_of_the_house() -> None:
    client = House()
    async with journal(client) as (app, pilot, screen):
        await pilot.press("tab", "tab")
        await until(pilot, lambda: asked(client, "audit.records.list")[-1].get("kind") == "host")
        assert "journal: hosts" in screen_text(app)
        await pilot.press("F")
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press(*"bob", "ctrl+s")
        await until(pilot, lambda: asked(client, "audit.records.list")[-1].get("operator") == "bob")
        assert "operator:bob" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: "operator" not in asked(client, "audit.records.list")[-1])
        assert app.screen is screen


async def test_verdicts() -> None:
    client = House()
    broken = {"verdict": "broken", "kinds": ["edited", "tail_cut"], "rows": 5, "findings": [{"kind": "edited"}]}
    whole = {"verdict": "intact", "rows": 6, "unanchored_rows": 2, "anchor": {"where": "file:/mnt/a", "step": 4}}
    async with journal(client) as (app, pilot, screen):
        client.reads["audit.verify"] = whole
        await pilot.press("V")
        await until(pilot, lambda: "intact: 6 rows; 2 rows newer than the anchor in file:/mnt/a" in screen_text(app))
        client.reads["audit.verify"] = broken
        await pilot.press("V")
        await until(pilot, lambda: isinstance(app.screen, AnswerScreen))
        assert any("BROKEN: edited, tail_cut" in line.text for line in app.messages)
        assert screen in app.screen_stack
    assert verdict({})[1] == "bad"


async def test_the_export_goes_into_a_private_file() -> None:
    from opsconsole.engine.locations import home

    client = House()
    async with journal(client) as (app, pilot, _):
        await pilot.press("X")
        await until(pilot, lambda: any("that was all" in line.text for line in app.messages))
        (path,) = (home() / "dumps").glob("*.jsonl")
        assert path.stat().st_mode & 0o777 == 0o600
        assert json.loads(path.read_text()) == {"id": 1, "operator": "a\x1b[2Jb"}
        assert "\x1b" not in path.read_text()
        assert client.streams[-1] == ("audit.export", {})


async def test_the_history_of_whatever_is_under_the_cursor() -> None:
    client = House()
    async with journal(client) as (app, pilot, _):
        await pilot.press("H")
        await until(pilot, lambda: isinstance(app.screen, HistoryScreen) and "history of host web1" in screen_text(app))
        assert asked(client, "audit.history")[0] == {"kind": "host", "id": "5", "page_size": 200, "before": 2**61}
        await pilot.press("q", "1", "H")
        await until(pilot, lambda: asked(client, "audit.history")[-1]["kind"] == "service")
        assert asked(client, "audit.history")[-1]["id"].endswith(".service")


async def test_new_lines_come_by_themselves() -> None:
    client = House()
    async with journal(client) as (_, pilot, screen):
        client.records.append(record(7))
        screen._asked_at = 0.0
        client.changed.put_nowait([{"entity": "run", "key": "x", "verb": "updated"}])
        await until(pilot, lambda: "7" in screen.rows.records)
        assert screen._oldest is None
        client.records += [record(n) for n in range(8, 400)]
        screen._asked_at = 0.0
        client.changed.put_nowait([{"entity": "run", "key": "y", "verb": "updated"}])
        await until(pilot, lambda: "399" in screen.rows.records)
        assert "7" not in screen.rows.records, "a gap between known and new lines would hide what is in it"
        assert screen._oldest == 200


def test_every_cell_is_safe_whatever_the_house_says() -> None:
    hostile = record(1, **dict.fromkeys(("operator", "operation_id", "result", "reason", "kind", "op_time"), HOSTILE))
    hostile |= {"target": {"kind": HOSTILE, "name": HOSTILE, "id": HOSTILE}, "before": {HOSTILE: HOSTILE}}
    for made in (hostile, {}, {"target": HOSTILE, "before": [HOSTILE], "after": 3, "op_detail": HOSTILE}):
        for column in SPEC.columns:
            assert type(column.cell(parse(made), View(NOW)).text) is Safe
            column.sort(parse(made))
        for row in fields_of(made).values():
            for part in FIELDS.columns:
                assert type(part.cell(row, View(NOW)).text) is Safe
    assert thing_of({}) is None


def test_what_is_on_a_host_says_where() -> None:
    """Who restarted nginx is asked of one host."""
    nginx = {"kind": "service", "id": "3/nginx.service", "name": "nginx"}
    row = parse(record(1, target=nginx, op_detail={"host": "web3"}))
    assert row.target == "service web3/nginx"
    assert parse(record(1, op_detail={"host": "web1"})).target == "host web1"
    assert lately(NOW, NOW + 60) != lately(NOW, NOW + 400 * 86400)
    assert len(lately(NOW, NOW + 60)) == 14
