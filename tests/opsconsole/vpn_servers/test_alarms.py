"""What is called wrong with a server: pure, over facts as looks leave them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opsconsole.engine.canonical import utc_text
from opsconsole.vpn.servers_alarms import alarms_of

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def facts(**changed: Any) -> dict[str, Any]:
    good: dict[str, Any] = {
        "config": {"path": "/etc/openvpn/s.conf", "crl_path": "/etc/openvpn/crl.pem"},
        "daemon": {"running": True},
        "crl": {
            "path": "/etc/openvpn/crl.pem",
            "mode": "file",
            "number": 7,
            "this_update": utc_text(NOW - timedelta(days=1)),
            "next_update": utc_text(NOW + timedelta(days=29)),
        },
        "seen": {"readable": True, "same": True, "uid": 65534},
    }
    for name, value in changed.items():
        part, _, key = name.partition("__")
        good[part] = good[part] | {key: value}
    return good


def codes(given: dict[str, Any] | None, newest: int | None = 7, error: Any = None) -> list[tuple[str, str]]:
    return [(one["code"], one["level"]) for one in alarms_of(given, error, NOW, newest)]


def test_nothing_is_wrong_with_a_good_one() -> None:
    assert codes(facts()) == []


@pytest.mark.parametrize(
    ("changed", "code", "level"),
    [
        ({"crl__next_update": utc_text(NOW - timedelta(seconds=1))}, "crl_expired", "red"),
        ({"crl__next_update": utc_text(NOW + timedelta(hours=7))}, "crl_expires_soon", "red"),
        ({"crl__this_update": utc_text(NOW + timedelta(minutes=5))}, "crl_not_yet_valid", "red"),
        ({"crl__missing": True}, "crl_missing", "red"),
        ({"crl__error": "damaged"}, "crl_damaged", "red"),
        ({"crl__foreign": True}, "crl_foreign", "red"),
        ({"crl__number": 6}, "crl_behind", "red"),
        ({"crl__number": None}, "crl_behind", "red"),
        ({"crl__number": 8}, "crl_ahead", "amber"),
        ({"seen__readable": False}, "crl_unreadable", "red"),
        ({"seen__same": False}, "crl_elsewhere", "red"),
        ({"daemon__running": False}, "daemon_down", "red"),
        ({"daemon__error": "no answer", "daemon__running": None}, "management_unreachable", "red"),
        ({"daemon__error": "held", "daemon__error_code": "busy"}, "management_busy", "amber"),
        ({"daemon__running": None}, "daemon_unknown", "amber"),
        ({"config__crl_path": None}, "crl_not_configured", "red"),
        ({"config__crl_inline": True}, "crl_inline", "red"),
        ({"config__newer_than_daemon": True}, "config_not_loaded", "amber"),
        ({"config__missing": True}, "config_missing", "red"),
    ],
)
def test_each_alarm_comes_alone(changed: dict[str, Any], code: str, level: str) -> None:
    assert codes(facts(**changed)) == [(code, level)]


def test_directories_lack_serials() -> None:
    given = facts() | {"crl": {"path": "/d", "mode": "dir", "lacking": 2}}
    assert codes(given) == [("crl_behind", "red")]


def test_an_old_sight_grows_old_with_the_clock_and_an_unreachable_host_is_told_too() -> None:
    given = facts(crl__next_update=utc_text(NOW - timedelta(days=3)))
    found = alarms_of(given, {"message": "no route"}, NOW, 7)
    assert [one["code"] for one in found] == ["unreachable", "crl_expired"]
    assert "ended 3 days ago" in found[1]["message"]
    assert codes(None) == []


def test_the_red_ones_come_first() -> None:
    given = facts(config__newer_than_daemon=True, crl__missing=True)
    assert codes(given) == [("crl_missing", "red"), ("config_not_loaded", "amber")]
