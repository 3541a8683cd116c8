"""Rows, hosts, plans and results as words: what is unknown is never shown as fine, and nothing depends on colour."""

from __future__ import annotations

from typing import Any

import pytest

from screens.render.host import Host, Seen, age_cell, parse_host, span, state_cell, timestamp
from screens.render.plan import Answer, before_after, judge, ladder, level_of, plan_text
from screens.render.result import outcomes, tally, worst
from screens.render.service import SPEC, Item, is_bad, parse_service, status_word
from screens.services_state import Fleet, merge
from screens.services_view import Narrowing
from screens.text import Safe
from screens.widgets.header import fleet_heading, heading_text
from screens.widgets.rows import View
from tests.screens.fake import HOSTILE, NOW, fleet, host_event, plan_of, row


def host(state: str = "ok", at: float | None = NOW, **more: Any) -> Host:
    return parse_host(host_event("web1", state, at=at, **more)["host"], Seen())


@pytest.mark.parametrize(
    ("made", "text", "role"),
    [
        (host(), "3s", "muted"),
        (host(at=NOW - 120), "stale 2m", "warn"),
        (host(cached=True), "stale 3s", "warn"),
        (host("unreachable", NOW - 120), "down 2m", "bad"),
        (host("unreachable", None), "never", "bad"),
        (host("connecting", None), "…", "busy"),
    ],
)
def test_age(made: Host, text: str, role: str) -> None:
    cell = age_cell(made, NOW + 3)
    assert (cell.text, cell.role) == (text, role)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (99, "99s"),
        (100, "1m"),
        (5999, "99m"),
        (7200, "2h"),
        (172800, "2d"),
        (864000 * 12, "17w"),
        (1e9, "31y"),
    ],
)
def test_spans_are_short(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_host_states_have_glyph_word_and_role_and_unheard_ones_are_unknown() -> None:
    assert state_cell(host("host_key_changed"), plain=True).text == "x KEY CHANGED"
    assert state_cell(host("new\x1b[0mstate"), plain=False) == state_cell(host("newstate"), plain=False)
    assert state_cell(host("newstate"), plain=False).role == "unknown"
    assert not host("newstate").up
    assert timestamp("rubbish") is None
    assert timestamp("2027-01-15T08:00:00Z") == NOW


@pytest.mark.parametrize(
    ("more", "word", "role"),
    [
        ({}, "started", "ok"),
        ({"status": "stopped"}, "stopped", "muted"),
        ({"status": "error"}, "error", "bad"),
        ({"status": "error", "auto_restart": True}, "crash loop", "bad"),
        ({"status": "instance_stopped"}, "instance stopped", "warn"),
        ({"active": "deactivating"}, "deactivating", "busy"),
        ({"status": "weird"}, "weird", "unknown"),
        ({"status": None}, "unknown", "unknown"),
    ],
)
def test_status(more: dict[str, Any], word: str, role: str) -> None:
    item = Item(host(), parse_service({**row("web1", "nginx"), **more}))
    assert status_word(item) == (word, role)
    assert is_bad(item) == (role in ("bad", "warn"))


def test_unknown_numbers_are_not_zero() -> None:
    item = Item(host(), parse_service(row("web1", "nginx", restarts=None, since=None)))
    cells = {column.id: column.cell(item, View(NOW)).text for column in SPEC.columns}
    assert cells["restarts"] == "?"
    assert cells["since"] == ""


def test_a_unit_that_is_not_loaded_has_no_restarts_to_know() -> None:
    for more in ({"load": "not-loaded"}, {"active": "inactive"}):
        item = Item(host(), parse_service(row("web1", "nginx", restarts=None, **more)))
        cells = {column.id: column.cell(item, View(NOW)).text for column in SPEC.columns}
        assert cells["restarts"] == ""


def test_a_service_with_instances_says_how_many_are_up() -> None:
    head = row("web1", "work@", "instance_stopped", active="", sub="", multiple_instances=True, instances=2)
    cells = {}
    for up, text in ((1, "1/2 up"), (None, "?/2 up")):
        item = Item(host(), parse_service({**head, "instances_up": up}))
        cells = {column.id: column.cell(item, View(NOW)) for column in SPEC.columns}
        assert cells["state"].text == text
    none = Item(host(), parse_service({**head, "instances": 0, "instances_up": 0}))
    assert SPEC.column("state").cell(none, View(NOW)).text == "no instances"  # type: ignore[union-attr]


def test_an_instance_is_shown_as_it_was_written_and_asked_for_as_it_is_called() -> None:
    made = parse_service(row("web1", "work@with\\x2ddash", parent="work@", instance="with-dash"))
    assert made.name == "work@with-dash"
    assert made.target == ("web1", "work@with\\x2ddash")
    assert made.unit == "work@with\\x2ddash.service"


def test_every_cell_of_a_hostile_row_is_safe_and_sorts() -> None:
    hostile = dict.fromkeys(row("web1", "nginx"), HOSTILE)
    items = [
        Item(host(), parse_service(hostile)),
        Item(host(), parse_service(row("web1", "nginx"))),
        Item(host("down")),
    ]
    for column in SPEC.columns:
        assert len(sorted(items, key=column.sort)) == 3
        for item in items:
            assert type(column.cell(item, View(NOW)).text) is Safe
    sorted(items, key=SPEC.order)


def test_fleet_events() -> None:
    known = Fleet()
    difference = known.apply(fleet())
    assert "host:old1" in difference.changed
    assert difference.changed["old1:old1/cron.service"].last_known
    assert known.apply([host_event("web1", at=NOW + 5)]).changed == {}
    assert next(item for item in known.hosts if item.name == "web1").seen.at == NOW + 5
    difference = known.apply([host_event("old1", rows=[row("old1", "cron")])])
    assert difference.removed == {"host:old1", "old1:old1/ntp.service"}
    assert not difference.changed["old1:old1/cron.service"].last_known
    assert known.forget(["old1"]).removed == {"old1:old1/cron.service"}
    assert known.apply([{"event": "other"}, {}]).changed == {}


def test_a_host_that_is_gone_takes_its_rows_along_also_out_of_what_waits() -> None:
    known = Fleet()
    known.apply([host_event("web1", rows=[row("web1", "cron")])])
    gone = {"event": "gone", "host": {"id": "web1", "name": "web1"}}
    assert known.apply([gone]).removed == {"web1:web1/cron.service"}
    assert known.hosts == []
    pending: dict[str, dict[str, Any]] = {}
    merge(pending, host_event("web1", rows=[row("web1", "cron")]))
    merge(pending, gone)
    assert pending["web1"]["event"] == "gone"
    merge(pending, host_event("web1", rows=[]))
    assert pending["web1"]["rows"] == []


def test_narrowing_holds_together_and_goes_back_one_by_one() -> None:
    known = Fleet()
    group = row("web1", "work@", "instance_stopped", multiple_instances=True, instances=1, instances_up=0)
    rows = [
        row("web1", "nginx", main=False),
        group,
        row("web1", "work@a", "error", parent="work@", instance="a", main=False),
    ]
    items = known.apply([host_event("web1", rows=rows), host_event("old1", "unreachable", rows=[])]).changed
    narrowing = Narrowing()

    def shown() -> set[str]:
        narrow = narrowing.predicate or (lambda item: True)
        return {str(item.service.name) if item.service else "-" for item in items.values() if narrow(item)}

    assert shown() == {"nginx", "work@", "work@a", "-"}
    narrowing.main = True
    assert shown() == {"work@", "work@a", "-"}
    narrowing.folded = True
    assert shown() == {"work@", "-"}
    narrowing.errors = True
    assert shown() == {"work@", "work@a", "-"}
    assert narrowing.word == "errors only, main only, instances folded"
    narrowing.host = "old1"
    assert shown() == {"-"}
    assert [narrowing.step_back() for _ in range(4)] == [True, True, True, False]
    assert narrowing.word == "instances folded"


def test_a_host_without_services_is_still_a_row() -> None:
    assert set(Fleet().apply([host_event("bare", rows=[])]).changed) == {"host:bare"}
    assert set(Fleet().apply([host_event("new", "connecting", at=None)]).changed) == {"host:new"}


def test_merging_keeps_rows_over_events_without_them() -> None:
    pending: dict[str, dict[str, Any]] = {}
    merge(pending, host_event("web1", rows=[row("web1", "a")]))
    merge(pending, host_event("web1", "timeout"))
    merge(pending, {"event": "other"})
    assert pending["web1"]["host"]["state"] == "timeout"
    assert pending["web1"]["rows"]


@pytest.mark.parametrize(
    ("more", "typed", "reason", "expected"),
    [
        ({"rung": 0}, "", "", None),
        ({"rung": 1, "expect": "yes"}, "", "", "yes"),
        ({"rung": 2, "expect": "7"}, "7", "", "7"),
        ({"rung": 2, "expect": "7"}, " 7 ", "", "7"),
        ({"rung": 3, "expect": "db1"}, "db1", "why", "db1"),
    ],
)
def test_the_ladder_accepts(more: dict[str, Any], typed: str, reason: str, expected: str | None) -> None:
    verdict = judge(ladder(plan_of("services.stop", [], **more)), typed, reason)
    assert isinstance(verdict, Answer)
    assert verdict.confirm == expected


@pytest.mark.parametrize(
    ("more", "typed", "reason", "says"),
    [
        ({"rung": 2, "expect": "7"}, "", "", "Expected 7 – typed nothing"),
        ({"rung": 2, "expect": "7"}, "77", "", "Expected 7 – typed 77"),
        ({"rung": 2, "expect": None}, "", "", "cannot be confirmed here"),
        ({"rung": 3, "expect": "db1"}, "DB1", "why", "Expected db1"),
        ({"rung": 3, "expect": "db1"}, "db1", " ", "A reason is needed"),
        ({"rung": 1, "needs_reason": True}, "", "", "A reason is needed"),
        ({"rung": 4}, "anything", "why", "second person"),
        ({"rung": 9}, "anything", "why", "second person"),
        ({"rung": None}, "anything", "why", "second person"),
    ],
)
def test_the_ladder_refuses_with_a_sentence(more: dict[str, Any], typed: str, reason: str, says: str) -> None:
    verdict = judge(ladder(plan_of("services.stop", [], **more)), typed, reason)
    assert isinstance(verdict, str)
    assert says in verdict


def test_a_plan_says_everything() -> None:
    targets = [{"host": "db1", "name": "postgresql"}]
    plan = plan_of("services.stop", targets, warnings=["it carries our connection"], undo=None, reversible=False)
    plan["targets"][0]["warnings"] = ["protected"]
    plan["targets"][0]["evidence_age"] = 300
    text = plan_text(plan).plain
    for part in (
        "active → inactive",
        "seen 5m ago",
        "▲ protected",
        "it carries our connection",
        "cannot be taken back",
        "shop",
    ):
        assert part in text
    many = plan_text(plan_of("services.stop", targets * 2500)).plain
    assert "2500 targets on 1 host" in many
    assert "and 500 more targets" in many


def test_of_our_own_records_a_plan_needs_no_look_and_of_a_unit_it_does() -> None:
    plan = plan_of("hosts.update", [{"host": "web1", "name": "web1"}])
    plan["targets"][0] |= {"kind": "host", "evidence_age": None}
    assert "our own record" in plan_text(plan).plain
    plan["targets"][0]["kind"] = "service"
    assert "state unknown" in plan_text(plan).plain


@pytest.mark.parametrize(
    ("more", "level"),
    [
        ({"level": "stage", "environment": "x"}, "stage"),
        ({"level": "moon", "environment": "x"}, "prod"),
        ({"environment": "x"}, "prod"),
        ({}, ""),
    ],
)
def test_a_level_nobody_knows_looks_like_production(more: dict[str, Any], level: str) -> None:
    assert level_of(more) == level


def test_before_and_after() -> None:
    assert before_after({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": None}) == "b: 2 → 3"
    assert before_after({"a": None}, {"a": "x"}) == "a: ? → x"
    assert before_after({"a": 1}, {}) == ""


def test_results_never_make_unknown_done() -> None:
    found = outcomes(
        [
            {"host": "a", "name": "x", "state": "done"},
            {"host": "b", "name": "x", "state": "surprise"},
            {"host": "c", "name": "x", "state": "failed", "error": {"code": "timeout", "message": None}},
        ]
    )
    assert [outcome.state for outcome in found.values()] == ["done", "unknown", "failed"]
    assert found["c/x"].why == "timeout"
    assert tally(found.values()) == "1 done, 1 unknown, 1 failed"
    assert tally([next(iter(found.values()))]) == next(iter(found.values())).state
    assert worst(found.values()) == "bad"
    assert worst([]) == "ok"


def test_heading_names_the_environment_where_a_mistake_costs_most() -> None:
    known = Fleet()
    known.apply(fleet())
    text = heading_text(
        fleet_heading("services", Safe("ann@jump"), known.hosts, NOW + 3, read_only=Safe("audit"), frozen=True)
    ).plain
    assert text == " services  PROD +1   READ-ONLY   FROZEN  hosts 3/5 up · fresh 3s · ann@jump"
    bare = heading_text(fleet_heading("services", Safe(""), [], NOW, read_only=Safe(""), frozen=False)).plain
    assert bare == " services "


def test_a_plan_reads_like_words_and_lists_an_import_line_by_line() -> None:
    plan = plan_of("hosts.import_ssh_config", [{"host": "web1", "name": "web1"}])
    after = {"create": [{"name": "imp1", "address": "10.0.0.1"}, {"name": HOSTILE}], "unchanged": [], "become": True}
    plan["targets"][0] |= {
        "kind": "import",
        "before": {"port": None},
        "after": {**after, "port": 22, "tags": ["a", "b"]},
    }
    text = plan_text(plan).plain
    assert "web1/web1" not in text
    for part in ("port: not set → 22", "become: yes", "tags: a, b", "create: 2", "imp1  address 10.0.0.1"):
        assert part in text
    assert "\x1b" not in text
