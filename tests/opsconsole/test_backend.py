"""The door between screens and house: answers, errors, streams and questions cross it; nothing blocks the screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from opsconsole.backend import Backend, _Prompts
from opsconsole.client import OperationFailed
from opsconsole.engine.context import Context
from opsconsole.engine.registry import REGISTRY, Input, Nothing, read, stream


class Number(Input):
    number: int


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    monkeypatch.setenv("OPSCONSOLE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OPSCONSOLE_DATABASE_URL", raising=False)
    made = Backend()
    yield made
    made.close()


@pytest.fixture
def operations() -> Iterator[dict[str, int]]:
    """Three reads of the test's own: one that answers, one that blocks its thread, one that breaks; and a stream."""
    seen = {"closed": 0, "sent": 0}

    @read("test.double", summary="twice", permission="public", input=Number)
    async def double(ctx: Context, query: Number) -> dict[str, int]:
        return {"double": query.number * 2}

    @read("test.block", summary="blocks", permission="public", input=Nothing)
    async def block(ctx: Context, query: Nothing) -> dict[str, bool]:
        time.sleep(0.4)  # noqa: ASYNC251 - the point of the test
        return {"done": True}

    @read("test.bug", summary="breaks", permission="public", input=Nothing)
    async def bug(ctx: Context, query: Nothing) -> None:
        raise ZeroDivisionError("hidden detail")

    @stream("test.count", summary="counts", permission="public", input=Nothing)
    async def count(ctx: Context, query: Nothing) -> AsyncIterator[dict[str, int]]:
        try:
            number = 0
            while True:
                number += 1
                seen["sent"] = number
                yield {"number": number}
        finally:
            seen["closed"] += 1

    yield seen
    for name in ("test.double", "test.block", "test.bug", "test.count"):
        del REGISTRY[name]


async def test_an_answer_comes_back(backend: Backend, operations: dict[str, int]) -> None:
    assert await backend.call("test.double", {"number": 21}) == {"double": 42}


async def test_an_error_keeps_its_code_field_and_exit_status(backend: Backend, operations: dict[str, int]) -> None:
    with pytest.raises(OperationFailed) as caught:
        await backend.call("test.double", {"number": "x"})
    assert (caught.value.code, caught.value.field, caught.value.exit_status) == ("invalid_parameter", "number", 2)


async def test_a_bug_is_written_down_and_not_shown(
    backend: Backend, operations: dict[str, int], tmp_path: Path
) -> None:
    with pytest.raises(OperationFailed) as caught:
        await backend.call("test.bug")
    assert caught.value.exit_status == 1
    assert "hidden detail" not in caught.value.message
    log = tmp_path / "home" / "log" / "errors.log"
    assert "ZeroDivisionError: hidden detail" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


async def test_a_blocked_engine_does_not_block_the_screen(backend: Backend, operations: dict[str, int]) -> None:
    await backend.call("test.double", {"number": 1})
    gaps: list[float] = []
    slow = asyncio.create_task(backend.call("test.block"))
    while not slow.done():
        started = time.perf_counter()
        await asyncio.sleep(0.005)
        gaps.append(time.perf_counter() - started)
    assert await slow == {"done": True}
    assert len(gaps) > 10
    assert max(gaps) < 0.3


async def test_a_closed_stream_ends_its_source_and_never_ran_far_ahead(
    backend: Backend, operations: dict[str, int]
) -> None:
    events = backend.stream("test.count")
    got = [(await anext(events))["number"] for _ in range(3)]
    assert got == [1, 2, 3]
    await events.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        while not operations["closed"]:  # noqa: ASYNC110 - it is set by another thread
            await asyncio.sleep(0.01)
    assert operations["sent"] < 200


async def test_facts_say_who_and_where(backend: Backend, tmp_path: Path) -> None:
    facts = await backend.facts()
    assert facts["administrator"] is True
    assert facts["home"] == str(tmp_path / "home")
    assert facts["read_only"] is None


async def test_a_read_only_console_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSCONSOLE_HOME", str(tmp_path / "home"))
    backend = Backend(readonly=True)
    try:
        assert "--readonly" in (await backend.facts())["read_only"]
    finally:
        backend.close()


async def test_changes_of_another_process_arrive_within_a_second(backend: Backend, tmp_path: Path) -> None:
    await backend.facts()
    changes = backend.changes()
    first = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0.5)
    from data.database import Database
    from data.feed import announce

    with Database.open(None, home=tmp_path / "home") as other:
        other.write_sync(lambda tx: announce(tx, "host", 7, "updated"))
    started = time.perf_counter()
    batch = await asyncio.wait_for(first, 5)
    assert {"entity": "host", "key": "7", "verb": "updated"} in batch
    assert time.perf_counter() - started < 1.0
    await changes.aclose()  # type: ignore[attr-defined]


async def test_questions_come_one_at_a_time_and_giving_up_is_no() -> None:
    prompts = _Prompts()
    first = asyncio.create_task(prompts.host_key("web1", "ssh-ed25519", "SHA256:x"))
    second = asyncio.create_task(prompts.password("web2", "ops", "Password:", echo=False))
    questions = prompts.questions()
    one = await anext(questions)
    assert (one.kind, one.host, one.details["fingerprint"]) == ("host_key", "web1", "SHA256:x")
    waiting = asyncio.ensure_future(anext(questions))
    await asyncio.sleep(0)
    assert not waiting.done()
    prompts.answer(one, "yes")
    assert await first is True
    two = await waiting
    assert (two.kind, two.host) == ("secret", "web2")
    prompts.answer(two, None)
    assert await second is None


async def test_a_host_counts_as_asked_from_its_question_to_the_answer_also_while_it_waits_for_its_turn() -> None:
    prompts = _Prompts()
    first = asyncio.ensure_future(prompts.host_key("web1", "ssh-ed25519", "SHA256:a"))
    second = asyncio.ensure_future(prompts.host_key("web2", "ssh-ed25519", "SHA256:b"))
    questions = prompts.questions()
    question = await anext(questions)
    assert (prompts.asked("web1"), prompts.asked("web2"), prompts.asked("web3")) == (True, True, False)
    prompts.answer(question, "yes")
    assert await first
    assert (prompts.asked("web1"), prompts.asked("web2")) == (False, True)
    second.cancel()
    await asyncio.wait({second})
    assert not prompts.asked("web2")


async def test_what_was_given_up_is_not_asked_again_and_another_key_is() -> None:
    prompts = _Prompts()
    questions = prompts.questions()
    first = asyncio.ensure_future(prompts.host_key("web1", "ssh-ed25519", "SHA256:a"))
    prompts.answer(await anext(questions), None)
    assert not await first
    assert not await prompts.host_key("web1", "ssh-ed25519", "SHA256:a")
    other = asyncio.ensure_future(prompts.host_key("web1", "ssh-ed25519", "SHA256:b"))
    prompts.answer(await anext(questions), "yes")
    assert await other
    word = asyncio.ensure_future(prompts.password("web1", "ops", "Password:", echo=False))
    prompts.answer(await anext(questions), None)
    assert await word is None
    assert await prompts.password("web1", "ops", "Password:", echo=False) is None
