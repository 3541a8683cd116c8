"""The home directory: whose it is, what the settings say, and the keys in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from opsconsole.cli.doctor.finding import Finding, Place


def home(place: Place) -> Iterator[Finding]:
    """Owner and mode of the directory everything is kept in."""
    try:
        found = place.home.stat()
    except FileNotFoundError:
        yield Finding("home", "warn", f"{place.home} is not there yet", "nothing to do: the first start makes it")
        return
    except OSError as error:
        yield Finding("home", "fail", f"{place.home}: {error.strerror}", "name another place in OPSCONSOLE_HOME")
        return
    if not stat.S_ISDIR(found.st_mode):
        yield Finding("home", "fail", f"{place.home} is no directory", "name another place in OPSCONSOLE_HOME")
    elif found.st_uid != os.geteuid():
        owner = f"{place.home} belongs to user id {found.st_uid}, we are {os.geteuid()}"
        yield Finding("home", "fail", owner, "run as its owner, or name another place in OPSCONSOLE_HOME")
    elif found.st_mode & 0o077:
        mode = f"{place.home} is open to others (mode {stat.S_IMODE(found.st_mode):04o})"
        yield Finding("home", "fail", mode, f"chmod 700 {place.home}")
    else:
        yield Finding("home", "ok", f"{place.home}, ours alone")


def settings(place: Place) -> Iterator[Finding]:
    """Every line of settings.toml that is not understood."""
    from opsconsole.engine.settings import load

    path = place.home / "settings.toml"
    loaded = load(path)
    for note in loaded.notes:
        yield Finding("settings", "warn", note, f"correct {path}")
    if not loaded.notes:
        what = f"{path} is understood" if path.exists() else "no settings.toml; the defaults are used"
        yield Finding("settings", "ok", f"{what}; mode {loaded.mode}, language {loaded.language}")


def keys(place: Place) -> Iterator[Finding]:
    """Modes of the key files, and whether the secrets can be opened now."""
    from data.errors import DataError
    from data.keyagent import agent_status
    from data.keyfiles import read_private
    from data.keyring import KeyRing

    ring = KeyRing(place.home)
    for path in (ring.audit_path, ring.key_path, ring.sealed_path):
        try:
            if read_private(path) is not None:
                yield Finding("keys", "ok", f"{path} is ours alone")
        except DataError as error:
            yield Finding("keys", "fail", error.message, error.remedy)
    if _missing_audit_key(place, ring.audit_path):
        yield Finding(
            "keys", "fail", f"{ring.audit_path} is missing beside a database", "restore it from a backup of the home"
        )
    if ring.half_converted:
        yield Finding(
            "secrets", "fail", "the data key lies there in clear and wrapped", "run: opsconsole secrets passphrase"
        )
    elif ring.mode == "passphrase":
        status = agent_status(place.home)
        if status is None:
            yield Finding("secrets", "warn", "locked by a passphrase", "run: opsconsole unlock")
        else:
            yield Finding("secrets", "ok", f"unlocked for another {round(status.expires_in)} s")
    else:
        kept = "in a key file" if ring.mode == "file" else "not needed yet"
        yield Finding("secrets", "ok", f"data key {kept}")


def _missing_audit_key(place: Place, audit_path: Path) -> bool:
    from data.sqlite import FILE_NAME

    return (place.home / FILE_NAME).exists() and not audit_path.exists()
