"""One operation called from outside: opens the house, runs it, prints its answer and closes the house again.

The only module of this package that loads the engine; everything before it (help, names, options) stays light.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from data.errors import DataError
from opsconsole.cli import output, waiting
from opsconsole.cli.request import Request
from opsconsole.engine import dispatch, identity, tokens
from opsconsole.engine.context import Context
from opsconsole.engine.errors import NotSignedIn
from opsconsole.engine.perform import Consent
from opsconsole.engine.registry import Json, find
from opsconsole.house import House, translate
from opsconsole.tasks.options import TaskOptions

BROKEN_JOURNAL = 5


class Ended(Exception):
    """A signal asked us to stop; `status` is the exit status that says which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def run(request: Request) -> int:
    """Answer the exit status; raises ConsoleError, KeyboardInterrupt and ReaderGone."""
    try:
        return asyncio.run(_run(request))
    except Ended as ended:
        return ended.status


async def _run(request: Request) -> int:
    received = _stop_on_signals()
    try:
        return await _call(request)
    except asyncio.CancelledError:
        if received:
            raise Ended(received[0]) from None
        raise


def _stop_on_signals() -> list[int]:
    """End like Ctrl-C does, so that what was in flight is recorded as unknown before we go."""
    received: list[int] = []
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None:
        return received
    work = task

    def stop(number: int) -> None:
        received.append(number)
        work.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    return received


async def _call(request: Request) -> int:
    operation = find(request.operation)
    dispatch.validate(operation, request.data)
    house = House.open()
    try:
        ctx = await _context(house, request)
        if request.plan:
            output.answer(await dispatch.plan(ctx, request.operation, request.data))
            return 0
        if operation.streams:
            await _follow(ctx, request)
            return 0
        if request.request_approval:
            output.answer(await _ask_for_approval(ctx, request))
            return 0
        options = request.options()
        task = None if options is None else TaskOptions.of(options)
        consent = Consent(request.confirm, request.reason, break_glass=request.break_glass, task=task)
        value = await dispatch.call(ctx, request.operation, request.data, consent)
        if (request.wait or request.attached) and isinstance(value, dict) and set(value) == {"task_id"}:
            value = await waiting.to_its_end(ctx, value["task_id"])
        output.answer(value)
        return _status(request.operation, value)
    except DataError as error:
        raise translate(error) from error
    finally:
        await house.close()


async def _ask_for_approval(ctx: Context, request: Request) -> Any:
    """The request with its id; to be performed with `--confirm ID` once somebody has agreed, if it is no task."""
    asked: Json = {"operation": request.operation, "input": request.data, "reason": request.reason or ""}
    options = request.options()
    if options is not None:
        asked["task"] = options
    return await dispatch.call(ctx, "approvals.request", asked, Consent(reason=request.reason))


async def _context(house: House, request: Request) -> Context:
    who = identity.who()
    if request.token is not None:
        who = await tokens.identify(house.database, request.token, who)
    try:
        caller = await house.caller(who, via="call", as_user=request.as_user)
    except NotSignedIn:
        if request.as_user is not None or find(request.operation).permission != "public":
            raise
        caller = house.stranger(who, via="call")
    if request.readonly and caller.read_only is None:
        caller = caller.with_read_only("--readonly was given")
    return Context(house, caller)


async def _follow(ctx: Context, request: Request) -> None:
    events = dispatch.stream(ctx, request.operation, request.data)
    try:
        async for event in events:
            output.event(event)
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


def _status(operation: str, value: Any) -> int:
    """A journal that does not verify is an answer, and yet no success."""
    if operation == "audit.verify" and isinstance(value, dict) and value.get("verdict") != "intact":
        return BROKEN_JOURNAL
    return 0
