"""`python -m tests.benchmarks.fan_out DIRECTORY NAME…`: `true` on every host at once, by the driver alone.

DIRECTORY holds the files ssh would read, `config` and `known_hosts`. The exit status is 1 when a host failed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from drivers.ssh import SshPool
from drivers.ssh_types import SshEndpoint, SshFiles


def pool_of(directory: Path) -> SshPool:
    known = directory / "known_hosts"
    return SshPool(SshFiles((directory / "config",), (known,), directory / "own_known_hosts"))


async def run_everywhere(pool: SshPool, names: Sequence[str]) -> None:
    """`true` on all of them; raises the first failure."""
    runners = [pool.runner(SshEndpoint(name)) for name in names]
    for done in await asyncio.gather(*(runner.run("true", timeout=60) for runner in runners)):
        if not done.ok:
            raise RuntimeError(f"true ended with status {done.exit_status}")


async def main(directory: Path, names: Sequence[str]) -> None:
    pool = pool_of(directory)
    try:
        await run_everywhere(pool, names)
    finally:
        await pool.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
