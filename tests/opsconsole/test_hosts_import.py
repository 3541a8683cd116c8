"""Importing hosts: what the files say, the preview, all or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import opsconsole.hosts.imports
import opsconsole.hosts.reads  # noqa: F401
from opsconsole.engine.errors import InvalidParameter, PermissionDenied, RequiredFieldMissing
from opsconsole.hosts import inventory, ssh_config
from opsconsole.hosts.inventory_yaml import parse_yaml
from tests.opsconsole.houses import Bench

INI = """\
# the shop
jump ansible_host=127.0.0.2 ansible_user=root   # a comment
[web]
web[01:03].example.com ansible_port=2222
web9:2200
[db]
db-[a:c]
db-a ansible_host="127.0.0.3" ansible_become=false
[site:children]
web
db
[site:vars]
ansible_user=ops
ansible_port=22
[db:vars]
ansible_user=dba
http_port=80
"""

YAML = """\
all:
  hosts:
    jump: {ansible_host: 127.0.0.2, ansible_user: root}
  children:
    site:
      vars: {ansible_user: ops, ansible_port: 22}
      children:
        web:
          hosts:
            web[01:03].example.com: {ansible_port: 2222}
            web9:
              ansible_port: 2200
        db:
          vars:
            ansible_user: dba
          hosts:
            db-[a:c]:
            db-a: {ansible_host: 127.0.0.3, ansible_become: false}
"""

SSH = """\
Host *.internal
    User everywhere
Host bastion jump-2
    HostName=127.0.0.7
    Port 2200
    User first
    User second
Host db !db
Host app-1
    HostName %h.example.com
Match host x
    Port 99
Host *
    User last
"""


def facts(host: Any) -> tuple[Any, ...]:
    return (host.address, host.ssh_port, host.ssh_user, host.become, sorted(host.tags))


@pytest.mark.parametrize("found", [inventory.parse_ini(INI), parse_yaml(YAML)], ids=["ini", "yaml"])
def test_both_notations_say_the_same(found: Any) -> None:
    assert found.problems == []
    assert {name: facts(host) for name, host in found.hosts.items()} == {
        "jump": ("127.0.0.2", None, "root", None, []),
        **{f"web0{n}.example.com": (None, 2222, "ops", None, ["site", "web"]) for n in (1, 2, 3)},
        "web9": (None, 2200, "ops", None, ["site", "web"]),
        "db-a": ("127.0.0.3", 22, "dba", False, ["db", "site"]),
        "db-b": (None, 22, "dba", None, ["db", "site"]),
        "db-c": (None, 22, "dba", None, ["db", "site"]),
    }


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("[web\nx", [1]),
        ("[web:cousins]\nx", [1]),
        ("a\n-b\nc", [2]),
        ("web[3:1]", [1]),
        ("web[1:2", [1]),
        ("web[1:999999]", [1]),
        ("a ansible_port", [1]),
        ("a ansible_port=0", [1]),
        ("a ansible_host='{{ x }}'", [1]),
        ('a "open', [1]),
        ("[x:children]\ny", [2]),
        ("[x]\n[x:children]\ny\n[y:children]\nx", [1, 4]),
        ("a\n17\nb\n\x1bc", [2, 4]),
    ],
)
def test_ini_errors_have_their_lines(text: str, lines: list[int]) -> None:
    found = inventory.parse_ini(text)
    assert sorted({problem.line for problem in found.problems}) == lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("all: [", 1),
        ("all:\n  hosts:\n    - a\n", 3),
        ("all:\n  hosts:\n    a:\n  kitchen: {}\n", 4),
        ("all:\n  hosts:\n    a: {ansible_port: x}\n", 3),
        ("just text", 1),
    ],
)
def test_yaml_errors_have_their_lines(text: str, line: int) -> None:
    assert [problem.line for problem in parse_yaml(text).problems] == [line]


@given(st.text(max_size=200))
def test_any_text_gives_hosts_or_problems(text: str) -> None:
    for found in (inventory.parse_ini(text), parse_yaml(text), ssh_config.parse(text, with_values=True)):
        assert all(problem.line >= 1 and problem.message for problem in found.problems)
        assert all(name == host.name for name, host in found.hosts.items())


def test_ssh_config_names_and_values() -> None:
    found = ssh_config.parse(SSH, with_values=True)
    assert found.problems == []
    assert {name: facts(host)[:3] for name, host in found.hosts.items()} == {
        "bastion": ("127.0.0.7", 2200, "first"),
        "jump-2": ("127.0.0.7", 2200, "first"),
        "db": (None, None, "last"),
        "app-1": ("app-1.example.com", None, "last"),
    }
    names = ssh_config.parse(SSH, with_values=False)
    assert [facts(host)[:3] for host in names.hosts.values()] == [(None, None, None)] * 4


def test_ssh_config_includes_and_errors(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Host inner\n HostName 127.0.0.4\n")
    (tmp_path / "circle").write_text("Include circle\n")
    found = ssh_config.parse("Include more\nHost outer\n", base=tmp_path, with_values=True)
    assert {name: host.address for name, host in found.hosts.items()} == {"inner": "127.0.0.4", "outer": None}
    wrong = ssh_config.parse(
        'Host a\nPort\nHost "b\nHost -x\nPort 99999\nInclude circle\n', base=tmp_path, with_values=True
    )
    assert sorted({problem.line for problem in wrong.problems}) == [2, 3, 4, 6]


async def test_preview_then_import(bench: Bench, tmp_path: Path) -> None:
    root = await bench.user("root", admin=True)
    await bench.environment("live", "prod")
    await bench.host("web9", ssh_port=2200, ssh_user="ops", tags=("web", "site", "hand"))
    await bench.host("db-a", address="127.0.0.99", tags=("hand",))
    path = tmp_path / "inventory.ini"
    path.write_text(INI)
    data = {"path": str(path), "environment": "live", "exclude": ["db-[bc]"]}
    preview = await bench.plan(root, "hosts.import_inventory", data)
    after = preview["targets"][0]["after"]
    assert [host["name"] for host in after["create"]] == ["jump", *(f"web0{n}.example.com" for n in (1, 2, 3))]
    assert after["unchanged"] == ["web9"]
    assert after["update"] == [
        {
            "name": "db-a",
            "address": "127.0.0.3",
            "ssh_port": 22,
            "ssh_user": "dba",
            "become": False,
            "tags": ["db", "hand", "site"],
        }
    ]
    assert preview["targets"][0]["before"]["update"][0]["address"] == "127.0.0.99"
    assert (preview["level"], preview["rung"]) == ("prod", 0)
    assert (await bench.call(root, "hosts.list"))["count"] == 3

    answer = await bench.call(root, "hosts.import_inventory", data)
    assert ([row["name"] for row in answer["updated"]], len(answer["created"]), answer["unchanged"]) == (["db-a"], 4, 1)
    jump = await bench.call(root, "hosts.get", {"id": "jump"})
    assert (jump["address"], jump["ssh_user"], jump["environment"], jump["tags"]) == ("127.0.0.2", "root", "live", [])
    assert (await bench.call(root, "hosts.list", {"tag": "site"}))["count"] == 5
    rows = [(row.kind, row.target_name, (row.detail or {}).get("op_type")) for row in await bench.journal()]
    assert rows[0] == ("operation", str(path), None)
    assert ("host", "jump", "add") in rows
    assert ("host", "db-a", "update") in rows
    again = await bench.call(root, "hosts.import_inventory", data)
    assert again == {"created": [], "updated": [], "unchanged": 6}


async def test_a_half_wrong_file_changes_nothing(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    with pytest.raises(InvalidParameter) as wrong:
        await bench.call(root, "hosts.import_inventory", {"content": "good\n-bad\nfine ansible_host='a b'\n"})
    assert [line["line"] for line in wrong.value.data["lines"]] == [2, 3]
    assert "nothing was changed" in wrong.value.message
    assert (await bench.call(root, "hosts.list"))["count"] == 1
    for data, error in (
        ({}, RequiredFieldMissing),
        ({"path": "/no/such"}, InvalidParameter),
        ({"path": "/"}, InvalidParameter),
        ({"path": "/x", "content": "x"}, InvalidParameter),
    ):
        with pytest.raises(error):
            await bench.call(root, "hosts.import_inventory", data)


async def test_ssh_config_of_the_user_is_the_default(bench: Bench) -> None:
    root = await bench.user("root", admin=True)
    own = Path.home() / ".ssh"
    own.mkdir()
    (own / "config").write_text(SSH)
    await bench.call(root, "hosts.import_ssh_config", {"include": ["b*", "app-?"]})
    bastion = await bench.call(root, "hosts.get", {"id": "bastion"})
    assert (bastion["address"], bastion["ssh_port"], bastion["ssh_user"]) == (None, None, None)
    assert (await bench.call(root, "hosts.list"))["count"] == 3


async def test_changing_by_import_needs_the_right_on_each(bench: Bench) -> None:
    host = await bench.host("web")
    ann = await bench.user("ann", "host.add_host", hosts={host: "view_host"})
    await bench.call(ann, "hosts.import_inventory", {"content": "new\n"})
    with pytest.raises(PermissionDenied):
        await bench.call(ann, "hosts.import_inventory", {"content": "web ansible_host=127.0.0.66\n"})
