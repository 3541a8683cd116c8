"""One look at a server: its configuration, its daemon, its CRL, and what the daemon sees of that.

Every part can fail on its own and says so in its place; only a host that cannot be reached fails the whole look.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from sqlmodel import Session, col, select

from data.feed import announce
from data.models import VpnCertificate, VpnCrl, VpnServerSight
from drivers.dialling import Address
from drivers.errors import DriverError, Refused
from drivers.openvpn_conf import ServerConfig, server_config
from drivers.openvpn_crl import NoCrl, issuer_of, ours_in, read_lists
from drivers.openvpn_daemon import DaemonView, daemon_view
from drivers.openvpn_files import SeenFile, blocked_serials, read_file
from drivers.openvpn_management import Look, PasswordSource
from drivers.openvpn_management import look as ask
from drivers.runner import Runner, quote_argv
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.context import Context
from opsconsole.engine.errors import StateConflict
from opsconsole.engine.registry import Json
from opsconsole.house import House
from opsconsole.vpn.seen import Connected, keep_seen
from opsconsole.vpn.servers_lookup import ServerFacts, moment_text

_CONFIG_SECONDS = 30.0


@dataclass(slots=True)
class Reach:
    """The way to one server: its machine, its configuration as it stands there, its management interface."""

    server: ServerFacts
    runner: Runner
    timeout: float
    config: ServerConfig | None
    config_file: SeenFile | None

    @property
    def address(self) -> Address | None:
        return self.server.management_address or (self.config.management if self.config else None)

    @property
    def crl_path(self) -> str | None:
        return self.server.crl_path or (self.config.crl_path if self.config else None)

    @property
    def by_directory(self) -> bool:
        return self.config is not None and self.config.crl_mode == "dir"

    def interface(self) -> Address:
        """Where to ask; StateConflict says why not."""
        if self.config is not None and self.config.management_refusal:
            raise StateConflict(
                f"{self.server.name}: its management interface is left alone: {self.config.management_refusal}"
            )
        if self.address is None and self.config is None:
            raise StateConflict(f"{self.server.name}: there is no {self.server.config_path}; correct config_path")
        if self.address is None:
            where = self.server.config_path
            raise StateConflict(f"{self.server.name}: there is no management line in {where}; add one and restart it")
        return self.address

    @property
    def password(self) -> PasswordSource | None:
        """Reads the password file the configuration names, when the daemon asks; kept nowhere."""
        path = self.config.management_password_file if self.config else None
        if path is None:
            return None

        async def read() -> str | None:
            seen = await read_file(self.runner, path, timeout=self.timeout)
            return None if seen is None else seen.data.decode("utf-8", "replace").split("\n", 1)[0].rstrip("\r")

        return read


_known: WeakKeyDictionary[House, dict[tuple[int, int], tuple[float, SeenFile | None]]] = WeakKeyDictionary()


async def reach(ctx: Context, server: ServerFacts, *, afresh: bool = True) -> Reach:
    """The way to a server. Unless `afresh`, a configuration read in the last half minute is not read again."""
    runner = await ctx.house.fleet.runner(server.host, retry=afresh)
    timeout = ctx.house.settings.snapshot_timeout
    kept = _known.setdefault(ctx.house, {})
    key = (server.id, server.version)
    when, seen = kept.get(key, (0.0, None))
    if afresh or time.monotonic() - when > _CONFIG_SECONDS:
        seen = await read_file(runner, server.config_path, timeout=timeout)
        kept[key] = (time.monotonic(), seen)
    config = None
    if seen is not None:
        config = server_config(seen.data.decode("utf-8", "replace"), path=server.config_path)
    return Reach(server, runner, timeout, config, seen)


@dataclass(slots=True)
class Sight:
    """What one look found. `error` is set when the host could not be reached, and `facts` is then None."""

    server: ServerFacts
    facts: Json | None = None
    error: Json | None = None
    problem: DriverError | None = None
    look: Look | None = None
    view: DaemonView | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


async def look_at(ctx: Context, server: ServerFacts, found: Reach | None = None) -> Sight:
    """Look at everything. Raises DriverError when the host cannot be reached or its configuration not be read."""
    way = found or await reach(ctx, server)
    sight = Sight(server)
    sight.look, daemon = await _daemon(way)
    await mind_cwd(way, daemon)
    crl, published = await _crl(ctx, way)
    sight.view, seen = await _seen(way, daemon.get("pid"), published)
    config = config_json(way)
    since = sight.look.since if sight.look else None
    if way.config_file is not None and since is not None:
        config["newer_than_daemon"] = way.config_file.mtime > since.timestamp() + 1
    sight.facts = {"config": config, "daemon": daemon, "crl": crl, "seen": seen}
    sight.facts["differences"] = await _differences(way)
    return sight


async def _daemon(way: Reach) -> tuple[Look | None, Json]:
    """Its own word; without it, that of its unit."""
    said: Json = {"running": None, "pid": None, "unit": way.server.unit}
    try:
        seen = await ask(way.runner, way.interface(), timeout=way.timeout, password=way.password)
    except StateConflict as error:
        said["error"], said["error_code"] = error.message, "none"
    except DriverError as error:
        said["error"], said["error_code"] = error.message, getattr(error, "code", "") or error.kind
    else:
        said |= {"running": True, "pid": seen.pid, "version": seen.version, "state": seen.state}
        said |= {"since": moment_text(seen.since), "sessions": len(seen.status.sessions)}
        return seen, said
    if way.server.unit is not None:
        said |= await unit_state(way)
    return None, said


async def unit_state(way: Reach) -> Json:
    """What systemd knows of the unit: `running` None when it does not answer."""
    command = quote_argv(["systemctl", "show", "-p", "ActiveState,MainPID,LoadState", "--", way.server.unit or ""])
    done = await way.runner.run(command, timeout=way.timeout)
    values = dict(line.partition("=")[::2] for line in done.stdout.decode("utf-8", "replace").splitlines())
    if not done.ok or values.get("LoadState") != "loaded":
        return {"running": None, "unit_state": values.get("LoadState", "unknown")}
    pid = values.get("MainPID", "0")
    state = values.get("ActiveState", "")
    running = None if state in ("activating", "deactivating", "reloading", "") else state == "active"
    return {"running": running, "unit_state": state, "pid": int(pid) if pid.isdigit() and pid != "0" else None}


async def mind_cwd(way: Reach, daemon: Json | None = None) -> None:
    """Relative paths are read from the working directory of the running daemon, whatever its unit or starter chose."""
    if way.config is None or way.config_file is None or not way.config.relative:
        return
    if daemon is None:
        _, daemon = await _daemon(way)
    if daemon.get("pid") is None:
        return
    try:
        view = await daemon_view(way.runner, daemon["pid"], "/", timeout=way.timeout)
    except Refused:
        return
    if view.cwd:
        text = way.config_file.data.decode("utf-8", "replace")
        way.config = server_config(text, path=way.server.config_path, cwd=view.cwd)


async def _crl(ctx: Context, way: Reach) -> tuple[Json | None, SeenFile | None]:
    path = way.crl_path
    if path is None:
        return None, None
    said: Json = {"path": path, "mode": "dir" if way.by_directory else "file", "ca": way.server.ca_name}
    if way.by_directory:
        try:
            there = await blocked_serials(way.runner, path, timeout=way.timeout)
        except Refused as error:
            return said | {"missing": error.code == "not_found", "error": error.message}, None
        wanted = await ctx.database.read(lambda tx: revoked_serials(tx, way.server.ca_id, ctx.now()))
        return said | {"entries": len(there), "lacking": len(set(wanted) - there)}, None
    seen = await read_file(way.runner, path, timeout=way.timeout)
    if seen is None:
        return said | {"missing": True}, None
    said |= {"sha256": seen.sha256, "mtime": utc_text(datetime.fromtimestamp(seen.mtime, UTC)), "file_mode": seen.mode}
    try:
        lists = read_lists(seen.data)
        ours = ours_in(seen.data, issuer_of(way.server.ca_cert))
    except NoCrl as error:
        return said | {"error": str(error)}, seen
    if ours is None:
        return said | {"foreign": True, "lists": len(lists)}, seen
    said |= {"number": ours.number, "entries": ours.entries, "lists": len(lists)}
    said |= {"this_update": utc_text(ours.this_update), "next_update": moment_text(ours.next_update)}
    return said | {"der_sha256": hashlib.sha256(ours.der).hexdigest()}, seen


async def _seen(way: Reach, pid: int | None, published: SeenFile | None) -> tuple[DaemonView | None, Json]:
    if pid is None or way.config is None or way.config.crl_seen_path is None:
        return None, {}
    try:
        view = await daemon_view(way.runner, pid, way.config.crl_seen_path, timeout=way.timeout)
    except DriverError as error:
        return None, {"error": error.message}
    same = None if published is None or view.root is None else view.sha256 == published.sha256
    return view, {"uid": view.uid, "root": view.root, "readable": view.readable, "same": same, "sha256": view.sha256}


def config_json(way: Reach) -> Json:
    """What a configuration says, as answers show it."""
    config = way.config
    if config is None or way.config_file is None:
        return {"path": way.server.config_path, "missing": True}
    return {
        "path": way.server.config_path,
        "sha256": way.config_file.sha256,
        "changed_at": utc_text(datetime.fromtimestamp(way.config_file.mtime, UTC)),
        "crl_path": config.crl_path,
        "crl_mode": config.crl_mode,
        "crl_inline": config.crl_inline,
        "management": str(config.management) if config.management else None,
        "management_refusal": config.management_refusal,
        "client_config_dir": config.client_config_dir,
        "chroot": config.chroot,
        "user": config.user,
        "topology": config.topology,
        "dev": config.dev,
        "port": config.port,
        "proto": config.proto,
        "networks": [str(net) for net in config.networks],
        "routes": [str(net) for net in config.routes[:1000]],
        "pushed": [str(net) for net in config.pushed[:1000]],
        "duplicate_cn": config.duplicate_cn,
        "username_as_common_name": config.username_as_common_name,
        "includes": config.includes[:20],
        "problems": config.problems[:100],
    }


async def _differences(way: Reach) -> list[str]:
    """Where the record and the machine say different things."""
    server, config = way.server, way.config
    if config is None:
        return []
    said: list[str] = []
    if server.crl_path and config.crl_path and server.crl_path != config.crl_path:
        said.append(f"crl_path is {server.crl_path} in the record and {config.crl_path} in the configuration")
    if server.management and config.management and server.management != str(config.management):
        said.append(f"management is {server.management} in the record and {config.management} in the configuration")
    if config.ca_path is not None:
        try:
            trusted = await read_file(way.runner, config.ca_path, timeout=way.timeout)
        except Refused as error:
            return [*said, f"its ca file cannot be read: {error.message}"]
        if trusted is None:
            said.append(f"its ca file {config.ca_path} is not there")
        elif not _trusts(trusted.data, server.ca_cert):
            said.append(f"its ca file {config.ca_path} does not hold the authority {server.ca_name}")
    return said


def _trusts(pem: bytes, ca: str) -> bool:
    from cryptography import x509

    try:
        ours = x509.load_pem_x509_certificate(ca.encode())
        return any(one == ours for one in x509.load_pem_x509_certificates(pem))
    except ValueError:
        return False


def revoked_serials(tx: Session, ca_id: int, now: datetime) -> list[int]:
    """Serials that must be let in nowhere: revoked, and not over by themselves."""
    query = select(VpnCertificate.serial).where(
        VpnCertificate.ca_id == ca_id,
        VpnCertificate.state == "revoked",
        (col(VpnCertificate.not_after).is_(None)) | (col(VpnCertificate.not_after) > now),
    )
    return [int(serial, 16) for serial in tx.exec(query)]


async def keep(ctx: Context, sights: Sequence[Sight]) -> None:
    """Store what was seen, for other consoles and for the alarms, and which clients were connected."""
    if ctx.house.database.read_only or not sights:
        return

    def work(tx: Session) -> None:
        for sight in sights:
            row = tx.get(VpnServerSight, sight.server.id)
            before: Any = None if row is None else (row.state, row.facts)
            if row is None:
                row = VpnServerSight(server_id=sight.server.id, state="ok", observed_at=sight.at)
            row.observed_at, row.error = sight.at, sight.error
            row.state = "ok" if sight.error is None else str((sight.error.get("data") or {}).get("kind", "failed"))
            if sight.facts is not None:
                row.facts, row.seen_at = sight.facts, sight.at
            tx.add(row)
            if before != (row.state, row.facts):
                announce(tx, "vpn_server", sight.server.id, "updated")

    await ctx.database.write(work)
    await keep_seen(ctx, [found for sight in sights if (found := _connected(sight)) is not None])


def _connected(sight: Sight) -> Connected | None:
    if sight.look is None or sight.facts is None or sight.facts["config"].get("username_as_common_name"):
        return None
    return Connected(sight.server, sight.look.status.sessions, sight.at)


def newest_number(tx: Session, ca_id: int) -> int | None:
    query = select(VpnCrl.number).where(VpnCrl.ca_id == ca_id).order_by(col(VpnCrl.number).desc())
    return tx.exec(query.limit(1)).first()
