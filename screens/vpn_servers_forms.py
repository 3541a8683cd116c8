"""The forms of OpenVPN servers: making one known, and changing its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from opsconsole.client import Client, Json
from screens.frame import Console
from screens.hosts_forms import rows_of
from screens.performing import Order, Performing
from screens.render.form import Field, fields, schema
from screens.text import Safe
from screens.widgets.form import Choices, Form

HELPS: Final = {
    "name": "what everybody calls it",
    "host": "the machine it runs on, as the hosts are called here",
    "config_path": "its configuration there, for example /etc/openvpn/server/site.conf",
    "unit": "its systemd unit, for example openvpn-server@site; tells whether it runs when it does not answer",
    "crl_path": "empty: where its configuration says",
    "management": "unix:/path or tcp:127.0.0.1:7505; empty: what its configuration says",
    "environment": "its ring; empty: that of its host",
}
_ORDER: Final = ("name", "host", "config_path", "unit", "environment", "crl_path", "management", "description")


class ServerForms:
    """Makes the forms. What each carries out goes through `Performing`: plan, confirmation, result."""

    def __init__(self, console: Console, client: Client) -> None:
        self._console = console
        self._client = client

    def create(self, ca: Mapping[str, Any]) -> Form:
        """A server of this authority."""
        title = f"New OpenVPN server of {Safe(ca.get('name'))}"
        return self._form("vpn.servers.create", title, {"ca_id": ca.get("id")}, ("ca_id",))

    def edit(self, record: Mapping[str, Any]) -> Form:
        """Other values; a server that somebody else changed meanwhile is refused."""
        fixed = {"id": record.get("id"), "version": record.get("version")}
        return self._form(
            "vpn.servers.update", f"OpenVPN server {Safe(record.get('name'))}", fixed, ("id", "version"), record
        )

    def _form(
        self,
        operation: str,
        title: str,
        fixed: Json,
        hide: Sequence[str],
        before: Mapping[str, Any] | None = None,
    ) -> Form:
        performing = Performing(self._console, self._client)

        async def submit(data: Json) -> Any:
            if before is not None and not data:
                self._console.say("nothing differs, so nothing was sent")
                return {}
            name = Safe(data.get("name") or (before or {}).get("name"))
            order = Order(operation, {**fixed, **data}, Safe(f"keeping the OpenVPN server {name}"))
            done = await performing.run(order)
            if done is not None:
                await performing.report(order, done)
            return done

        choices = {"host": self._names("hosts.list"), "environment": self._names("environments.list")}
        return Form(title, _arranged(operation, hide), submit, before=before, choices=choices, helps=HELPS)

    def _names(self, operation: str) -> Choices:
        async def ask() -> list[str]:
            given = {"page_size": 200} if operation == "hosts.list" else {}
            return [str(row.get("name")) for row in rows_of(await self._client.call(operation, given))]

        return ask


def _arranged(operation: str, hide: Sequence[str]) -> list[Field]:
    """What must be given first."""
    place = {name: number for number, name in enumerate(_ORDER)}
    found = fields(schema(operation), hide)
    return sorted(found, key=lambda field: place.get(field.name, len(place)))
