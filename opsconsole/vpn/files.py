"""Files of the operator: read whole, and written so that a key is never readable by anybody else, not for a moment."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from opsconsole.engine.errors import InvalidParameter, NotSupported
from opsconsole.house import House

BIGGEST = 20_000_000


def own_path(house: House, path: str, doing: str) -> Path:
    """A path on the machine the console runs on. Refused in captive mode, where files are not the operator's."""
    if house.settings.captive:
        raise NotSupported(what=doing, reason="this console is captive; the files here are not yours")
    if not path.strip() or "\0" in path:
        raise InvalidParameter(field="path", reason="it names no file")
    return Path(path).expanduser().absolute()


def read_text(house: House, path: str) -> str:
    """The whole text of a file."""
    place = own_path(house, path, "reading a file")
    try:
        if place.stat().st_size > BIGGEST:
            raise InvalidParameter(field="path", reason=f"{place} is bigger than {BIGGEST} bytes")
        return place.read_text("utf-8")
    except OSError as error:
        raise InvalidParameter(field="path", reason=f"{place} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidParameter(field="path", reason=f"{place} is not UTF-8 text (byte {error.start})") from error


def check_writable(place: Path, *, replace: bool) -> None:
    """Say before anything is done why a file could not be written there."""
    if not place.parent.is_dir():
        raise InvalidParameter(field="path", reason=f"there is no directory {place.parent}")
    if place.is_dir():
        raise InvalidParameter(field="path", reason=f"{place} is a directory; name a file in it")
    if not replace and (place.exists() or place.is_symlink()):
        raise InvalidParameter(field="path", reason=f"{place} exists already; choose another name, or say replace")
    if not os.access(place.parent, os.W_OK):
        raise InvalidParameter(field="path", reason=f"nothing can be written in {place.parent}")


def write_private(place: Path, data: bytes, *, replace: bool = False, mode: int = 0o600) -> None:
    """Write `data` whole or not at all: a new 0600 file beside it, synced, then renamed. Raises InvalidParameter."""
    beside = place.with_name(f".{place.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                beside.replace(place)
            else:
                _name_it(beside, place)
        finally:
            with contextlib.suppress(FileNotFoundError):
                beside.unlink()
        sync_directory(place.parent)
    except FileExistsError as error:
        raise InvalidParameter(field="path", reason=f"{place} exists already; choose another name") from error
    except OSError as error:
        raise InvalidParameter(field="path", reason=f"{place} cannot be written: {error.strerror}") from error


def _name_it(beside: Path, place: Path) -> None:
    """Give a file a name that nobody has; where the file system knows no links, looking first is the best there is."""
    try:
        os.link(beside, place)
    except FileExistsError:
        raise
    except OSError:
        if place.exists() or place.is_symlink():
            raise FileExistsError(str(place)) from None
        beside.rename(place)


def sync_directory(place: Path) -> None:
    """Make the names in a directory survive a power cut."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
