"""Logs of instances, read from real files over a real sshd."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from data.models import AppInstance, Application, Host, User
from drivers.remote_file import FileMissing, read
from drivers.runner import Completed, Runner
from opsconsole.cmdb.logread import Asked, read_chunk
from opsconsole.engine.errors import (
    ConsoleError,
    HostAgentCallFailed,
    InvalidParameter,
    LogFileMissing,
    LogPathNotSet,
    ObjectNotFound,
    PermissionDenied,
)
from tests.lab.sshfarm import Node
from tests.opsconsole.services.conftest import Desk, MakeDesk, desks

__all__ = ["desks"]

CASES = json.loads((Path(__file__).parent.parent / "spec/log_cases.json").read_text("utf-8"))


@dataclass
class Logs:
    """An application `shop.web` with an instance on a real sshd, and the directory of its logs."""

    desk: Desk
    node: Node
    directory: Path
    instance: int

    @property
    def out(self) -> Path:
        return self.directory / "web.out"

    async def read(self, **more: Any) -> Any:
        return await self.desk.call("cmdb.instances.read_log", id="shop.web", instance_id=self.instance, **more)

    def follow(self, **more: Any) -> AsyncIterator[dict[str, Any]]:
        return self.desk.stream("cmdb.instances.follow_log", items=[{"id": "shop.web"}], **more)

    async def runner(self) -> Runner:
        from opsconsole.hosts.lookup import visible_hosts

        caller = self.desk.ctx.caller
        facts = await self.desk.house.database.read(lambda tx: visible_hosts(tx, caller, [self.node.name]))
        return await self.desk.house.fleet.runner(facts[0], retry=True)


@pytest.fixture
async def logs(desks: MakeDesk, plain_host: Node, tmp_path: Path) -> Logs:
    desk = await desks()
    ssh = tmp_path / "user" / ".ssh"
    (ssh / "config").write_text(f"Host *\n  IdentityFile {plain_host.key}\n  IdentitiesOnly yes\n")
    (ssh / "known_hosts").write_text(f"{plain_host.known_hosts}\n")
    directory = plain_host.directory / f"logs of {tmp_path.name}'s"
    directory.mkdir(mode=0o755)
    await desk.add(plain_host.name, plain_host.address, plain_host.port, plain_host.user)

    def work(tx: Session) -> int:
        host = tx.exec(select(Host).where(Host.name == plain_host.name)).one()
        shop = Application(name="shop", full_name="shop")
        tx.add(shop)
        tx.flush()
        web = Application(name="web", full_name="shop.web", parent_id=shop.id, stdout_path=str(directory / "web.out"))
        tx.add(web)
        tx.flush()
        instance = AppInstance(application_id=web.id, host_id=host.id, status="running")
        tx.add_all([instance, AppInstance(application_id=shop.id, host_id=host.id)])
        tx.flush()
        return instance.id

    return Logs(desk, plain_host, directory, await desk.house.database.write(work))


async def test_the_worked_cases(logs: Logs) -> None:
    logs.out.write_text(CASES["file"], "utf-8")
    checked = 0
    for case in CASES["cases"]:
        for parameters in case["parameters"]:
            checked += 1
            if "error" in case:
                with pytest.raises(ConsoleError) as refused:
                    await logs.read(**parameters)
                assert refused.value.code == case["error"], parameters
                assert refused.value.exit_status == 2
                continue
            expected = {
                name: case[name] for name in ("content", "length", "total_length", "position", "lines") if name in case
            }
            assert await logs.read(**parameters) == expected, parameters
    assert checked >= len(CASES["cases"]) == 27


async def test_what_else_can_be_wrong(logs: Logs) -> None:
    with pytest.raises(LogFileMissing) as missing:
        await logs.read()
    assert (missing.value.exit_status, str(logs.out) in missing.value.message) == (4, True)
    with pytest.raises(LogPathNotSet) as unset:
        await logs.read(log_type="error")
    assert "stderr_path" in unset.value.message
    with pytest.raises(ObjectNotFound):
        await logs.desk.call("cmdb.instances.read_log", id="shop", instance_id=logs.instance)
    for wrong in ({"lines": 10_001, "mode": "lines"}, {"block_size": 1_048_577}, {"mode": "words"}, {"log_type": "x"}):
        with pytest.raises(InvalidParameter):
            await logs.read(**wrong)
    logs.out.mkdir()
    with pytest.raises(ConsoleError) as directory:
        await logs.read()
    assert "no regular file" in directory.value.message
    logs.out.rmdir()
    os.mkfifo(logs.out)
    with pytest.raises(ConsoleError):
        await logs.read()
    logs.out.unlink()
    logs.out.write_text("secret")
    logs.out.chmod(0o600)
    with pytest.raises(ConsoleError) as closed:
        await logs.read()
    assert isinstance(closed.value, HostAgentCallFailed)
    assert "may not read it" in closed.value.message


async def test_only_who_may_read_logs(logs: Logs) -> None:
    from data.models import ApplicationGrant, ModuleGrant

    logs.out.write_text("x\n")

    def work(tx: Session) -> None:
        user = User(username="eve")
        tx.add(user)
        tx.flush()
        said: dict[str, Any] = {"subject_type": "user", "subject_id": user.id, "granted_by": "test"}
        web = tx.exec(select(Application.id).where(Application.full_name == "shop.web")).one()
        tx.add(ModuleGrant(module_name="application", flag="enable_app_mgmt", **said))
        tx.add(ApplicationGrant(application_id=web, flag="view_app", **said))
        shop = tx.exec(select(Application.id).where(Application.full_name == "shop")).one()
        tx.add(ApplicationGrant(application_id=shop, flag="view_app_log", **said))

    await logs.desk.house.database.write(work)
    eve = await logs.desk.become("eve")
    with pytest.raises(PermissionDenied) as refused:
        await eve.call("cmdb.instances.read_log", id="shop.web", instance_id=logs.instance)
    assert refused.value.data["missing"] == "app.view_app_log"
    with pytest.raises(PermissionDenied):
        await anext(eve.stream("cmdb.instances.follow_log", items=[{"id": "shop.web"}]))


async def test_bytes_that_are_no_text_and_characters_cut_in_two(logs: Logs) -> None:
    logs.out.write_bytes("aä".encode() + b"\xff\x00\x1b[31mZ")
    answer = await logs.read(block_size=2)
    assert (answer["content"], answer["length"], answer["position"]) == ("a\ufffd", 2, 2)
    whole = await logs.read()
    assert whole["content"] == "aä\ufffd\x00\x1b[31mZ"
    assert whole["length"] == len(logs.out.read_bytes())


@dataclass
class Counting:
    """A runner that counts what goes through it."""

    inner: Runner
    name: str = "counted"
    commands: list[str] = field(default_factory=list)
    received: int = 0

    async def run(self, command: str, *, stdin: bytes = b"", timeout: float, become: bool = False) -> Completed:
        done = await self.inner.run(command, stdin=stdin, timeout=timeout, become=become)
        self.commands.append(command)
        self.received += len(done.stdout)
        return done


async def test_five_gigabytes_answer_their_last_lines_from_a_few_blocks(logs: Logs) -> None:
    size = 5 * 1024**3
    lines = [f"line {number} {'x' * 90}\n" for number in range(3000)]
    with logs.out.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(b"\n" + "".join(lines).encode())
    counting = Counting(await logs.runner())

    async def reader(**options: Any) -> Any:
        return await read(counting, str(logs.out), **options)  # type: ignore[arg-type]

    chunk = await read_chunk(reader, Asked(mode="lines", latest_lines=1000))
    assert chunk.content == "".join(lines[-1000:]).encode()
    assert (chunk.position, chunk.lines) == (logs.out.stat().st_size, None)
    assert len(counting.commands) == 1
    assert counting.received < 300_000
    earlier = await read_chunk(reader, Asked(mode="lines", latest_lines=5, latest_lines_offset=2000))
    assert earlier.content == "".join(lines[995:1000]).encode()
    end = await logs.read(from_last_position=0)
    assert (end["content"], end["position"]) == ("", logs.out.stat().st_size)
    middle = await logs.read(from_position=3 * 1024**3 + 5, block_size=10)
    assert (middle["length"], middle["position"]) == (10, 3 * 1024**3 + 15)
    with pytest.raises(InvalidParameter) as long:
        await logs.read(mode="lines", latest_lines=4000)
    assert "64 MiB" in long.value.message
    with pytest.raises(InvalidParameter):
        await logs.read(mode="lines", lines=1)


async def test_any_lines_of_a_file_of_odd_lengths(logs: Logs) -> None:
    """Against the same done in memory, around the borders of blocks."""
    content = b"".join(b"%d:" % n + b"y" * ((n * 7919) % 5000) + b"\n" for n in range(400)) + b"end"
    logs.out.write_bytes(content)
    lines = content.split(b"\n")
    whole = [line + b"\n" for line in lines[:-1]] + [lines[-1]]
    for wanted, offset in ((1, 0), (7, 0), (100, 0), (30, 250), (401, 0), (999, 1), (3, 399), (5, 401), (5, 900)):
        end = max(0, len(whole) - offset)
        first = max(0, end - wanted)
        answer = await logs.read(mode="lines", latest_lines=wanted, latest_lines_offset=offset)
        assert answer["content"] == b"".join(whole[first:end]).decode()
        assert (answer["lines"], answer["position"]) == (end, len(b"".join(whole[:end])))
    for wanted, skip in ((1, 0), (60, 0), (10_000, 0), (90, 200), (1, 400), (5, 401), (5, 500)):
        end = min(skip + wanted, len(whole))
        answer = await logs.read(mode="lines", lines=wanted, from_lines=skip)
        assert answer["content"] == b"".join(whole[skip:end]).decode()
        assert answer["lines"] == max(end, min(skip, len(whole)))
        assert answer["position"] == len(b"".join(whole[: max(end, skip)]))


class Seen(list[str]):
    """What a stream said so far; `until` waits for a line."""

    def __init__(self) -> None:
        super().__init__()
        self.news = asyncio.Event()

    async def collect(self, source: AsyncIterator[dict[str, Any]]) -> None:
        async for event in source:
            self.append(event["message"] if "message" in event else f"<{event.get('gap') or event.get('error')}>")
            self.news.set()

    async def until(self, last: str) -> None:
        async with asyncio.timeout(30):
            while self[-1:] != [last]:
                self.news.clear()
                await self.news.wait()


async def test_following_through_rotation_and_truncation(logs: Logs) -> None:
    logs.out.write_bytes(b"".join(b"%d\n" % n for n in range(10)) + "ä".encode()[:1])
    seen = Seen()
    task = asyncio.create_task(seen.collect(logs.follow(lines=3)))
    try:
        await seen.until("9")
        assert seen == ["8", "9"]
        writer = logs.out.open("ab")
        writer.write("ä".encode()[1:] + b" joined\r\n" + b"no end yet")
        writer.flush()
        await seen.until("ä joined")
        logs.out.rename(logs.out.with_name("web.out.1"))
        writer.write(b" and then\nlast of the old\n")
        writer.flush()
        await seen.until("last of the old")
        logs.out.write_bytes(b"first of the new\n")
        await seen.until("first of the new")
        assert seen[-3:] == ["last of the old", "<the file was rotated>", "first of the new"]
        logs.out.write_bytes(b"short\n")
        await seen.until("short")
        assert seen[-2] == "<the file was truncated>"
        logs.out.unlink()
        await seen.until("<the file is gone; waiting for a new one>")
        logs.out.write_bytes(b"again\n")
        await seen.until("again")
        assert logs.node.cut() >= 1
        with logs.out.open("ab") as file:
            file.write(b"after the cut\n")
        await seen.until("after the cut")
        writer.close()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [line for line in seen if line == "no end yet and then"] == ["no end yet and then"]


async def test_several_instances_are_merged_and_one_that_fails_is_named(logs: Logs) -> None:
    logs.out.write_text("here\n")

    def work(tx: Session) -> None:
        host = Host(name="dead", host_type="PHY_HOST", address="127.0.0.1", ssh_port=1, ssh_user="x")
        tx.add(host)
        tx.flush()
        web = tx.exec(select(Application.id).where(Application.full_name == "shop.web")).one()
        tx.add(AppInstance(application_id=web, host_id=host.id))

    await logs.desk.house.database.write(work)
    events = [event async for event in logs.follow(follow=False)]
    assert {event["host"] for event in events if "message" in event} == {logs.node.name}
    failed = [event for event in events if "error" in event]
    assert [event["error"]["code"] for event in failed] == ["host_unreachable"]
    logs.out.unlink()
    with pytest.raises(LogFileMissing):
        source = logs.desk.stream("cmdb.instances.follow_log", items=[{"id": "shop.web", "instances": [logs.instance]}])
        await anext(source)


async def test_names_are_no_commands(logs: Logs) -> None:
    bad = logs.directory / "$(touch pwned) `id` ; rm -rf \"x\" 'y'\\ *"
    bad.write_text("safe\n")
    runner = await logs.runner()
    piece = await read(runner, str(bad), size=100)
    assert piece.content == b"safe\n"
    assert not (logs.directory / "pwned").exists()
    with pytest.raises(FileMissing):
        await read(runner, str(bad) + "x", size=100)
