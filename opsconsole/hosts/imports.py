"""hosts.import_ssh_config and hosts.import_inventory: the plan is the preview, the import is all or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, ValidationError
from sqlmodel import Session, col, select

from data.feed import announce
from data.models import Environment, Host
from opsconsole.engine import authorise
from opsconsole.engine.audit import Entry
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import InvalidParameter, NotSupported, RequiredFieldMissing
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import difference, record_plan, refuse_if_changed
from opsconsole.engine.registry import Change, Input, Json, Outcome, change, find
from opsconsole.hosts import changes, inventory, ssh_config
from opsconsole.hosts.fields import HostFields, Text, Type
from opsconsole.hosts.found import Found, FoundHost, refuse_problems
from opsconsole.hosts.lookup import LEVELS, HostFacts, facts_of

_BIGGEST = 5_000_000
Globs = Annotated[list[Annotated[str, Field(min_length=1, max_length=253)]], Field(max_length=100)]


class Import(Input):
    """`path` is a file on the machine the console runs on; `content` is the text itself, instead. `include` and
    `exclude` are globs over host names. `environment` and `host_type` are for hosts that are new."""

    path: Annotated[str | None, Field(max_length=4096)] = None
    content: str | None = None
    environment: Text | None = None
    host_type: Type = "PHY_HOST"
    include: Globs = []
    exclude: Globs = []


@dataclass(slots=True)
class _Preview:
    """What would happen, by host name; `facts` of those that exist."""

    create: list[FoundHost] = field(default_factory=list)
    update: list[tuple[HostFacts, Json, Json]] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)

    @property
    def counted(self) -> str:
        return f"{len(self.create)} new, {len(self.update)} changed, {len(self.unchanged)} as they are"


class _Import(Change[Import]):
    operation: ClassVar[str]
    created: Sequence[tuple[int, str]] = ()

    def read_file(self) -> tuple[Found, str]:
        """The hosts of the file and what to call it. Blocking."""
        raise NotImplementedError

    async def plan(self) -> Plan:
        found, where = await asyncio.to_thread(self.read_file)
        for host in found.hosts.values():
            _check(found, host)
        refuse_problems(found, where)
        self._hosts = [host for host in found.hosts.values() if self._wanted(host.name)]
        preview, environment = await self.ctx.database.read(self._preview)
        await authorise.subjects(self.ctx, find("hosts.update"), [facts.subject() for facts, _, _ in preview.update])
        levels = [facts.level for facts, _, _ in preview.update] + ([environment.level] if preview.create else [])
        target = Target(
            kind="import",
            id=where,
            name=where,
            resource="hosts-import",
            subject=Subject(
                "import",
                where,
                environment=environment.name,
                environment_read_only=environment.read_only and bool(preview.create),
            ),
            before=_listed_before(preview),
            after=_listed(preview),
        )
        return record_plan(
            self.operation,
            f"import {where}: {preview.counted}",
            [target],
            self.input,
            undo="hosts.delete and hosts.update, host by host",
            level=max(levels, default="dev", key=LEVELS.__getitem__),
            warnings=found.notes,
        )

    def _wanted(self, name: str) -> bool:
        include, exclude = self.input.include, self.input.exclude
        return (not include or any(fnmatchcase(name, glob) for glob in include)) and not any(
            fnmatchcase(name, glob) for glob in exclude
        )

    def _preview(self, tx: Session) -> tuple[_Preview, Environment]:
        name = self.input.environment or self.ctx.house.settings.default_environment
        environment = changes.find_environment(tx, name)
        known: dict[str, Host] = {}
        names = [host.name for host in self._hosts]
        for start in range(0, len(names), 500):
            rows = tx.exec(select(Host).where(col(Host.name).in_(names[start : start + 500]))).all()
            known |= {row.name: row for row in rows}
        facts = {fact.name: fact for fact in facts_of(tx, list(known.values()))}
        preview = _Preview()
        for host in self._hosts:
            if host.name not in known:
                preview.create.append(host)
                continue
            fact = facts[host.name]
            before, after = difference(changes.snapshot(known[host.name], fact), _fields(host, fact.tags))
            if after:
                preview.update.append((fact, before, after))
            else:
                preview.unchanged.append(host.name)
        return preview, environment

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        preview, environment = self._preview(tx)
        refuse_if_changed("what would be imported", outcomes[0].target.after, _listed(preview))
        created: list[tuple[int, str]] = []
        for found in preview.create:
            host = Host(name=found.name, host_type=self.input.host_type, environment_id=environment.id)
            for name, value in _fields(found, ()).items():
                if name != "tags":
                    setattr(host, name, value)
            tx.add(host)
            tx.flush()
            changes.set_tags(tx, host.id, sorted(found.tags))
            announce(tx, "host", host.id, "created")
            created.append((host.id, host.name))
        for fact, _, after in preview.update:
            row = tx.get(Host, fact.id)
            if row is not None:
                changes.apply_fields(tx, row, after)
        self.created = created
        self._recorded = preview
        return {
            "created": [{"id": key, "name": name} for key, name in created],
            "updated": [{"id": fact.id, "name": fact.name} for fact, _, _ in preview.update],
            "unchanged": len(preview.unchanged),
        }

    def audit_entries(self, outcomes: list[Outcome]) -> list[Entry]:
        """One row per host, as if each had been added or changed by hand."""
        by_name = {found.name: found for found in self._recorded.create}
        actor = self.ctx.caller.username
        rows = [
            _row(self.operation, actor, key, name, "add", {}, _fields(by_name[name], ())) for key, name in self.created
        ]
        return rows + [
            _row(self.operation, actor, fact.id, fact.name, "update", before, after)
            for fact, before, after in self._recorded.update
        ]


def _row(operation: str, actor: str, key: int, name: str, op_type: str, before: Json, after: Json) -> Entry:
    return Entry(
        operation=operation,
        actor=actor,
        result="done",
        kind="host",
        target_kind="host",
        target_id=str(key),
        target_name=name,
        detail={"op_type": op_type},
        before=before,
        after=after,
    )


def _fields(host: FoundHost, tags: Sequence[str]) -> Json:
    """What the file says, as columns; tags are added to those there are."""
    said: Json = {"address": host.address, "ssh_port": host.ssh_port, "ssh_user": host.ssh_user, "become": host.become}
    said |= {"location": host.location, "os_type": host.os_type, "description": host.description}
    fields = {name: value for name, value in said.items() if value is not None}
    if host.tags:
        fields["tags"] = sorted({*tags, *host.tags})
    return fields


def _check(found: Found, host: FoundHost) -> None:
    try:
        HostFields.model_validate(_fields(host, ()))
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            message = problem["msg"].removeprefix("Value error, ")
            found.wrong(host.line, f"{host.name}: {problem['loc'][0]}: {message}")


def _listed(preview: _Preview) -> Json:
    return {
        "create": [{"name": host.name, **_fields(host, ())} for host in preview.create],
        "update": [{"name": fact.name, **after} for fact, _, after in preview.update],
        "unchanged": preview.unchanged,
    }


def _listed_before(preview: _Preview) -> Json:
    return {"update": [{"name": fact.name, **before} for fact, before, _ in preview.update]}


def _text(change_: _Import, default: Path | None) -> tuple[str, str, Path | None]:
    """Text, its name, and where it lies (None for text given as content)."""
    given = change_.input
    if given.content is not None:
        if given.path is not None:
            raise InvalidParameter(field="content", reason="give path or content, not both")
        return given.content, "the given text", None
    path = Path(given.path).expanduser() if given.path is not None else default
    if path is None:
        raise RequiredFieldMissing(field="path")
    if change_.ctx.house.settings.captive:
        raise NotSupported(what="reading a file", reason="this console is captive; give the text as content")
    try:
        if path.stat().st_size > _BIGGEST:
            raise InvalidParameter(field="path", reason=f"{path} is bigger than {_BIGGEST} bytes")
        return path.read_text("utf-8"), str(path), path
    except OSError as error:
        raise InvalidParameter(field="path", reason=f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        reason = f"{path} is not UTF-8 text (byte {error.start}); iconv -f latin1 -t utf-8 may help"
        raise InvalidParameter(field="path", reason=reason) from error


@change(
    "hosts.import_ssh_config",
    summary="Import the hosts named in ssh_config; the plan is the preview",
    permission="module.host.add_host",
    input=Import,
)
class ImportSshConfig(_Import):
    operation = "hosts.import_ssh_config"

    def read_file(self) -> tuple[Found, str]:
        own = Path.home() / ".ssh" / "config"
        text, where, path = _text(self, own)
        read_by_ssh = path is not None and path.resolve() == own.resolve()
        return ssh_config.parse(text, base=path.parent if path else None, with_values=not read_by_ssh), where


@change(
    "hosts.import_inventory",
    summary="Import an Ansible inventory (INI or YAML); groups become tags; the plan is the preview",
    permission="module.host.add_host",
    input=Import,
)
class ImportInventory(_Import):
    operation = "hosts.import_inventory"

    def read_file(self) -> tuple[Found, str]:
        text, where, path = _text(self, None)
        if _is_yaml(text, path):
            from opsconsole.hosts.inventory_yaml import parse_yaml

            return parse_yaml(text), where
        return inventory.parse_ini(text), where


@change(
    "hosts.import_netbox",
    summary="Import the devices of a NetBox CSV export; role, site and tags become tags; the plan is the preview",
    permission="module.host.add_host",
    input=Import,
)
class ImportNetbox(_Import):
    operation = "hosts.import_netbox"

    def read_file(self) -> tuple[Found, str]:
        from opsconsole.hosts.netbox import parse

        text, where, _ = _text(self, None)
        return parse(text), where


def _is_yaml(text: str, path: Path | None) -> bool:
    if path is not None and path.suffix in {".yml", ".yaml"}:
        return True
    first = next((line for line in text.splitlines() if line.strip() and line.lstrip()[0] not in "#;"), "")
    return first.startswith("---") or (not first.startswith("[") and first.rstrip().endswith(":"))
