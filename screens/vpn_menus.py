"""The action menus of the VPN screens: what can be done, and why not where it cannot."""

from __future__ import annotations

from collections.abc import Sequence

from screens.render.vpn import CaRow, ClientRow
from screens.text import Safe
from screens.widgets.menu import Entry


def entries(rows: Sequence[ClientRow], read_only: Safe) -> list[Entry]:
    """What can be done with these clients."""
    frozen = Safe(f"read-only: {read_only}") if read_only else Safe("")
    one = Safe("") if len(rows) == 1 else Safe("one client at a time")
    revoked = [row for row in rows if row.record.get("revoked")]
    gone = (
        Safe("revoked already" if len(rows) == 1 else f"{len(revoked)} of them are revoked already")
        if revoked
        else Safe("")
    )
    alive = Safe("") if revoked else Safe("it is not revoked")
    found = [
        ("detail", "d", "show it in full", one),
        ("edit", "e", "edit its record", frozen or one),
        (
            "renew",
            "w",
            "let it in again with a new certificate" if revoked else "give it a new certificate",
            frozen or one,
        ),
        ("export", "x", "export its key", frozen or gone),
        ("revoke", "R", "REVOKE", frozen or gone),
        ("enforce", "F", "make its revocation true on the servers", frozen or one or alive),
        ("sessions", "s", "who is connected", Safe("")),
        ("authorities", "A", "the authorities", Safe("")),
    ]
    return [Entry(name, key, Safe(title), not why, why) for name, key, title, why in found]


def ca_entries(row: CaRow | None, read_only: Safe) -> list[Entry]:
    """What can be done with an authority; ids are operations."""
    frozen = Safe(f"read-only: {read_only}") if read_only else Safe("")
    nothing = Safe("") if row is not None else Safe("no authority here")
    offline = Safe("its key is offline") if row is not None and row.record.get("key_state") == "offline" else Safe("")
    found = [
        ("vpn.crls.sign", "S", "sign a new list now", frozen or nothing or offline),
        ("vpn.crls.import", "L", "take over a list signed elsewhere", frozen or nothing),
        ("vpn.cas.update", "e", "how long its lists last, its environment", frozen or nothing),
        (
            "vpn.cas.set_passphrase",
            "P",
            "set, change or take off the passphrase of its key",
            frozen or nothing or offline,
        ),
        ("vpn.cas.export_easyrsa", "w", "write it as an easy-rsa directory", frozen or nothing),
        ("vpn.cas.create", "n", "make a new authority", frozen),
        ("vpn.cas.import", "i", "take over an authority: certificate and key", frozen),
        ("vpn.cas.import_easyrsa", "r", "take over an easy-rsa directory", frozen),
    ]
    return [Entry(name, key, Safe(title), not why, why) for name, key, title, why in found]
