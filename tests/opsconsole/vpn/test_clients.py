"""The life of a client: made, listed, changed, exported, renewed, revoked; and every way to be refused."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from data.models import Run, VpnCertificate, VpnClient
from drivers.pki_read import read_certificates, read_private_key
from opsconsole.engine.context import Context
from opsconsole.engine.errors import (
    ConfirmationRequired,
    ConsoleError,
    FieldImmutable,
    InvalidParameter,
    ModuleDisabled,
    NameNotUnique,
    NotSupported,
    ObjectNotFound,
    PermissionDenied,
    ReadOnly,
    RequiredFieldMissing,
    StateConflict,
    VpnClientAlreadyRevoked,
)
from tests.opsconsole.houses import Bench
from tests.opsconsole.vpn.support import (
    EMAIL,
    ca,
    client,
    contents,
    counts,
    modes,
    newest_crl,
    openssl,
    revoke,
    verified,
)

DOCUMENTED = {
    "id", "ca_id", "name", "email", "description", "country", "province", "city", "organization", "sector", "expired",
    "revoked", "expiry_date", "created_at", "updated_at",
}  # fmt: skip


async def test_the_life_of_a_client(bench: Bench, tmp_path: Path) -> None:
    root = await bench.user("root", admin=True)
    made = await ca(bench, root)
    details = {"description": "Empresa XYZ", "country": "BR", "province": "Rio de Janeiro", "sector": "Suporte"}
    one = await client(bench, root, made["id"], "client-s2s", password="clients2spass", expiration=10, **details)
    assert set(one) >= DOCUMENTED
    assert {name: one[name] for name in details} == details
    assert (one["expired"], one["revoked"], one["status"], len(one["serial"])) == (False, False, "valid", 32)
    end = datetime.fromisoformat(one["expiry_date"])
    assert abs(end - datetime.now(UTC) - timedelta(days=10)) < timedelta(minutes=1)
    shown = await bench.call(root, "vpn.clients.get", {"id": one["id"]})
    assert one.items() <= shown.items()
    assert (shown["ca_name"], shown["has_password"], len(shown["certificates"])) == ("Branches", True, 1)
    assert {"label": "For", "value": "client"} in shown["certificate_text"]

    changed = await bench.call(
        root, "vpn.clients.update", {"id": one["id"], "email": "new@x.example", "description": ""}
    )
    assert (changed["email"], changed["description"], changed["country"]) == ("new@x.example", "", "BR")
    same = {"id": one["id"], "name": "client-s2s", "caId": made["id"], "expiration": 10}
    assert (await bench.call(root, "vpn.clients.update", same))["email"] == "new@x.example"

    exported = await bench.call(root, "vpn.clients.export", {"id": one["id"]})
    assert "ENCRYPTED" in exported["key"]
    assert read_private_key(exported["key"].encode(), "clients2spass")
    crl = await newest_crl(bench, root, made["id"])
    assert (crl["number"], crl["entries"], crl["alarm"]) == (1, 0, "ok")
    assert verified(tmp_path, made["cert"], crl["crl"], exported["cert"]) == "OK"

    assert await revoke(bench, root, one) == {}
    after = await bench.call(root, "vpn.clients.get", {"id": one["id"]})
    assert (after["revoked"], after["status"]) == (True, "revoked")
    assert after["certificates"][0]["revocation"] == "signed"
    assert after["certificates"][0]["crl_number"] == 2
    crl = await newest_crl(bench, root, made["id"])
    assert (crl["number"], crl["entries"], crl["why"]) == (2, 1, "revoked client-s2s")
    assert "certificate revoked" in verified(tmp_path, made["cert"], crl["crl"], exported["cert"])
    with pytest.raises(VpnClientAlreadyRevoked):
        await revoke(bench, root, one)
    with pytest.raises(StateConflict, match="revoked"):
        await bench.call(root, "vpn.clients.export", {"id": one["id"]})
    with pytest.raises(NameNotUnique, match=r"revoked; vpn\.clients\.renew"):
        await client(bench, root, made["id"], "client-s2s")
    verdict = await bench.call(root, "audit.verify")
    assert verdict["verdict"] == "intact"


async def test_revoking_answers_nothing_and_asks_for_the_name_and_a_reason(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    one = await client(bench, root, (await ca(bench, root))["id"], "branch-1")
    plan = await bench.plan(root, "vpn.clients.revoke", {"id": one["id"]})
    assert (plan["rung"], plan["expect"], plan["needs_reason"], plan["undo"]) == (3, "branch-1", True, None)
    assert plan["targets"][0]["after"]["serials"] == [one["serial"]]
    for confirm, reason in ((None, None), ("yes", "x"), ("branch-1", "")):
        with pytest.raises(ConfirmationRequired):
            await bench.call(root, "vpn.clients.revoke", {"id": one["id"]}, confirm=confirm, reason=reason)
    assert await revoke(bench, root, one) == {}
    entry = (await bench.journal())[-1]
    assert (entry.operation, entry.result, entry.reason) == ("vpn.clients.revoke", "done", "laptop stolen")
    assert (entry.after["crl_number"], entry.after["serials"]) == (2, [one["serial"]])


async def test_pages_and_filters(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    first, second = [(await ca(bench, root, name))["id"] for name in ("one", "two")]
    names = [f"site-{number:02}" for number in range(17)]
    lines = "name,email\n" + "".join(f"{name},a@b.example\n" for name in names)
    await bench.call(root, "vpn.clients.create_many", {"ca_id": first, "content": lines}, confirm="17")
    other = await client(bench, root, second, "Other.1")
    await revoke(bench, root, other)

    async def page(**query: Any) -> dict[str, Any]:
        found: dict[str, Any] = await bench.call(root, "vpn.clients.list", query)
        return found

    start = await page()
    assert [one["name"] for one in start["clients"]] == names[:15]
    assert start["cursor"]["current"] == 0
    assert start["cursor"]["previous"] is None
    rest = await page(cursor=start["cursor"]["next"])
    assert [one["name"] for one in rest["clients"]] == [*names[15:], "Other.1"]
    assert (rest["cursor"]["next"], rest["cursor"]["previous"]) == (None, 0)
    assert set(start["clients"][0]) >= DOCUMENTED
    assert [one["name"] for one in (await page(name="OTHER"))["clients"]] == ["Other.1"]
    assert len((await page(name="site-1", size=100))["clients"]) == 7
    assert [one["name"] for one in (await page(name=".1"))["clients"]] == ["Other.1"]
    assert [one["name"] for one in (await page(caId=second))["clients"]] == ["Other.1"]
    assert [one["name"] for one in (await page(status="revoked"))["clients"]] == ["Other.1"]
    assert len((await page(status="valid", size=100))["clients"]) == 17
    assert (await page(status="expired"))["clients"] == []

    def end(tx: Session) -> None:
        for row in tx.exec(select(VpnClient).where(VpnClient.name.in_(["site-00", "Other.1"]))):  # type: ignore[attr-defined]
            row.expiry_date = datetime.now(UTC) - timedelta(days=1)
            tx.add(row)

    await bench.database.write(end)
    assert [one["name"] for one in (await page(status="expired"))["clients"]] == ["site-00", "Other.1"]
    assert len((await page(status="valid", size=100))["clients"]) == 16
    assert [one["name"] for one in (await page(status="revoked"))["clients"]] == ["Other.1"]
    with pytest.raises(ObjectNotFound, match="there are: 1 "):
        await page(ca_id=99)
    for wrong in ({"size": 0}, {"cursor": -1}, {"status": "lost"}):
        with pytest.raises(InvalidParameter):
            await page(**wrong)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("name", "a" * 31, "1 to 30 characters; these are 31"),
        ("name", "", "1 to 30 characters"),
        ("name", "under_score", "only the characters"),
        ("name", "slash/up", "only the characters"),
        ("name", "line\n", "only the characters"),
        ("expiration", 0, "greater than or equal to 1"),
        ("expiration", 7301, "less than or equal to 7300"),
        ("expiration", -5, "greater than or equal to 1"),
        ("expiration", "10", "valid integer"),
        ("email", "nobody", "not an e-mail address"),
        ("email", "a b@x.example", "not an e-mail address"),
        ("email", "", "not an e-mail address"),
        ("organization", "x" * 65, "at most 64"),
        ("city", "a\x1bb", "control characters"),
        ("nonsense", "x", "no such field"),
    ],
)
async def test_bad_input(small_bench: Bench, field: str, value: Any, says: str) -> None:
    root = await small_bench.user("root", admin=True)
    made = await ca(small_bench, root)
    before = await counts(small_bench)
    with pytest.raises(InvalidParameter) as error:
        await client(small_bench, root, **{"ca_id": made["id"], "name": "good", field: value})
    assert error.value.field == field
    assert says in error.value.message
    assert await counts(small_bench) == before


async def test_what_is_missing_or_not_there(small_bench: Bench) -> None:
    root = await small_bench.user("root", admin=True)
    with pytest.raises(ObjectNotFound, match=r"vpn\.cas\.create"):
        await client(small_bench, root, 1, "x")
    made = await ca(small_bench, root)
    for left_out in ("ca_id", "name", "email"):
        given = {"ca_id": made["id"], "name": "x", "email": EMAIL}
        del given[left_out]
        with pytest.raises(RequiredFieldMissing) as error:
            await small_bench.call(root, "vpn.clients.create", given)
        assert error.value.field == left_out
    for operation in ("vpn.clients.get", "vpn.clients.update", "vpn.clients.revoke", "vpn.clients.export"):
        with pytest.raises(ObjectNotFound):
            await small_bench.call(root, operation, {"id": 77})


async def test_immutable_fields(small_bench: Bench) -> None:
    root = await small_bench.user("root", admin=True)
    made = await ca(small_bench, root)
    one = await client(small_bench, root, made["id"], "fixed")
    for field, value in (("name", "other"), ("ca_id", 5), ("expiration", 20), ("expiration", 3649)):
        with pytest.raises(FieldImmutable) as error:
            await small_bench.call(root, "vpn.clients.update", {"id": one["id"], field: value, "email": "z@z.example"})
        assert error.value.field == field
    with pytest.raises(InvalidParameter):
        await small_bench.call(root, "vpn.clients.update", {"id": one["id"], "email": ""})
    assert (await small_bench.call(root, "vpn.clients.get", {"id": one["id"]}))["email"] == EMAIL


async def test_a_client_ends_with_its_authority_and_the_plan_says_so(small_bench: Bench) -> None:
    root = await small_bench.user("root", admin=True)
    made = await ca(small_bench, root, expiration=100)
    plan = await small_bench.plan(
        root, "vpn.clients.create", {"ca_id": made["id"], "name": "long", "email": EMAIL, "country": "Brasil"}
    )
    assert any("ends with its authority" in line for line in plan["warnings"])
    assert any("no two-letter code" in line for line in plan["warnings"])
    one = await client(small_bench, root, made["id"], "long", country="Brasil")
    assert one["expiry_date"] == made["not_after"]
    assert one["country"] == "Brasil"


async def test_an_authority_that_is_over_issues_nothing(small_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    root = await small_bench.user("root", admin=True)
    made = await ca(small_bench, root, expiration=1)
    monkeypatch.setattr(Context, "now", lambda self: datetime.now(UTC) + timedelta(days=2))
    with pytest.raises(StateConflict, match="can issue nothing"):
        await client(small_bench, root, made["id"], "late")


async def test_who_may(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    made = await ca(bench, root)
    one = await client(bench, root, made["id"], "branch")
    stranger = await bench.user("stranger")
    viewer = await bench.user("viewer", "vpn.view_vpn_client")
    everything: dict[str, Any] = {
        "vpn.clients.create": {"ca_id": made["id"], "name": "x", "email": EMAIL},
        "vpn.clients.create_many": {"ca_id": made["id"], "content": "name,email\nx,a@b.example\n"},
        "vpn.clients.import": {"ca_id": made["id"], "email": EMAIL, "key": "k", "cert": "c"},
        "vpn.clients.update": {"id": one["id"], "email": "z@z.example"},
        "vpn.clients.renew": {"id": one["id"]},
        "vpn.clients.revoke": {"id": one["id"]},
        "vpn.clients.revoke_many": {"items": [one["id"]]},
        "vpn.clients.export": {"id": one["id"]},
        "vpn.clients.export_many": {"items": [one["id"]], "directory": "/tmp"},
        "vpn.certificates.revoke": {"id": 1},
        "vpn.cas.create": {"name": "mine"},
        "vpn.cas.import": {"cert": "c"},
        "vpn.cas.update": {"id": made["id"], "crl_days": 3},
        "vpn.cas.set_passphrase": {"id": made["id"], "new_passphrase": "x"},
        "vpn.crls.sign": {"ca_id": made["id"]},
        "vpn.crls.import": {"ca_id": made["id"], "crl": "x"},
    }
    reads: dict[str, Any] = {
        "vpn.clients.list": {},
        "vpn.clients.get": {"id": one["id"]},
        "vpn.cas.list": {},
        "vpn.cas.get": {"id": made["id"]},
        "vpn.certificates.list": {},
        "vpn.certificates.get": {"id": 1},
        "vpn.crls.list": {},
        "vpn.crls.get": {"ca_id": made["id"]},
    }
    before = await counts(bench)
    for operation, given in (everything | reads).items():
        with pytest.raises(ModuleDisabled):
            await bench.call(stranger, operation, given)
    for operation, given in everything.items():
        with pytest.raises(PermissionDenied) as error:
            await bench.call(viewer, operation, given)
        assert "missing" in error.value.message
    for operation, given in reads.items():
        assert await bench.call(viewer, operation, given)
    assert await counts(bench) == before
    exporter = await bench.user("exporter", "vpn.view_vpn_client", "vpn.export_vpn_key")
    assert (await bench.call(exporter, "vpn.clients.export", {"id": one["id"]}))["key"]


async def test_nothing_changes_in_a_read_only_environment(small_bench: Bench) -> None:
    root = await small_bench.user("root", admin=True)
    await small_bench.environment("frozen", "prod")
    made = await ca(small_bench, root, environment="frozen")
    one = await client(small_bench, root, made["id"], "branch")
    await small_bench.environment("later", "prod", read_only=True)
    await small_bench.call(root, "vpn.cas.update", {"id": made["id"], "environment": "later"})
    with pytest.raises(ReadOnly, match="later is read-only"):
        await revoke(small_bench, root, one)


async def test_no_secret_is_kept_in_the_clear(small_bench: Bench) -> None:
    root = await small_bench.user("root", admin=True)
    made = await ca(small_bench, root)
    one = await client(small_bench, root, made["id"], "quiet", password="Geheim!42")
    exported = await small_bench.call(root, "vpn.clients.export", {"id": one["id"], "password": "Other!43"})
    assert read_private_key(exported["key"].encode(), "Other!43")
    profile = {"id": one["id"], "format": "ovpn", "remote": ["vpn.example"]}
    text = (await small_bench.call(root, "vpn.clients.export", profile))["ovpn"]
    p12 = (await small_bench.call(root, "vpn.clients.export", {"id": one["id"], "format": "pkcs12"}))["pkcs12"]
    body = exported["key"].splitlines()[2]

    def everything(tx: Session) -> str:
        rows = [run.model_dump_json() for run in tx.exec(select(Run))]
        found = tx.exec(select(VpnClient)).one()
        assert found.sealed_password is not None
        assert b"Geheim" not in found.sealed_password
        return "".join(rows)

    kept = await small_bench.database.read(everything)
    kept += "".join(row.model_dump_json() for row in await small_bench.journal())
    for secret in ("Geheim", "Other!43", body, p12[40:80], text.split("<key>")[1][40:90]):
        assert json.dumps(secret)[1:-1] not in kept
    assert [row.operation for row in await small_bench.journal()][-3:] == ["vpn.clients.export"] * 3
    database = contents(small_bench.house.home, "opsconsole.db*")
    assert b"vpn_client" in database
    for needle in (b"Geheim", b"PRIVATE KEY", b"Other!43"):
        assert needle not in database


async def test_export_to_files(small_bench: Bench, tmp_path: Path) -> None:
    root = await small_bench.user("root", admin=True)
    made = await ca(small_bench, root)
    one = await client(small_bench, root, made["id"], "branch-9")
    place = tmp_path / "out.ovpn"
    static = "-----BEGIN OpenVPN Static key V1-----\n00ff\n-----END OpenVPN Static key V1-----\n"
    given = {
        "id": one["id"], "format": "ovpn", "path": str(place), "remote": ["vpn.example 1194 udp"], "static_key": static,
    }  # fmt: skip
    answer = await small_bench.call(root, "vpn.clients.export", given)
    assert (answer["path"], answer["size"]) == (str(place), place.stat().st_size)
    assert place.stat().st_mode & 0o777 == 0o600
    text = place.read_text()
    assert "<tls-crypt>" in text
    assert "remote vpn.example 1194 udp" in text
    assert "key" not in answer
    with pytest.raises(InvalidParameter, match="exists already"):
        await small_bench.call(root, "vpn.clients.export", given)
    assert place.read_text() == text
    await small_bench.call(root, "vpn.clients.export", given | {"replace": True, "remote": ["other.example"]})
    assert "remote other.example 1194 udp" in place.read_text()
    assert modes(tmp_path, ".*") == {}

    p12 = {"id": one["id"], "format": "pkcs12", "password": "pass word"}
    packed = base64.b64decode((await small_bench.call(root, "vpn.clients.export", p12))["pkcs12"])
    (tmp_path / "x.p12").write_bytes(packed)
    said = openssl("pkcs12", "-in", str(tmp_path / "x.p12"), "-passin", "pass:pass word", "-nokeys", "-info")
    assert "branch-9" in said

    bad: list[tuple[dict[str, Any], type[ConsoleError], str]] = [
        ({"format": "ovpn"}, ConsoleError, "remote"),
        ({"format": "pkcs12"}, InvalidParameter, "password"),
        ({"remote": ["x"]}, InvalidParameter, "remote"),
        ({"format": "ovpn", "remote": ["x\nup evil"]}, InvalidParameter, "remote"),
        ({"format": "ovpn", "remote": ["x"], "static_key": "no"}, InvalidParameter, "static_key"),
        ({"path": str(tmp_path / "no" / "such")}, InvalidParameter, "path"),
        ({"path": str(tmp_path)}, InvalidParameter, "path"),
    ]
    for more, kind, field in bad:
        with pytest.raises(kind) as error:
            await small_bench.call(root, "vpn.clients.export", {"id": one["id"], **more})
        assert error.value.field == field

    two = await client(small_bench, root, made["id"], "branch-10")
    many = {"items": [one["id"], two["id"]], "directory": str(tmp_path)}
    done = await small_bench.call(root, "vpn.clients.export_many", many, confirm="2")
    assert [result["state"] for result in done["results"]] == ["done", "done"]
    assert modes(tmp_path, "branch-*.pem") == {"branch-9.pem": 0o600, "branch-10.pem": 0o600}
    with pytest.raises(InvalidParameter, match="exists already"):
        await small_bench.call(root, "vpn.clients.export_many", many, confirm="2")


async def test_a_captive_console_writes_no_file(small_bench: Bench, tmp_path: Path) -> None:
    root = await small_bench.user("root", admin=True)
    made = await ca(small_bench, root)
    one = await client(small_bench, root, made["id"], "branch")
    object.__setattr__(small_bench.house.settings, "captive", True)
    for operation, given in (
        ("vpn.clients.export", {"id": one["id"], "path": str(tmp_path / "x")}),
        ("vpn.clients.create_many", {"ca_id": made["id"], "path": str(tmp_path / "x")}),
    ):
        with pytest.raises(NotSupported, match="captive"):
            await small_bench.call(root, operation, given)
    assert modes(tmp_path, "x*") == {}


async def test_renewing_keeps_the_name_and_all_certificates_can_be_revoked(bench: Bench, tmp_path: Path) -> None:
    root = await bench.user("root", admin=True)
    made = await ca(bench, root)
    one = await client(bench, root, made["id"], "branch", expiration=30)
    old = (await bench.call(root, "vpn.clients.export", {"id": one["id"]}))["cert"]
    renewed = await bench.call(root, "vpn.clients.renew", {"id": one["id"], "expiration": 300})
    assert renewed["id"] == one["id"]
    assert renewed["serial"] != one["serial"]
    assert renewed["expiry_date"] > one["expiry_date"]
    new = (await bench.call(root, "vpn.clients.export", {"id": one["id"]}))["cert"]
    assert read_certificates(new.encode())[0].serial_number == int(renewed["serial"], 16)
    crl = await newest_crl(bench, root, made["id"])
    assert [verified(tmp_path, made["cert"], crl["crl"], cert) for cert in (old, new)] == ["OK", "OK"]

    again = await bench.call(root, "vpn.clients.renew", {"id": one["id"], "revoke_old": True})
    crl = await newest_crl(bench, root, made["id"])
    assert crl["entries"] == 2
    assert all("revoked" in verified(tmp_path, made["cert"], crl["crl"], cert) for cert in (old, new))
    await revoke(bench, root, again)
    crl = await newest_crl(bench, root, made["id"])
    assert crl["entries"] == 3
    with pytest.raises(StateConflict, match="after_revocation"):
        await bench.call(root, "vpn.clients.renew", {"id": one["id"]})
    back = await bench.call(root, "vpn.clients.renew", {"id": one["id"], "after_revocation": True})
    assert (back["revoked"], back["revoked_date"]) == (False, None)
    newest = (await bench.call(root, "vpn.clients.export", {"id": one["id"]}))["cert"]
    assert verified(tmp_path, made["cert"], crl["crl"], newest) == "OK"
    page = await bench.call(root, "vpn.certificates.list", {"client_id": one["id"]})
    assert [row["status"] for row in page["results"]] == ["valid", "revoked", "revoked", "revoked"]


async def test_one_certificate_alone(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    made = await ca(bench, root)
    one = await client(bench, root, made["id"], "branch")
    await bench.call(root, "vpn.clients.renew", {"id": one["id"]})
    page = await bench.call(root, "vpn.certificates.list", {"client_id": one["id"], "status": "valid"})
    new, old = page["results"]
    answer = await bench.call(
        root, "vpn.certificates.revoke", {"id": old["id"]}, confirm=old["serial"], reason="old laptop"
    )
    assert (answer["status"], answer["revocation"], answer["crl_number"]) == ("revoked", "signed", 2)
    assert (await bench.call(root, "vpn.clients.get", {"id": one["id"]}))["revoked"] is False
    with pytest.raises(VpnClientAlreadyRevoked):
        await bench.call(root, "vpn.certificates.revoke", {"id": old["id"]}, confirm="x", reason="y")
    shown = await bench.call(root, "vpn.certificates.get", {"id": new["id"]})
    assert shown["cert"].startswith("-----BEGIN CERTIFICATE")
    await bench.call(root, "vpn.certificates.revoke", {"id": new["id"]}, confirm=new["serial"], reason="gone")
    assert (await bench.call(root, "vpn.clients.get", {"id": one["id"]}))["revoked"] is True
    found = await bench.call(root, "vpn.certificates.list", {"serial": new["serial"].lower()})
    assert [row["id"] for row in found["results"]] == [new["id"]]
    with pytest.raises(ObjectNotFound):
        await bench.call(root, "vpn.certificates.get", {"id": 999})


async def test_revoking_many_signs_one_list(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    made = await ca(bench, root)
    ones = [await client(bench, root, made["id"], f"b{number}") for number in range(4)]
    ids = [one["id"] for one in ones]
    given = {"items": [*ids[:3], ids[0]], "crl_reason": "key_compromise"}
    plan = await bench.plan(root, "vpn.clients.revoke_many", given)
    assert (plan["rung"], plan["expect"], len(plan["targets"])) == (3, "3 default", 3)
    await bench.call(root, "vpn.clients.revoke_many", given, confirm="3 default", reason="depot robbed")
    crl = await newest_crl(bench, root, made["id"])
    assert (crl["number"], crl["entries"]) == (2, 3)
    with pytest.raises(VpnClientAlreadyRevoked):
        await bench.call(root, "vpn.clients.revoke_many", {"items": [ids[3], ids[0]]}, confirm="2 default", reason="x")
    assert (await bench.call(root, "vpn.clients.get", {"id": ids[3]}))["revoked"] is False
    with pytest.raises(ConsoleError) as empty:
        await bench.call(root, "vpn.clients.revoke_many", {"items": []})
    assert empty.value.code == "empty_list"


async def test_two_at_once_make_two_serials_and_one_name(bench: Bench) -> None:
    import asyncio

    root = await bench.user("root", admin=True)
    made = await ca(bench, root)
    found = await asyncio.gather(
        *(client(bench, root, made["id"], name) for name in ("same", "same", "a", "b")), return_exceptions=True
    )
    assert sum(isinstance(one, dict) for one in found) == 3
    serials = await bench.database.read(lambda tx: tx.exec(select(VpnCertificate.serial)).all())
    assert len(serials) == len(set(serials))
