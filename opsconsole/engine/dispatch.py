"""From an id and a JSON object to an answer: the one entry for key press, headless call and running task."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from data.errors import DataError
from drivers.errors import DriverError
from opsconsole.engine import authorise, second_person
from opsconsole.engine.context import Context
from opsconsole.engine.driver_errors import translate as translate_driver
from opsconsole.engine.errors import ConsoleError, EmptyList, InvalidParameter, InvalidRequest, RequiredFieldMissing
from opsconsole.engine.lasting import while_allowed
from opsconsole.engine.perform import Consent, perform, plan_change
from opsconsole.engine.registry import Input, Operation, find
from opsconsole.house import translate as translate_data
from opsconsole.tasks.options import TaskOptions
from opsconsole.tasks.submit import is_task, needing_operator


def validate(operation: Operation, data: Any) -> Input:
    """The input model from a JSON object; the error names the first wrong field the way the caller wrote it."""
    if data is None:
        data = {}
    if not isinstance(data, Mapping):
        raise InvalidRequest(reason=f"it is a {type(data).__name__}; lists go into the field items")
    try:
        return operation.input.model_validate(dict(data))
    except ValidationError as error:
        raise _input_error(operation, error) from None


def _input_error(operation: Operation, error: ValidationError) -> ConsoleError:
    first = error.errors(include_url=False, include_input=False, include_context=True)[0]
    wrapped = (first.get("ctx") or {}).get("error")
    if isinstance(wrapped, ConsoleError):
        return wrapped
    field = ".".join(str(part) for part in first["loc"]) or None
    if first["type"] == "missing":
        return RequiredFieldMissing(field=field)
    if first["type"] == "too_short" and (first.get("ctx") or {}).get("field_type") in {"List", "Dictionary"}:
        return EmptyList(field=field)
    if first["type"] == "extra_forbidden":
        known = ", ".join(operation.input.model_fields) or "none"
        return InvalidParameter(field=field, reason=f"no such field; {operation.id} takes: {known}")
    return InvalidParameter(field=field, reason=first["msg"].removeprefix("Value error, "))


async def resolve(ctx: Context, operation_id: str, data: Any) -> tuple[Operation, Input]:
    """The declaration and its valid input; one that stands for another is followed, once."""
    operation = find(operation_id)
    given = validate(operation, data)
    if operation.becomes is None:
        return operation, given
    await authorise.coarse(ctx, operation)
    other_id, other_data = await operation.becomes(ctx, given)
    other = find(other_id)
    return other, validate(other, other_data)


async def call(ctx: Context, operation_id: str, data: Any = None, consent: Consent | None = None) -> Any:
    """Run one operation and answer it. Raises ConsoleError only (anything else is a bug and says so upstream)."""
    operation, given = await resolve(ctx, operation_id, data)
    consent = consent or Consent()
    if find(operation_id).as_task and consent.task is None:
        consent = replace(consent, task=TaskOptions())
    try:
        if operation.change is not None:
            await ctx.house.sweep()
            return await perform(ctx, operation, given, consent)
        if operation.read is None:
            raise InvalidRequest(reason=f"{operation.id} is a stream; follow it instead")
        await authorise.coarse(ctx, operation)
        return await operation.read(ctx, given)
    except DriverError as error:
        raise translate_driver(error) from error
    except DataError as error:
        raise translate_data(error) from error


async def plan(ctx: Context, operation_id: str, data: Any = None) -> dict[str, Any]:
    """The plan as JSON with what the ladder will ask; changes nothing but the record of a refusal. `task` says that a
    worker performs it, and `needs_operator` names the hosts it would have no key for. Where a second person is needed
    it also says who is `eligible`, which `approval` the caller has asked for already, and whether `break_glass` is
    allowed."""
    operation, given = await resolve(ctx, operation_id, data)
    if operation.change is None:
        raise InvalidRequest(reason=f"{operation.id} only reads; there is nothing to plan")
    try:
        change, planned, confirmation = await plan_change(ctx, operation, given)
        as_task = is_task(operation, change, planned, None, ctx.house.settings.task_above)
        needing = await needing_operator(ctx, planned) if as_task else []
    except DriverError as error:
        raise translate_driver(error) from error
    except DataError as error:
        raise translate_data(error) from error
    shown = planned.as_json(confirmation) | {"task": as_task, "needs_operator": needing}
    if confirmation.rung == second_person.RUNG:
        shown |= await second_person.shown(ctx, operation, planned, given)
    return shown


async def stream(ctx: Context, operation_id: str, data: Any = None) -> AsyncIterator[dict[str, Any]]:
    """The events of a streaming read, until the reader closes."""
    operation = find(operation_id)
    given = validate(operation, data)
    if operation.stream is None:
        raise InvalidRequest(reason=f"{operation.id} does not stream; call it")
    await authorise.coarse(ctx, operation)
    source = operation.stream(ctx, given)
    try:
        async for item in while_allowed(ctx, operation, source):
            yield item
    except DriverError as error:
        raise translate_driver(error) from error
    except DataError as error:
        raise translate_data(error) from error
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()
