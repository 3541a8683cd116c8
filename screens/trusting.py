"""The way out for a host whose key is not known, or has changed: what it shows now, compared by a person, accepted."""

from __future__ import annotations

from typing import Final

from opsconsole.client import Client, Json
from screens.frame import Console
from screens.performing import Done, Order, Performing
from screens.text import Safe, join
from screens.widgets.menu import Entry, Menu

KEY_STATES: Final = ("host_key_unknown", "host_key_changed")
_NOT_OFFERED: Final = {"known": "is trusted already", "revoked": "is revoked in known_hosts"}


async def trust_key(console: Console, client: Client, host: str) -> Done | None:
    """Ask the host for its keys, let the operator choose one where there are several, and trust it through a plan.

    None when nothing was done; raises `OperationFailed` when the host cannot be asked or the house refuses.
    """
    console.say(f"asking {host} for its key …", "busy")
    answer = await client.call("hosts.scan_key", {"id": host})
    offers: list[Json] = list(answer.get("offers") or [])
    open_ = [offer for offer in offers if offer.get("state") not in _NOT_OFFERED]
    if not open_:
        said = join([_word(offer) for offer in offers], ", ") or Safe("it shows no key")
        console.say(f"{host}: nothing to trust: {said}", "warn")
        return None
    fingerprint = str(open_[0].get("fingerprint"))
    if len(open_) > 1:
        title = Safe(f"Keys {Safe(host)} shows now; compare with what its owner says")
        chosen = await console.push_screen_wait(Menu(title, _entries(offers)))
        if not chosen:
            return None
        fingerprint = chosen
    order = Order("hosts.trust", {"host": host, "fingerprint": fingerprint}, Safe(f"trusting the key of {host}"))
    return await Performing(console, client).finish(order)


def _entries(offers: list[Json]) -> list[Entry]:
    entries = []
    for offer in offers:
        state = str(offer.get("state"))
        because = Safe(_NOT_OFFERED.get(state, f"key {state}"))
        title = join([Safe(offer.get("key_type")), Safe(offer.get("fingerprint"))], " ")
        entries.append(Entry(str(offer.get("fingerprint")), "", title, state not in _NOT_OFFERED, because))
    return entries


def _word(offer: Json) -> Safe:
    state = str(offer.get("state"))
    return join([Safe(offer.get("key_type")), Safe(_NOT_OFFERED.get(state, state))], " ")
