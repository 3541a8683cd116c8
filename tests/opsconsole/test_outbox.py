"""What is told outside is written with what it tells of, tried until it is taken, and given up where all can see it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, select

import opsconsole.approvals.changes
import opsconsole.approvals.reviews
import opsconsole.home.notices
import opsconsole.home.show  # noqa: F401
from data.models import Approval, Notice
from opsconsole.engine import audit, notify, outbox
from opsconsole.engine.errors import InvalidParameter, ObjectNotFound, PermissionDenied, ReadOnly, StateConflict
from opsconsole.engine.perform import Consent
from opsconsole.tasks import housekeeping
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


async def told_by(bench: Bench, receiver: Receiver) -> Pair:
    object.__setattr__(bench.house.settings, "webhook", receiver.url)
    return await pair(bench)


async def rows(bench: Bench) -> list[Notice]:
    return await bench.database.read(lambda tx: list(tx.exec(select(Notice).order_by(col(Notice.id))).all()))


async def later(bench: Bench, seconds: float = 10**6) -> None:
    """Their next try has come."""

    def work(tx: Session) -> None:
        for row in tx.exec(select(Notice).where(Notice.state == "waiting")):
            row.next_at -= timedelta(seconds=seconds)
            tx.add(row)

    await bench.database.write(work)


async def ask(two: Pair, **more: Any) -> Any:
    wanted = {"operation": NAME, "input": two.given | more, "reason": "it is scrap"}
    return await two.bench.call(two.ann, "approvals.request", wanted)


async def test_told_at_once_under_an_id_that_stays(bench: Bench, receiver: Receiver) -> None:
    two = await told_by(bench, receiver)
    asked = await ask(two, password="s3cret-word")
    assert asked["not_told"] is None
    [row] = await rows(bench)
    assert (row.state, row.attempts, row.about, row.actor_id) == ("sent", 1, asked["id"], two.ann.user_id)
    assert receiver.keys == [row.id]
    assert "s3cret-word" not in repr(row.body)
    assert "password" not in repr(row.body)
    assert await outbox.send_due(bench.house) == {"told": 0, "not_told": 0}


async def test_what_could_not_be_told_is_tried_again_with_the_same_id(bench: Bench, receiver: Receiver) -> None:
    two = await told_by(bench, receiver)
    receiver.status = 503
    asked = await ask(two)
    assert "it answered 503" in asked["not_told"]
    [row] = await rows(bench)
    assert (row.state, row.attempts) == ("waiting", 1)
    assert "503" in str(row.last_error)
    assert await outbox.send_due(bench.house) == {"told": 0, "not_told": 0}, "not before its time"
    await later(bench)
    assert await housekeeping.tell(bench.house) == {"told": 0, "not_told": 1}
    receiver.status = 204
    await later(bench)
    assert await housekeeping.tell(bench.house) == {"told": 1, "not_told": 0}
    [row] = await rows(bench)
    assert (row.state, row.attempts, row.last_error) == ("sent", 3, None)
    assert receiver.keys == [row.id] * 3
    assert [body["event"] for _, body in receiver.told] == ["approval_requested"] * 3


async def test_a_process_that_dies_in_it_only_delays_it(bench: Bench, receiver: Receiver) -> None:
    """Written and claimed, and never heard of again: as if killed between the claim and the end of the try."""
    two = await told_by(bench, receiver)

    async def dies(house: object, key: str, body: object, to: object) -> tuple[list[str], str]:
        raise asyncio.CancelledError

    usual = notify.CHANNELS["webhook"]
    notify.CHANNELS["webhook"] = notify.Channel(usual.to, dies)
    try:
        with pytest.raises(asyncio.CancelledError):
            await ask(two)
    finally:
        notify.CHANNELS["webhook"] = usual
    [row] = await rows(bench)
    assert (row.state, row.attempts, row.about) == ("waiting", 1, (await approvals(bench))[0])
    assert await outbox.send_due(bench.house) == {"told": 0, "not_told": 0}
    await later(bench)
    assert await outbox.send_due(bench.house) == {"told": 1, "not_told": 0}
    assert receiver.keys == [row.id]


async def approvals(bench: Bench) -> list[str]:
    return await bench.database.read(lambda tx: list(tx.exec(select(Approval.id)).all()))


async def test_it_is_written_with_what_it_tells_of_or_not_at_all(bench: Bench, receiver: Receiver) -> None:
    two = await told_by(bench, receiver)

    def work(tx: Session) -> None:
        outbox.put(tx, bench.house, "review_closed", {"id": "r1"})
        raise StateConflict("it is not so after all")

    with pytest.raises(StateConflict):
        await bench.database.write(work)
    assert await rows(bench) == []
    await two.as_somebody(two.ann, NAME, two.given, Consent(reason="fire", break_glass=True))
    [row] = await rows(bench)
    assert (row.event, row.state, row.body["who"], row.body["reason"]) == ("break_glass", "sent", "ann", "fire")


async def test_many_senders_at_once_tell_it_once(bench: Bench, receiver: Receiver) -> None:
    two = await told_by(bench, receiver)
    receiver.status = 500
    await ask(two)
    receiver.status = 204
    await later(bench)
    await asyncio.gather(*(outbox.send_due(bench.house) for _ in range(6)))
    assert len(receiver.told) == 2
    assert (await rows(bench))[0].state == "sent"


async def test_given_up_visibly_and_tried_again_on_request(bench: Bench, receiver: Receiver) -> None:
    two = await told_by(bench, receiver)
    receiver.status = 404
    await ask(two)
    assert 15 < sum(outbox.BACK_OFF) / 3600 < 17  # said to people as some sixteen hours
    for _ in range(outbox.TRIES):
        await later(bench)
        await outbox.send_due(bench.house)
    [row] = await rows(bench)
    assert (row.state, row.attempts) == ("given_up", outbox.TRIES)
    assert len(receiver.told) == outbox.TRIES
    auditor = await bench.user("aud", "audit.view_audit")
    for caller in (two.ann, auditor):
        sections = (await bench.call(caller, "home.show"))["sections"]
        [shown] = [one for section in sections if section["id"] == "notices" for one in section["items"]]
        assert (shown["level"], shown["state"], shown["id"]) == ("red", "given up", row.id)
        assert "404" in shown["why"]
        listed = (await bench.call(caller, "notices.list", {"state": "given_up"}))["results"]
        assert [(one["id"], one["event"], one["attempts"]) for one in listed] == [
            (row.id, "approval_requested", outbox.TRIES)
        ]
    assert "notices" not in {one["id"] for one in (await bench.call(two.bob, "home.show"))["sections"]}
    assert (await bench.call(two.bob, "notices.list"))["results"] == []
    with pytest.raises(ObjectNotFound):
        await bench.call(two.bob, "notices.retry", {"id": row.id})
    with pytest.raises(ReadOnly):
        await bench.call(two.ann.with_read_only("drill"), "notices.retry", {"id": row.id})
    with pytest.raises(InvalidParameter):
        await bench.call(two.ann, "notices.list", {"state": "lost"})
    assert "404" in (await bench.call(two.ann, "notices.retry", {"id": row.id}))["not_told"]
    receiver.status = 204
    assert (await bench.call(two.ann, "notices.retry", {"id": row.id}))["not_told"] is None
    with pytest.raises(StateConflict, match="told already"):
        await bench.call(two.ann, "notices.retry", {"id": row.id})
    assert receiver.keys == [row.id] * (outbox.TRIES + 2)


async def test_an_open_console_sends_what_waits(bench: Bench, receiver: Receiver) -> None:
    two = await told_by(bench, receiver)
    receiver.status = 500
    await ask(two)
    receiver.status = 204
    await later(bench)
    await bench.call(two.bob, "home.count")
    for _ in range(200):
        if (await rows(bench))[0].state == "sent":
            break
        await asyncio.sleep(0.02)
    assert (await rows(bench))[0].state == "sent"


async def test_a_house_without_the_channel_leaves_it_to_others_for_a_day(bench: Bench, receiver: Receiver) -> None:
    two = await told_by(bench, receiver)
    receiver.status = 500
    await ask(two)
    object.__setattr__(bench.house.settings, "webhook", "")
    await later(bench)
    await outbox.send_due(bench.house)
    [row] = await rows(bench)
    assert (row.state, row.attempts) == ("waiting", 1)

    def work(tx: Session) -> None:
        old = tx.get_one(Notice, row.id)
        old.created_at -= timedelta(days=2)
        old.next_at = old.created_at
        tx.add(old)

    await bench.database.write(work)
    await outbox.send_due(bench.house)
    [row] = await rows(bench)
    assert (row.state, row.last_error) == ("given_up", "no webhook is set up here any more")


async def test_only_who_was_not_told_is_told_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[list[str]] = []

    async def sends(house: object, key: str, body: object, to: Any) -> tuple[list[str], str]:
        asked_for.append(list(to))
        left = [address for address in to if address == "bob@example.org" and len(asked_for) == 1]
        return left, "bob@example.org: try later" if left else ""

    channel = notify.Channel(lambda house: ["ann@example.org", "bob@example.org"], sends)
    monkeypatch.setattr(notify, "CHANNELS", {"mail": channel})
    asked = await ask(await pair(bench))
    assert asked["not_told"] == "bob@example.org: try later"
    await later(bench)
    await outbox.send_due(bench.house)
    assert asked_for == [["ann@example.org", "bob@example.org"], ["bob@example.org"]]


async def test_old_ones_are_forgotten_and_waiting_ones_are_not(bench: Bench) -> None:
    def work(tx: Session) -> None:
        old = audit.now() - timedelta(days=30)
        for state in ("waiting", "sent", "given_up"):
            tx.add(Notice(id=state, channel="webhook", event="e", about="a", state=state, created_at=old))
        tx.add(Notice(id="new", channel="webhook", event="e", about="a", state="sent"))
        tx.flush()
        outbox.trim(tx, audit.now())

    await bench.database.write(work)
    assert {row.id for row in await rows(bench)} == {"waiting", "new"}


async def test_nothing_that_is_refused_is_told(bench: Bench, receiver: Receiver, wipe: type[Wipe]) -> None:
    two = await told_by(bench, receiver)
    eve = await bench.user("eve")
    with pytest.raises(PermissionDenied):
        await bench.call(eve, "approvals.request", {"operation": NAME, "input": two.given, "reason": "r"})
    assert receiver.told == []
    assert await rows(bench) == []
    assert wipe.wiped == []
