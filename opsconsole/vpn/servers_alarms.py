"""What is wrong with a server, judged from what was seen of it and from the clock: pure, so good for old sights too.

A CRL that is over locks every client out; one that is missing lets every revoked certificate in. Both must be seen
before somebody feels them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from opsconsole.engine.registry import Json

Facts = Mapping[str, Any]
_SOON = 4


def alarm(code: str, level: str, message: str, remedy: str) -> Json:
    """`level` is red (clients are locked out, or revoked ones let in, or nobody knows) or amber."""
    return {"code": code, "level": level, "message": message, "remedy": remedy}


def alarms_of(facts: Facts | None, error: Facts | None, now: datetime, newest: int | None = None) -> list[Json]:
    """All alarms, the red ones first. `newest` is the number of the authority's newest list."""
    found: list[Json] = []
    if error is not None:
        found.append(
            alarm("unreachable", "red", str(error.get("message", "it cannot be looked at")), "look at the host")
        )
    if facts is None:
        return found
    found += _config(facts.get("config") or {})
    daemon = facts.get("daemon") or {}
    if not (daemon.get("error_code") == "none" and (facts.get("config") or {}).get("missing")):
        found += _daemon(daemon)
    crl = facts.get("crl")
    if crl is not None:
        found += _crl(crl, now, newest)
    found += _seen(facts.get("seen") or {}, crl or {})
    return sorted(found, key=lambda one: one["level"] != "red")


def _config(config: Facts) -> list[Json]:
    if config.get("missing"):
        path = config.get("path")
        return [alarm("config_missing", "red", f"there is no {path}", "correct config_path with vpn.servers.update")]
    found = []
    if not config.get("crl_path") and not config.get("crl_inline"):
        message = "its configuration has no crl-verify: a revoked certificate is let in"
        found.append(alarm("crl_not_configured", "red", message, "add crl-verify and restart it"))
    if config.get("crl_inline"):
        message = "its CRL stands inside the configuration and is not read again"
        found.append(alarm("crl_inline", "red", message, "use crl-verify with a file and restart it"))
    if config.get("newer_than_daemon"):
        message = "its configuration was changed after it read it"
        found.append(alarm("config_not_loaded", "amber", message, "restart it when its clients can bear that"))
    return found


def _daemon(daemon: Facts) -> list[Json]:
    if daemon.get("running") is False:
        return [alarm("daemon_down", "red", "the daemon does not run", f"start it: {daemon.get('unit') or 'its unit'}")]
    error = daemon.get("error")
    if error:
        code = "management_busy" if daemon.get("error_code") == "busy" else "management_unreachable"
        remedy = "sessions can neither be seen nor ended until it answers; see its management line and its log"
        return [alarm(code, "amber" if code == "management_busy" else "red", str(error), remedy)]
    if daemon.get("running") is None:
        message = "nothing tells whether the daemon runs"
        return [alarm("daemon_unknown", "amber", message, "give it a management line, or name its unit")]
    return []


def _crl(crl: Facts, now: datetime, newest: int | None) -> list[Json]:
    path = crl.get("path")
    publish = "publish it: vpn.servers.publish_crl"
    if crl.get("missing"):
        message = f"there is no {path}: every revoked certificate is let in"
        return [alarm("crl_missing", "red", message, publish)]
    if crl.get("mode") == "dir":
        lacking = crl.get("lacking") or 0
        message = f"{lacking} revoked serials are not in {path}"
        return [alarm("crl_behind", "red", message, publish)] if lacking else []
    if crl.get("error"):
        return [alarm("crl_damaged", "red", f"{path}: {crl['error']}", publish)]
    if crl.get("foreign"):
        message = f"{path} holds no list of the authority {crl.get('ca')}"
        return [alarm("crl_foreign", "red", message, publish)]
    found = _dates(crl, now)
    number = crl.get("number")
    if newest is not None and (number is None or number < newest):
        message = f"list {number if number is not None else 'without number'} is published, {newest} is the newest"
        found.append(alarm("crl_behind", "red", message, publish))
    elif newest is not None and number is not None and number > newest:
        message = f"list {number} is published, and the newest we know of is {newest}: another place signs too"
        found.append(alarm("crl_ahead", "amber", message, "find out who signs for this authority"))
    return found


def _dates(crl: Facts, now: datetime) -> list[Json]:
    begin, end = _moment(crl.get("this_update")), _moment(crl.get("next_update"))
    if end is None:
        return []
    remedy = "sign a new one and publish it: vpn.crls.sign, then vpn.servers.publish_crl"
    if now >= end:
        message = f"the published list ended {_span((now - end).total_seconds())} ago: every client is refused"
        return [alarm("crl_expired", "red", message, remedy)]
    if begin is not None and begin > now:
        message = f"the published list begins only in {_span((begin - now).total_seconds())}: every client is refused"
        return [alarm("crl_not_yet_valid", "red", message, "set the clocks right")]
    if begin is not None and now >= end - (end - begin) / _SOON:
        message = f"the published list ends in {_span((end - now).total_seconds())}; then every client is refused"
        return [alarm("crl_expires_soon", "red", message, remedy)]
    return []


def _seen(seen: Facts, crl: Facts) -> list[Json]:
    if not seen or crl.get("missing"):
        return []
    if seen.get("readable") is False:
        message = f"the daemon's user ({seen.get('uid')}) cannot read the CRL: it goes on with the old one"
        return [alarm("crl_unreadable", "red", message, "open the directories above it to that user (mode 711)")]
    if seen.get("same") is False:
        message = "the daemon sees another file at its path than the one that is published"
        return [alarm("crl_elsewhere", "red", message, "compare crl_path with its chroot and working directory")]
    return []


def _moment(text: Any) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) else None


def _span(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"
