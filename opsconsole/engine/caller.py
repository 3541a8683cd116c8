"""Who is asking, with everything `decide()` needs to know about him, loaded once per request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Rights:
    """The union of what is granted to the user and to his roles; only true flags are here.

    `objects` maps an object kind (`host`, `app`, `business`) to object id → flags.
    """

    modules: frozenset[tuple[str, str]] = frozenset()
    objects: Mapping[str, Mapping[int, frozenset[str]]] = field(default_factory=dict)

    def on(self, kind: str, object_id: int | None) -> frozenset[str]:
        if object_id is None:
            return frozenset()
        return self.objects.get(kind, {}).get(object_id, frozenset())


@dataclass(frozen=True, slots=True)
class Caller:
    """`via` is screen, call or task; `source` the address he came from; `read_only` a reason or None; `on_behalf` the
    administrator who used --as; `login` the operating-system user who presented this one's token.

    `token` is the hash of the token he identified by, good until `until`; None for a login. Not `signed_in` is somebody
    who is no user: he may do what is public and nothing else.
    """

    user_id: int
    username: str
    roles: frozenset[str] = frozenset()
    role_ids: frozenset[int] = frozenset()
    enabled: bool = True
    rights: Rights = field(default_factory=Rights)
    via: str = "call"
    source: str = "local"
    read_only: str | None = None
    on_behalf: str | None = None
    login: str | None = None
    incident_id: str | None = None
    token: str | None = field(default=None, repr=False)
    until: datetime | None = None
    signed_in: bool = True

    @property
    def administrator(self) -> bool:
        return "@admin" in self.roles

    @property
    def persons(self) -> frozenset[str]:
        """Everybody who may have decided this: the user himself and who sits behind him."""
        return frozenset(name for name in (self.username, self.on_behalf, self.login) if name)

    def with_read_only(self, reason: str | None) -> Caller:
        return replace(self, read_only=reason)
