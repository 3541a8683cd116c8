"""What systemd would never do is refused before anybody tries, with the reason."""

from __future__ import annotations

import pytest

from opsconsole.engine.errors import ObjectNotFound
from opsconsole.hosts.lookup import HostFacts
from opsconsole.services import conf, project
from opsconsole.services.observe import Sight
from opsconsole.services.refusals import manual, refusal
from opsconsole.services.resolve import instance as one_instance
from opsconsole.services.resolve import resolve
from tests.opsconsole.services.units import host, instance, unit

KNOWN = conf.parse(conf.SEED.read_text("utf-8"), "seed")
WEB1 = HostFacts(
    id=1, name="web1", host_type="PHY_HOST", status="inited", address=None, ssh_port=None, ssh_user=None,
    credential_id=None, become=True, local=False, environment="default", environment_id=1, level="dev",
    environment_read_only=False, protected=False, maintenance_by=None, maintenance_reason=None,
    maintenance_until=None, tags=(),
)  # fmt: skip


def sight() -> Sight:
    seen = host(
        unit("nginx.service", names=("nginx.service", "web.service")),
        unit("static.service", unit_file_state="static"),
        unit("masked.service", load_state="masked", unit_file_state="masked", active_state="inactive"),
        unit("other.service", load_state="not-found", active_state="inactive"),
        instance("work@.service", "b"),
        instance("work@.service", "a"),
    )
    return Sight(WEB1, "ok", project.rows_of(seen, KNOWN), seen)


@pytest.mark.parametrize(
    ("name", "action", "says"),
    [
        ("static", "enable", "no [Install] section"),
        ("static", "disable", "no [Install] section"),
        ("masked", "start", "masked"),
        ("masked", "restart", "masked"),
        ("masked", "reload", "masked"),
        ("nginx", "reset_failed", "has not failed"),
    ],
)
def test_refused_with_the_reason(name: str, action: str, says: str) -> None:
    assert says in str(refusal(resolve(sight(), name).row, action))


@pytest.mark.parametrize("action", ["start", "stop", "restart", "enable", "disable", "reload"])
def test_an_ordinary_unit_takes_everything(action: str) -> None:
    assert refusal(resolve(sight(), "nginx").row, action) is None


def test_a_failed_unit_can_be_reset() -> None:
    seen = host(unit("a.service", active_state="failed"))
    assert refusal(project.rows_of(seen, KNOWN)[0], "reset_failed") is None


def test_units_that_refuse_hands() -> None:
    assert "started by hand" in str(manual(unit("a.service", refuse_manual_start=True), "restart"))
    assert "stopped by hand" in str(manual(unit("a.service", refuse_manual_stop=True), "stop"))
    assert manual(unit("a.service", refuse_manual_stop=True), "start") is None


@pytest.mark.parametrize("name", ["nginx", "nginx.service", "web", "web.service"])
def test_a_unit_by_any_of_its_names(name: str) -> None:
    assert [u.id for u in resolve(sight(), name).units] == ["nginx.service"]


@pytest.mark.parametrize("name", ["work", "work@", "work@.service"])
def test_a_service_with_instances_means_all_of_them_in_order(name: str) -> None:
    assert [u.id for u in resolve(sight(), name).units] == ["work@a.service", "work@b.service"]


def test_one_instance_is_one_unit() -> None:
    assert [u.id for u in resolve(sight(), "work@b").units] == ["work@b.service"]
    assert one_instance(sight(), "work", "b")["unit"] == "work@b.service"


def test_an_unknown_name_says_what_is_near() -> None:
    with pytest.raises(ObjectNotFound) as caught:
        resolve(sight(), "ngnix")
    assert caught.value.field == "name"
    assert "nginx" in caught.value.message
    with pytest.raises(ObjectNotFound):
        resolve(sight(), "other")


def test_an_unknown_instance_names_the_known_ones() -> None:
    with pytest.raises(ObjectNotFound) as caught:
        one_instance(sight(), "work", "zz")
    assert caught.value.field == "instance_name"
    assert "a, b" in caught.value.message
