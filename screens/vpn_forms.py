"""The forms of the VPN screens: which fields, in which words, and what they carry out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from opsconsole.client import Client, Json
from screens.frame import Console
from screens.hosts_forms import rows_of
from screens.performing import Order, Performing
from screens.render.form import Field, fields, schema
from screens.text import Safe
from screens.widgets.form import Choices, Form

HELPS: Final = {
    "path": "a file on the machine the console runs on",
    "password": "protects the private key when it leaves the house",
    "ca_passphrase": "of the authority's key; asked for each time, kept nowhere",
    "remote": "HOST [PORT [PROTOCOL]], for ovpn",
    "static_key": "text of the tls-crypt key, for ovpn",
    "environment": "its ring; empty: the default one",
    "revoked": "yes when it was revoked already",
    "revoked_date": "since when; needed with revoked",
    "content": "the text itself, instead of a path",
    "key": "PEM, with all its lines",
    "cert": "PEM, with all its lines",
}
_ORDER: Final = (
    *("name", "email", "format", "path", "directory", "remote", "description", "password", "expiration", "country"),
    *("province", "city", "organization", "sector", "cert", "key", "content"),
)
_LAST: Final = ("ca_passphrase", "sign_later")
_KINDS: Final = {
    "path": "text", "directory": "text", "content": "long", "cert": "long", "crl": "long", "description": "text",
}  # fmt: skip


class VpnForms:
    """Makes the forms. What each carries out goes through `Performing`: plan, confirmation, result."""

    def __init__(self, console: Console, client: Client) -> None:
        self._console = console
        self._client = client

    def create(self, ca: Mapping[str, Any]) -> Form:
        """A new client of this authority."""
        title = f"New client of {ca.get('name')}"
        return self._form("vpn.clients.create", title, {"ca_id": ca.get("id")}, "creating {name}", ca=ca)

    def edit(self, record: Mapping[str, Any]) -> Form:
        """Another value for some fields; name, authority and end of a client stay."""
        hide = ("id", "name", "ca_id", "expiration")
        label = f"changing {_kept(record)}"
        title = f"Client {record.get('name')}"
        return self._form("vpn.clients.update", title, {"id": record.get("id")}, label, hide=hide, before=record)

    def renew(self, record: Mapping[str, Any], ca: Mapping[str, Any]) -> Form:
        """A new certificate under the same name."""
        fixed: Json = {"id": record.get("id")}
        hide: tuple[str, ...] = ("id", "after_revocation")
        if record.get("revoked"):
            fixed["after_revocation"] = True
            hide = (*hide, "revoke_old")
        title = f"New certificate for {record.get('name')}"
        label = f"renewing {_kept(record)}"
        return self._form("vpn.clients.renew", title, fixed, label, hide=hide, ca=ca, preview=True)

    def revoke(self, targets: Sequence[Mapping[str, Any]], ca: Mapping[str, Any] | None) -> Form:
        """Why, and with which passphrase where the authority has one; the plan asks for name and reason."""
        ids = [one.get("id") for one in targets]
        one = len(targets) == 1
        operation, fixed = (
            ("vpn.clients.revoke", {"id": ids[0]}) if one else ("vpn.clients.revoke_many", {"items": ids})
        )
        title = f"Revoke {targets[0].get('name')}" if one else f"Revoke {len(targets)} clients"
        label = f"revoking {_kept(targets[0])}" if one else f"revoking {len(targets)} clients"
        return self._form(operation, title, fixed, label, hide=("id", "items"), ca=ca)

    def export(self, record: Mapping[str, Any]) -> Form:
        """The key into a file that only its owner can read."""
        name = str(record.get("name"))
        return self._form(
            "vpn.clients.export",
            f"Export the key of {name}",
            {"id": record.get("id")},
            f"exporting {_kept(record)}",
            hide=("id",),
            given={"path": f"~/{name}.ovpn", "format": "ovpn"},
            needed=("path",),
        )

    def export_many(self, targets: Sequence[Mapping[str, Any]]) -> Form:
        """Keys into a directory, a private file each."""
        fixed = {"items": [one.get("id") for one in targets]}
        title, label = f"Export the keys of {len(targets)} clients", f"exporting {len(targets)} clients"
        return self._form("vpn.clients.export_many", title, fixed, label, hide=("items",), given={"format": "ovpn"})

    def bring(self, operation: str, ca: Mapping[str, Any]) -> Form:
        """Clients that come from elsewhere: one key and certificate, or a CSV."""
        titles = {
            "vpn.clients.import": "Import a client of {}",
            "vpn.clients.create_many": "Clients out of a CSV, under {}",
        }
        title = titles[operation].format(ca.get("name"))
        label = "importing a client" if operation.endswith("import") else "creating clients"
        return self._form(operation, title, {"ca_id": ca.get("id")}, label, ca=ca, preview=True)

    def authority(self, operation: str, record: Mapping[str, Any] | None = None) -> Form:
        """Whatever can be done to an authority, or the ways to a new one."""
        title, label, preview = _AUTHORITY[operation]
        name = str((record or {}).get("name") or "")
        fixed: Json = {}
        if record is not None:
            fixed = {"ca_id" if operation.startswith("vpn.crls") else "id": record.get("id")}
        before = record if operation == "vpn.cas.update" else None
        said = label.replace("{}", _kept({"name": name}))
        hide = ("id", "ca_id", "replace")
        return self._form(
            operation, title.format(name), fixed, said, hide=hide, before=before, preview=preview, ca=record
        )

    def _form(
        self,
        operation: str,
        title: str,
        fixed: Json,
        label: str,
        *,
        hide: Sequence[str] = (),
        before: Mapping[str, Any] | None = None,
        given: Mapping[str, str] | None = None,
        ca: Mapping[str, Any] | None = None,
        needed: Sequence[str] = (),
        preview: bool = False,
    ) -> Form:
        performing = Performing(self._console, self._client)
        if ca is not None and ca.get("key_state") != "passphrase":
            hide = (*hide, "ca_passphrase", "sign_later")

        async def submit(data: Json) -> Any:
            if before is not None and not data:
                self._console.say("nothing differs, so nothing was sent")
                return {}
            said = Safe(label.format(**{"name": "", **data}))
            order = Order(operation, {**fixed, **data}, said, preview=preview)
            done = await performing.run(order)
            if done is not None:
                await performing.report(order, done)
            return done

        made = _arranged(fields(schema(operation), (*hide, *fixed)), needed)
        choices = {"environment": self._environments()}
        return Form(title, made, submit, before=before, given=given, choices=choices, helps=HELPS)

    def _environments(self) -> Choices:
        async def ask() -> list[str]:
            answer = await self._client.call("environments.list")
            return [str(row.get("name")) for row in rows_of(answer)]

        return ask


_AUTHORITY: Final[dict[str, tuple[str, str, bool]]] = {
    "vpn.cas.create": ("New certificate authority", "creating the authority {name}", False),
    "vpn.cas.import": ("Take over a certificate authority", "taking over an authority", True),
    "vpn.cas.import_easyrsa": ("Take over an easy-rsa directory", "taking over an easy-rsa directory", True),
    "vpn.cas.export_easyrsa": ("Write {} as an easy-rsa directory", "writing {}", True),
    "vpn.cas.update": ("Authority {}", "changing {}", False),
    "vpn.cas.set_passphrase": ("Passphrase of {}", "setting the passphrase of {}", False),
    "vpn.crls.sign": ("Sign a new list of {}", "signing a list of {}", True),
    "vpn.crls.import": ("Take over a list of {}", "taking over a list of {}", True),
}


def _arranged(found: Sequence[Field], needed: Sequence[str]) -> list[Field]:
    """What is asked for most often first; a path is one line and the text of a certificate is not."""
    place = {name: number for number, name in enumerate(_ORDER)}
    place |= {name: len(place) + 100 + number for number, name in enumerate(_LAST)}
    return [
        replace(field, kind=_KINDS.get(field.name, field.kind), required=field.required or field.name in needed)
        for field in sorted(found, key=lambda field: place.get(field.name, len(_ORDER) + 1))
    ]


def _kept(record: Mapping[str, Any]) -> str:
    """A name inside a text that is formatted later."""
    return str(record.get("name")).replace("{", "{{").replace("}", "}}")
