"""Input models of the services operations, and names of units the way people write them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from drivers.systemd_names import valid_unit_name
from opsconsole.engine.registry import Input

_SHOWN = 60


def _service_name(value: str) -> str:
    """`nginx`, `nginx.service`, `work@a`, `openvpn`; anything systemd would not take is refused here already."""
    full = value if value.endswith(".service") else f"{value}.service"
    stem = full.removesuffix(".service")
    if valid_unit_name(full) or (stem.endswith("@") and valid_unit_name(f"{stem}x.service")):
        return value
    shown = repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "…")
    raise ValueError(f"{shown} is no name of a service: letters, digits and :-_.\\@ only, at most 255 characters")


ServiceName = Annotated[str, AfterValidator(_service_name), Field(min_length=1, description="unit, for example nginx")]
HostRef = Annotated[int | str, Field(description="host by name or id")]


class Item(Input):
    """One service on one host."""

    host: HostRef = "local"
    name: ServiceName


class ListServices(Input):
    main: bool = Field(False, description="only main services")
    host: HostRef | None = Field(None, description="one host; absent = all visible hosts")
    hosts: list[HostRef] | None = Field(None, description="several hosts")
    cached: bool = Field(False, description="the last known state from the database, without asking the hosts")


class OneService(Input):
    name: ServiceName
    host: HostRef = Field("local", description="host by name or id")


class OneInstance(OneService):
    instance_name: str = Field(min_length=1, max_length=255, description="instance of the service")


class ServiceTargets(Input):
    """One service (`name`, `host`) or several (`items`)."""

    name: ServiceName | None = None
    host: HostRef = Field("local", description="host by name or id")
    items: list[Item] | None = Field(None, description="several: [{host, name}]", max_length=20_000)
    limit: int = Field(20, ge=1, le=200, description="how many targets at a time")


Action = Literal["start", "restart", "stop", "enable", "disable"]


class ServiceAction(ServiceTargets):
    action: str = Field(description="start, restart, stop, enable or disable")


class Watch(Input):
    hosts: list[HostRef] | None = Field(None, description="absent = all visible hosts")
    interval: float = Field(5.0, ge=0.5, le=3600, description="seconds between two looks at a host")


class FollowItem(Input):
    host: HostRef = "local"
    name: ServiceName | None = Field(None, description="absent = the whole journal of the host")


class FollowJournal(Input):
    host: HostRef = Field("local", description="host by name or id")
    name: ServiceName | None = Field(None, description="absent = the whole journal of the host")
    items: list[FollowItem] | None = Field(None, description="several sources: [{host, name}]", max_length=200)
    lines: int = Field(200, ge=0, le=100_000, description="lines before now")
    priority: int | None = Field(None, ge=0, le=7, description="this and more important ones (0 emerg … 7 debug)")
    since: float | None = Field(None, description="Unix seconds")
    until: float | None = Field(None, description="Unix seconds")
    after_cursor: str | None = Field(None, description="go on behind this cursor (one source only)")
    follow: bool = Field(True, description="wait for new lines")
