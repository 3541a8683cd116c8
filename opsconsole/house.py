"""The long-lived things an operation works with: database, keys, settings, the way to the fleet.

One per process. Opening it reads the settings, opens the database and makes the keys that are missing; nothing is
connected before somebody asks for a host.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sqlmodel import Session, select

from data import errors as data_errors
from data.database import Database
from data.feed import Feed, announce
from data.models import AuditHead, Role, Run, Setting, User, UserRole
from opsconsole.engine import approvals, audit, identity, locations, runs, settings
from opsconsole.engine.anchors import note_at_home
from opsconsole.engine.bugs import note
from opsconsole.engine.caller import Caller
from opsconsole.engine.errors import ConsoleError, DatabaseUnavailable, NotSignedIn, SchemaMismatch
from opsconsole.engine.ladder import Policy
from opsconsole.engine.users import administrators, load_caller
from opsconsole.tasks import awaiting, spawn

if TYPE_CHECKING:
    from drivers.ssh_types import Prompter
    from opsconsole.fleet import Fleet

SWEEP_SECONDS = 10.0
TASKS_SECONDS = 5.0
_AUDIT_KEY = "audit_key"


class House:
    """`home` isolates everything the program keeps. `prompter` answers the driver's questions (None: headless);
    `asked` says whether a question about this host is open; `wake_worker` starts a worker where none lives."""

    def __init__(self, home: Path, database: Database, configured: settings.Settings, audit_key: bytes) -> None:
        self.home = home
        self.database = database
        self.settings = configured
        self.audit_key = audit_key
        self.prompter: Prompter | None = None
        self.asked: Callable[[str], bool] = lambda host: False
        self.wake_worker: Callable[[House], None] = spawn.ensure
        self._swept = 0.0
        self._looked_after = 0.0
        awaiting.listen()

    @classmethod
    def open(cls, home: Path | None = None, url: str | None = None) -> Self:
        """Open the house at `home` (default OPSCONSOLE_HOME). Raises a ConsoleError that says what to do."""
        from data.keyring import KeyRing

        place = locations.make_private(home or locations.home())
        configured = settings.load(place / "settings.toml")
        try:
            database = Database.open(url or locations.database_url(configured.database_url), home=place)
            key = KeyRing(place).audit_key()
            _same_key(database, key)
        except data_errors.DataError as error:
            raise translate(error) from error
        return cls(place, database, configured, key)

    @cached_property
    def fleet(self) -> Fleet:
        from opsconsole.fleet import Fleet

        return Fleet(self)

    @cached_property
    def feed(self) -> Feed:
        """What everybody commits, for all who listen in this process."""
        return Feed(self.database)

    @property
    def policy(self) -> Policy:
        s = self.settings
        return Policy((("prod", s.budget_prod), ("stage", s.budget_stage), ("dev", s.budget_dev)))

    async def seal(self, secret: bytes, *, context: str) -> bytes:
        """Encrypt a secret under the data key; `context` says where it will be kept and is needed to open it."""
        from data.secrets import seal

        return await asyncio.to_thread(lambda: seal(self._data_key(create=True), secret, context=context))

    async def unseal(self, sealed: bytes, *, context: str) -> bytes:
        """Open a sealed secret. SecretsLocked when a passphrase protects the data key and nobody has unlocked it."""
        from data.secrets import open_sealed

        return await asyncio.to_thread(lambda: open_sealed(self._data_key(create=False), sealed, context=context))

    async def secrets_open(self) -> bool:
        """Whether what is sealed can be opened now, without asking anybody."""
        try:
            await asyncio.to_thread(self._data_key, create=False)
        except data_errors.SecretsLocked:
            return False
        except data_errors.DataError:
            return True
        return True

    def _data_key(self, *, create: bool) -> bytes:
        from data.keyring import KeyRing

        return KeyRing(self.home).data_key(create=create)

    async def begin_task(self, task_id: str, *, executor: str | None = None) -> None:
        """See to it that somebody performs this task: a worker, or as `executor` this very process, to its end."""
        if executor is not None:
            from opsconsole.tasks.attached import perform_here

            await perform_here(self, task_id, executor)
            return
        try:
            await asyncio.to_thread(self.wake_worker, self)
        except OSError as error:
            # The task is written, and whoever looks at it tries this again; `jobs list` says that nobody works.
            note(error)

    async def look_after_tasks(self) -> None:
        """Start a worker when tasks wait and none lives (it was killed, or the machine came up again)."""
        if self.database.read_only or time.monotonic() - self._looked_after < TASKS_SECONDS:
            return
        self._looked_after = time.monotonic()
        from opsconsole.tasks import workers

        if await self.database.read(workers.anything_pending):
            await asyncio.to_thread(self.wake_worker, self)

    async def close(self) -> None:
        if "fleet" in self.__dict__:
            await self.fleet.close()
        if "feed" in self.__dict__:
            await asyncio.to_thread(self.feed.close)
        self.database.close()

    async def caller(self, who: identity.Identity, *, via: str, as_user: str | None = None) -> Caller:
        """The caller behind an identity. On an empty database he becomes its first user and administrator.

        Raises NotSignedIn for somebody who is not in the database, and for `as_user` by a non-administrator.
        """
        about = {"via": via, "source": who.source, "login": who.login}
        real = await self.database.read(lambda tx: load_caller(tx, who.username, **about))
        if real is None:
            if not self.database.read_only:
                await self.database.write(lambda tx: _first_user(tx, who))
            real = await self.database.read(lambda tx: load_caller(tx, who.username, **about))
        if real is None:
            admins = await self.database.read(administrators)
            ask = ", ".join(admins) or "nobody"
            raise NotSignedIn(reason=f"{who.username} is not a user of this console; ask an administrator: {ask}")
        real = replace(real, token=who.token, until=who.until)
        if as_user is not None and as_user != real.username:
            real = await self._acting_as(real, as_user)
        if self.database.read_only:
            return real.with_read_only("the database has another schema version: opsconsole db upgrade")
        if self.settings.read_only:
            return real.with_read_only("settings.toml says read_only")
        return real

    async def _acting_as(self, real: Caller, as_user: str) -> Caller:
        if not (real.administrator and real.enabled):
            raise NotSignedIn(reason=f"--as is for administrators; {real.username} is none")
        about = {"via": real.via, "source": real.source, "login": real.login, "on_behalf": real.username}
        other = await self.database.read(lambda tx: load_caller(tx, as_user, **about))
        if other is None:
            raise NotSignedIn(reason=f"--as: there is no user {as_user}")
        return replace(other, token=real.token, until=real.until)

    def stranger(self, who: identity.Identity, *, via: str) -> Caller:
        """Somebody who is no user: he may sign in or ask for a new password, and nothing else."""
        caller = Caller(user_id=0, username=who.username, via=via, source=who.source, signed_in=False)
        return caller.with_read_only("the database cannot be written") if self.database.read_only else caller

    async def sweep(self, *, force: bool = False) -> list[str]:
        """Close the runs of dead processes and the requests nobody answered in time, at most every ten seconds. Cheap:
        one indexed look each when there are none. Answers the ids of the runs."""
        if self.database.read_only or (not force and time.monotonic() - self._swept < SWEEP_SECONDS):
            return []
        self._swept = time.monotonic()
        if not await self.database.read(_anything_to_sweep):
            return []

        def work(tx: Session) -> tuple[list[str], dict[str, object] | None]:
            now = audit.now()
            swept, expired = runs.sweep(tx, self.audit_key, now), approvals.expire(tx, self.audit_key, now)
            return swept, audit.head_of(tx) if swept or expired else None

        swept, head = await self.database.write(work)
        if head is not None:
            note_at_home(self.home, **head)  # type: ignore[arg-type]
        return swept


def _anything_to_sweep(tx: Session) -> bool:
    running = tx.exec(select(Run.id).where(Run.state == "running").limit(1)).first()
    return running is not None or approvals.any_expired(tx, audit.now())


def _same_key(database: Database, audit_key: bytes) -> None:
    """One database is signed with one key: a second jump host needs a copy of it, not a key of its own."""
    from data.keyring import fingerprint

    mine = fingerprint(audit_key)
    known = database.read_sync(lambda tx: tx.get(Setting, _AUDIT_KEY)) if database.schema_state != "empty" else None
    if known is None and not database.read_only:
        known = database.write_sync(lambda tx: _first_key(tx, mine))
    if known is not None and known.value != mine:
        database.close()
        raise data_errors.SecretsBroken(
            f"{database.where} is signed with another audit key than the one of this home",
            remedy="copy audit.key and key (or key.sealed) from the home of the first jump host into this one",
        )


def _first_key(tx: Session, mine: str) -> Setting:
    """Note the key unless another first start was faster."""
    tx.execute(select(AuditHead).where(AuditHead.id == 1).with_for_update())
    row = tx.get(Setting, _AUDIT_KEY)
    if row is None:
        row = Setting(key=_AUDIT_KEY, value=mine, updated_by="first start")
        tx.add(row)
    return row


def _first_user(tx: Session, who: identity.Identity) -> None:
    """Only on a database without any user, checked inside the writing transaction."""
    if tx.exec(select(User.id).limit(1)).first() is not None:
        return
    user = User(username=who.username)
    tx.add(user)
    tx.flush()
    admin = tx.exec(select(Role).where(Role.name == "@admin")).one()
    tx.add(UserRole(user_id=user.id, role_id=admin.id))
    announce(tx, "user", user.id, "created")


def translate(error: data_errors.DataError) -> ConsoleError:
    """The console's error for one of the data room's."""
    from opsconsole.engine.errors import SecretsLocked, StateConflict

    if isinstance(error, data_errors.SchemaMismatch):
        return SchemaMismatch(found=error.found, wanted=error.expected, remedy=error.remedy)
    if isinstance(error, data_errors.SecretsLocked):
        return SecretsLocked()
    if isinstance(error, data_errors.StaleRecord):
        return StateConflict(f"{error.message}; {error.remedy}")
    return DatabaseUnavailable(reason=f"{error.message}; {error.remedy}")
