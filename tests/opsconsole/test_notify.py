"""Who is told outside: what is sent, that it holds no secret, and that silence there stops nothing here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import opsconsole.approvals.changes
import opsconsole.approvals.reviews  # noqa: F401
from opsconsole.engine import notify, settings
from opsconsole.engine.perform import Consent
from tests.drivers.test_webhook import Receiver
from tests.opsconsole.houses import Bench
from tests.opsconsole.second import Pair, pair
from tests.opsconsole.wiping import NAME, Wipe

pytestmark = pytest.mark.usefixtures("wipe")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


async def told(small_bench: Bench, receiver: Receiver) -> Pair:
    object.__setattr__(small_bench.house.settings, "webhook", receiver.url)
    return await pair(small_bench)


async def test_every_step_is_told_without_input_and_plan(small_bench: Bench, receiver: Receiver) -> None:
    two = await told(small_bench, receiver)
    approval_id = await two.approved(password="s3cret-word")
    await two.perform(approval_id, password="s3cret-word")
    rejected = await two.ask()
    await small_bench.call(two.bob, "approvals.reject", {"id": rejected, "reason": "no"})
    bodies = [body for _, body in receiver.told]
    assert [body["event"] for body in bodies] == [
        "approval_requested",
        "approval_approved",
        "approval_requested",
        "approval_rejected",
    ]
    assert bodies[0]["id"] == approval_id
    assert (bodies[0]["requester"], bodies[0]["reason"], bodies[0]["operation"]) == ("ann", "it is scrap", NAME)
    assert bodies[3]["decision_reason"] == "no"
    assert not {"input", "plan"} & {name for body in bodies for name in body}
    assert "s3cret-word" not in repr(bodies)


async def test_break_glass_is_told_while_it_runs(small_bench: Bench, receiver: Receiver, wipe: type[Wipe]) -> None:
    two = await told(small_bench, receiver)
    await two.as_somebody(two.ann, NAME, two.given, Consent(reason="fire", break_glass=True))
    [(_, body)] = receiver.told
    assert (body["event"], body["who"], body["reason"], body["level"]) == ("break_glass", "ann", "fire", "dev")
    assert len(wipe.wiped) == 2


async def test_nobody_there_stops_nothing(small_bench: Bench, receiver: Receiver, wipe: type[Wipe]) -> None:
    two = await told(small_bench, receiver)
    receiver.close()
    asked = await small_bench.call(two.ann, "approvals.request", {"operation": NAME, "input": two.given, "reason": "r"})
    assert "localhost cannot be reached" in asked["not_told"]
    assert (await two.approve(asked["id"]))["state"] == "approved"
    await two.as_somebody(two.ann, NAME, two.given, Consent(reason="fire", break_glass=True))
    assert len(wipe.wiped) == 2


async def test_a_bug_in_telling_undoes_nothing(small_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(house: object, key: str, body: object, to: object) -> tuple[list[str], str]:
        raise ZeroDivisionError

    monkeypatch.setattr(notify, "CHANNELS", {"webhook": notify.Channel(lambda house: [], broken)})
    two = await pair(small_bench)
    asked = await small_bench.call(two.ann, "approvals.request", {"operation": NAME, "input": two.given, "reason": "r"})
    assert (asked["state"], asked["not_told"]) == ("pending", "a bug of ours (ZeroDivisionError)")


async def test_nothing_configured_is_nothing_told(small_bench: Bench) -> None:
    two = await pair(small_bench)
    asked = await small_bench.call(two.ann, "approvals.request", {"operation": NAME, "input": two.given, "reason": "r"})
    assert asked["not_told"] is None


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ('webhook = "https://hooks.example.org/x"', True),
        ('webhook = "http://localhost:8080/x"', True),
        ('webhook = "http://hooks.example.org/x"', False),
        ("webhook = 1", False),
        ("approval_hours = 48", True),
        ("approval_hours = 0", False),
        ("break_glass = false", True),
        ('break_glass = "no"', False),
    ],
)
def test_settings(tmp_path: Path, line: str, good: bool) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(line + "\n")
    assert bool(settings.load(path).notes) is not good
