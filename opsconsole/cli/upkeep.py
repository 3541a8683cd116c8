"""Commands about the installation itself: schema and keys. They belong to whoever owns the home."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from data.errors import WrongPassphrase
from data.keyagent import LONGEST_TTL, agent_status, forget, start_agent
from data.keyring import KeyRing
from opsconsole.cli import inputs, output
from opsconsole.engine import identity, locations, settings
from opsconsole.engine.errors import InvalidParameter, InvalidRequest, PermissionDenied, StateConflict

DEFAULT_TTL = 8 * 3600


def run(words: list[str]) -> int:
    """One of: db upgrade, unlock, lock, secrets passphrase."""
    command = 1 if words[0] in {"unlock", "lock"} else 2
    options = _options(words[command:], _TAKES[" ".join(words[:command])])
    home = locations.make_private(locations.home())
    _only_its_administrator(home, " ".join(words[:command]))
    try:
        match words[0]:
            case "db":
                answer = _upgrade(home)
            case "unlock":
                answer = _unlock(home, options)
            case "lock":
                answer = {"locked": True, "was_unlocked": forget(home)}
            case _:
                answer = _passphrase(home, options)
    except WrongPassphrase as error:
        raise InvalidParameter(field="passphrase", reason=f"{error.message}; {error.remedy}") from None
    output.answer(answer)
    return 0


_TAKES: dict[str, tuple[str, ...]] = {
    "db upgrade": (),
    "unlock": ("--ttl", "--passphrase-fd"),
    "lock": (),
    "secrets passphrase": ("--off", "--passphrase-fd"),
}


def _options(arguments: list[str], known: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if flag not in known:
            raise InvalidParameter(field=flag, reason=f"not taken here; there is {', '.join(known) or 'no option'}")
        if flag == "--off":
            found[flag] = ""
            continue
        if not equals:
            if not rest:
                raise InvalidParameter(field=flag, reason=f"{flag} needs a value")
            value = rest.pop(0)
        found[flag] = value
    return found


def _only_its_administrator(home: Path, command: str) -> None:
    """In team mode many people run as the account that owns the home; only administrators may do this."""
    who = identity.who()
    if not who.through_sudo or settings.load(home / "settings.toml").mode != "team":
        return
    from opsconsole.house import House

    async def administrator() -> bool:
        house = House.open(home)
        try:
            return (await house.caller(who, via="call")).administrator
        finally:
            await house.close()

    if not asyncio.run(administrator()):
        raise PermissionDenied(
            user=who.username, operation=command, on="", missing="@admin", who_could="an administrator"
        )


def _upgrade(home: Path) -> dict[str, Any]:
    from data.database import parse_url
    from data.migrate import upgrade

    given = locations.database_url(settings.load(home / "settings.toml").database_url)
    before, after = upgrade(given, home=home)
    url = parse_url(given, home)
    where = url.database if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
    return {"database": where, "before": before, "after": after, "changed": before != after}


def _unlock(home: Path, options: dict[str, str]) -> dict[str, Any]:
    ring = KeyRing(home)
    if ring.mode != "passphrase":
        raise StateConflict(
            "the secrets are not under a passphrase; nothing to unlock (opsconsole secrets passphrase sets one)"
        )
    ttl = _seconds(options.get("--ttl"))
    key = ring.unlock(_asked("passphrase", options))
    status = start_agent(home, key, ttl)
    return {"unlocked": True, "expires_in": round(status.expires_in), "pid": status.pid}


def _passphrase(home: Path, options: dict[str, str]) -> dict[str, Any]:
    ring = KeyRing(home)
    if "--off" in options:
        if ring.mode != "passphrase" and not ring.half_converted:
            raise StateConflict("the data key is in a key file already")
        ring.to_key_file(_asked("passphrase", options))
        forget(home)
        return {"mode": ring.mode, "changed": True}
    if ring.mode == "passphrase":
        old = _asked("present passphrase", options)
        ring.change_passphrase(old, _twice())
        return {"mode": ring.mode, "changed": True, "unlocked": agent_status(home) is not None}
    ring.to_passphrase(_asked("new passphrase", options) if "--passphrase-fd" in options else _twice())
    return {"mode": ring.mode, "changed": True, "unlocked": False}


def _twice() -> str:
    """A new passphrase typed twice: one mistyped unseen would lock everything for good."""
    first = inputs.ask_secret("new passphrase", "passphrase", "--passphrase-fd N")
    if first != inputs.ask_secret("new passphrase again", "passphrase", "--passphrase-fd N"):
        raise InvalidParameter(field="passphrase", reason="the two are not the same; nothing was changed")
    return first


def _asked(prompt: str, options: dict[str, str]) -> str:
    given = options.get("--passphrase-fd")
    if given is None:
        return inputs.ask_secret(prompt, "passphrase", "--passphrase-fd N")
    if not (given.isascii() and given.isdigit()):
        raise InvalidRequest(f"--passphrase-fd takes the number of an open file descriptor, not {given!r}")
    return inputs.secret_from_descriptor(int(given), "--passphrase-fd")


def _seconds(given: str | None) -> float:
    if given is None:
        return DEFAULT_TTL
    if not (given.isascii() and given.isdigit()) or not 0 < int(given) <= LONGEST_TTL:
        raise InvalidParameter(field="ttl", reason=f"{given!r} is not a number of seconds from 1 to {LONGEST_TTL}")
    return float(given)
