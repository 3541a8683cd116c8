"""What is on the screen as a file: a table as CSV or JSON, lines as text, the screen as a picture and as text.

Everything goes into the home's `dumps`, private to its owner, and through the text door: a dump is often read with a
pager or pasted into a chat, where a sequence from a host would act as it would on this terminal.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

from screens.text import Safe

FORMULAS: Final = ("=", "+", "-", "@")
_NAME: Final = re.compile(r"[^a-z0-9]+")


def as_csv(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """CSV with a heading; what a spreadsheet would read as a formula gets an apostrophe before it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([str(Safe(title)) for title in titles])
    writer.writerows([[_harmless(cell) for cell in row] for row in rows])
    return out.getvalue()


def as_json(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A list of objects, one per row."""
    names = [str(Safe(title)).lower() for title in titles]
    found = [dict(zip(names, [str(Safe(cell)) for cell in row], strict=True)) for row in rows]
    return json.dumps(found, ensure_ascii=False, indent=1) + "\n"


def safe_json(value: Any) -> Any:
    """The same document with every text cleaned."""
    if isinstance(value, Mapping):
        return {str(Safe(name)): safe_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [safe_json(item) for item in value]
    return str(Safe(value)) if isinstance(value, str) else value


def write(home: Path, name: str, ending: str, text: str, now: datetime) -> Path:
    """Write a dump that only its owner can read; the path. Raises OSError."""
    path, file = create(home, name, ending, now)
    with file:
        file.write(text)
    return path


def create(home: Path, name: str, ending: str, now: datetime) -> tuple[Path, TextIO]:
    """A new file in the home's `dumps` that only its owner can read. Raises OSError."""
    directory = home / "dumps"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _new(directory, name, ending, now, 0o600)


def hand_over(directory: Path, name: str, ending: str, now: datetime) -> tuple[Path, TextIO]:
    """A new file in a person's exchange directory, which must be there and be his, for him to read: nobody else can
    enter it. Raises OSError."""
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid == os.geteuid() or status.st_mode & 0o007:
        raise PermissionError(errno.EPERM, "no directory of one person alone", str(directory))
    return _new(directory, name, ending, now, 0o644)


def _new(directory: Path, name: str, ending: str, now: datetime, mode: int) -> tuple[Path, TextIO]:
    """Opened inside the directory as it is now: a link put in its place, or in that of the file, is not followed."""
    stem = f"{now:%Y%m%d-%H%M%S}-{_NAME.sub('-', name.lower()).strip('-')[:40] or 'screen'}"
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for number in range(100):
            leaf = f"{stem}{f'-{number}' if number else ''}.{ending}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                handle = os.open(leaf, flags, mode, dir_fd=place)
            except FileExistsError:
                continue
            os.fchmod(handle, mode)
            return directory / leaf, os.fdopen(handle, "w", encoding="utf-8")
    finally:
        os.close(place)
    raise FileExistsError(f"{directory}: a hundred dumps of this second")


def _harmless(cell: str) -> str:
    text = str(Safe(cell))
    return f"'{text}" if text.startswith(FORMULAS) else text
