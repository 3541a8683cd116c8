"""Keys of authorities and clients: sealed at rest, opened for one change, forgotten after it.

An authority's own passphrase wraps its key a second time. It is asked for with every change that signs and kept
nowhere.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from data import errors as data_errors
from data.secrets import open_sealed, seal
from drivers.pki import Authority
from opsconsole.engine.errors import InvalidParameter, RequiredFieldMissing, VpnCaKeyMissing
from opsconsole.house import House
from opsconsole.vpn.lookup import CaFacts, said


async def data_key(house: House, *, create: bool = False) -> bytes:
    """The key of all secrets. Raises a DataError that says how to unlock it."""
    return await asyncio.to_thread(_data_key, house.home, create)


def _data_key(home: Path, create: bool) -> bytes:
    from data.keyring import KeyRing

    return KeyRing(home).data_key(create=create)


def ca_context(fingerprint: str) -> str:
    return f"certificate_authority:{fingerprint}:key"


def key_context(ca_id: int, serial: str) -> str:
    return f"vpn_certificate:{ca_id}:{serial}:key"


def password_context(name: str) -> str:
    return f"vpn_client:{name}:password"


def seal_ca_key(key: bytes, private: bytes, fingerprint: str, passphrase: str) -> bytes:
    """An authority's private key (DER) as it is kept; an empty passphrase means none. Slow with one: a thread."""
    from data.keyring import wrap

    inner = wrap(private, passphrase) if passphrase else private
    return seal(key, inner, context=ca_context(fingerprint))


def open_ca_key(key: bytes, ca: CaFacts, passphrase: str) -> bytes:
    """The private key in DER. Raises what `check_at_hand` raises, and for a wrong passphrase."""
    check_at_hand(ca, passphrase)
    inner = open_sealed(key, ca.sealed_key or b"", context=ca_context(ca.fingerprint))
    if ca.key_state != "passphrase":
        return inner
    from data.keyring import unwrap

    try:
        return unwrap(inner, passphrase, f"the key of {ca.name}")
    except data_errors.WrongPassphrase as error:
        raise InvalidParameter(field="ca_passphrase", reason=f"it does not open the key of {ca.name}") from error


def check_at_hand(ca: CaFacts, passphrase: str) -> None:
    """Say before anything is done that nothing can be signed: the key is elsewhere, or its passphrase was not given."""
    if ca.key_state == "offline" or ca.sealed_key is None:
        remedy = "sign where it is, and hand in the result: vpn.clients.import, vpn.crls.import"
        raise VpnCaKeyMissing(name=ca.name, remedy=remedy)
    if ca.key_state == "passphrase" and not passphrase:
        raise RequiredFieldMissing(
            f"ca_passphrase is required: the key of {ca.name} has a passphrase of its own", field="ca_passphrase"
        )


async def open_authority(house: House, ca: CaFacts, passphrase: str, key: bytes | None = None) -> Authority:
    """The authority with its key at hand, for one change."""
    known = key if key is not None else await data_key(house)

    def work() -> Authority:
        with said():
            return Authority.of(ca.cert, open_ca_key(known, ca, passphrase))

    return await asyncio.to_thread(work)
