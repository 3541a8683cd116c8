"""Bringing the newest list of an authority to its servers, and seeing that each daemon has it.

Published is not loaded: the file must be the one the daemon reads at its path, below its root, as its own user; and
the daemon must have been started with that path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from posixpath import basename
from typing import Annotated, Any

from pydantic import AliasChoices, Field

from drivers.errors import DriverError
from drivers.openvpn_crl import NoCrl, issuer_of, joined, ours_in
from drivers.openvpn_daemon import daemon_view
from drivers.openvpn_files import block_serials, read_file, replace_file
from drivers.openvpn_management import Look
from drivers.openvpn_management import look as ask
from drivers.pki_crl import crl_pem
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.errors import StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change
from opsconsole.hosts.lookup import LEVELS
from opsconsole.vpn.servers_look import Reach, mind_cwd, reach, revoked_serials, unit_state
from opsconsole.vpn.servers_lookup import MANAGE, ServerFacts, ServerRef, newest_list, servers_of

_VERIFICATION = "the file is read back, and looked at through the daemon's own root and user"


@dataclass(frozen=True, slots=True)
class NewestList:
    """The list to publish. `serials` are those that must be let in nowhere, for servers that block by file."""

    ca_id: int
    number: int
    der: bytes
    this_update: datetime
    next_update: datetime
    serials: tuple[int, ...]


async def list_to_publish(ctx: Context, ca_id: int, ca_name: str) -> NewestList:
    """StateConflict when the authority has no list, or one that is over."""

    def work(tx: Any) -> NewestList:
        row = newest_list(tx, ca_id)
        if row is None or row.der is None:
            raise StateConflict(f"the authority {ca_name} has no revocation list yet; sign one: vpn.crls.sign")
        return NewestList(
            ca_id, row.number, row.der, row.this_update, row.next_update, tuple(revoked_serials(tx, ca_id, ctx.now()))
        )

    found = await ctx.database.read(work)
    if found.this_update > ctx.now():
        raise StateConflict(
            f"the newest list of {ca_name} begins only at {utc_text(found.this_update)}: published, it would lock "
            "every client out; set the clocks right"
        )
    if found.next_update <= ctx.now():
        raise StateConflict(
            f"the newest list of {ca_name} is over: published, it would lock every client out; "
            "sign a new one first: vpn.crls.sign"
        )
    return found


async def publish(way: Reach, newest: NewestList) -> Json:
    """Put the list where this server reads it; the answer is the evidence. Raises StateConflict and DriverError.

    A list of ours that is newer there stays, and so does a file that holds something else than lists.
    """
    await mind_cwd(way)
    path = way.crl_path
    if path is None:
        reason = "its configuration has no crl-verify" if way.config else f"there is no {way.server.config_path}"
        raise StateConflict(f"{way.server.name}: nowhere to publish: {reason}")
    if way.by_directory:
        there = await block_serials(way.runner, path, newest.serials, timeout=way.timeout)
        lacking = set(newest.serials) - there
        if lacking:
            raise StateConflict(f"{way.server.name}: {len(lacking)} serials are not in {path} after writing them")
        return {"path": path, "mode": "dir", "number": newest.number, "blocked": len(there)}
    issuer = issuer_of(way.server.ca_cert)
    seen = await read_file(way.runner, path, timeout=way.timeout)
    pem = crl_pem(newest.der).encode()
    try:
        before = ours_in(seen.data, issuer) if seen is not None else None
        data = joined(seen.data, pem, issuer) if seen is not None else pem
    except NoCrl as error:
        raise StateConflict(f"{way.server.name}: {path} is not overwritten: {error}") from None
    if before is not None and before.number is not None and before.number > newest.number:
        raise StateConflict(
            f"{way.server.name}: list {before.number} is there, newer than our {newest.number}: another place signs "
            f"for {way.server.ca_name} too"
        )
    evidence: Json = {"path": path, "mode": "file", "number": newest.number}
    if before is not None and seen is not None and before.der == newest.der and seen.mode[-1] in "4567":
        return evidence | {"sha256": seen.sha256, "mtime": seen.mtime, "already": True}
    done = await replace_file(
        way.runner, path, data, expect=seen.sha256 if seen is not None else None, timeout=way.timeout
    )
    return evidence | {"sha256": done.sha256, "mtime": done.mtime, "file": done.path, "already": False}


async def loaded(way: Reach, published: Json) -> tuple[Json, Look | None]:
    """Evidence that the daemon has what was published, and its own word if it could be asked.

    A daemon that surely does not run reads it at its start, and lets nobody in before. Raises StateConflict.
    """
    await mind_cwd(way)
    name, config = way.server.name, way.config
    if config is None or config.crl_seen_path is None:
        raise StateConflict(f"{name}: its configuration names no CRL; a daemon started with it checks none")
    seen, state, why = await _word(way)
    if state is not None and state["running"] is False:
        return {"running": False, "unit_state": state["unit_state"]}, None
    pid = seen.pid if seen is not None else (state or {}).get("pid")
    if pid is None:
        raise StateConflict(f"{name}: the daemon does not tell its process")
    since, file = seen.since if seen is not None else None, way.config_file
    if since is not None and file is not None and file.mtime > since.timestamp() + 1:
        raise StateConflict(f"{name}: its configuration was changed after it read it; restart it, then try again")
    view = await daemon_view(way.runner, pid, config.crl_seen_path, timeout=way.timeout)
    if view.started_with is not None and basename(view.started_with) != basename(way.server.config_path):
        raise StateConflict(f"{name}: its daemon was started with {view.started_with}, not {way.server.config_path}")
    if view.readable is False:
        raise StateConflict(
            f"{name}: the daemon's user ({view.uid}) cannot read {config.crl_path}, it goes on with the old list; "
            "open the directories above it to that user (mode 711)"
        )
    wanted = "dir" if way.by_directory else published.get("sha256")
    if view.sha256 != wanted:
        raise StateConflict(f"{name}: at {config.crl_seen_path} the daemon sees another file than the published one")
    if view.readable is None:
        raise StateConflict(f"{name}: nothing tells whether the daemon's user ({view.uid}) can read {config.crl_path}")
    evidence = {
        "running": True,
        "pid": pid,
        "uid": view.uid,
        "root": view.root,
        "config": view.started_with,
        "sha256": view.sha256,
        "readable": True,
    }
    return evidence | ({"unasked": why} if why else {"version": seen.version if seen else None}), seen


async def _word(way: Reach) -> tuple[Look | None, Json | None, str]:
    """The daemon's own word; without it, what systemd knows of its unit, and why it could not be asked."""
    try:
        return await ask(way.runner, way.interface(), timeout=way.timeout, password=way.password), None, ""
    except (StateConflict, DriverError) as error:
        if way.server.unit is None:
            raise
        state = await unit_state(way)
        if state["running"] is not False and state.get("pid") is None:
            raise
        return None, state, str(error)


class PublishCrl(Input):
    """`id` (several with `servers`), or `ca_id` for every server of an authority."""

    id: Annotated[ServerRef | None, Field(validation_alias=AliasChoices("id", "server"))] = None
    servers: Annotated[list[ServerRef] | None, Field(max_length=1000)] = None
    ca_id: Annotated[int | None, Field(ge=1, lt=2**31)] = None


def meant(tx: Any, given: PublishCrl) -> list[ServerFacts]:
    """The servers an input means; StateConflict when it means none."""
    refs = given.servers if given.servers is not None else [given.id] if given.id is not None else None
    found = servers_of(tx, refs=refs, ca_id=given.ca_id)
    if given.ca_id is not None:
        found = [one for one in found if one.ca_id == given.ca_id]
    if not found:
        raise StateConflict("there is no OpenVPN server to publish to; make one known: vpn.servers.create")
    return found


def highest(servers: Sequence[ServerFacts]) -> str:
    return max((one.level for one in servers), key=LEVELS.__getitem__, default="dev")


@change(
    "vpn.servers.publish_crl",
    summary="Publish the newest revocation list to OpenVPN servers, and see that each daemon has it",
    permission=MANAGE,
    input=PublishCrl,
    kind="action",
    danger="low",
    objects=("vpn_server",),
    bulk=True,
    key="p",
)
class Publish(Change[PublishCrl]):
    audit_kind = "vpn_server"
    op_type = "publish_crl"

    async def plan(self) -> Plan:
        servers = await self.ctx.database.read(lambda tx: meant(tx, self.input))
        self._lists = {
            ca: await list_to_publish(self.ctx, ca, name) for ca, name in {(one.ca_id, one.ca_name) for one in servers}
        }
        targets = [
            one.target(after={"crl_number": self._lists[one.ca_id].number}, work={"server": one}) for one in servers
        ]
        return replace(self._plan(servers, targets), verification=_VERIFICATION)

    def _plan(self, servers: Sequence[ServerFacts], targets: Sequence[Target]) -> Plan:
        return record_plan(
            "vpn.servers.publish_crl",
            f"publish the newest revocation list to {', '.join(one.name for one in servers[:5])}"
            + (f" and {len(servers) - 5} more" if len(servers) > 5 else ""),
            targets,
            self.input,
            undo=None,
            level=highest(servers),
        )

    async def execute(self, target: Target) -> Json | None:
        server: ServerFacts = target.work["server"]
        return await publish(await reach(self.ctx, server), self._lists[server.ca_id])

    async def verify(self, target: Target, effect: Json | None) -> Json | None:
        evidence, _ = await loaded(await reach(self.ctx, target.work["server"]), effect or {})
        return {"published": effect, "loaded": evidence, "at": utc_text(datetime.now(UTC))}

    async def settle(self, outcomes: list[Outcome]) -> None:
        from opsconsole.vpn.servers import look_at_all

        await look_at_all(self.ctx, [outcome.target.work["server"] for outcome in outcomes])

    def record(self, tx: Any, outcomes: list[Outcome]) -> Json:
        return {"servers": [{"name": one.target.name, **(one.after or {})} for one in outcomes]}

    @classmethod
    def narrow(cls, given: Json, targets: list[Json]) -> Json:
        return {"servers": [int(target["id"]) for target in targets]}
