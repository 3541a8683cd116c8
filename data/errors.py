"""What can go wrong with our own records, each with the sentence that says what to do about it.

`str(error)` is one line without a secret: a database password is never part of it. `remedy` is an instruction to the
operator.
"""

from __future__ import annotations


class DataError(Exception):
    """Base of the family; `kind` is the stable word the upper floor maps to its own code."""

    kind = "data"

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class DatabaseUnavailable(DataError):
    """No database: missing, unreadable, unreachable, damaged, or on a file system that cannot hold it.

    `outcome_unknown` is true when the connection broke during a commit: the change may or may not be there.
    """

    kind = "database_unavailable"

    def __init__(self, message: str, *, remedy: str, outcome_unknown: bool = False) -> None:
        super().__init__(message, remedy=remedy)
        self.outcome_unknown = outcome_unknown


class DatabaseBusy(DataError):
    """Somebody else held the lock for the whole deadline. Nothing was changed."""

    kind = "database_busy"


class SchemaMismatch(DataError):
    """The database was made by another version. `found` and `expected` are schema versions, `found` None when empty."""

    kind = "schema_mismatch"

    def __init__(self, message: str, *, found: str | None, expected: str, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.found = found
        self.expected = expected


class StaleRecord(DataError):
    """The row was changed by somebody else between our read and our write. Nothing was changed."""

    kind = "stale_record"


class SecretsLocked(DataError):
    """The data key is wrapped by a passphrase and nobody has unlocked it here."""

    kind = "secrets_locked"


class WrongPassphrase(SecretsLocked):
    """The passphrase does not open the data key. Nothing was changed."""

    kind = "wrong_passphrase"


class SecretsBroken(DataError):
    """A key file, or a sealed value, is damaged, foreign, or open to others."""

    kind = "secrets_broken"
