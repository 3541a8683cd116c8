"""The house behind the screens: its own thread, its own event loop, and a door that a screen may await.

The thread starts when the first question is asked, after the first frame. Whatever blocks in it (an import, a
handshake, a big JSON) blocks no key press.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from opsconsole.client import Client, Json, OperationFailed, Question

if TYPE_CHECKING:
    from opsconsole.engine.context import Context
    from opsconsole.house import House

T = TypeVar("T")
_BUFFERED = 64
_NOT_AGAIN_SECONDS = 300.0
_SWITCH_SECONDS = 0.001


def connect(*, readonly: bool = False) -> Client:
    """A client whose house opens on first use, and which knows already what was seen last. `readonly` refuses every
    change of this session."""
    from opsconsole.services import last_known

    return Backend(readonly=readonly, last_known=last_known.events())


class Backend:
    """Implements `Client` over an engine loop in a daemon thread."""

    def __init__(self, *, readonly: bool = False, last_known: Sequence[Json] = ()) -> None:
        self._readonly = readonly
        self._last_known = list(last_known)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()
        self._house: House | None = None
        self._opening: asyncio.Task[House] | None = None
        self._prompts = _Prompts()
        self._thread: threading.Thread | None = None

    async def call(
        self,
        operation: str,
        data: Mapping[str, Any] | None = None,
        *,
        confirm: str | None = None,
        reason: str | None = None,
        plan_digest: str | None = None,
        break_glass: bool = False,
        task: Mapping[str, Any] | None = None,
    ) -> Any:
        async def work() -> Any:
            from opsconsole.engine import dispatch
            from opsconsole.engine.perform import Consent
            from opsconsole.tasks.options import TaskOptions

            options = None if task is None else TaskOptions.of(task)
            consent = Consent(confirm, reason, plan_digest, break_glass=break_glass, task=options)
            return await dispatch.call(await self._context(), operation, data, consent)

        return await self._ask(work())

    async def plan(self, operation: str, data: Mapping[str, Any] | None = None) -> Json:
        async def work() -> Json:
            from opsconsole.engine import dispatch

            return await dispatch.plan(await self._context(), operation, data)

        return await self._ask(work())

    async def stream(self, operation: str, data: Mapping[str, Any] | None = None) -> AsyncIterator[Json]:
        async def source() -> AsyncIterator[Json]:
            from opsconsole.engine import dispatch

            async for item in dispatch.stream(await self._context(), operation, data):
                yield item

        async for item in self._across(source):
            yield item

    def last_known(self) -> list[Json]:
        known, self._last_known = self._last_known, []
        return known

    async def changes(self) -> AsyncIterator[list[Json]]:
        async def source() -> AsyncIterator[list[Json]]:
            async for batch in (await self._open()).feed.changes():
                yield [
                    {"lost": True} if row.lost else {"entity": row.entity, "key": row.key, "verb": row.verb}
                    for row in batch
                ]

        async for item in self._across(source):
            yield item

    async def questions(self) -> AsyncIterator[Question]:
        async for question in self._across(self._prompts.questions):
            yield question

    async def answer(self, question: Question, value: str | None) -> None:
        self._engine_loop().call_soon_threadsafe(self._prompts.answer, question, value)

    async def facts(self) -> Json:
        async def work() -> Json:
            import socket

            ctx = await self._context()
            house = ctx.house
            return {
                "user": ctx.caller.username,
                "hostname": socket.gethostname(),
                "mode": house.settings.mode,
                "administrator": ctx.caller.administrator,
                "read_only": ctx.caller.read_only,
                "home": str(house.home),
                "captive": house.settings.captive,
                "enabled": ctx.caller.enabled,
                "exchange": _exchange(house.settings.exchange, ctx.caller.username),
                "notes": list(house.settings.notes),
            }

        return await self._ask(work())

    def close(self) -> None:
        """End the house and its thread; called once, after the last frame."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        done = asyncio.run_coroutine_threadsafe(self._shut(), loop)
        try:
            done.result(timeout=5)
        except TimeoutError:
            done.cancel()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)

    async def _shut(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._house is not None:
            await self._house.close()

    def _engine_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                sys.setswitchinterval(_SWITCH_SECONDS)
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
                self._thread.start()
            return self._loop

    async def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(_as_failure(work), self._engine_loop())
        return await asyncio.wrap_future(future)

    async def _across(self, source: Callable[[], AsyncIterator[T]]) -> AsyncIterator[T]:
        """Items of an iterator living in the engine's loop, at most a few ahead of the reader."""
        here = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[bool, Any]] = asyncio.Queue()
        room, engine = asyncio.Semaphore(_BUFFERED), self._engine_loop()
        task: Future[None] = asyncio.run_coroutine_threadsafe(_pump(source, here, queue, room), engine)
        try:
            while True:
                more, item = await queue.get()
                engine.call_soon_threadsafe(room.release)
                if not more:
                    break
                yield item
            await asyncio.wrap_future(task)
        finally:
            task.cancel()

    async def _open(self) -> House:
        if self._opening is None:
            self._opening = asyncio.ensure_future(asyncio.to_thread(_open_house))
        house = await asyncio.shield(self._opening)
        if self._house is None:
            house.prompter = self._prompts
            house.asked = self._prompts.asked
            self._house = house
        return house

    async def _context(self) -> Context:
        house = await self._open()
        from opsconsole.engine.context import Context
        from opsconsole.engine.identity import who

        await house.sweep()
        caller = await house.caller(who(), via="screen")
        if self._readonly:
            caller = caller.with_read_only("the console was started with --readonly")
        return Context(house=house, caller=caller)


def _exchange(directory: str, username: str) -> str | None:
    """The user's own directory to take files away from; none for a name that could lead elsewhere."""
    safe = bool(username) and username not in {".", ".."} and "/" not in username and "\0" not in username
    return f"{directory.rstrip('/')}/{username}" if directory.startswith("/") and safe else None


def _open_house() -> House:
    """With the collector held: a thousand modules full of objects that all stay are no work for it."""
    gc.disable()
    try:
        from opsconsole.engine import dispatch  # noqa: F401 - imported here, where it is cheap
        from opsconsole.house import House

        return House.open()
    finally:
        gc.freeze()
        gc.enable()


async def _as_failure(work: Coroutine[Any, Any, T]) -> T:
    """Errors of the house as the light class a screen knows; a bug becomes `unexpected_error`, with its type."""
    from data.errors import DataError
    from opsconsole.engine.errors import ConsoleError, UnexpectedError
    from opsconsole.house import translate

    try:
        return await work
    except ConsoleError as error:
        raise OperationFailed(error.as_json(), error.exit_status) from error
    except DataError as error:
        said = translate(error)
        raise OperationFailed(said.as_json(), said.exit_status) from error
    except (asyncio.CancelledError, OperationFailed):
        raise
    except Exception as error:
        from opsconsole.engine.bugs import note

        where = await asyncio.to_thread(note, error)
        written = f"it is written down in {where}" if where else "it could not be written down"
        bug = UnexpectedError(f"a bug of ours ({type(error).__name__}); {written}")
        raise OperationFailed(bug.as_json(), 1) from error


async def _pump(
    source: Callable[[], AsyncIterator[Any]],
    there: asyncio.AbstractEventLoop,
    queue: asyncio.Queue[tuple[bool, Any]],
    room: asyncio.Semaphore,
) -> None:
    async def all_of_it() -> None:
        items = source()
        try:
            async for item in items:
                await room.acquire()
                there.call_soon_threadsafe(queue.put_nowait, (True, item))
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    try:
        await _as_failure(all_of_it())
    finally:
        if not there.is_closed():
            there.call_soon_threadsafe(queue.put_nowait, (False, None))


class _Prompts:
    """The drivers' prompter: one question at a time, in order of asking.

    A dead end is tried again and again by the watch, so what the operator gave up is not asked again: a key never (he
    trusts it with hosts.trust when he wants to), a password not for a while.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: asyncio.Queue[Question] | None = None
        self._answers: dict[int, asyncio.Future[str | None]] = {}
        self._turn: asyncio.Lock | None = None
        self._open: Counter[str] = Counter()
        self._given_up: dict[tuple[str, str], float] = {}

    async def host_key(self, host: str, key_type: str, fingerprint: str) -> bool:
        prompt = f"The key of {host} is not known. Is this really its fingerprint?"
        if (host, fingerprint) in self._given_up:
            return False
        answer = await self._ask("host_key", host, prompt, {"key_type": key_type, "fingerprint": fingerprint})
        if answer != "yes":
            self._given_up[host, fingerprint] = time.monotonic()
        return answer == "yes"

    async def password(self, host: str, user: str, prompt: str, *, echo: bool) -> str | None:
        since = self._given_up.get((host, prompt))
        if since is not None and time.monotonic() - since < _NOT_AGAIN_SECONDS:
            return None
        answer = await self._ask("text" if echo else "secret", host, prompt, {"user": user})
        if answer is None:
            self._given_up[host, prompt] = time.monotonic()
        return answer

    def asked(self, host: str) -> bool:
        """Whether a question about this host is shown or waits for its turn."""
        return self._open[host] > 0

    async def questions(self) -> AsyncIterator[Question]:
        while True:
            yield await self._queue().get()

    def answer(self, question: Question, value: str | None) -> None:
        waiting = self._answers.get(question.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(value)

    def _queue(self) -> asyncio.Queue[Question]:
        if self._waiting is None:
            self._waiting = asyncio.Queue()
        return self._waiting

    async def _ask(self, kind: str, host: str, prompt: str, details: Json) -> str | None:
        if self._turn is None:
            self._turn = asyncio.Lock()
        self._open[host] += 1
        try:
            async with self._turn:
                return await self._put(kind, host, prompt, details)
        finally:
            self._open[host] -= 1

    async def _put(self, kind: str, host: str, prompt: str, details: Json) -> str | None:
        question = Question(next(self._numbers), kind, host, prompt, details)
        future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._answers[question.id] = future
        await self._queue().put(question)
        try:
            return await future
        finally:
            del self._answers[question.id]
