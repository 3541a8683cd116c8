"""Reads the databases' own errors: what may be tried again, what is busy, what is gone."""

from __future__ import annotations

import sqlite3
from enum import Enum

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_RETRY = frozenset({"40001", "40P01"})
_GONE_CODES = frozenset({"57P01", "57P02", "57P03", "53300"})
_GONE_CLASSES = frozenset({"08", "28", "3D"})
_MISSING = frozenset({"42P01", "42703"})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class Failure(Enum):
    """What a database error means for a transaction that may be run again."""

    RETRY = "retry"
    BUSY = "busy"
    GONE = "gone"
    STANDBY = "standby"
    SCHEMA = "schema"
    OTHER = "other"


def classify(error: Exception) -> Failure:
    """Sort one error; OTHER belongs to the caller (a broken constraint, a programming error)."""
    if isinstance(error, PoolTimeout):
        return Failure.BUSY
    if not isinstance(error, DBAPIError):
        return Failure.OTHER
    if isinstance(error.orig, sqlite3.Error):
        return _classify_sqlite(error.orig)
    return _classify_postgresql(error)


def _classify_sqlite(error: sqlite3.Error) -> Failure:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        return Failure.RETRY
    if code == sqlite3.SQLITE_ERROR and str(error).startswith(("no such table", "no such column")):
        return Failure.SCHEMA
    if isinstance(error, sqlite3.IntegrityError) or code in {0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE}:
        return Failure.OTHER
    return Failure.GONE if isinstance(error, sqlite3.DatabaseError) else Failure.OTHER


def _classify_postgresql(error: DBAPIError) -> Failure:
    code = getattr(error.orig, "sqlstate", None) or ""
    if code in _RETRY:
        return Failure.RETRY
    if code == "55P03":
        return Failure.BUSY
    if code == "25006":
        return Failure.STANDBY
    if isinstance(error, ProgrammingError) and code in _MISSING:
        return Failure.SCHEMA
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return Failure.GONE
    if isinstance(error, OperationalError) and (not code or code in _GONE_CODES or code[:2] in _GONE_CLASSES):
        return Failure.GONE
    return Failure.OTHER
