"""The schema versions this program knows, oldest first.

A constant, so that opening a current database costs one SELECT and no import of the migration library. A test holds it
against the migrations themselves.
"""

from __future__ import annotations

REVISIONS: tuple[str, ...] = (
    *("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010"),
    *("0011", "0012", "0013", "0014"),
)
HEAD = REVISIONS[-1]
