"""The projection: four words for status, two for enabled, and what is a row at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.systemd import UnitState
from opsconsole.services import conf, project
from tests.opsconsole.services.units import host, instance, unit

KNOWN = conf.parse(conf.SEED.read_text("utf-8"), "seed")


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ({"active_state": "active"}, "started"),
        ({"active_state": "reloading"}, "started"),
        ({"active_state": "activating", "sub_state": "start"}, "started"),
        ({"active_state": "inactive", "sub_state": "dead"}, "stopped"),
        ({"active_state": "deactivating", "sub_state": "stop"}, "stopped"),
        ({"active_state": "failed", "sub_state": "failed"}, "error"),
        ({"active_state": "activating", "sub_state": "auto-restart"}, "error"),
        ({"active_state": "activating", "sub_state": "auto-restart-queued"}, "error"),
        ({"active_state": "inactive", "load_state": "bad-setting"}, "error"),
        ({"active_state": "inactive", "load_state": "error"}, "error"),
        ({"active_state": "inactive", "load_state": "masked"}, "stopped"),
    ],
)
def test_status_of_a_single_unit(facts: dict[str, str], status: str) -> None:
    assert project.status_of(unit("a.service", **facts)) == status


@pytest.mark.parametrize(
    ("statuses", "wanted"),
    [
        (["started", "error", "stopped"], "error"),
        (["started", "started"], "started"),
        ([], "stopped"),
        (["stopped", "stopped"], "stopped"),
        (["started", "stopped"], "instance_stopped"),
    ],
)
def test_status_of_a_service_with_several_instances(statuses: list[str], wanted: str) -> None:
    assert project.group_status(statuses) == wanted


@pytest.mark.parametrize(
    ("state", "enabled"),
    [
        ("enabled", "enabled"),
        ("enabled-runtime", "enabled"),
        ("alias", "enabled"),
        ("disabled", "disabled"),
        ("static", "disabled"),
        ("masked", "disabled"),
        ("generated", "disabled"),
        ("", "disabled"),
    ],
)
def test_enabled(state: str, enabled: str) -> None:
    assert project.enabled_of(unit("a.service", unit_file_state=state)) == enabled


def test_a_unit_others_only_mention_is_no_row() -> None:
    mentioned = unit("auditd.service", load_state="not-found", active_state="inactive")
    lingering = unit("gone.service", load_state="not-found", active_state="active")
    rows = project.rows_of(host(mentioned, lingering), KNOWN)
    assert [row["name"] for row in rows] == ["gone"]
    assert rows[0]["status"] == "error"


def test_another_name_of_a_unit_is_no_row() -> None:
    alias = UnitState(id="dbus-org.x.service", unit_file_state="alias", installed_only=True)
    assert project.rows_of(host(unit("x.service"), alias), KNOWN)[0]["name"] == "x"
    assert len(project.rows_of(host(unit("x.service"), alias), KNOWN)) == 1


def test_instances_become_one_service_with_its_instances_below() -> None:
    seen = host(
        unit("nginx.service"),
        instance("work@.service", "a"),
        instance("work@.service", "b", active_state="inactive", unit_file_state="disabled"),
        UnitState(id="work@.service", load_state="loaded"),
    )
    rows = project.rows_of(seen, KNOWN)
    assert [(r["name"], r["parent"], r["instance"]) for r in rows] == [
        ("nginx", None, None),
        ("work@", None, None),
        ("work@a", "work@", "a"),
        ("work@b", "work@", "b"),
    ]
    group = rows[1]
    assert (group["status"], group["enabled"], group["instances"]) == ("instance_stopped", "enabled", 2)
    assert group["multiple_instances"] is True
    assert group["description"] == "work@"


def test_the_umbrella_unit_and_its_template_are_one_known_service() -> None:
    seen = host(
        unit("openvpn.service", active_state="active", sub_state="exited"),
        instance("openvpn@.service", "branch-1", active_state="failed"),
    )
    rows = project.rows_of(seen, KNOWN)
    assert [r["name"] for r in rows] == ["openvpn", "openvpn@branch-1"]
    assert rows[0]["main"] is True
    assert rows[0]["status"] == "error"
    assert rows[0]["unit"] == "openvpn@.service"


def test_an_umbrella_without_its_template_stays_itself() -> None:
    rows = project.rows_of(host(unit("openvpn.service")), KNOWN)
    assert [(r["name"], r["unit"], r["multiple_instances"]) for r in rows] == [("openvpn", "openvpn.service", False)]


def test_the_instance_of_the_document_has_its_names_and_no_others() -> None:
    rows = project.rows_of(host(instance("work@.service", "a")), KNOWN)
    shown = project.as_instance(rows[1], "web1")
    assert (shown["name"], shown["instance_name"], shown["status"]) == ("work@", "a", "started")
    assert not {"main", "module_link", "multiple_instances"} & shown.keys()


def test_the_description_of_the_file_wins(tmp_path: Path) -> None:
    known = conf.parse('[service.nginx]\ndescription = "the front door"\nmain = true\n', "x")
    row = project.rows_of(host(unit("nginx.service")), known)[0]
    assert (row["description"], row["main"]) == ("the front door", True)


def test_a_wrong_services_file_names_what_is_wrong_and_keeps_the_rest() -> None:
    text = '[service.good]\nmain = true\n[service.bad]\nmain = "yes"\n[service.odd]\ntemplate = "x"\n[other]\n'
    known = conf.parse(text, "services.toml")
    assert set(known.services) == {"good"}
    assert [note.split(":")[1].strip() for note in known.notes] == [
        "[other] is not known; entries are [service.NAME]",
        "[service.bad]",
        "[service.odd]",
    ]


def test_a_broken_services_file_falls_back_to_the_seed(tmp_path: Path) -> None:
    (tmp_path / "services.toml").write_text("[service\n")
    known = conf.load(tmp_path)
    assert "openvpn" in known.services
    assert len(known.notes) == 1
    assert str(tmp_path / "services.toml") in known.notes[0]


def test_the_file_is_seeded_once_and_then_the_operators(tmp_path: Path) -> None:
    assert "nginx" in conf.load(tmp_path).services
    (tmp_path / "services.toml").write_text("[service.mine]\n")
    assert set(conf.load(tmp_path).services) == {"mine"}
