"""The durable workflow around a leg: DBOS remembers which waves are behind us, our own rows what became of each target.

Only a worker imports this. A workflow has the task's id and nothing else as its argument, and its steps answer single
words: what DBOS keeps can be read by anybody who can read the file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from dbos import DBOS, DBOSConfig, SetWorkflowID

from opsconsole.house import House
from opsconsole.tasks.leg import GO, Leg
from opsconsole.tasks.output import Superseded
from opsconsole.tasks.troubles import told

APPLICATION_VERSION = "1"
"""Raised by hand when a workflow of before could not be gone on with any more."""
DATABASE = "tasks.db"
_BATCH = 200
_OVER = frozenset({"SUCCESS", "ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"})


class Place(Protocol):
    """The worker a workflow runs in."""

    def arrive(self, task_id: str) -> Leg: ...

    def leave(self, leg: Leg) -> None: ...


class _Here:
    place: Place | None = None


@DBOS.workflow(name="task")
async def _task(task_id: str) -> str:
    place = _Here.place
    if place is None:
        raise RuntimeError("no worker here")
    leg = place.arrive(task_id)
    try:
        if not await leg.take_up():
            return "over"
        return await leg.guarded(_walk(leg))
    finally:
        place.leave(leg)


async def _walk(leg: Leg) -> str:
    # Planning is not a step: whoever goes on with it looks anew.
    waves = await leg.begin()
    for number in range(waves):
        word = await DBOS.run_step_async({"name": f"wave {number}"}, _unless_left, leg, leg.wave, number)
        if leg.heard(word) != GO:
            break
    return await DBOS.run_step_async({"name": "end"}, _unless_left, leg, _end) if waves else "over"


async def _end(leg: Leg) -> str:
    return await leg.end()


async def _unless_left(leg: Leg, work: Callable[..., Awaitable[str]], *given: int) -> str:
    """A step that is not ours any more never ends here: its result belongs to the worker that goes on with it. What
    it raises is kept by DBOS in clear, so only its kind gets there."""
    try:
        said = await (work(*given) if given else work(leg))
    except Superseded:
        said = ""
    except Exception as error:
        raise await told(error) from None
    if said == "" or leg.halt.leave:
        if said == "" and _Here.place is not None:
            _Here.place.leave(leg)
        await asyncio.Event().wait()
    return said


def launch(house: House, executor_id: str, place: Place) -> None:
    """Open the workflows' own database (a file of its own, or a schema of its own) inside the running loop."""
    for name in ("dbos", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    url = house.database.url
    own = f"sqlite:///{house.home / DATABASE}"
    config: DBOSConfig = {
        "name": "opsconsole",
        "system_database_url": own if house.database.dialect == "sqlite" else url.render_as_string(hide_password=False),
        "application_version": APPLICATION_VERSION,
        "executor_id": executor_id,
        "log_level": "ERROR",
        "enable_otlp": False,
    }
    _Here.place = place
    DBOS(config=config)
    DBOS.launch()


async def forget(days: int) -> int:
    """Take away workflows that ended so long ago, with what they remember; our own rows say what became of them."""
    before = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    over, removed = sorted(_OVER | {"CANCELLED"}), 0
    while True:
        old = await DBOS.list_workflows_async(
            status=over, completed_before=before, limit=_BATCH, load_input=False, load_output=False
        )
        if old:
            await DBOS.delete_workflows_async([one.workflow_id for one in old])
        removed += len(old)
        if len(old) < _BATCH:
            return removed


def name_of(task_id: str, leg: int) -> str:
    return task_id if leg == 0 else f"{task_id}.{leg}"


async def start(task_id: str, leg: int, *, again: bool) -> bool:
    """Begin the workflow of a leg, or go on with it; False when that leg's workflow is over and another is needed."""
    name = name_of(task_id, leg)
    status = await DBOS.get_workflow_status_async(name) if again else None
    if status is None:
        with SetWorkflowID(name):
            await DBOS.start_workflow_async(_task, task_id)
        return True
    if status.status in _OVER:
        return False
    await DBOS.resume_workflow_async(name)
    return True
