"""The process that is killed: it makes, renews, exports and revokes clients until its moment has come.

python -P -m tests.opsconsole.vpn.killed HOME ROUND MOMENT [URL]: kills itself at the MOMENT-th thing that can be
interrupted: before and after each commit, each certificate, each list, each file. What left the process is printed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlmodel import Session

from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.errors import LeaseHeld
from opsconsole.engine.perform import Consent
from opsconsole.engine.users import load_caller
from opsconsole.house import House
from opsconsole.vpn import files, signing


class Clock:
    """Counts the moments; at the wanted one the process is gone."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.passed = wanted, 0

    def tick(self, *_: object) -> None:
        self.passed += 1
        if self.passed == self.wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, module: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(module, name)

        def wrapped(*args: Any, **more: Any) -> Any:
            self.tick()
            answer = real(*args, **more)
            self.tick()
            return answer

        setattr(module, name, wrapped)


def tell(*words: object) -> None:
    print(*words, flush=True)


async def patiently(work: Callable[[], Awaitable[Any]]) -> Any:
    """The authority may still be leased to one that was killed a moment ago."""
    for _ in range(60):
        try:
            return await work()
        except LeaseHeld:
            await asyncio.sleep(1)
    return await work()


async def main() -> None:
    home, number, moment = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    house = House.open(home, sys.argv[4] if len(sys.argv) > 4 else None)
    caller = await house.database.read(lambda tx: load_caller(tx, "root"))
    assert caller is not None
    clock = Clock(moment)
    event.listen(Session, "before_commit", clock.tick)
    event.listen(Session, "after_commit", clock.tick)
    for module, name in ((signing, "issue"), (signing, "sign_crl"), (files, "write_private")):
        clock.around(module, name)

    async def call(operation: str, data: dict[str, Any], confirm: str | None = None) -> Any:
        return await dispatch.call(Context(house, caller), operation, data, Consent(confirm, "test"))

    out = home / "out"
    out.mkdir(exist_ok=True)
    one = await call("vpn.clients.create", {"ca_id": 1, "name": f"k{number}", "email": "a@b.example"})
    tell("cert", one["serial"])
    await call("vpn.clients.export", {"id": one["id"], "path": str(out / f"k{number}.pem")})
    lines = "name,email\n" + "".join(f"m{number}-{n},a@b.example\n" for n in range(3))
    for row in (await call("vpn.clients.create_many", {"ca_id": 1, "csv": lines}, "3"))["clients"]:
        tell("cert", row["serial"])
    again = await call("vpn.clients.renew", {"id": one["id"], "revoke_old": True})
    tell("cert", again["serial"])
    await call("vpn.clients.revoke", {"id": one["id"]}, f"k{number}")
    tell("crl", (await patiently(lambda: call("vpn.crls.sign", {"ca_id": 1})))["number"])
    tell("survived", clock.passed)


if __name__ == "__main__":
    asyncio.run(main())
