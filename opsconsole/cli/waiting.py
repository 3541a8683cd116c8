"""Waiting for a task: Ctrl-C leaves it running, and how it ended is the exit status."""

from __future__ import annotations

from typing import Any

from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.errors import Cancelled, ConsoleError, OutcomeUnknown, PartlyFailed
from opsconsole.engine.registry import Json


class TaskFailed(ConsoleError):
    """The task came to nothing; `targets` says what became of each."""

    code, exit_status = "task_failed", 6
    template = "the task {task_id} {state}: {reason}"


class TaskWaits(ConsoleError):
    """The task cannot go on by itself."""

    code, exit_status = "state_conflict", 5
    template = "the task {task_id} is {state} ({waiting_for}); {hint}"


_NEEDS_SOMEBODY = ("approval", "credentials", "unlock")


async def to_its_end(ctx: Context, task_id: str) -> Json:
    """The finished task as `tasks.get` shows it; raises what stands for any other end."""
    events = dispatch.stream(ctx, "tasks.follow", {"id": task_id, "after": 2**62})
    async for event in events:
        needs_somebody = event["event"] == "state" and event["waiting_for"] in _NEEDS_SOMEBODY
        if needs_somebody or (event["event"] == "state" and event["state"] == "paused"):
            raise TaskWaits(
                task_id=task_id,
                state=event["state"],
                waiting_for=event["waiting_for"] or event["wanted"],
                hint=f"follow it with: opsconsole task follow {task_id}",
            )
    task: Json = await dispatch.call(ctx, "tasks.get", {"id": task_id})
    if task["state"] != "finished":
        raise ended_badly(task)
    return task


def ended_badly(task: Json) -> ConsoleError:
    """The error for a task that did not finish, with the exit status of its state."""
    results = task["results"]
    bad = [row for row in results if row["state"] != "done"]
    names = ", ".join(f"{row['host'] or row['name']}" for row in bad[:5]) + (" …" if len(bad) > 5 else "")
    facts: dict[str, Any] = {"task_id": task["id"], "state": task["state"]}
    match task["state"]:
        case "partial":
            done = len(results) - len(bad)
            return PartlyFailed(done=done, total=len(results), failed=names, targets=results, **facts)
        case "cancelled":
            by = (task["error"] or {}).get("message") or "somebody"
            return Cancelled(f"the task {task['id']} was cancelled: {by}", targets=results, **facts)
        case "unknown":
            check = "; ".join(task["check"][:5]) or "see: tasks.get"
            return OutcomeUnknown(reason=f"of {names} in the task {task['id']}", check=check, targets=results, **facts)
    first = next((row["error"] for row in bad if row["error"]), None) or task["error"] or {}
    return TaskFailed(reason=first.get("message", "see tasks.get"), targets=results, **facts)
