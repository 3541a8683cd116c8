"""The process that is killed: a change of twenty targets, of which the sixth and those after it never end.

python -P -m tests.opsconsole.killed HOME [URL]
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.registry import REGISTRY
from opsconsole.engine.users import load_caller
from opsconsole.house import House
from tests.opsconsole.probes import NAME, Probe, declaration

COUNT, DONE = 20, 5


async def main() -> None:
    REGISTRY[NAME] = declaration()
    Probe.on_hang = staticmethod(lambda position: print(f"hanging {position}", flush=True))
    house = House.open(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
    caller = await house.database.read(lambda tx: load_caller(tx, "root"))
    assert caller is not None
    does = dict.fromkeys(range(DONE, COUNT), "hang")
    await dispatch.call(Context(house, caller), NAME, {"count": COUNT, "does": does})


if __name__ == "__main__":
    asyncio.run(main())
