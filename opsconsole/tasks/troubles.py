"""What ended a leg and is no fault of its targets: only the kind of it may be kept, for the text may hold anything."""

from __future__ import annotations

import asyncio

from sqlalchemy.exc import SQLAlchemyError

from data.errors import DataError
from opsconsole.engine.bugs import note


class Trouble(Exception):
    """A database, or the machine, was in the way; the task is not at fault. The text is the kind and nothing else."""


class Bug(Exception):
    """A mistake of ours; the text is its kind and nothing else."""


async def told(error: Exception) -> Trouble | Bug:
    """Written down in the log of errors, and without its text, which may hold statements, values and secrets."""
    if isinstance(error, (Trouble, Bug)):
        return error
    await asyncio.to_thread(note, error)
    outside = isinstance(error, (DataError, SQLAlchemyError, OSError)) or type(error).__module__.startswith("dbos")
    return Trouble(type(error).__name__) if outside else Bug(type(error).__name__)
