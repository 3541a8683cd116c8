"""cmdb.instances.read_log and cmdb.instances.follow_log: the logs of applications where they run, over ssh."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from sqlmodel import Session, col, select

from data.models import AppInstance, Application
from drivers import remote_file
from drivers.errors import DriverError
from drivers.runner import Runner
from opsconsole.cmdb.fields import OneApplication, Ref
from opsconsole.cmdb.instances import Instance, find_instances, instances_of
from opsconsole.cmdb.logfollow import Follower, Line, Notice
from opsconsole.cmdb.logread import Asked, read_chunk
from opsconsole.cmdb.lookup import find_application
from opsconsole.engine import authorise
from opsconsole.engine.context import Context
from opsconsole.engine.driver_errors import translate
from opsconsole.engine.errors import ConsoleError, LogFileMissing, LogPathNotSet
from opsconsole.engine.registry import Input, Json, find, read, stream

LOG = "app.view_app_log"
LogType = Literal["stdout", "error"]
_QUEUED = 2000
_MOST_SOURCES = 50


def _trimmed(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


Position = Annotated[int, Field(ge=0, le=2**60)]
Lines = Annotated[int, Field(ge=1, le=10_000)]


class ReadLog(OneApplication):
    """By bytes: `from_position` or `from_last_position`, and `block_size`. By lines: from the start with `lines` and
    `from_lines`, or from the end with `latest_lines` and `latest_lines_offset`."""

    instance_id: Annotated[Ref, Field(description="id of the instance, or the name of its host")]
    log_type: LogType = "stdout"
    mode: Annotated[Literal["bytes", "lines"], BeforeValidator(_trimmed)] = "bytes"
    from_position: Position | None = None
    from_last_position: Position | None = None
    block_size: Annotated[int, Field(ge=1, le=1_048_576)] | None = None
    lines: Lines | None = None
    from_lines: Position | None = None
    latest_lines: Lines | None = None
    latest_lines_offset: Position | None = None
    count_lines: Annotated[
        bool, Field(description="number the lines of a file over 64 MiB too, which reads all of it over there")
    ] = False

    def asked(self) -> Asked:
        names = [name for name in Asked.__dataclass_fields__ if name in type(self).model_fields]
        return Asked(**{name: getattr(self, name) for name in names})


@read(
    "cmdb.instances.read_log",
    summary="Read the stdout or error log of an instance by bytes or by lines",
    permission=LOG,
    input=ReadLog,
    objects=("instance",),
)
async def read_log(ctx: Context, query: ReadLog) -> Json:
    """`content`, `length` and `total_length` in bytes, `position` behind the content, by lines also `lines`: the number
    of the last line, null in a file over 64 MiB read from its end."""
    asked = query.asked()
    asked.check()
    instance, row = (await sources(ctx, "cmdb.instances.read_log", query.id, [query.instance_id]))[0]
    path = log_path(row, query.log_type)
    runner = await ctx.house.fleet.runner(instance.host)
    reader = partial(remote_file.read, runner, path, user=row.run_user)
    try:
        chunk = await read_chunk(reader, asked)
    except remote_file.FileMissing:
        raise LogFileMissing(host=instance.host.name, path=path, field="log_type") from None
    answer: Json = {
        "content": chunk.content.decode("utf-8", "replace"),
        "length": len(chunk.content),
        "total_length": chunk.total_length,
        "position": chunk.position,
    }
    return answer | ({"lines": chunk.lines} if query.mode == "lines" else {})


async def sources(
    ctx: Context, operation: str, application: Ref, instances: list[Ref] | None
) -> list[tuple[Instance, Application]]:
    """Instances of an application whose logs the caller may read (None: all of them), with its row."""

    def work(tx: Session) -> list[tuple[Instance, Application]]:
        row = find_application(tx, ctx.caller, application, permission=LOG)
        if instances is None:
            mine = select(AppInstance).where(AppInstance.application_id == row.id).order_by(col(AppInstance.id))
            rows = list(tx.exec(mine.limit(_MOST_SOURCES)).all())
        else:
            rows = find_instances(tx, row, instances)
        return [(one, row) for one in instances_of(tx, rows)]

    found = await ctx.database.read(work)
    await authorise.subjects(ctx, find(operation), [one.application.subject() for one, _ in found[:1]])
    return found


def log_path(row: Application, log_type: str) -> str:
    field = "stdout_path" if log_type == "stdout" else "stderr_path"
    path: str | None = getattr(row, field)
    if path is None:
        raise LogPathNotSet(application=row.full_name, field=field)
    return path


class FollowItem(Input):
    """Without `instances` all instances of the application."""

    id: Ref
    instances: Annotated[list[Ref], Field(min_length=1, max_length=_MOST_SOURCES)] | None = None


class FollowLog(Input):
    """`lines` of each log first, then what is added. `follow` false ends after them."""

    items: Annotated[list[FollowItem], Field(min_length=1, max_length=_MOST_SOURCES)]
    log_type: LogType = "stdout"
    lines: Annotated[int, Field(ge=0, le=10_000)] = 200
    follow: bool = True


Event = dict[str, Any]


@stream(
    "cmdb.instances.follow_log",
    summary="Follow the logs of instances as they grow, through rotation and truncation",
    permission=LOG,
    input=FollowLog,
    objects=("application", "instance"),
    key="l",
)
async def follow_log(ctx: Context, query: FollowLog) -> AsyncIterator[Event]:
    """Lines `{instance_id, application, host, at, message, truncated}`, `at` being when it was seen; notices
    `{…, gap, seconds, resumed}` at rotation, truncation and while a host cannot be reached; `{…, error}` when one
    source ended. One source alone raises its error instead."""
    wanted: dict[int, tuple[Instance, Application]] = {}
    for item in query.items:
        for one, row in await sources(ctx, "cmdb.instances.follow_log", item.id, item.instances):
            wanted.setdefault(one.id, (one, row))
    paths = {key: log_path(row, query.log_type) for key, (_, row) in wanted.items()}
    queue: asyncio.Queue[Event | ConsoleError | None] = asyncio.Queue(_QUEUED)
    tasks = [
        asyncio.create_task(_feed(ctx, query, one, row, paths[key], queue), name=f"log {one.name}")
        for key, (one, row) in list(wanted.items())[:_MOST_SOURCES]
    ]
    left = len(tasks)
    try:
        while left:
            item_ = await queue.get()
            if item_ is None:
                left -= 1
            elif isinstance(item_, ConsoleError):
                if len(tasks) == 1:
                    raise item_
                yield {"host": item_.data.get("host"), "error": item_.as_json(ctx.house.settings.language)}
            else:
                yield item_
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _feed(
    ctx: Context,
    query: FollowLog,
    one: Instance,
    row: Application,
    path: str,
    queue: asyncio.Queue[Event | ConsoleError | None],
) -> None:
    base = {"instance_id": one.id, "application": one.application.full_name, "host": one.host.name}

    async def runner() -> Runner:
        return await ctx.house.fleet.runner(one.host, retry=True)

    follower = Follower(runner, path, user=row.run_user, backlog=query.lines, following=query.follow)
    try:
        async for event in follower.events():
            if isinstance(event, Line):
                shown = event.content.decode("utf-8", "replace")
                await queue.put({**base, "at": time.time(), "message": shown, "truncated": event.truncated})
            elif isinstance(event, Notice):
                await queue.put(
                    {**base, "gap": event.text, "seconds": round(event.seconds, 1), "resumed": event.resumed}
                )
    except remote_file.FileMissing:
        await queue.put(LogFileMissing(host=one.host.name, path=path, field="log_type"))
    except DriverError as error:
        await queue.put(translate(error))
    except ConsoleError as error:
        await queue.put(error)
    await queue.put(None)
