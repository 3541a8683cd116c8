"""A second process that erases with an approval, at the same moment as others.

python -P -m tests.opsconsole.wiped HOME URL USER APPROVAL HOST…
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from opsconsole.engine import dispatch
from opsconsole.engine.context import Context
from opsconsole.engine.errors import ConsoleError
from opsconsole.engine.perform import Consent
from opsconsole.engine.registry import REGISTRY
from opsconsole.engine.users import load_caller
from opsconsole.house import House
from tests.opsconsole.wiping import NAME, Wipe, declaration


async def main() -> None:
    REGISTRY[NAME] = declaration()
    home, url, user, approval, *hosts = sys.argv[1:]
    house = House.open(Path(home), url or None)
    caller = await house.database.read(lambda tx: load_caller(tx, user))
    assert caller is not None
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        await dispatch.call(Context(house, caller), NAME, {"hosts": [int(host) for host in hosts]}, Consent(approval))
        print("done", len(Wipe.wiped))
    except ConsoleError as error:
        print(error.code, len(Wipe.wiped))
    finally:
        await house.close()


if __name__ == "__main__":
    asyncio.run(main())
