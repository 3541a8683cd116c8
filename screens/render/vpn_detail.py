"""A VPN client or an authority in full: certificate text, how far a revocation is, and when clients end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from textual.content import Content

from screens.render.host import glyph, span, timestamp
from screens.render.vpn import ALARMS, CaRow, ClientRow, last_seen, left, status_word
from screens.text import Safe, content
from screens.widgets.roles import CONTENT_STYLES

BAR: Final = 24
MONTHS: Final = 24


def client_text(row: ClientRow, data: Mapping[str, Any] | None, now: float, plain: bool) -> Content:
    """What is known of a client; `data` is the answer of `vpn.clients.get`, None while it is not there."""
    word, role = status_word(row)
    lines = [
        content((row.name, "bold")),
        content((f"{glyph(role, plain)} {word}", CONTENT_STYLES[role]), f"  {_until(row, now)}"),
        *_pairs(
            ("authority", row.ca),
            ("connected", _connected(row, now)),
            ("last seen", Safe("") if row.session else last_seen(row, now) or Safe("never, on any server known here")),
            ("e-mail", row.email),
            ("about", row.about),
            ("organization", row.organization),
            *((name, Safe(row.record.get(name))) for name in ("sector", "city", "province", "country")),
        ),
    ]
    if data is None:
        return Content("\n").join([*lines, content(("asking …", "dim"))])
    if "not known" in data:
        return Content("\n").join([*lines, *_pairs(("not known", Safe(data["not known"])))])
    lines += _pairs(("password", Safe("set" if data.get("has_password") else "none: its key leaves unprotected")))
    lines[2:2] = _chain(data, plain)
    lines += _certificates(data, now, plain)
    text = data.get("certificate_text") or ()
    if text:
        lines += [content(""), content(("its certificate", "bold"))]
        lines += _pairs(*((str(Safe(one.get("label"))), Safe(one.get("value"))) for one in text))
    return Content("\n").join(lines)


def _until(row: ClientRow, now: float) -> str:
    if not row.ends:
        return ""
    day = datetime.fromtimestamp(row.ends, UTC)
    return f"{'until' if row.ends > now else 'ended'} {day:%Y-%m-%d} ({left(row.ends, now)})"


def _connected(row: ClientRow, now: float) -> Safe:
    if row.session is None:
        return Safe("")
    since = f" since {span(now - row.session.since)}" if row.session.since is not None else ""
    return Safe(f"on {row.session.server} from {row.session.address}{since}")


def _chain(data: Mapping[str, Any], plain: bool) -> list[Content]:
    """The way of a revocation; without an answer from the servers' side its first two steps are known."""
    revoked = [one for one in data.get("certificates") or () if one.get("status") == "revoked"]
    if not revoked:
        return []
    lines = [content(("its revocation", "bold"))]
    chain = revoked[0].get("chain")
    chain = chain if isinstance(chain, Mapping) else {}
    steps = chain.get("steps")
    if isinstance(steps, list):
        for step in steps:
            state = str(step.get("state"))
            role = {"ok": "ok", "failed": "bad"}.get(state, "busy")
            counts = f" {step['done']}/{step['total']}" if "done" in step and "total" in step else ""
            name = str(Safe(step.get("step"))).replace("_", " ")
            lines.append(content((f"  {glyph(role, plain)} {name}{counts}", CONTENT_STYLES[role])))
        why = chain.get("why_not")
        return [*lines, *([content((f"  {Safe(why)}", CONTENT_STYLES["warn"]))] if why else [])]
    newest = revoked[0]
    signed = newest.get("revocation") == "signed"
    rows = [("requested", "ok", f"by {Safe(newest.get('revoked_by'))} at {_day(newest.get('revoked_at'))}")]
    rows.append(("signed", "ok", f"list #{newest.get('crl_number')}") if signed else ("signed", "warn", "not yet"))
    for name, role, said in rows:
        lines.append(content((f"  {glyph(role, plain)} {name}", CONTENT_STYLES[role]), (f"  {said}", "dim")))
    return lines


def _certificates(data: Mapping[str, Any], now: float, plain: bool) -> list[Content]:
    certificates = data.get("certificates") or ()
    lines = [content(""), content((f"{len(certificates)} certificate{'s' if len(certificates) != 1 else ''}", "bold"))]
    for one in certificates:
        status = str(one.get("status"))
        role = {"valid": "ok", "expired": "bad", "revoked": "muted"}.get(status, "unknown")
        ends = timestamp(one.get("not_after"))
        why = f" {Safe(one.get('revoke_reason'))}" if status == "revoked" else ""
        key = "" if one.get("key_here") else ", its key is not here"
        until = f" {left(ends, now)} left" if ends and ends > now else f" until {_day(one.get('not_after'))}"
        lines.append(
            content(
                (f"  {glyph(role, plain)} {Safe(status)}{why}", CONTENT_STYLES[role]),
                (f" {Safe(one.get('serial'))}", "dim"),
                f"{until}{key}",
            )
        )
    return lines


def ca_text(row: CaRow, now: float, plain: bool) -> Content:
    """An authority: its list, its key, and the horizon of its clients."""
    word, role = ALARMS.get(row.alarm, (row.alarm, "unknown"))
    record = row.record
    lines = [
        content((row.name, "bold")),
        content((f"{glyph(role, plain)} list {row.number} {word}", CONTENT_STYLES[role])),
        *_pairs(
            ("list ends in", Safe(left(row.list_ends, now) if row.list_ends else "")),
            ("list names", Safe(f"{row.entries} certificates")),
            ("a list lasts", Safe(f"{record.get('crl_days')} days, signed anew at half of that")),
            ("authority ends in", Safe(left(row.ends, now))),
            ("key", Safe(f"{row.key_type}, {row.key}")),
            ("environment", row.environment),
            ("subject", Safe(record.get("subject"))),
            ("serials given", Safe(record.get("serial_counter"))),
            ("SHA-256", Safe(record.get("fingerprint"))),
        ),
    ]
    facts = lines[2:]
    lines = lines[:2]
    if row.unsigned:
        said = f"{row.unsigned} revocations are on no list yet: S signs one"
        lines.append(content((f"{glyph('bad', plain)} {said}", CONTENT_STYLES["bad"])))
    lines += [content(("when its clients end", "bold")), *horizon(row, plain), content(""), *facts]
    return Content("\n").join(lines)


def horizon(row: CaRow, plain: bool) -> list[Content]:
    """One line per month in which somebody ends, the nearest first, as long as the most of them is full."""
    if row.valid is None:
        return [content(("asking …", "dim"))]
    over = (f"{row.expired} expired", CONTENT_STYLES["bad" if row.expired else "muted"])
    lines = [content(f"{row.valid} valid, ", over, f", {row.revoked} revoked")]
    most = max((count for _, count in row.months), default=1)
    sign = "#" if plain else "█"
    for month, count in row.months[:MONTHS]:
        width = max(round(count * BAR / most), 1)
        lines.append(content((f"{month} ", "dim"), sign * width, f" {count}"))
    rest = row.months[MONTHS:]
    if rest:
        lines.append(content((f"later   {sum(count for _, count in rest)}, the last in {rest[-1][0]}", "dim")))
    return lines


def band(rows: list[CaRow], now: float, plain: bool) -> Content:
    """The authorities in one line: what is wrong first."""
    if not rows:
        return content(("no authority yet: A makes one or takes one over", "dim"))
    wrong = [row for row in rows if row.alarm != "ok" or row.unsigned]
    parts: list[str | tuple[str, str]] = []
    for row in wrong[:3]:
        word, role = ALARMS.get(row.alarm, (row.alarm, "unknown"))
        if row.unsigned and role == "ok":
            word, role = f"{row.unsigned} revocations not signed", "bad"
        parts += [(f"{glyph(role, plain)} {row.name}: {word} ", CONTENT_STYLES[role])]
    if not wrong:
        nearest = min((row.list_ends for row in rows if row.list_ends), default=None)
        many = f"{len(rows)} authorities, lists good" if len(rows) > 1 else f"{rows[0].name}: list good"
        said = f", the next ends in {left(nearest, now)}" if nearest else ""
        parts.append((f"{glyph('ok', plain)} {many}{said}", CONTENT_STYLES["ok"]))
    soon: dict[str, int] = {}
    for row in rows:
        for month, count in row.months[:3]:
            soon[month] = soon.get(month, 0) + count
    if soon:
        ends = ", ".join(f"{count} in {month}" for month, count in sorted(soon.items())[:3])
        parts.append((f"  clients end: {ends}", "dim"))
    return content(*parts)


def _day(given: object) -> str:
    at = timestamp(given)
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" if at is not None else "?"


def _pairs(*pairs: tuple[str, Safe]) -> list[Content]:
    return [content((f"{name}: ", "dim"), value) for name, value in pairs if value]
