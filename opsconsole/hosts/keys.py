"""Host keys: what a machine shows now, and accepting one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from pydantic import AliasChoices, Field

from opsconsole.engine import authorise
from opsconsole.engine.context import Context
from opsconsole.engine.errors import NotSupported, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, find, read
from opsconsole.hosts.changes import host_target
from opsconsole.hosts.fields import OneHost, Ref
from opsconsole.hosts.lookup import HostFacts, visible_hosts

if TYPE_CHECKING:
    from drivers.ssh_types import KeyOffer, SshEndpoint

_PERMISSION = "host.login_host"


class Trust(Input):
    """`fingerprint` as the machine shows it (`SHA256:…`), compared before with what its owner says."""

    host: Annotated[Ref, Field(validation_alias=AliasChoices("host", "id"))]
    fingerprint: Annotated[str, Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}=?$")]


@dataclass(frozen=True, slots=True)
class _Known:
    """Fingerprint and algorithm of each key the files know for one host, and where they say so."""

    keys: dict[str, str]
    revoked: frozenset[str]
    where: tuple[str, ...]

    def state_of(self, offer: KeyOffer, offers: Sequence[KeyOffer]) -> str:
        """known | unknown | changed | revoked. A further key type of a host that shows a known one is just unknown."""
        if offer.fingerprint in self.revoked:
            return "revoked"
        if offer.fingerprint in self.keys:
            return "known"
        proven = any(other.fingerprint in self.keys for other in offers)
        return "changed" if self.keys and (offer.key_type in self.keys.values() or not proven) else "unknown"


async def _host(ctx: Context, ref: int | str, operation: str) -> HostFacts:
    host = (await ctx.database.read(lambda tx: visible_hosts(tx, ctx.caller, [ref], permission=_PERMISSION)))[0]
    await authorise.subjects(ctx, find(operation), [host.subject()])
    if host.local:
        raise NotSupported(what="a host key", reason=f"{host.name} is this machine itself; nothing is logged in to")
    return host


def _known(ctx: Context, endpoint: SshEndpoint) -> _Known:
    from drivers import ssh_config
    from drivers.ssh_known_hosts import KnownHosts
    from opsconsole.fleet import ssh_files

    settings = ssh_config.load(endpoint, None, ssh_files(ctx.house))
    known = KnownHosts().lookup(settings.lookup_name, settings.lookup_port, settings.known_hosts)
    return _Known(
        keys={one.key.get_fingerprint(): one.key.get_algorithm() for one in known.keys},
        revoked=frozenset(one.key.get_fingerprint() for one in known.revoked),
        where=tuple(one.where for one in known.keys),
    )


@read(
    "hosts.scan_key",
    summary="Show the ssh host keys a host shows now, and whether they are trusted",
    permission=_PERMISSION,
    input=OneHost,
    objects=("host",),
)
async def scan_key(ctx: Context, query: OneHost) -> Json:
    from opsconsole.fleet import endpoint

    host = await _host(ctx, query.id, "hosts.scan_key")
    offers = await ctx.house.fleet.pool.scan_host_key(endpoint(host))
    known = _known(ctx, endpoint(host))
    return {
        "host": host.name,
        "offers": [
            {"key_type": o.key_type, "fingerprint": o.fingerprint, "state": known.state_of(o, offers)} for o in offers
        ],
        "known_in": list(known.where),
    }


@change(
    "hosts.trust",
    summary="Accept the ssh host key a host shows now",
    permission=_PERMISSION,
    input=Trust,
    kind="action",
    danger="high",
    objects=("host",),
)
class TrustKey(Change[Trust]):
    async def plan(self) -> Plan:
        host = await _host(self.ctx, self.input.host, "hosts.trust")
        offer, state, known = await self._look(host)
        changed = state == "changed"
        warnings = (
            [f"another key is known for it: {', '.join(known.where)}; find out why it changed"] if changed else []
        )
        target = replace(
            host_target(host, {"known_keys": sorted(known.keys)}, {"trusted": offer.fingerprint}, warnings),
            resource=f"host-key:{host.id}",
            work={"line": offer.line},
        )
        plan = record_plan(
            "hosts.trust",
            f"trust the {offer.key_type} key {offer.fingerprint} of {host.name} from now on",
            [target],
            self.input,
            undo=None if changed else "take its line out of the console's known_hosts",
            level=host.level,
        )
        self._facts = host
        return replace(
            plan, reversible=not changed, verification="the host is asked again and its key found in known_hosts"
        )

    async def _look(self, host: HostFacts) -> tuple[KeyOffer, str, _Known]:
        """The wanted key, if the machine shows it now."""
        from opsconsole.fleet import endpoint

        offers = await self.ctx.house.fleet.pool.scan_host_key(endpoint(host))
        known = _known(self.ctx, endpoint(host))
        wanted = self.input.fingerprint.rstrip("=")
        for offer in offers:
            if offer.fingerprint.rstrip("=") == wanted:
                state = known.state_of(offer, offers)
                if state == "revoked":
                    raise StateConflict(f"{host.name}: the key {offer.fingerprint} is revoked in known_hosts")
                return offer, state, known
        shown = ", ".join(offer.fingerprint for offer in offers) or "none"
        raise StateConflict(
            f"{host.name} does not show the key {wanted} now; it shows {shown}", field="fingerprint", shown=shown
        )

    async def execute(self, target: Target) -> Json | None:
        from opsconsole.fleet import endpoint

        await self.ctx.house.fleet.pool.trust(endpoint(self._facts), str(target.work["line"]))
        return None

    async def verify(self, target: Target, effect: Json | None) -> Json | None:
        offer, state, _ = await self._look(self._facts)
        if state != "known":
            raise StateConflict(f"{target.name}: the key was stored and yet is not found in known_hosts")
        return {"trusted": offer.fingerprint}

    def record(self, tx: object, outcomes: list[Outcome]) -> Json:
        return {"host": self._facts.name, **(outcomes[0].after or {})}
