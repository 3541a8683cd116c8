"""How authorities, clients, certificates and lists are written on the outside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr

from data.models import CertificateAuthority, VpnCertificate, VpnClient, VpnCrl
from drivers.pki_crl import alarm, half_life
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.registry import Input, Json

NAME_PATTERN = "^[A-Za-z0-9.-]{1,30}$"
USUAL_DAYS, MOST_DAYS = 3650, 7300
SUBJECT_FIELDS = ("country", "province", "city", "organization", "sector")
CLIENT_FIELDS = ("email", "description", *SUBJECT_FIELDS)
_NAME = re.compile(NAME_PATTERN.removesuffix("$") + r"\Z")
_EMAIL = r"^[^@\s<>,;]+@[^@\s.<>,;]+(\.[^@\s.<>,;]+)+$"
_SECRET: Any = {"secret": True}


def check_name(value: str) -> str:
    """The documented characters and length, said in words."""
    if not 1 <= len(value) <= 30:
        raise ValueError(f"1 to 30 characters; these are {len(value)}")
    if not _NAME.match(value):
        raise ValueError("only the characters A-Z a-z 0-9 - and .")
    return value


def _line(value: str) -> str:
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in value):
        raise ValueError("control characters are not allowed")
    return value


def _email(value: str) -> str:
    local, at, domain = value.rpartition("@")
    labels = domain.split(".")
    if not at or not local or len(labels) < 2 or not all(labels) or any(c.isspace() or c in '<>,;"' for c in value):
        raise ValueError("not an e-mail address, for example name@example.org")
    return _line(value)


ClientName = Annotated[
    str,
    Field(
        description="unique for ever, not editable; A-Z a-z 0-9 - . only, at most 30",
        json_schema_extra={
            "pattern": NAME_PATTERN,
            "patternSays": "A-Z a-z 0-9 - . only",
            "minLength": 1,
            "maxLength": 30,
        },
    ),
    AfterValidator(check_name),
]
CaName = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_line)]
Email = Annotated[
    str,
    Field(
        max_length=254,
        description="of the people at the site",
        json_schema_extra={"pattern": _EMAIL, "patternSays": "not an e-mail address: name@example.org"},
    ),
    AfterValidator(_email),
]
Short = Annotated[str, Field(max_length=64), AfterValidator(_line)]
Place = Annotated[str, Field(max_length=128), AfterValidator(_line)]
Long = Annotated[str, Field(max_length=4000)]
Country = Annotated[
    str,
    Field(max_length=64, description="two letters go into the certificate; anything longer only into the record"),
    AfterValidator(_line),
]
Days = Annotated[
    int, Field(ge=1, le=MOST_DAYS, strict=True, description=f"days, 1 to {MOST_DAYS}; never longer than its authority")
]
CrlDays = Annotated[
    int, Field(ge=1, le=3650, strict=True, description="days a list is valid; it is signed anew at half of that")
]
Id = Annotated[int, Field(ge=1, lt=2**31)]
Password = Annotated[
    SecretStr,
    Field(max_length=1024, description="protects the private key when it leaves the house", json_schema_extra=_SECRET),
]
Passphrase = Annotated[
    SecretStr,
    Field(max_length=1024, description="of the authority's own key, where it has one", json_schema_extra=_SECRET),
]
KeyText = Annotated[SecretStr, Field(max_length=100_000, description="PEM", json_schema_extra=_SECRET)]
CertText = Annotated[str, Field(max_length=200_000, description="PEM")]


class OneClient(Input):
    """A client by its id."""

    id: Id


class Details(Input):
    """What a client's record says beside its name; the certificate keeps what was said when it was made."""

    description: Long = ""
    country: Country = ""
    province: Place = ""
    city: Place = ""
    organization: Short = ""
    sector: Annotated[str, Field(max_length=64, description="organisational unit"), AfterValidator(_line)] = ""


def plain(secret: SecretStr | None) -> str:
    """The text of a secret field; empty when it was not given."""
    return secret.get_secret_value() if secret is not None else ""


def status_of(*, revoked: bool, expiry_date: datetime, now: datetime) -> str:
    """revoked, expired or valid; what is both revoked and expired is revoked here and found under both filters."""
    return "revoked" if revoked else "expired" if expiry_date <= now else "valid"


def client_json(row: VpnClient | Mapping[str, Any], now: datetime) -> Json:
    """A client as the documents print it, with its serial and status. Neither key nor password."""
    value = row.__getitem__ if isinstance(row, Mapping) else lambda name: getattr(row, name)
    expiry, revoked = value("expiry_date"), bool(value("revoked"))
    return {
        "id": value("id"),
        "ca_id": value("ca_id"),
        "name": value("name"),
        "email": value("email"),
        "description": value("description"),
        **{name: value(name) for name in SUBJECT_FIELDS},
        "expired": expiry <= now,
        "revoked": revoked,
        "revoked_date": _text(value("revoked_date")),
        "expiry_date": utc_text(expiry),
        "serial": value("serial"),
        "status": status_of(revoked=revoked, expiry_date=expiry, now=now),
        "created_at": utc_text(value("created_at")),
        "updated_at": utc_text(value("updated_at")),
    }


def crl_json(row: VpnCrl | None, now: datetime) -> Json:
    """A list and what it needs. Without any, `alarm` is missing: then servers let everybody in."""
    if row is None:
        return {"number": None, "alarm": "missing"}
    return {
        "ca_id": row.ca_id,
        "number": row.number,
        "this_update": utc_text(row.this_update),
        "next_update": utc_text(row.next_update),
        "resign_at": utc_text(half_life(row.this_update, row.next_update)),
        "entries": row.entries,
        "sha256": row.sha256,
        "why": row.why,
        "created_at": utc_text(row.created_at),
        "alarm": alarm(row.this_update, row.next_update, now),
    }


def ca_json(
    row: CertificateAuthority, crl: VpnCrl | None, serials: int, environment: str | None, now: datetime
) -> Json:
    """An authority without its key; `serial_counter` is how many serials it ever gave."""
    return {
        "id": row.id,
        "name": row.name,
        "environment": environment,
        "subject": row.subject,
        "cert": row.cert,
        "chain": row.chain,
        "fingerprint": row.fingerprint,
        "key_type": row.key_type,
        "key_state": row.key_state,
        "not_before": utc_text(row.not_before),
        "not_after": utc_text(row.not_after),
        "days_left": days_left(row.not_after, now),
        "serial_counter": serials,
        "crl_days": row.crl_days,
        "crl_status": crl_json(crl, now),
        "crl_updated_at": utc_text(crl.created_at) if crl else None,
        "created_at": utc_text(row.created_at),
        "updated_at": utc_text(row.updated_at),
    }


def certificate_json(row: VpnCertificate, now: datetime) -> Json:
    """A certificate's row, without certificate and key. `revocation` says how far a revocation is: requested until a
    list that names it is signed."""
    revoked = row.state == "revoked"
    over = row.not_after is not None and row.not_after <= now
    return {
        "id": row.id,
        "ca_id": row.ca_id,
        "client_id": row.client_id,
        "serial": row.serial,
        "status": "reserved" if row.state == "reserved" else "revoked" if revoked else "expired" if over else "valid",
        "usage": row.usage,
        "common_name": row.common_name,
        "subject": row.subject,
        "key_type": row.key_type,
        "key_here": row.sealed_key is not None,
        "not_before": _text(row.not_before),
        "not_after": _text(row.not_after),
        "revoked_at": _text(row.revoked_at),
        "revoked_by": row.revoked_by,
        "revoke_reason": row.revoke_reason,
        "revocation": None if not revoked else "requested" if row.crl_number is None else "signed",
        "crl_number": row.crl_number,
        "created_at": utc_text(row.created_at),
    }


def days_left(moment: datetime, now: datetime) -> int:
    """Whole days until then; negative when it is over."""
    return (moment - now).days


def utc(moment: datetime) -> datetime:
    """A moment a caller gave; one without a zone is read as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _text(moment: datetime | None) -> str | None:
    return utc_text(moment) if moment is not None else None
