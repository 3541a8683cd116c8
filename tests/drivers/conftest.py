"""Fixtures of the driver tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.drivers.support import Desk


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """An operator's ssh files, empty, and pools that are closed at the end."""
    operator = Desk(tmp_path)
    yield operator
    await operator.close()
