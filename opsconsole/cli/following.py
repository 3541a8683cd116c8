"""`task list | show | follow | cancel | …`: short words for tasks, and a task's output as text for people."""

from __future__ import annotations

import asyncio

from opsconsole.cli import output
from opsconsole.engine.errors import InvalidRequest

_STANDS_FOR = {
    "list": ["tasks", "list"],
    "show": ["tasks", "get"],
    **{verb: ["tasks", verb] for verb in ("cancel", "pause", "resume", "retry")},
}


def as_operation(words: list[str]) -> list[str]:
    """The words of the operation that `task …` stands for; `task follow` stays."""
    verb = words[1] if len(words) > 1 else ""
    if verb == "follow":
        return words
    if verb not in _STANDS_FOR:
        raise InvalidRequest("task takes list, or an ID after show, follow, cancel, pause, resume, retry", field="task")
    return [*_STANDS_FOR[verb], *words[2:]]


def run(words: list[str]) -> int:
    """Print the output as it comes, host by host in front of each line; answers the status of the task's end."""
    task_id, after = _arguments(words)
    return asyncio.run(_follow(task_id, after))


def _arguments(words: list[str]) -> tuple[str, int]:
    after, rest = 0, list(words)
    if "--after" in rest:
        at = rest.index("--after")
        value = rest[at + 1 : at + 2]
        if not value or not value[0].isdigit():
            raise InvalidRequest("--after takes the number of a piece", field="after")
        after = int(value[0])
        del rest[at : at + 2]
    if len(rest) != 1 or rest[0].startswith("-"):
        raise InvalidRequest("task follow takes one task id", field="id")
    return rest[0], after


async def _follow(task_id: str, after: int) -> int:
    from opsconsole.cli.waiting import ended_badly
    from opsconsole.engine import dispatch, identity
    from opsconsole.engine.context import Context
    from opsconsole.house import House

    house = House.open()
    try:
        ctx = Context(house, await house.caller(identity.who(), via="call"))
        lines = Lines()
        async for event in dispatch.stream(ctx, "tasks.follow", {"id": task_id, "after": after}):
            if event["event"] == "output":
                lines.add(event)
            elif event["event"] == "state":
                output.note(f"-- {event['state']}{_why(event)}")
            elif event["event"] == "away":
                output.note(f"-- {event['message']}; waiting for it")
            else:
                lines.flush()
                output.note(f"-- {event['state']} (--after {event['seq']})")
        task = await dispatch.call(ctx, "tasks.get", {"id": task_id})
        if task["state"] != "finished":
            raise ended_badly(task)
        return 0
    finally:
        await house.close()


def _why(event: dict[str, object]) -> str:
    return f", waits for {event['waiting_for']}" if event.get("waiting_for") else ""


class Lines:
    """Whole lines, each behind the host that printed it; control characters are made visible."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], str] = {}
        self._names: dict[int, str] = {}

    def add(self, event: dict[str, object]) -> None:
        position, step = int(str(event["position"])), int(str(event["step"]))
        self._names[position] = str(event["host"] or event["name"] or position)
        *whole, rest = (self._open.pop((position, step), "") + str(event["text"])).split("\n")
        for line in whole:
            self._print(position, line)
        if rest:
            self._open[position, step] = rest

    def flush(self) -> None:
        for (position, _), rest in self._open.items():
            self._print(position, rest)
        self._open.clear()

    def _print(self, position: int, line: str) -> None:
        from opsconsole.engine.canonical import shown

        output.text(f"{self._names[position]} | {shown(line)}")
