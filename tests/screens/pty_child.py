"""The console over a fake house full of hostile text, to be run in a pseudo-terminal by test_pty."""

from __future__ import annotations

import sys

from screens.app import OpsConsole, run
from screens.journal import FileScreen
from screens.services import ServicesScreen
from tests.screens.fake import HOSTILE, FakeClient, host_event, live, plan_of, row


def factory() -> FakeClient:
    """Every text a host or a person could have written is hostile."""
    hostile = row(
        "web1", "nginx", "error", **dict.fromkeys(("unit", "description", "active", "sub", "result"), HOSTILE)
    )
    hostile["name"] = f"nginx{HOSTILE}"
    dead = host_event("dead", "unreachable", error=HOSTILE, remedy=HOSTILE, tags=[HOSTILE], environment=HOSTILE)
    odd = host_event(f"odd{HOSTILE}", HOSTILE)
    client = FakeClient([live(event) for event in (host_event("web1", rows=[hostile]), dead, odd)])
    client.available = {"restart": {"allowed": False, "because": HOSTILE}}
    targets = [{"host": HOSTILE, "name": HOSTILE}]
    plan = plan_of("services.restart", targets, dependents=[HOSTILE], warnings=[HOSTILE], verification=HOSTILE)
    client.plan_more = {**plan, "undo": HOSTILE, "summary": HOSTILE, "environment": HOSTILE, "why": HOSTILE}
    error = {"code": HOSTILE, "message": HOSTILE}
    client.results = [{"results": [{"host": HOSTILE, "name": HOSTILE, "state": "failed", "error": error}], "run_id": 1}]
    for priority in range(9):
        client.journal.put_nowait({"host": HOSTILE, "unit": HOSTILE, "at": 1, "priority": priority, "message": HOSTILE})
    client.journal.put_nowait({"gap": HOSTILE, "host": HOSTILE})
    client.journal.put_nowait(
        {"host": "web1", "unit": "x", "at": 1, "priority": 3, "message": "y" * 1_000_000 + HOSTILE}
    )
    client.journal.put_nowait({"host": "web1", "unit": "x", "at": 1, "priority": 3, "message": list(HOSTILE.encode())})
    return client


def fall_over(screen: ServicesScreen, word: str) -> None:
    """A bug with a secret in a local variable and a hostile text in its message."""
    password = "hunter2"
    raise RuntimeError(f"{len(password)} {HOSTILE}")


if __name__ == "__main__":
    if "--file" in sys.argv:
        OpsConsole.MODES = {"services": lambda: FileScreen(sys.argv[2])}
    if "--crash" in sys.argv:
        setattr(ServicesScreen, "action_narrow", fall_over)  # noqa: B010 - the bug is put in
    sys.exit(run(factory))
