"""Authorities: made, brought along, under a passphrase, offline; and the lists they sign."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from data.models import CertificateAuthority
from drivers import pki_crl
from drivers.pki_files import cert_pem, key_pem
from opsconsole.engine.context import Context
from opsconsole.engine.errors import (
    ConsoleError,
    InvalidParameter,
    NameNotUnique,
    ObjectNotFound,
    RequiredFieldMissing,
    VpnCaKeyMissing,
    VpnCertificateMismatch,
)
from tests.opsconsole.houses import Bench
from tests.opsconsole.vpn.support import Outside, ca, client, counts, newest_crl, revoke, verified


async def test_an_authority_and_its_first_list(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    made = await ca(bench, root, organization="Empresa", country="BR")
    assert (made["name"], made["key_type"], made["key_state"], made["serial_counter"]) == (
        "Branches", "ec-p256", "sealed", 0,
    )  # fmt: skip
    assert made["crl_status"]["number"] == 1
    assert made["crl_status"]["alarm"] == "ok"
    assert "key" not in made
    listed = await bench.call(root, "vpn.cas.list")
    assert listed == [made]
    for name in ("a", "b"):
        await client(bench, root, made["id"], name, expiration=400)
    await revoke(bench, root, await client(bench, root, made["id"], "c"))
    shown = await bench.call(root, "vpn.cas.get", {"id": made["id"]})
    assert shown["crl"].startswith("-----BEGIN X509 CRL")
    assert shown["serial_counter"] == 3
    month = f"{datetime.now(UTC) + timedelta(days=400):%Y-%m}"
    assert shown["horizon"] == {
        "valid": 2, "expired": 0, "revoked": 1, "months": [{"month": month, "clients": 2}],
    }  # fmt: skip
    assert "crl" not in await bench.call(root, "vpn.cas.get", {"id": made["id"], "with_crl": False})
    with pytest.raises(NameNotUnique):
        await ca(bench, root)
    with pytest.raises(ObjectNotFound):
        await bench.call(root, "vpn.cas.get", {"id": 9})


@pytest.mark.parametrize("kind", ["ec-p384", "rsa-3072", "ed25519"])
async def test_other_kinds_of_keys(small_bench: Bench, kind: str, tmp_path: Path) -> None:
    root = await small_bench.user("root", admin=True)
    made = await ca(small_bench, root, key_type=kind)
    one = await client(small_bench, root, made["id"], "x", key_type=kind)
    exported = await small_bench.call(root, "vpn.clients.export", {"id": one["id"]})
    crl = await newest_crl(small_bench, root, made["id"])
    assert verified(tmp_path, made["cert"], crl["crl"], exported["cert"]) == "OK"


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", ""), ("name", "x" * 65), ("key_type", "rsa-2048"), ("crl_days", 0), ("expiration", 7301)],
)
async def test_bad_input(small_bench: Bench, field: str, value: Any) -> None:
    root = await small_bench.user("root", admin=True)
    with pytest.raises(InvalidParameter) as error:
        await small_bench.call(root, "vpn.cas.create", {"name": "good", field: value})
    assert error.value.field == field
    with pytest.raises(ObjectNotFound):
        await small_bench.call(root, "vpn.cas.create", {"name": "good", "environment": "nowhere"})
    assert (await counts(small_bench))[0] == 0


async def test_a_passphrase_is_asked_for_each_time_and_kept_nowhere(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    made = await ca(bench, root, passphrase="only in my head")
    assert made["key_state"] == "passphrase"
    before = await counts(bench)
    with pytest.raises(RequiredFieldMissing) as missing:
        await client(bench, root, made["id"], "x")
    assert missing.value.field == "ca_passphrase"
    with pytest.raises(ConsoleError, match="does not open the key of Branches") as wrong:
        await client(bench, root, made["id"], "x", ca_passphrase="guess")
    assert wrong.value.as_json()["code"] == "invalid_parameter"
    assert await counts(bench) == before
    one = await client(bench, root, made["id"], "x", ca_passphrase="only in my head")
    with pytest.raises(RequiredFieldMissing):
        await revoke(bench, root, one)
    await revoke(bench, root, one, ca_passphrase="only in my head")
    assert (await newest_crl(bench, root, made["id"]))["entries"] == 1

    given = {"id": made["id"], "ca_passphrase": "only in my head", "new_passphrase": ""}
    assert (await bench.call(root, "vpn.cas.set_passphrase", given, confirm="yes"))["key_state"] == "sealed"
    await client(bench, root, made["id"], "y")
    with pytest.raises(RequiredFieldMissing):
        await bench.call(root, "vpn.cas.set_passphrase", {"id": made["id"], "new_passphrase": ""}, confirm="yes")
    back = {"id": made["id"], "new_passphrase": "another"}
    assert (await bench.call(root, "vpn.cas.set_passphrase", back, confirm="yes"))["key_state"] == "passphrase"
    await client(bench, root, made["id"], "z", ca_passphrase="another")
    kept = "".join(row.model_dump_json() for row in await bench.journal())
    assert "only in my head" not in kept


async def test_a_revocation_can_be_written_down_before_it_can_be_signed(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    made = await ca(bench, root, passphrase="asleep")
    one = await client(bench, root, made["id"], "x", ca_passphrase="asleep")
    plan = await bench.plan(root, "vpn.clients.revoke", {"id": one["id"], "sign_later": True})
    assert "in force only when a list is signed" in plan["warnings"][0]
    await revoke(bench, root, one, sign_later=True)
    shown = await bench.call(root, "vpn.clients.get", {"id": one["id"]})
    assert (shown["revoked"], shown["certificates"][0]["revocation"]) == (True, "requested")
    assert (await bench.call(root, "vpn.cas.get", {"id": made["id"]}))["unsigned_revocations"] == 1
    waiting = await bench.call(root, "vpn.certificates.list", {"revocation": "requested"})
    assert [row["serial"] for row in waiting["results"]] == [one["serial"]]
    assert (await newest_crl(bench, root, made["id"]))["entries"] == 0
    signed = await bench.call(root, "vpn.crls.sign", {"ca_id": made["id"], "ca_passphrase": "asleep"})
    assert (signed["number"], signed["entries"]) == (2, 1)
    assert (await bench.call(root, "vpn.certificates.list", {"revocation": "requested"}))["count"] == 0


async def test_an_authority_brought_along_goes_on_where_it_was(bench: Bench, tmp_path: Path) -> None:
    root = await bench.user("root", admin=True)
    outside = Outside()
    dead = outside.issue("dead")
    lines = [pki_crl.crl_entry(dead.serial, outside.now, "key_compromise")]
    crl = pki_crl.sign_crl(outside.authority, lines, number=41, now=outside.now)
    given = {"cert": outside.cert, "key": outside.key, "crl": pki_crl.crl_pem(crl.der), "name": "Old one"}
    made = await bench.call(root, "vpn.cas.import", given)
    assert (made["key_state"], made["serial_counter"]) == ("sealed", 1)
    assert (made["crl_status"]["number"], made["crl_status"]["entries"]) == (42, 1)
    newest = await newest_crl(bench, root, made["id"])
    assert "revoked" in verified(tmp_path, outside.cert, newest["crl"], cert_pem(dead.cert))
    assert (await bench.call(root, "vpn.crls.get", {"ca_id": made["id"], "number": 41}))["why"].startswith("came with")
    await client(bench, root, made["id"], "new")
    with pytest.raises(NameNotUnique, match="as Old one"):
        await bench.call(root, "vpn.cas.import", given | {"name": "Another"})


async def test_an_offline_authority(bench: Bench, tmp_path: Path) -> None:
    root = await bench.user("root", admin=True)
    outside = Outside()
    made = await bench.call(root, "vpn.cas.import", {"cert": outside.cert})
    assert (made["name"], made["key_state"], made["crl_status"]["alarm"]) == ("Elsewhere", "offline", "missing")
    with pytest.raises(VpnCaKeyMissing, match=r"vpn\.clients\.import"):
        await client(bench, root, made["id"], "x")
    with pytest.raises(VpnCaKeyMissing):
        await bench.call(root, "vpn.crls.sign", {"ca_id": made["id"]})
    pair = outside.pair("branch")
    one = await bench.call(root, "vpn.clients.import", {"ca_id": made["id"], "email": "a@b.example", **pair})
    await revoke(bench, root, one)
    shown = await bench.call(root, "vpn.clients.get", {"id": one["id"]})
    assert shown["certificates"][0]["revocation"] == "requested"

    def signed(number: int, *serials: int) -> str:
        entries = [pki_crl.crl_entry(serial, outside.now) for serial in serials]
        now = datetime.now(UTC)
        return pki_crl.crl_pem(pki_crl.sign_crl(outside.authority, entries, number=number, now=now).der)

    first = await bench.call(root, "vpn.crls.import", {"ca_id": made["id"], "crl": signed(7, 12345)})
    assert (first["number"], first["entries"]) == (7, 1)
    serial = int(one["serial"], 16)
    await bench.call(root, "vpn.crls.import", {"ca_id": made["id"], "crl": signed(8, 12345, serial)})
    shown = await bench.call(root, "vpn.clients.get", {"id": one["id"]})
    assert (shown["certificates"][0]["revocation"], shown["certificates"][0]["crl_number"]) == ("signed", 8)
    with pytest.raises(InvalidParameter, match="not above 8"):
        await bench.call(root, "vpn.crls.import", {"ca_id": made["id"], "crl": signed(8, 12345, serial)})
    with pytest.raises(InvalidParameter, match="would revive"):
        await bench.call(root, "vpn.crls.import", {"ca_id": made["id"], "crl": signed(9, serial)})
    foreign = Outside()
    other = pki_crl.crl_pem(pki_crl.sign_crl(foreign.authority, [], number=9, now=foreign.now).der)
    with pytest.raises(VpnCertificateMismatch):
        await bench.call(root, "vpn.crls.import", {"ca_id": made["id"], "crl": other})
    assert (await newest_crl(bench, root, made["id"]))["number"] == 8


async def test_what_cannot_be_an_authority(small_bench: Bench) -> None:
    root = await small_bench.user("root", admin=True)
    outside, other = Outside(), Outside("Other")
    leaf = outside.pair("leaf")
    locked = key_pem(outside.made.key, "secret")
    cases: list[tuple[dict[str, Any], type[ConsoleError], str]] = [
        ({"cert": leaf["cert"]}, InvalidParameter, "not a CA certificate"),
        ({"cert": outside.cert, "key": other.key}, VpnCertificateMismatch, "does not belong"),
        ({"cert": outside.cert, "key": locked}, InvalidParameter, "is encrypted"),
        ({"cert": outside.cert, "key": locked, "password": "no"}, InvalidParameter, "does not open"),
        ({"cert": outside.cert[:300]}, InvalidParameter, "truncated"),
        ({"cert": outside.cert + other.cert}, VpnCertificateMismatch, "was issued by"),
        ({"cert": outside.cert, "passphrase": "x"}, InvalidParameter, "no key is given"),
        ({"cert": outside.cert, "crl": "hello"}, InvalidParameter, "no x509 crl"),
    ]
    for given, kind, says in cases:
        with pytest.raises(kind) as error:
            await small_bench.call(root, "vpn.cas.import", given)
        assert says in error.value.message
    assert (await counts(small_bench))[0] == 0
    good = await small_bench.call(root, "vpn.cas.import", {"cert": outside.cert, "key": locked, "password": "secret"})
    assert good["key_state"] == "sealed"


async def test_numbers_only_grow_and_old_lists_lose_their_bytes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    root = await bench.user("root", admin=True)
    made = await ca(bench, root)
    for _ in range(4):
        await bench.call(root, "vpn.crls.sign", {"ca_id": made["id"]})
    page = await bench.call(root, "vpn.crls.list", {"ca_id": made["id"]})
    assert [row["number"] for row in page["results"]] == [5, 4, 3, 2, 1]
    kept = [
        (await bench.call(root, "vpn.crls.get", {"ca_id": made["id"], "number": n}))["crl"] is not None
        for n in (1, 2, 3, 4, 5)
    ]
    assert kept == [False, False, True, True, True]
    with pytest.raises(ObjectNotFound, match="the newest is 5"):
        await bench.call(root, "vpn.crls.get", {"ca_id": made["id"], "number": 6})

    def reset(tx: Session) -> None:
        row = tx.exec(select(CertificateAuthority)).one()
        row.crl_number = 0
        tx.add(row)

    await bench.database.write(reset)
    back = datetime.now(UTC) - timedelta(days=3)
    monkeypatch.setattr(Context, "now", lambda self: back)
    again = await bench.call(root, "vpn.crls.sign", {"ca_id": made["id"], "crl_days": 10})
    assert again["number"] == 6
    assert again["this_update"] == page["results"][0]["this_update"]


async def test_changing_an_authority(small_bench: Bench) -> None:
    root = await small_bench.user("root", admin=True)
    await small_bench.environment("live", "prod")
    made = await ca(small_bench, root)
    changed = await small_bench.call(
        root, "vpn.cas.update", {"id": made["id"], "crl_days": 3650, "environment": "live"}
    )
    assert (changed["crl_days"], changed["environment"]) == (3650, "live")
    crl = await small_bench.call(root, "vpn.crls.sign", {"ca_id": made["id"]})
    assert datetime.fromisoformat(crl["next_update"]).year >= datetime.now(UTC).year + 9
    for field, value in (("crl_days", 0), ("crl_days", 3651)):
        with pytest.raises(InvalidParameter):
            await small_bench.call(root, "vpn.cas.update", {"id": made["id"], field: value})
