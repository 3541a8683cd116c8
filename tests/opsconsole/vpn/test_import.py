"""Clients that were made elsewhere: what is taken, and what is refused without a trace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers import pki_crl
from drivers.pki_files import cert_pem, key_pem
from opsconsole.engine.errors import (
    ConsoleError,
    InvalidParameter,
    NameNotUnique,
    RequiredFieldMissing,
    VpnCertificateMismatch,
)
from tests.opsconsole.houses import Bench
from tests.opsconsole.vpn.support import Outside, client, counts, newest_crl, revoke, verified

EMAIL = "ops@x.example"


async def authority(bench: Bench, root: Any, outside: Outside, **more: Any) -> int:
    made = await bench.call(root, "vpn.cas.import", {"cert": outside.cert, "key": outside.key, **more})
    return int(made["id"])


async def test_a_client_with_what_its_certificate_says(bench: Bench, tmp_path: Path) -> None:
    root = await bench.user("root", admin=True)
    outside = Outside()
    ca_id = await authority(bench, root, outside)
    subject = {"country": "BR", "province": "Rio", "city": "Rio", "organization": "XYZ", "sector": "Suporte"}
    pair = outside.pair("client-s2s", password="opens it", **subject)
    given = {"ca_id": ca_id, "email": EMAIL, "description": "from before", "password": "opens it", **pair}
    one = await bench.call(root, "vpn.clients.import", given)
    assert {name: one[name] for name in subject} == subject
    assert (one["name"], one["email"], one["description"]) == ("client-s2s", EMAIL, "from before")
    end = datetime.fromisoformat(one["expiry_date"])
    assert abs(end - outside.now - timedelta(days=365)) < timedelta(seconds=2)
    exported = await bench.call(root, "vpn.clients.export", {"id": one["id"]})
    assert exported["cert"] == pair["cert"]
    assert "ENCRYPTED" in exported["key"]
    crl = await newest_crl(bench, root, ca_id)
    assert verified(tmp_path, outside.cert, crl["crl"], pair["cert"]) == "OK"
    await revoke(bench, root, one)
    crl = await newest_crl(bench, root, ca_id)
    assert "revoked" in verified(tmp_path, outside.cert, crl["crl"], pair["cert"])


async def test_one_that_was_revoked_already_keeps_its_date(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    outside = Outside()
    ca_id = await authority(bench, root, outside)
    at = (datetime.now(UTC) - timedelta(days=7)).replace(microsecond=0)
    given = {"ca_id": ca_id, "email": EMAIL, "revoked": True, "revoked_date": at.isoformat(), **outside.pair("gone")}
    one = await bench.call(root, "vpn.clients.import", given)
    assert (one["revoked"], datetime.fromisoformat(one["revoked_date"])) == (True, at)
    crl = await newest_crl(bench, root, ca_id)
    assert (crl["number"], crl["entries"]) == (2, 1)
    from drivers.pki_read import read_certificates, read_crl

    _, lines = read_crl(crl["crl"].encode(), read_certificates(outside.cert.encode())[0])
    assert [(line.serial, line.at) for line in lines] == [(int(one["serial"], 16), at)]


async def test_what_is_refused_leaves_nothing_behind(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    outside, other, twin = Outside(), Outside("Other CA"), Outside()
    ca_id = await authority(bench, root, outside)
    await revoke(bench, root, await client(bench, root, ca_id, "taken"))
    good, second = outside.pair("good"), outside.pair("second")
    locked = outside.pair("locked", password="secret")
    now = datetime.now(UTC)
    mismatch, invalid = VpnCertificateMismatch, InvalidParameter
    cases: list[tuple[dict[str, Any], type[ConsoleError], str, str]] = [
        (other.pair("x"), mismatch, "cert", "issued by CN=Other CA, not by Elsewhere"),
        (twin.pair("x"), mismatch, "cert", "another CA of that name"),
        (good | {"key": second["key"]}, mismatch, "key", "does not belong to the certificate"),
        (locked, invalid, "password", "the private key is encrypted"),
        (locked | {"password": "wrong"}, invalid, "password", "does not open"),
        (good | {"cert": good["cert"][:-40]}, invalid, "cert", "truncated"),
        (good | {"key": good["key"][:-40]}, invalid, "key", "truncated"),
        (good | {"cert": "no pem"}, invalid, "cert", "no certificate in PEM form"),
        (good | {"key": good["cert"]}, invalid, "key", "it holds CERTIFICATE"),
        (outside.pair("n" * 31), invalid, "cert", "1 to 30 characters; these are 31"),
        (outside.pair("under_score"), invalid, "cert", "only the characters"),
        (outside.pair("taken"), NameNotUnique, "name", "revoked"),
        (outside.pair("srv", usage="server"), invalid, "cert", "it is for server use"),
        ({"cert": outside.cert, "key": outside.key}, invalid, "cert", "of an authority"),
        (good | {"revoked": True}, RequiredFieldMissing, "revoked_date", "required with revoked"),
        (good | {"revoked_date": now.isoformat()}, invalid, "revoked_date", "only with revoked"),
        (
            good | {"revoked": True, "revoked_date": (now + timedelta(hours=1)).isoformat()},
            invalid,
            "revoked_date",
            "in the future",
        ),
        (good | {"revoked": True, "revoked_date": "2001-01-01T00:00:00Z"}, invalid, "revoked_date", "began only at"),
        (good | {"email": "x"}, invalid, "email", "not an e-mail"),
    ]
    before = await counts(bench)
    for given, kind, field, says in cases:
        with pytest.raises(kind) as error:
            await bench.call(root, "vpn.clients.import", {"ca_id": ca_id, "email": EMAIL, **given})
        assert error.value.field == field, says
        assert says in error.value.message
        assert await counts(bench) == before
    for missing in ("ca_id", "email", "key", "cert"):
        given = {"ca_id": ca_id, "email": EMAIL, **good}
        del given[missing]
        with pytest.raises(RequiredFieldMissing):
            await bench.call(root, "vpn.clients.import", given)
    await bench.call(root, "vpn.clients.import", {"ca_id": ca_id, "email": EMAIL, **good})
    renamed = good | {"ca_id": ca_id, "email": EMAIL}
    with pytest.raises(NameNotUnique):
        await bench.call(root, "vpn.clients.import", renamed)


async def test_a_certificate_that_a_list_names_can_only_come_in_revoked(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    outside = Outside()
    dead = outside.issue("dead")
    at = outside.now.replace(microsecond=0) + timedelta(days=1)
    lines = [pki_crl.crl_entry(dead.serial, at)]
    crl = pki_crl.crl_pem(pki_crl.sign_crl(outside.authority, lines, number=3, now=outside.now).der)
    ca_id = await authority(bench, root, outside, crl=crl)
    given = {"ca_id": ca_id, "email": EMAIL, "cert": cert_pem(dead.cert), "key": key_pem(dead.key)}
    with pytest.raises(InvalidParameter, match="says it was revoked at") as error:
        await bench.call(root, "vpn.clients.import", given)
    assert error.value.field == "revoked"
    given |= {"revoked": True, "revoked_date": at.isoformat()}
    one = await bench.call(root, "vpn.clients.import", given)
    assert one["revoked"] is True
    assert (await newest_crl(bench, root, ca_id))["entries"] == 1
    assert (await bench.call(root, "vpn.certificates.list", {"orphan": True}))["count"] == 0
