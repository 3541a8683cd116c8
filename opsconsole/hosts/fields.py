"""How a host is written on the outside: the fields one may give, and the object that is answered."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, StrictInt, StrictStr
from sqlmodel import Session

from data.models import Host
from opsconsole.engine.caller import Caller
from opsconsole.engine.canonical import utc_text
from opsconsole.engine.decide import Needs, decide
from opsconsole.engine.permissions import HOST_FLAGS
from opsconsole.engine.registry import Input, Json
from opsconsole.hosts.lookup import HostFacts, facts_of

HostType = Literal[
    "ALI_ECS", "PHY_HOST", "TENCENT_CVM", "TENCENT_CPM", "CLOUDSTACK", "CLOUDSTACK_OFFICE", "OPENSTACK"
]  # fmt: skip
_SPELLINGS = {"TECENT_CVM": "TENCENT_CVM", "TECENT_CPM": "TENCENT_CPM"}
_NAME = re.compile(r"\w[\w.:-]*", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][\w.@+-]*\$?", re.ASCII)
_TAG = re.compile(r"\w[\w.:/-]*")


def host_name(value: str) -> str:
    """A name that is no option of ssh, no id and no address with a scope."""
    if not _NAME.fullmatch(value):
        raise ValueError("letters, digits, . _ : - only, beginning with a letter, digit or _")
    if value.isdigit():
        raise ValueError("a name of digits alone would be taken for an id")
    return value


def _address(value: str) -> str:
    if value == "":
        return value
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        return host_name(value)


def _tag(value: str) -> str:
    if not _TAG.fullmatch(value):
        raise ValueError(f"{value!r} is no tag: letters, digits, . _ : / - only")
    return value


def _user(value: str) -> str:
    if value and not _USER.fullmatch(value):
        raise ValueError("not a login name")
    return value


def _line(value: str) -> str:
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in value):
        raise ValueError("control characters are not allowed")
    return value


def _one_or_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Ref = StrictInt | Annotated[StrictStr, Field(max_length=253, min_length=1)]
Name = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(host_name)]
Text = Annotated[str, Field(max_length=255), AfterValidator(_line)]
LongText = Annotated[str, Field(max_length=4000)]
Address = Annotated[str, Field(max_length=253), AfterValidator(_address)]
Login = Annotated[str, Field(max_length=64), AfterValidator(_user)]
Port = Annotated[int, Field(ge=1, le=65535)]
Cores = Annotated[int, Field(ge=1, le=100_000)]
MiB = Annotated[int, Field(ge=1, le=2**31 - 1)]
Tag = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_tag)]
Tags = Annotated[list[Tag], Field(max_length=100), BeforeValidator(_one_or_list)]
Type = Annotated[
    HostType, BeforeValidator(lambda value: _SPELLINGS.get(value, value) if isinstance(value, str) else value)
]
IpAddresses = Annotated[list[Address], Field(max_length=1), BeforeValidator(_one_or_list)]


class OneHost(Input):
    """A host by id or name."""

    id: Annotated[Ref, Field(validation_alias=AliasChoices("id", "host"))]


class HostFields(Input):
    """What may be given on creation and on change. An empty text clears it, null clears a reference or number.

    `ip_address` is the documents' list; the inventory of several addresses per host is kept with the networks, so that
    one is taken here and is the same as `address`.
    """

    cpu: Cores | None = None
    memory: MiB | None = None
    os_type: Text | None = None
    location: Text | None = None
    ip_address: Annotated[IpAddresses | None, Field(validation_alias=AliasChoices("ip_address", "ip_adress"))] = None
    description: LongText | None = None
    address: Address | None = None
    ssh_port: Port | None = None
    ssh_user: Login | None = None
    become: bool = True
    environment: Text | None = None
    tags: Tags = []

    def columns(self) -> Json:
        """The given fields by column name, emptied ones as None; environment and tags are not columns."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        for name in ("id", "name", "host_type", "environment", "tags", "version"):
            given.pop(name, None)
        if "ip_address" in given:
            listed = given.pop("ip_address")
            given.setdefault("address", listed[0] if listed else None)
        return {name: None if value == "" else value for name, value in given.items()}


def host_json(host: Host, facts: HostFacts, caller: Caller, now: datetime) -> Json:
    """The host object of every answer."""
    return {
        "id": host.id,
        "name": host.name,
        "host_type": host.host_type,
        "status": host.status,
        "os_status": host.os_status,
        "os_type": host.os_type,
        "cpu": host.cpu,
        "memory": host.memory,
        "location": host.location,
        "ip_address": [host.address] if host.address else [],
        "address": host.address,
        "description": host.description,
        "environment": facts.environment,
        "level": facts.level,
        "tags": list(facts.tags),
        "ssh_user": host.ssh_user,
        "ssh_port": host.ssh_port,
        "ssh_credential_id": host.ssh_credential_id,
        "become": host.become,
        "local": host.local,
        "protected": host.protected,
        "maintenance": maintenance_json(host, now),
        "dci_server_id": host.dci_server_id,
        "zabbix_groups": list(host.zabbix_groups),
        "zabbix_templates": list(host.zabbix_templates),
        "created_at": utc_text(host.created_at),
        "updated_at": utc_text(host.updated_at),
        "version": host.version,
        "available_actions": available_actions(facts, caller, now),
    }


def maintenance_json(host: Host | HostFacts, now: datetime) -> Json | None:
    """Who works on it, why, and until when; None when nobody does or the time is over."""
    until = host.maintenance_until
    if host.maintenance_by is None or (until is not None and until <= now):
        return None
    return {
        "by": host.maintenance_by,
        "reason": host.maintenance_reason,
        "until": utc_text(until) if until is not None else None,
    }


_FLAG_DANGER = {"delete_host": "high", "restart_host": "high", "deactivate_host": "high"}
_FLAG_NEEDS = tuple(
    (
        flag,
        Needs(
            operation=f"hosts.{flag}",
            permission=f"host.{flag}",
            kind="read" if flag == "view_host" else "write",
            danger=_FLAG_DANGER.get(flag, "low"),
            module="host",
        ),
    )
    for flag in HOST_FLAGS
)


def available_actions(facts: HostFacts, caller: Caller, now: datetime) -> dict[str, bool]:
    """Per host permission, whether the caller can use it on this host now: rights and freezes."""
    subject = facts.subject()
    return {flag: decide(caller, needs, subject, now=now).allowed for flag, needs in _FLAG_NEEDS}


def hosts_json(tx: Session, hosts: Sequence[Host], caller: Caller, now: datetime) -> list[Json]:
    """The objects of several rows, in order."""
    return [host_json(host, facts, caller, now) for host, facts in zip(hosts, facts_of(tx, hosts), strict=True)]
