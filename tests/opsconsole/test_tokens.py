"""Tokens, sessions and passwords: shown once, kept as hashes, limited, and gone at once when their user is."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select, update

from data.models import Attempt, AuthToken, PasswordReset, User, utc_now
from opsconsole.access import passwords
from opsconsole.engine import dispatch, tokens
from opsconsole.engine.caller import Caller
from opsconsole.engine.context import Context
from opsconsole.engine.errors import (
    ConsoleError,
    InvalidParameter,
    NameNotUnique,
    NotSignedIn,
    NotSupported,
    ObjectNotFound,
    PermissionDenied,
    PermissionGrantDenied,
    StateConflict,
    UserDisabled,
)
from opsconsole.engine.identity import Identity
from opsconsole.engine.plan import Target
from opsconsole.engine.settings import Settings
from opsconsole.notify import notify
from tests.lab.smtp import PASSWORD as MAIL_PASSWORD
from tests.lab.smtp import USER as MAIL_USER
from tests.lab.smtp import Post
from tests.opsconsole.houses import Bench
from tests.opsconsole.probes import Probe
from tests.opsconsole.test_access import REFUSED, all_bytes

WHO = Identity("someone", "someone", through_sudo=False)
FIRST, SECOND = "correct horse battery", "staple of another kind"


async def by_token(bench: Bench, value: str) -> Caller:
    return await bench.house.caller(await tokens.identify(bench.database, value, WHO), via="call")


async def with_password(bench: Bench, name: str, password: str = FIRST, **columns: Any) -> None:
    def work(tx: Session) -> None:
        row = tx.exec(select(User).where(User.username == name)).one()
        row.password_hash = passwords.hashed(password)
        for column, value in columns.items():
            setattr(row, column, value)
        tx.add(row)

    await bench.database.write(work)


async def sign_in(bench: Bench, name: str, password: str = FIRST) -> Any:
    stranger = bench.house.stranger(WHO, via="call")
    given = {"username": name, "password": password}
    return await dispatch.call(Context(bench.house, stranger), "access.sessions.login", given)


async def code_of(work: Any) -> str:
    with pytest.raises(ConsoleError) as refused:
        await work
    return str(refused.value.as_json()["code"])


async def test_a_token_is_shown_once_and_opens_what_its_owner_may(bench: Bench, tmp_path: Path) -> None:
    root = await bench.user("root", admin=True)
    web = await bench.host("web")
    ann = await bench.user("ann", "access.manage_auth_token", hosts={web: "view_host"})
    made = await bench.call(ann, "access.tokens.create", {"name": "backup", "description": "nightly"})
    value = made["value"]
    assert re.fullmatch("[0-9a-f]{40}", value)
    assert (made["creator"], made["user"], made["last_used_at"]) == ("ann", "ann", None)
    shown = await bench.call(ann, "access.tokens.get", {"id": "backup"})
    assert shown["value"] == f"****{value[-4:]}"
    runs = await bench.call(root, "runs.list", {"page_size": 100})
    answers = [(await bench.call(root, "runs.get", {"id": run["id"]}))["answer"] for run in runs["results"]]
    assert [answer["value"] for answer in answers] == ["***"]
    everything = str(await bench.call(root, "audit.records.list")).encode() + all_bytes(tmp_path)
    assert value.encode() not in everything
    program = await by_token(bench, value)
    assert (program.username, program.token) == ("ann", tokens.hash_of(value))
    answer = await dispatch.call(Context(bench.house, program), "hosts.get", {"id": "web"})
    assert answer["id"] == web
    with pytest.raises(REFUSED):
        await dispatch.call(Context(bench.house, program), "access.users.list")
    used = (await bench.call(ann, "access.tokens.get", {"id": made["id"]}))["last_used_at"]
    assert used is not None
    await by_token(bench, value)
    assert (await bench.call(ann, "access.tokens.get", {"id": made["id"]}))["last_used_at"] == used
    found = await bench.call(ann, "access.tokens.list", {"value": value})
    assert [row["name"] for row in found["results"]] == ["backup"]
    assert (await bench.call(ann, "access.tokens.list", {"value": value[-4:]}))["count"] == 0
    assert (await bench.call(ann, "access.tokens.list", {"description": "NIGHT", "user": "ann"}))["count"] == 1
    renamed = await bench.call(ann, "access.tokens.update", {"id": "backup", "name": "backups", "description": ""})
    assert (renamed["name"], renamed["description"]) == ("backups", None)
    await bench.call(ann, "access.tokens.delete", {"id": "backups"}, confirm="backups", reason="rotated")
    with pytest.raises(NotSignedIn):
        await by_token(bench, value)


async def test_bad_tokens_and_who_may_have_them(bench: Bench) -> None:
    await bench.user("root", admin=True)
    ann = await bench.user("ann", "access.manage_auth_token")
    eve = await bench.user("eve", "access.view_user")
    await bench.call(ann, "access.tokens.create", {"name": "one"})
    past = "2020-01-01T00:00:00Z"
    for data, error in (
        ({"name": "one"}, NameNotUnique),
        ({"name": ""}, InvalidParameter),
        ({"name": "12"}, InvalidParameter),
        ({"name": "two", "expires_at": past}, InvalidParameter),
        ({"name": "two", "expires_at": "2030-01-01T00:00:00"}, InvalidParameter),
        ({"name": "two", "value": "mine"}, InvalidParameter),
    ):
        with pytest.raises(error):
            await bench.call(ann, "access.tokens.create", data)
    refused: list[tuple[str, dict[str, Any]]] = [
        ("access.tokens.list", {}),
        ("access.tokens.get", {"id": 1}),
        ("access.tokens.create", {"name": "x"}),
        ("access.tokens.update", {"id": 1, "name": "x"}),
        ("access.tokens.delete", {"id": 1}),
    ]
    for operation, data in refused:
        with pytest.raises(PermissionDenied):
            await bench.call(eve, operation, data)
    for operation in ("access.tokens.get", "access.tokens.delete"):
        with pytest.raises(ObjectNotFound):
            await bench.call(ann, operation, {"id": "none"})
    with pytest.raises(InvalidParameter):
        await bench.call(ann, "access.tokens.update", {"id": "one", "name": ""})
    root = await bench.caller("root")
    await bench.call(root, "access.tokens.create", {"name": "roots"})
    with pytest.raises(PermissionGrantDenied):
        await bench.call(ann, "access.tokens.delete", {"id": "roots"}, confirm="roots", reason="x")


async def test_an_expired_token_and_one_of_a_disabled_user(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ann = await bench.user("ann", "access.manage_auth_token", "host.manage_host")
    soon = (utc_now() + timedelta(hours=1)).isoformat()
    made = await bench.call(ann, "access.tokens.create", {"name": "short", "expires_at": soon})
    assert (await by_token(bench, made["value"])).until is not None

    def expire(tx: Session) -> None:
        tx.execute(update(AuthToken).values(expires_at=utc_now() - timedelta(seconds=1)))

    await bench.database.write(expire)
    with pytest.raises(NotSignedIn):
        await by_token(bench, made["value"])
    lasting = (await bench.call(ann, "access.tokens.create", {"name": "long"}))["value"]
    await bench.call(root, "access.users.disable", {"id": "ann"}, confirm="yes")
    program = await by_token(bench, lasting)
    with pytest.raises(UserDisabled):
        await dispatch.call(Context(bench.house, program), "hosts.list")


async def _cut(bench: Bench, caller: Caller, cutting: Any) -> tuple[str, float]:
    """Follow something without end, cut it, and answer the error's code and the seconds until it came."""
    events = dispatch.stream(Context(bench.house, caller), "services.watch", {"interval": 60.0, "hosts": []})
    try:
        reading = asyncio.ensure_future(_all(events))
        await asyncio.sleep(0.6)
        assert not reading.done()
        begun = time.monotonic()
        await cutting
        with pytest.raises(ConsoleError) as refused:
            await asyncio.wait_for(reading, 10)
        return refused.value.code, time.monotonic() - begun
    finally:
        await events.aclose()  # type: ignore[attr-defined]


async def _all(events: Any) -> None:
    async for _ in events:
        pass


async def test_what_goes_on_ends_when_its_user_is_disabled_or_his_token_withdrawn(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ann = await bench.user("ann", "access.manage_auth_token", "service.view_service", "host.manage_host")
    value = (await bench.call(ann, "access.tokens.create", {"name": "t"}))["value"]
    gone = bench.call(ann, "access.tokens.delete", {"id": "t"}, confirm="t", reason="x")
    code, _ = await _cut(bench, await by_token(bench, value), gone)
    assert code == "not_signed_in"
    taken = {"id": "ann", "module_name": "service", "permissions": {"view_service": False}}
    code, _ = await _cut(bench, ann, bench.call(root, "access.users.grant_module", taken))
    assert code == "permission_denied"
    given = taken | {"permissions": {"view_service": True}}
    await bench.call(root, "access.users.grant_module", given)
    ann = await bench.caller("ann")
    code, _ = await _cut(bench, ann, bench.call(root, "access.users.disable", {"id": "ann"}, confirm="yes"))
    assert code == "user_disabled"


async def test_a_batch_of_a_disabled_user_goes_no_further(
    bench: Bench, probe: type[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """He is disabled while the first target is being worked on: the ones after it are not touched."""
    root = await bench.user("root", admin=True)
    ann = await bench.user("ann", "service.manage_service")
    whole = probe.execute

    async def execute(self: Probe, target: Target) -> Any:
        if target.id == "0":
            await bench.call(root, "access.users.disable", {"id": "ann"}, confirm="yes")
        return await whole(self, target)

    monkeypatch.setattr(probe, "execute", execute)
    monkeypatch.setattr(probe, "concurrency", 1)
    with pytest.raises(ConsoleError) as refused:
        await bench.call(ann, "probe.act", {"count": 3}, confirm="3")
    assert probe.executed == [0]
    codes = [(target["error"] or {}).get("code") for target in refused.value.targets]
    assert codes == [None, "user_disabled", "user_disabled"]


async def test_signing_in_and_out(bench: Bench, tmp_path: Path) -> None:
    root = await bench.user("root", admin=True)
    await bench.user("ann", "host.manage_host")
    await with_password(bench, "ann", email="ann@example.com")
    first = await sign_in(bench, "ann")
    second = await sign_in(bench, "ann@example.com")
    assert (first["user"], first["warnings"]) == ("ann", [])
    assert first["token"] != second["token"]
    assert first["token"].encode() not in all_bytes(tmp_path)
    runs = (await bench.call(root, "runs.list"))["results"]
    answers = [(await bench.call(root, "runs.get", {"id": run["id"]}))["answer"] for run in runs]
    assert [answer["token"] for answer in answers] == ["***", "***"]
    caller = await by_token(bench, first["token"])
    ctx = Context(bench.house, caller)
    mine = await dispatch.call(ctx, "access.sessions.list")
    assert [(row["user"], row["current"]) for row in mine] == [("ann", True), ("ann", False)]
    with pytest.raises(PermissionDenied):
        await dispatch.call(ctx, "access.sessions.list", {"all": True})
    with pytest.raises(PermissionDenied):
        await dispatch.call(ctx, "access.sessions.list", {"user": "root"})
    assert len(await bench.call(root, "access.sessions.list", {"user": "ann"})) == 2
    assert await dispatch.call(ctx, "access.sessions.logout") == {"message": "success"}
    with pytest.raises(NotSignedIn):
        await by_token(bench, first["token"])
    with pytest.raises(StateConflict):
        await bench.call(root, "access.sessions.logout")
    with pytest.raises(ObjectNotFound):
        await bench.call(root, "access.sessions.logout", {"id": mine[1]["id"]})
    other = Context(bench.house, await by_token(bench, second["token"]))
    await dispatch.call(other, "access.sessions.logout", {"everywhere": True})
    assert await bench.call(root, "access.sessions.list", {"all": True}) == []
    third = await sign_in(bench, "ann")
    await bench.call(root, "access.users.disable", {"id": "ann"}, confirm="yes")
    with pytest.raises(NotSignedIn):
        await by_token(bench, third["token"])
    assert await code_of(sign_in(bench, "ann")) == "user_disabled"


async def test_a_wrong_password_says_nothing_and_is_limited(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    await bench.user("ann")
    await bench.user("bob")
    await with_password(bench, "ann")
    with pytest.raises(NotSupported):
        await bench.call(root, "access.sessions.login", {"username": "ann", "password": FIRST, "otp": "1"})
    texts = set()
    for name, password in (("ann", "wrong"), ("nobody", FIRST), ("bob", FIRST)):
        with pytest.raises(ConsoleError) as refused:
            await sign_in(bench, name, password)
        texts.add((refused.value.as_json()["code"], refused.value.message))
    assert {code for code, _ in texts} == {"authentication_failed"}
    assert len(texts) == 1
    assert (await sign_in(bench, "ann"))["user"] == "ann"
    for _ in range(5):
        assert await code_of(sign_in(bench, "ann", "wrong")) == "authentication_failed"
    assert await code_of(sign_in(bench, "ann")) == "too_many_attempts"

    def later(tx: Session) -> None:
        tx.execute(update(Attempt).values(at=utc_now() - timedelta(minutes=16)))

    await bench.database.write(later)
    assert (await sign_in(bench, "ann"))["user"] == "ann"
    failed = [
        row for row in await bench.journal() if row.operation == "access.sessions.login" and row.result == "failed"
    ]
    assert {row.target_name for row in failed} == {"ann", "nobody", "bob"}


async def test_a_password_that_ends(bench: Bench) -> None:
    await bench.user("root", admin=True)
    await bench.user("ann")
    await with_password(bench, "ann", password_expires_at=utc_now() + timedelta(days=3, hours=1))
    assert [warning["code"] for warning in (await sign_in(bench, "ann"))["warnings"]] == ["password_expiring"]
    await with_password(bench, "ann", password_expires_at=utc_now() - timedelta(days=1), grace_logins=1)
    assert [warning["code"] for warning in (await sign_in(bench, "ann"))["warnings"]] == ["password_grace_logins"]
    assert await code_of(sign_in(bench, "ann")) == "password_expired"


async def test_strangers_may_sign_in_and_nothing_else(bench: Bench) -> None:
    await bench.user("root", admin=True)
    ctx = Context(bench.house, bench.house.stranger(WHO, via="call"))
    for operation in ("hosts.list", "access.sessions.list", "runs.list", "access.sessions.logout"):
        with pytest.raises(NotSignedIn, match="ask: root"):
            await dispatch.call(ctx, operation)


async def test_changing_the_own_password(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    ann = await bench.user("ann")

    async def change(caller: Caller, old: str, new: str, who: str = "ann") -> Any:
        given = {"id": who, "original_password": old, "new_password": new}
        return await bench.call(caller, "access.users.change_password", given)

    assert await code_of(change(ann, "", SECOND)) == "state_conflict"
    await with_password(bench, "ann")
    token = (await sign_in(bench, "ann"))["token"]
    wrong = await code_of(change(ann, "not it", SECOND))
    assert wrong == "original_password_wrong"
    with pytest.raises(PermissionDenied):
        await change(root, FIRST, SECOND)
    for new in (FIRST, "short", "ann"):
        with pytest.raises(InvalidParameter):
            await change(ann, FIRST, new)
    assert await change(ann, FIRST, SECOND) == {"message": "success"}
    with pytest.raises(NotSignedIn):
        await by_token(bench, token)
    assert await code_of(sign_in(bench, "ann", FIRST)) == "authentication_failed"
    assert (await sign_in(bench, "ann", SECOND))["user"] == "ann"
    assert SECOND not in str([row.detail for row in await bench.journal()])
    with pytest.raises(ConsoleError) as numbered:
        await change(ann, "not it", FIRST)
    assert numbered.value.as_json()["source_codes"] == ["cmdb:300001"]


async def test_a_code_of_an_administrator_is_good_once(bench: Bench, tmp_path: Path) -> None:
    root = await bench.user("root", admin=True)
    await bench.user("ann", "vpn.manage_vpn_ca")
    helper = await bench.user("helper", "access.manage_user")
    made = await bench.call(root, "access.users.issue_code", {"id": "ann"}, confirm="yes")
    assert made["reset_code"].encode() not in all_bytes(tmp_path)
    with pytest.raises(PermissionGrantDenied):
        await bench.call(helper, "access.users.issue_code", {"id": "ann"}, confirm="yes")
    with pytest.raises(PermissionGrantDenied):
        await bench.call(helper, "access.users.update", {"id": "ann", "email": "helper@example.com"})
    with pytest.raises(REFUSED):
        await bench.call(await bench.caller("ann"), "access.users.issue_code", {"id": "ann"})
    with pytest.raises(ObjectNotFound):
        await bench.call(root, "access.users.issue_code", {"id": "nobody"})
    ctx = Context(bench.house, bench.house.stranger(WHO, via="call"))
    again = await bench.call(root, "access.users.issue_code", {"id": "ann"}, confirm="yes")
    old = {"code": made["reset_code"], "new_password": SECOND}
    assert await code_of(dispatch.call(ctx, "access.users.reset_password", old)) == "token_invalid"
    right = {"code": f" {again['reset_code']}\n", "new_password": SECOND}
    assert (
        await code_of(dispatch.call(ctx, "access.users.reset_password", right | {"new_password": "ann"}))
        == "invalid_parameter"
    )
    assert await dispatch.call(ctx, "access.users.reset_password", right) == {"message": "success"}
    assert await code_of(dispatch.call(ctx, "access.users.reset_password", right)) == "token_invalid"
    assert (await sign_in(bench, "ann", SECOND))["user"] == "ann"
    last = await bench.call(root, "access.users.issue_code", {"id": "ann"}, confirm="yes")

    def expire(tx: Session) -> None:
        tx.execute(update(PasswordReset).values(expires_at=utc_now()))

    await bench.database.write(expire)
    late = {"code": last["reset_code"], "new_password": FIRST}
    assert await code_of(dispatch.call(ctx, "access.users.reset_password", late)) == "token_invalid"
    reset = [row for row in await bench.journal() if row.operation == "access.users.reset_password"]
    assert [(row.target_name, row.result) for row in reset if row.result == "done"] == [("ann", "done")]


async def test_guessing_codes_is_limited(small_bench: Bench) -> None:
    await small_bench.user("root", admin=True)
    ctx = Context(small_bench.house, small_bench.house.stranger(WHO, via="call"))
    guess = {"code": "0" * 40, "new_password": SECOND}
    codes = [await code_of(dispatch.call(ctx, "access.users.reset_password", guess)) for _ in range(11)]
    assert codes == ["token_invalid"] * 10 + ["too_many_attempts"]


async def with_mail(bench: Bench, post: Post, **more: Any) -> None:
    root = await bench.caller("root")
    given = {"name": "smtp", "kind": "password", "username": MAIL_USER, "password": MAIL_PASSWORD}
    await bench.call(root, "access.credentials.create", given)
    bench.house.settings = Settings(
        mail_host="localhost",
        mail_port=post.port,
        mail_ca=str(post.ca),
        mail_credential="smtp",
        mail_sender="console@example.com",
        **more,
    )


async def test_a_forgotten_password_comes_by_mail(bench: Bench, post: Post) -> None:
    await bench.user("root", admin=True)
    await bench.user("ann")
    await with_password(bench, "ann", email="ann@example.com")
    ctx = Context(bench.house, bench.house.stranger(WHO, via="call"))
    asked = {"id": "ann", "email": "Ann@example.com"}
    with pytest.raises(NotSupported, match="issue_code"):
        await dispatch.call(ctx, "access.users.forget_password", asked)
    await with_mail(bench, post)
    answers = [
        await dispatch.call(ctx, "access.users.forget_password", given)
        for given in (asked, {"id": "ann", "email": "eve@example.com"}, {"id": "nobody", "email": "eve@example.com"})
    ]
    assert answers == [{"message": "success"}] * 3
    assert [to for _, to in post.envelopes] == [["Ann@example.com"]]
    assert post.logins == 3
    code = re.findall(r"^    ([0-9a-f]{40})\s*$", post.text(), re.MULTILINE)[0]
    await dispatch.call(ctx, "access.users.reset_password", {"code": code, "new_password": SECOND})
    assert (await sign_in(bench, "ann", SECOND))["user"] == "ann"
    for _ in range(1):
        await dispatch.call(ctx, "access.users.forget_password", asked)
    assert await code_of(dispatch.call(ctx, "access.users.forget_password", asked)) == "too_many_attempts"
    with pytest.raises(InvalidParameter):
        await dispatch.call(ctx, "access.users.forget_password", {"id": "ann", "email": "a\r\nBcc: eve@example.com"})
    assert code not in str([(row.detail, row.after) for row in await bench.journal()])


async def test_telling_people(bench: Bench, post: Post) -> None:
    await bench.user("root", admin=True)
    assert await notify(bench.house, "x", "y") == type(await notify(bench.house, "x", "y"))()
    bench.house.settings = Settings(notify_to=("ops@example.com",))
    assert "mail_host" in (await notify(bench.house, "x", "y")).problem
    await with_mail(bench, post, notify_to=("ops@example.com", "nobody@example.com"))
    told = await notify(bench.house, "task done\r\nBcc: eve@example.com", "It is done.")
    assert told.sent == ("ops@example.com",)
    assert "no such user" in told.problem
    (message,) = post.received
    assert message["Subject"] == "[opsconsole] task done  Bcc: eve@example.com"
    assert message["Bcc"] is None
    assert (await notify(bench.house, "s", "t", to=["bob@example.com"])).sent == ("bob@example.com",)
    bench.house.settings = replace(bench.house.settings, mail_credential="other")
    assert "mail_credential" in (await notify(bench.house, "s", "t")).problem
    bench.house.settings = replace(bench.house.settings, mail_credential="smtp", mail_port=1)
    assert "localhost:1" in (await notify(bench.house, "s", "t")).problem
