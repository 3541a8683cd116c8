"""Certificates and lists as made by the driver, with the openssl command as the witness that never saw our code."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from drivers import pki, pki_crl, pki_files, pki_read
from drivers.pki_types import Issued, KeyType, Mismatch, PkiError, Subject, Usage, serial_text

NOW = datetime(2026, 11, 26, 12, 0, 0, 123456, tzinfo=UTC)
WHO = Subject("branch-7", "br", "Rio de Janeiro", "Rio", "Empresa XYZ", "Suporte", "a@b.example")
TIME = str(int(NOW.timestamp()))


def authority(kind: KeyType = "ec-p256", name: str = "Test CA", days: int = 3650) -> tuple[pki.Authority, str]:
    made = pki.make_ca(Subject(name), key_type=kind, days=days, now=NOW)
    pem = pki_files.cert_pem(made.cert)
    return pki.Authority.of(pem, made.key), pem


def leaf(ca: pki.Authority, subject: Subject = WHO, *, days: int = 365, usage: Usage = "client") -> Issued:
    return pki.issue(ca, subject, serial=pki.new_serial(), key_type="ec-p256", days=days, now=NOW, usage=usage)


def openssl(*argv: str, check: bool = True) -> str:
    done = subprocess.run(["openssl", *argv], capture_output=True, text=True, check=False, timeout=30)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("kind", get_args(KeyType))
def test_openssl_agrees_with_all_of_it(kind: KeyType, tmp_path: Path) -> None:
    ca, ca_pem = authority(kind)
    good, bad = leaf(ca), leaf(ca)
    pki.check_issued(good, ca.cert)
    lines = [pki_crl.crl_entry(bad.serial, NOW, "key_compromise"), pki_crl.crl_entry(0x80, NOW)]
    crl = pki_crl.sign_crl(ca, lines, number=300, now=NOW)
    assert (crl.number, crl.entries) == (300, 2)
    files = {"ca.pem": ca_pem, "crl.pem": pki_crl.crl_pem(crl.der)}
    files |= {"good.pem": pki_files.cert_pem(good.cert), "bad.pem": pki_files.cert_pem(bad.cert)}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    at = [str(tmp_path / name) for name in files]
    assert "verify OK" in openssl("crl", "-in", at[1], "-noout", "-CAfile", at[0])
    text = openssl("crl", "-in", at[1], "-noout", "-text")
    assert f"Serial Number: {serial_text(bad.serial)}" in text
    assert "Key Compromise" in text
    assert "Next Update: Dec 26 12:00:00 2026 GMT" in text
    assert "Last Update: Nov 26 11:00:00 2026 GMT" in text
    verify = ("verify", "-attime", TIME, "-crl_check", "-CAfile", at[0], "-CRLfile", at[1], "-purpose", "sslclient")
    assert ": OK" in openssl(*verify, at[2])
    assert "certificate revoked" in openssl(*verify, at[3], check=False)
    server = ("verify", "-attime", TIME, "-CAfile", at[0], "-purpose", "sslserver", at[2])
    assert "unsuitable certificate purpose" in openssl(*server, check=False)
    said = openssl("x509", "-in", at[2], "-noout", "-text")
    assert "DNS:branch-7" in said
    assert "C = BR, ST = Rio de Janeiro, L = Rio, O = Empresa XYZ, OU = Suporte, CN = branch-7" in said
    assert "TLS Web Client Authentication" in said
    assert "TLS Web Server Authentication" not in said


def test_serials_are_long_positive_and_never_begin_with_a_zero_byte() -> None:
    found = {pki.new_serial() for _ in range(2000)}
    assert len(found) == 2000
    assert all(120 < serial.bit_length() <= 128 for serial in found)
    assert {len(serial_text(serial)) for serial in found} == {32}
    assert (serial_text(1), serial_text(0xABC)) == ("01", "0ABC")


def test_a_leaf_never_outlives_its_authority() -> None:
    ca, _ = authority(days=100)
    assert leaf(ca, days=7300).not_after == ca.cert.not_valid_after_utc
    assert leaf(ca, days=99).not_after == NOW.replace(microsecond=0) + timedelta(days=99)
    assert leaf(ca).not_before == NOW.replace(microsecond=0) - timedelta(hours=1)
    with pytest.raises(PkiError, match="can issue nothing"):
        pki.issue(ca, WHO, serial=5, key_type="ec-p256", days=1, now=NOW + timedelta(days=101))


def test_a_country_that_is_no_code_stays_out_of_the_certificate() -> None:
    ca, _ = authority()
    made = x509.load_der_x509_certificate(leaf(ca, replace(WHO, country="Brasil")).cert)
    assert pki_read.subject_of(made) == replace(WHO, country="")
    with pytest.raises(PkiError, match="organization is longer than the 64"):
        leaf(ca, replace(WHO, organization="x" * 65))


def test_a_list_is_monotonic_and_its_times_are_those_asked_for() -> None:
    ca, _ = authority()
    later = NOW + timedelta(minutes=30)
    crl = pki_crl.sign_crl(ca, [], number=1, now=NOW, not_before=later)
    assert crl.this_update == later.replace(microsecond=0) or crl.this_update == later
    assert pki_crl.sign_crl(ca, [], number=2, now=NOW, days=3650).next_update.year == 2036
    begin, end = NOW, NOW + timedelta(days=30)
    assert pki_crl.half_life(begin, end) == NOW + timedelta(days=15)
    words = [pki_crl.alarm(begin, end, NOW + timedelta(days=n)) for n in (1, 14, 15, 22, 23, 29, 30, 40)]
    assert words == ["ok", "ok", "due", "due", "soon", "soon", "expired", "expired"]
    assert pki_crl.alarm(None, None, NOW) == "missing"
    with pytest.raises(ValueError, match="positive"):
        pki_crl.crl_entry(0, NOW)


def test_a_list_with_many_entries_and_late_years(tmp_path: Path) -> None:
    ca, ca_pem = authority()
    lines = [pki_crl.crl_entry(n, datetime(2051, 1, 1, tzinfo=UTC), "superseded") for n in range(1, 40_000)]
    crl = pki_crl.sign_crl(ca, lines, number=2**40, now=NOW)
    (tmp_path / "crl.pem").write_text(pki_crl.crl_pem(crl.der))
    (tmp_path / "ca.pem").write_text(ca_pem)
    said = openssl("crl", "-in", str(tmp_path / "crl.pem"), "-text", "-noout", "-CAfile", str(tmp_path / "ca.pem"))
    assert said.count("Serial Number:") == crl.entries == 39_999
    assert "Jan  1 00:00:00 2051 GMT" in said
    assert "verify OK" in said
    assert pki_crl.crl_lists(crl.der, 39_999)
    assert not pki_crl.crl_lists(crl.der, 40_000)
    read, entries = pki_read.read_crl(pki_crl.crl_pem(crl.der).encode(), ca.cert)
    assert (read, len(entries), entries[7].reason) == (crl, 39_999, "superseded")


def test_the_forms_a_key_leaves_in(tmp_path: Path) -> None:
    ca, ca_pem = authority()
    made = leaf(ca)
    p12 = pki_files.pkcs12_bundle("branch-7", made.cert, made.key, ca_pem, "s3cret pass")
    (tmp_path / "c.p12").write_bytes(p12)
    out = openssl("pkcs12", "-in", str(tmp_path / "c.p12"), "-passin", "pass:s3cret pass", "-nodes")
    assert out.count("BEGIN CERTIFICATE") == 2
    assert out.count("BEGIN PRIVATE KEY") == 1
    assert "invalid password" in openssl(
        "pkcs12", "-in", str(tmp_path / "c.p12"), "-passin", "pass:no", "-nodes", check=False
    )
    with pytest.raises(PkiError, match="needs one"):
        pki_files.pkcs12_bundle("x", made.cert, made.key, ca_pem, "")
    locked = pki_files.key_pem(made.key, "pass")
    assert "ENCRYPTED" in locked
    assert pki_read.key_der(pki_read.read_private_key(locked.encode(), "pass")) == made.key
    bundle = pki_files.pem_bundle(made.cert, made.key, ca_pem)
    assert len(pki_read.read_certificates(bundle.encode())) == 2
    labels = dict(pki_files.describe(made.cert))
    assert labels["Serial"].startswith(serial_text(made.serial))
    assert labels["For"] == "client"


def test_an_inline_profile_holds_everything_and_nothing_can_be_smuggled_in() -> None:
    ca, ca_pem = authority()
    made = leaf(ca)
    static = "#\n# comment\n-----BEGIN OpenVPN Static key V1-----\n00aa\n-----END OpenVPN Static key V1-----\n"
    remotes = (pki_files.remote_of("vpn.example.org"), pki_files.remote_of("2001:db8::1 443 tcp"))
    text = pki_files.ovpn(pki_files.Profile(remotes, static_key=static), made.cert, made.key, ca_pem)
    lines = text.splitlines()
    assert lines[0] == "client"
    assert "remote vpn.example.org 1194 udp" in lines
    assert "remote 2001:db8::1 443 tcp-client" in lines
    assert "remote-cert-tls server" in lines
    for name in ("ca", "cert", "key", "tls-crypt"):
        assert lines.count(f"<{name}>") == lines.count(f"</{name}>") == 1
    assert "comment" not in text
    for wrong in ("", "a b c d", "host\nup /bin/sh", "host 0", "host 70000", "host 1194 sctp", "-x", "a:b:c zzz:"):
        with pytest.raises(PkiError) as error:
            pki_files.remote_of(wrong)
        assert error.value.part == "remote"
    with pytest.raises(PkiError, match="not an OpenVPN static key"):
        pki_files.static_key("</tls-crypt>\nup /bin/sh")
    with pytest.raises(PkiError, match="needs a server"):
        pki_files.ovpn(pki_files.Profile(()), made.cert, made.key, ca_pem)


def test_what_is_wrong_with_what_was_handed_in() -> None:
    ca, ca_pem = authority()
    other, other_pem = authority(name="Test CA")
    third, _ = authority(name="Third CA")
    made = leaf(ca)
    pem, key = pki_files.cert_pem(made.cert), pki_files.key_pem(made.key)
    locked = pki_files.key_pem(made.key, "right")

    def says(part: str, text: str, work: Callable[[], object]) -> None:
        with pytest.raises(PkiError) as error:
            work()
        assert error.value.part == part
        assert text in error.value.message

    says("cert", "truncated", lambda: pki_read.read_certificates(pem[:-30].encode()))
    says("cert", "there is no -----BEGIN line", lambda: pki_read.read_certificates(b"hello"))
    says("cert", "it holds PRIVATE KEY", lambda: pki_read.read_certificates(key.encode()))
    damaged = pem.replace(pem.splitlines()[3], "")
    says("cert", "damaged", lambda: pki_read.read_certificates(damaged.encode()))
    says("key", "truncated", lambda: pki_read.read_private_key(key[:-20].encode()))
    says("key", "it holds CERTIFICATE", lambda: pki_read.read_private_key(pem.encode()))
    says("password", "the private key is encrypted", lambda: pki_read.read_private_key(locked.encode()))
    says("password", "does not open", lambda: pki_read.read_private_key(locked.encode(), "wrong"))
    assert pki_read.read_private_key(key.encode(), "not needed")
    weak = pki_read.key_der(rsa.generate_private_key(public_exponent=65537, key_size=1024))  # noqa: S505 - refused on purpose
    says("key", "1024 bits", lambda: pki_read.key_of_der(weak))

    cert = pki_read.read_certificates(pem.encode())[0]
    says("key", "does not belong", lambda: pki_read.check_fits(pki.make_key("ec-p256"), cert))
    says("cert", "another CA of that name", lambda: pki_read.check_issued_by(cert, other.cert))
    says("cert", "issued by CN=Test CA, not by Third CA", lambda: pki_read.check_issued_by(cert, third.cert))
    with pytest.raises(Mismatch):
        pki_read.check_issued_by(cert, other.cert)
    with pytest.raises(Mismatch):
        pki.Authority.of(other_pem, made.key)
    says("ca", "not a CA certificate", lambda: pki.Authority.of(pem, made.key))
    foreign = pki_crl.crl_pem(pki_crl.sign_crl(other, [], number=1, now=NOW).der)
    says("crl", "not signed by Test CA", lambda: pki_read.read_crl(foreign.encode(), ca.cert))
    assert ca_pem != other_pem


def test_a_key_with_its_curve_written_before_it() -> None:
    text = openssl("ecparam", "-name", "prime256v1", "-genkey")
    assert "BEGIN EC PARAMETERS" in text
    assert pki_read.key_facts(pki_read.read_private_key(text.encode()).public_key()) == ("ec-p256", 256)


def test_usages_are_told_apart() -> None:
    ca, _ = authority()
    assert pki_read.facts_of(x509.load_der_x509_certificate(leaf(ca, usage="server").cert)).usage == "server"
    assert pki_read.facts_of(ca.cert).usage == "ca"
    assert pki_read.facts_of(x509.load_der_x509_certificate(leaf(ca).cert)).usage == "client"
    bare = (
        x509.CertificateBuilder()
        .subject_name(pki.subject_name(WHO))
        .issuer_name(ca.cert.subject)
        .public_key(ca.key.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .sign(ca.key, hashes.SHA256())
    )
    assert pki_read.facts_of(bare).usage == "any"
