"""What a screen may ask of the house: call, plan, stream, listen, answer.

Light on purpose (standard library only): it is imported before the first frame. The engine itself lives behind it in a
thread with its own event loop, started after the first frame, so that neither an import nor a handshake with a hundred
hosts ever delays a key press.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Json = dict[str, Any]


class OperationFailed(Exception):
    """An operation said no. The fields are those of the headless error object.

    `exit_status`: 1 bug, 2 bad input, 3 not permitted, 4 not found, 5 conflict, 6 target, 7 confirmation needed,
    8 partly failed. For 7 `data` holds `rung`, `expect` (what to type) and `plan_digest`.
    """

    def __init__(self, error: Mapping[str, Any], exit_status: int) -> None:
        super().__init__(str(error.get("message", "")))
        self.code = str(error.get("code", "unexpected_error"))
        self.message = str(error.get("message", ""))
        self.field: str | None = error.get("field")
        self.targets: list[Json] = list(error.get("targets") or [])
        self.data: Json = dict(error.get("data") or {})
        self.exit_status = exit_status


@dataclass(frozen=True, slots=True)
class Question:
    """Something only a person can answer, asked by a driver (an unknown host key, a password).

    `kind`: `host_key` (answer "yes" or "no"), `secret` or `text` (answer the text, None = give up).
    """

    id: int
    kind: str
    host: str
    prompt: str
    details: Json = field(default_factory=dict)


class Client(Protocol):
    """The house as seen from a screen. Every method may be awaited in the screen's own event loop."""

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
        """Run one operation and return its JSON answer; raises `OperationFailed`.

        `plan_digest` is that of the plan the operator saw: another situation since then is `plan_stale`. Where a second
        person is needed `confirm` is the id of an approval; `break_glass` with a reason goes on without one.

        `task` lets a worker perform it (`waves`, `limit`, `stop_after`; `{}` for all at once); the answer is then
        `{"task_id": …}`, as it always is for operations of kind task and for service actions on many targets.
        """

    async def plan(self, operation: str, data: Mapping[str, Any] | None = None) -> Json:
        """The plan of a change as JSON, changing nothing; raises `OperationFailed`."""

    def stream(self, operation: str, data: Mapping[str, Any] | None = None) -> AsyncIterator[Json]:
        """Events of a streaming read (`services.watch`, …); closing the iterator ends the work."""

    def last_known(self) -> list[Json]:
        """Events of `services.watch` about what was seen last, given once, where they can be had before anything else
        is there; else none. Everything in them is old, and told again by the watch."""

    def changes(self) -> AsyncIterator[list[Json]]:
        """Batches of `{entity, key, verb}` committed anywhere, within a second; `{"lost": true}`: reload everything."""

    def questions(self) -> AsyncIterator[Question]:
        """Questions one at a time; the next one comes after the answer."""

    async def answer(self, question: Question, value: str | None) -> None:
        """Answer a question; None gives up."""

    async def facts(self) -> Json:
        """`user`, `hostname`, `mode` (personal, team), `administrator`, `read_only` (reason or null), `home`,
        `captive` (the home belongs to a service account that many people share), `notes`."""
