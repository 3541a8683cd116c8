"""Clients out of a CSV: all of them or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsconsole.engine.errors import ConfirmationRequired, ConsoleError, EmptyList, InvalidParameter, NameNotUnique
from tests.opsconsole.houses import Bench
from tests.opsconsole.vpn.support import ca, client, counts

GOOD = """name;email;city;expiration
branch-1;one@x.example;"Rio; centre";30
branch-2;two@x.example;;
"""


async def test_all_of_them(bench: Bench, tmp_path: Path) -> None:
    root = await bench.user("root", admin=True)
    made = await ca(bench, root)
    (tmp_path / "in.csv").write_text("\ufeff" + GOOD)
    given = {"ca_id": made["id"], "path": str(tmp_path / "in.csv"), "expiration": 99}
    with pytest.raises(ConfirmationRequired) as wanted:
        await bench.call(root, "vpn.clients.create_many", given)
    assert wanted.value.data["expect"] == "2"
    answer = await bench.call(root, "vpn.clients.create_many", given, confirm="2")
    one, two = answer["clients"]
    assert (one["name"], one["city"], two["name"], two["city"]) == ("branch-1", "Rio; centre", "branch-2", "")
    assert one["expiry_date"] < two["expiry_date"]
    assert [row.target_name for row in await bench.journal()][-2:] == ["branch-1", "branch-2"]
    assert (await counts(bench))[1] == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,email\nok,a@b.example\nbad_name,a@b.example\n", "line 3: name: only the characters"),
        ("name,email\nok,a@b.example\nok,c@d.example\n", "line 3: ok stands on line 2 already"),
        ("name,email\nok,a@b.example\nb,nowhere\n", "line 3: email: not an e-mail address"),
        ("name,email\nok,a@b.example\nb\n", "line 3: 1 columns, the first line has 2"),
        ("name,email,expiration\nok,a@b.example,0\n", "line 2: expiration: "),
        ("name,email,expiration\nok,a@b.example,7301\n", "line 2: expiration: "),
        ("name,email,expiration\nok,a@b.example,soon\n", "line 2: expiration: "),
        ("name,mail\nok,a@b.example\n", "line 1: no column email"),
        ("name,email,email\nok,a@b.example,c\n", "line 1: unknown or repeated"),
        ("name,email,password\nok,a@b.example,secret\n", "passwords do not belong into a file"),
        ('name,email\n"ok,a@b.example\n', "unexpected end of data"),
        ("name,email\nok,a@b.example\nused,a@b.example\n", "line 3: used exists already"),
        ("name,email\n" + "".join(f"bad_{n},a@b.example\n" for n in range(30)), "and 10 more"),
    ],
)
async def test_one_wrong_line_and_nothing_is_created(small_bench: Bench, text: str, says: str) -> None:
    root = await small_bench.user("root", admin=True)
    made = await ca(small_bench, root)
    await client(small_bench, root, made["id"], "used")
    before = await counts(small_bench)
    with pytest.raises((InvalidParameter, NameNotUnique)) as error:
        await small_bench.call(root, "vpn.clients.create_many", {"ca_id": made["id"], "csv": text})
    assert says in error.value.message
    assert error.value.field == "content"
    assert await counts(small_bench) == before


async def test_nothing_to_create(small_bench: Bench, tmp_path: Path) -> None:
    root = await small_bench.user("root", admin=True)
    made = await ca(small_bench, root)
    with pytest.raises(EmptyList):
        await small_bench.call(root, "vpn.clients.create_many", {"ca_id": made["id"], "content": "name,email\n\n"})
    for given in ({}, {"content": "x", "path": "y"}, {"path": str(tmp_path / "none.csv")}, {"content": "a\0b"}):
        with pytest.raises(InvalidParameter):
            await small_bench.call(root, "vpn.clients.create_many", {"ca_id": made["id"], **given})


async def test_one_that_fails_in_the_middle_takes_the_others_with_it(
    small_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from drivers import pki
    from drivers.pki_types import PkiError

    root = await small_bench.user("root", admin=True)
    made = await ca(small_bench, root)
    before = await counts(small_bench)
    real, seen = pki.issue, []

    def failing(*args: object, **more: object) -> object:
        seen.append(1)
        if len(seen) == 2:
            raise PkiError("ca", "the disk of randomness is empty")
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("opsconsole.vpn.signing.issue", failing)
    with pytest.raises(ConsoleError) as error:
        await small_bench.call(root, "vpn.clients.create_many", {"ca_id": made["id"], "csv": GOOD}, confirm="2")
    assert "randomness" in str(error.value.as_json())
    assert await counts(small_bench) == before
