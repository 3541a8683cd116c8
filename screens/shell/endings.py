"""The end of a task is heard wherever its owner is in the console."""

from __future__ import annotations

from collections.abc import Callable

from opsconsole.client import Client, OperationFailed
from screens.render.task import TaskRow, parse_task


class Endings:
    """Knows the tasks that are under way, and tells of those of this operator that are not any more."""

    def __init__(self, client: Client, user: str, ended: Callable[[TaskRow], None]) -> None:
        self._client = client
        self._user = user
        self._ended = ended
        self._open: set[str] | None = None

    async def look(self) -> None:
        """Compare with the last look; a house that cannot answer is asked with the next change."""
        try:
            answer = await self._client.call("tasks.list", {"open": True, "operator": self._user, "page_size": 200})
            now = {str(row.get("id")) for row in answer.get("results") or ()}
            gone = (self._open or set()) - now
            self._open = now
            for task_id in sorted(gone):
                self._ended(parse_task(await self._client.call("tasks.get", {"id": task_id})))
        except OperationFailed:
            return
