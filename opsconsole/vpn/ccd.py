"""vpn.ccd.get and vpn.ccd.set: what a server knows of each client (client-config-dir), checked against each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from drivers.errors import Refused
from drivers.openvpn_ccd import ALLOWED, ClientFile, check, client_file
from drivers.openvpn_conf import parse
from drivers.openvpn_files import client_path, read_client_files, read_file, remove_file, replace_file
from opsconsole.engine.context import Context
from opsconsole.engine.errors import InvalidParameter, ObjectNotFound, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Json, Outcome, change, read
from opsconsole.vpn.servers_look import Reach, mind_cwd, reach
from opsconsole.vpn.servers_lookup import MANAGE, VIEW, OneServer, servers_of

_MOST_FILES = 1000
_MOST_SAID = 200


class GetCcd(OneServer):
    name: Annotated[str | None, Field(max_length=64, description="one client's file; without it all of them")] = None


class SetCcd(OneServer):
    """`text` replaces the whole file; empty deletes it. `expect` is the sha256 of the file one looked at."""

    name: Annotated[str, Field(min_length=1, max_length=64, description="the client's name, or DEFAULT")]
    text: Annotated[str, Field(max_length=100_000, description="the whole file: iroute, push, ifconfig-push, disable")]
    expect: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$")] = None


def directory_of(way: Reach) -> str:
    """The server's client-config-dir; StateConflict when it has none."""
    if way.config is None or way.config.client_config_dir is None:
        raise StateConflict(f"{way.server.name}: {way.server.config_path} has no client-config-dir")
    return way.config.client_config_dir


async def files_of(way: Reach) -> dict[str, str]:
    try:
        return await read_client_files(way.runner, directory_of(way), timeout=way.timeout)
    except Refused as error:
        if error.code != "not_found":
            raise
        raise StateConflict(f"{way.server.name}: {error.message}") from None


def file_json(one: ClientFile, text: str) -> Json:
    return {
        "name": one.name,
        "text": text,
        "iroutes": [str(net) for net in one.iroutes],
        "pushed": [str(net) for net in one.pushed],
        "address": str(one.address) if one.address else None,
        "disabled": one.disabled,
        "others": one.others[:20],
    }


def check_all(way: Reach, texts: dict[str, str]) -> list[str]:
    """What does not fit among these files and their server."""
    if way.config is None:
        return []
    return check(way.config, {name: client_file(name, text) for name, text in texts.items()})


@read(
    "vpn.ccd.get",
    summary="Show the client files of an OpenVPN server, and which routes do not fit each other",
    permission=VIEW,
    input=GetCcd,
    objects=("vpn_server",),
)
async def get_ccd(ctx: Context, query: GetCcd) -> Json:
    """`findings` are always those of all files; `files` at most a thousand, `count` how many there are."""
    server = (await ctx.database.read(lambda tx: servers_of(tx, refs=[query.id])))[0]
    way = await reach(ctx, server)
    await mind_cwd(way)
    texts = await files_of(way)
    if query.name is not None and query.name not in texts:
        raise ObjectNotFound(entity="client file", id=query.name, hint=f" in {directory_of(way)}", field="name")
    wanted = [query.name] if query.name is not None else sorted(texts)[:_MOST_FILES]
    return {
        "server": server.name,
        "directory": directory_of(way),
        "count": len(texts),
        "files": [file_json(client_file(name, texts[name]), texts[name]) for name in wanted],
        "findings": check_all(way, texts)[:_MOST_SAID],
    }


def checked_text(text: str) -> str:
    """A file the daemon reads as it is meant: only the directives that belong there, one final newline."""
    parsed = parse(text)
    if parsed.problems:
        raise InvalidParameter(field="text", reason=parsed.problems[0])
    if parsed.inline:
        raise InvalidParameter(field="text", reason="inline blocks do not belong into a client's file")
    for line in parsed.directives:
        if line.name not in ALLOWED:
            reason = f"line {line.line}: {line.name} is none of {', '.join(ALLOWED)}"
            raise InvalidParameter(field="text", reason=reason)
    found = client_file("text", text)
    if found.problems:
        raise InvalidParameter(field="text", reason=found.problems[0])
    if "\0" in text or "\r" in text:
        raise InvalidParameter(field="text", reason="plain lines only")
    return text if not text or text.endswith("\n") else text + "\n"


@change(
    "vpn.ccd.set",
    summary="Write or delete the file of one client on an OpenVPN server",
    permission=MANAGE,
    input=SetCcd,
    objects=("vpn_server",),
)
class Set(Change[SetCcd]):
    """It counts from the client's next connection on."""

    audit_kind = "vpn_server"
    op_type = "client_file"

    async def plan(self) -> Plan:
        given = self.input
        self._text = checked_text(given.text)
        server = (await self.ctx.database.read(lambda tx: servers_of(tx, refs=[given.id])))[0]
        way = await reach(self.ctx, server)
        await mind_cwd(way)
        try:
            self._path = client_path(directory_of(way), given.name)
        except ValueError as error:
            raise InvalidParameter(field="name", reason=str(error)) from None
        seen = await read_file(way.runner, self._path, timeout=way.timeout)
        before = seen.data.decode("utf-8", "replace") if seen is not None else None
        if given.expect is not None and (seen is None or seen.sha256 != given.expect):
            raise StateConflict(f"{self._path} on {server.host.name} is not what you looked at; look again")
        if seen is None and not self._text:
            raise ObjectNotFound(entity="client file", id=given.name, hint=f" in {directory_of(way)}", field="name")
        texts = await files_of(way)
        old = set(check_all(way, texts))
        after = {name: text for name, text in texts.items() if name != given.name}
        after |= {given.name: self._text} if self._text else {}
        new = [one for one in check_all(way, after) if one not in old]
        doing = "write" if self._text else "delete"
        target = server.target(
            {"text": before},
            {"text": self._text or None},
            warnings=tuple(new[:20]),
            work={"server": server, "seen": seen},
        )
        plan = record_plan(
            "vpn.ccd.set",
            f"{doing} the file of the client {given.name} on {server.name}",
            [target],
            given,
            undo="vpn.ccd.set with the text before",
            level=server.level,
        )
        return replace(plan, verification="the file is read back")

    async def execute(self, target: Target) -> Json | None:
        way, seen = await reach(self.ctx, target.work["server"]), target.work["seen"]
        await mind_cwd(way)
        expect = seen.sha256 if seen is not None else None
        if self._text:
            data = self._text.encode()
            done = await replace_file(way.runner, self._path, data, expect=expect, timeout=way.timeout)
            return {"sha256": done.sha256}
        await remove_file(way.runner, self._path, expect=expect or "", timeout=way.timeout)
        return None

    async def verify(self, target: Target, effect: Json | None) -> Json | None:
        way = await reach(self.ctx, target.work["server"])
        await mind_cwd(way)
        seen = await read_file(way.runner, self._path, timeout=way.timeout)
        if (seen.data.decode() if seen is not None else None) != (self._text or None):
            raise StateConflict(f"{self._path} is not what was written")
        self._findings = check_all(way, await files_of(way))[:_MOST_SAID]
        return {"text": self._text or None, **(effect or {})}

    def record(self, tx: Any, outcomes: list[Outcome]) -> Json:
        return {"name": self.input.name, "path": self._path, **(outcomes[0].after or {}), "findings": self._findings}
