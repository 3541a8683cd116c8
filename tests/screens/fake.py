"""A house of make-believe for the screens: the `Client` protocol over a scripted fleet, remembering what was asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from opsconsole.client import Json, OperationFailed, Question

HOSTILE = "evil[/x]\x1b]52;c;ZXZpbA==\x07\x1b]0;owned\x1b\\\x9b31m\u202e漢字\x00\nsecond line\u200b"
DIGEST = "d1" * 32
NOW = 1_800_000_000.0


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def row(host: str, name: str, status: str = "started", **more: Any) -> Json:
    """A row of `services.watch`."""
    active, sub = {"started": ("active", "running"), "stopped": ("inactive", "dead")}.get(status, ("failed", "failed"))
    base: Json = {
        "key": f"{host}/{name}.service",
        "host": host,
        "host_id": host,
        "environment": "lab",
        "name": name,
        "unit": f"{name}.service",
        "description": f"The {name} service",
        "status": status,
        "enabled": "enabled",
        "main": True,
        "multiple_instances": False,
        "module_link": None,
        "active": active,
        "sub": sub,
        "result": "success" if status != "error" else "exit-code",
        "restarts": 0,
        "since": NOW - 7200,
        "pending_reload": False,
        "masked": False,
        "auto_restart": False,
        "unit_file_state": "enabled",
        "memory": 12_582_912,
        "instances": None,
        "parent": None,
        "instance": None,
    }
    return {**base, **more}


def host_event(
    name: str, state: str = "ok", rows: list[Json] | None = None, at: float | None = NOW, **more: Any
) -> Json:
    """An event of `services.watch`."""
    host: Json = {
        "id": name,
        "name": name,
        "environment": "lab",
        "level": "dev",
        "tags": [],
        "state": state,
        "error": None,
        "remedy": None,
        "observed_at": None if at is None else iso(at),
        "cached": False,
        "privileged": True,
        "version": 252,
    }
    event: Json = {"event": "host", "host": {**host, **more}}
    if rows is not None:
        event["rows"] = rows
    return event


def plan_of(operation: str, targets: list[Json], **more: Any) -> Json:
    """A plan as the house would make it, on rung 1 unless told otherwise."""
    after = {"stop": "inactive", "start": "active", "restart": "active"}.get(operation.rpartition(".")[2], "active")
    plan: Json = {
        "operation": operation,
        "summary": f"{operation.rpartition('.')[2]} {len(targets)} service{'s' if len(targets) > 1 else ''}",
        "targets": [
            {
                "kind": "service",
                "id": f"{target['host']}/{target['name']}",
                "name": target["name"],
                "host": target["host"],
                "environment": "lab",
                "before": {"active": "active"},
                "after": {"active": after},
                "warnings": [],
                "evidence_age": 3.0,
            }
            for target in targets
        ],
        "dependents": ["shop", "shop-api"],
        "warnings": [],
        "verification": "the unit's state is read back",
        "undo": "start it again",
        "reversible": True,
        "environment": "lab",
        "level": "dev",
        "danger": "high",
        "rung": 1 if len(targets) == 1 else 2,
        "expect": "yes" if len(targets) == 1 else str(len(targets)),
        "needs_reason": False,
        "digest": DIGEST,
    }
    return {**plan, **more}


def fleet() -> list[Json]:
    """Five hosts: two fine, one dead with a past, one with a changed key, one of production."""
    return [
        host_event("web1", rows=[row("web1", "nginx"), row("web1", "cron"), row("web1", "app", "error", restarts=7)]),
        host_event(
            "web2", rows=[row("web2", "nginx", "stopped"), row("web2", "cron", enabled="disabled")], tags=["edge"]
        ),
        host_event("db1", rows=[row("db1", "postgresql", environment="prod")], environment="prod", level="prod"),
        host_event("old1", rows=[row("old1", "cron"), row("old1", "ntp", "stopped")], at=NOW - 300),
        host_event(
            "old1",
            "unreachable",
            at=NOW - 300,
            error="old1: no route to host",
            remedy="Check that the host is on, then ctrl+r.",
        ),
        host_event(
            "odd1",
            "host_key_changed",
            at=None,
            error="odd1: the host key is not the one known",
            remedy="If it was reinstalled: opsconsole call hosts.trust",
        ),
    ]


class Changes:
    """A change feed every listener hears all of."""

    def __init__(self) -> None:
        self.listeners: list[asyncio.Queue[list[Json]]] = []

    def put_nowait(self, batch: list[Json]) -> None:
        for listener in self.listeners:
            listener.put_nowait(batch)

    async def listen(self) -> AsyncIterator[list[Json]]:
        queue: asyncio.Queue[list[Json]] = asyncio.Queue()
        self.listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self.listeners.remove(queue)


class FakeClient:
    """Streams are queues; calls and answers are recorded; `reads` (by operation) and `results` (in order) come back."""

    def __init__(self, events: list[Json] | None = None) -> None:
        self.events: asyncio.Queue[Json | Exception] = asyncio.Queue()
        for event in fleet() if events is None else events:
            self.events.put_nowait(event)
        self.journal: asyncio.Queue[Json | Exception] = asyncio.Queue()
        self.changed = Changes()
        self.asked: asyncio.Queue[Question] = asyncio.Queue()
        self.calls: list[tuple[str, Json, str | None, str | None]] = []
        self.digests: list[str | None] = []
        self.broke_glass: list[str] = []
        self.tasks: list[Json | None] = []
        self.waits: Json = {}
        self.planned: list[tuple[str, Json]] = []
        self.answers: list[tuple[int, str | None]] = []
        self.streams: list[tuple[str, Json]] = []
        self.closed: list[str] = []
        self.plan_more: Json = {}
        self.plan_targets: list[Json] = []
        self.results: list[Any] = []
        self.reads: dict[str, Any] = {}
        self.available: Json = {}
        self.read_only: str | None = None
        self.known: list[Json] = []

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
        if operation == "home.count":
            return self.waits
        if operation in ("tasks.list", "tasks.get", "jobs.list"):
            found = self.reads.get(operation, {})
            return found(dict(data or {})) if callable(found) else found
        self.broke_glass += [operation] if break_glass else []
        self.calls.append((operation, dict(data or {}), confirm, reason))
        self.digests.append(plan_digest)
        self.tasks.append(None if task is None else dict(task))
        if operation == "services.get":
            given = data or {}
            return {
                **row(str(given["host"]), str(given["name"])),
                "main_pid": 4711,
                "available_actions": self.available,
            }
        if operation in self.reads:
            found = self.reads[operation]
            if isinstance(found, Exception):
                raise found
            return found(dict(data or {})) if callable(found) else found
        result = self.results.pop(0) if self.results else {}
        if isinstance(result, Exception):
            raise result
        return result

    async def plan(self, operation: str, data: Mapping[str, Any] | None = None) -> Json:
        given = dict(data or {})
        self.planned.append((operation, given))
        if self.read_only:
            raise OperationFailed({"code": "read_only", "message": self.read_only}, 3)
        return {**plan_of(operation, self.plan_targets or given.get("items") or [given]), **self.plan_more}

    async def stream(self, operation: str, data: Mapping[str, Any] | None = None) -> AsyncIterator[Json]:
        self.streams.append((operation, dict(data or {})))
        queue = self.events if operation == "services.watch" else self.journal
        try:
            while True:
                event = await queue.get()
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed.append(operation)

    def last_known(self) -> list[Json]:
        known, self.known = self.known, []
        return known

    def changes(self) -> AsyncIterator[list[Json]]:
        return self.changed.listen()

    async def questions(self) -> AsyncIterator[Question]:
        while True:
            yield await self.asked.get()

    async def answer(self, question: Question, value: str | None) -> None:
        self.answers.append((question.id, value))

    async def facts(self) -> Json:
        return {
            "user": "ann",
            "hostname": "jump",
            "mode": "personal",
            "administrator": True,
            "read_only": self.read_only,
            "home": None,
            "notes": [],
        }


def live(event: Json) -> Json:
    """The same event as read just now, for looking at it by hand."""
    age = (
        NOW - datetime.fromisoformat(event["host"]["observed_at"]).timestamp() if event["host"]["observed_at"] else None
    )
    at = None if age is None else iso(time.time() - age)
    return {**event, "host": {**event["host"], "observed_at": at}}
