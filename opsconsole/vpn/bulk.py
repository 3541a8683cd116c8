"""vpn.clients.create_many: clients out of a CSV text, all of them or none."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import AliasChoices, Field, ValidationError
from sqlmodel import Session, col, select

from data.feed import announce_all
from data.models import VpnClient
from opsconsole.engine.errors import ConsoleError, EmptyList, InvalidParameter, NameNotUnique
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Input, Json, Outcome, change
from opsconsole.vpn import keys
from opsconsole.vpn.clients import CreateClient, new_client, new_target, plan_of_new, whom
from opsconsole.vpn.fields import CLIENT_FIELDS, USUAL_DAYS, Days, Id, Passphrase, client_json, plain
from opsconsole.vpn.files import read_text
from opsconsole.vpn.lookup import CaFacts, ca_facts, find_ca
from opsconsole.vpn.signing import Made, Wanted, issue_all, settle_certificates

COLUMNS = ("name", *CLIENT_FIELDS, "expiration", "key_type")
_SHOWN = 20


class CreateMany(Input):
    """The first line names the columns: name and email at least; also description, country, province, city,
    organization, sector, expiration, key_type. No passwords: what is given here is kept with the run."""

    ca_id: Annotated[Id, Field(validation_alias=AliasChoices("ca_id", "caId"))]
    content: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=2_000_000,
            validation_alias=AliasChoices("content", "csv"),
            description="CSV text: a line of column names, then one line each",
        ),
    ] = None
    path: Annotated[
        str | None,
        Field(max_length=4096, description="a CSV file on the machine the console runs on, instead of a text"),
    ] = None
    expiration: Annotated[Days, Field(description="days, for lines that say nothing else")] = USUAL_DAYS
    ca_passphrase: Passphrase | None = None


@dataclass(frozen=True, slots=True)
class Line:
    number: int
    given: CreateClient = field(repr=False)


def parse(text: str, ca_id: int, expiration: int) -> list[Line]:
    """Every line as the input of a creation. Raises InvalidParameter naming each wrong line, twenty at most."""
    if "\0" in text:
        raise InvalidParameter(field="content", reason="it holds a NUL character and is no text")
    source = io.StringIO(text.removeprefix("\ufeff"), newline="")
    try:
        dialect = csv.Sniffer().sniff(text.partition("\n")[0], delimiters=",;\t")
    except csv.Error:
        dialect = csv.excel
    reader = csv.reader(source, delimiter=dialect.delimiter, strict=True)
    wrong: list[str] = []
    lines: list[Line] = []
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _check_header(header)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                _line(reader.line_num, header, cells, {"ca_id": ca_id, "expiration": expiration}, lines, wrong)
    except csv.Error as error:
        wrong.append(f"line {reader.line_num}: {error}")
    wrong += _repeated(lines)
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise InvalidParameter(field="content", reason=f"{'; '.join(wrong[:_SHOWN])}{more}; nothing was created")
    if not lines:
        raise EmptyList(field="content")
    return lines


def _check_header(header: list[str]) -> None:
    unheard = [name for name in header if name not in COLUMNS]
    missing = [name for name in ("name", "email") if name not in header]
    if unheard or missing or len(set(header)) < len(header):
        if "password" in unheard:
            reason = "passwords do not belong into a file: set each with vpn.clients.update"
            raise InvalidParameter(field="content", reason=reason)
        what = f"no column {', '.join(missing)}" if missing else f"unknown or repeated: {', '.join(unheard or header)}"
        raise InvalidParameter(field="content", reason=f"line 1: {what}; the columns are {', '.join(COLUMNS)}")


def _line(
    number: int, header: list[str], cells: list[str], common: Mapping[str, Any], lines: list[Line], wrong: list[str]
) -> None:
    if len(cells) != len(header):
        wrong.append(f"line {number}: {len(cells)} columns, the first line has {len(header)}")
        return
    given: dict[str, Any] = {name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()}
    if str(given.get("expiration", "0")).isdecimal() and "expiration" in given:
        given["expiration"] = int(given["expiration"])
    try:
        lines.append(Line(number, CreateClient.model_validate({**common, **given})))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        wrong.append(f"line {number}: {first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}")


def _repeated(lines: list[Line]) -> list[str]:
    seen: dict[str, int] = {}
    found = []
    for line in lines:
        before = seen.setdefault(line.given.name, line.number)
        if before != line.number:
            found.append(f"line {line.number}: {line.given.name} stands on line {before} already")
    return found


@change(
    "vpn.clients.create_many",
    summary="Create VPN clients from a CSV text: all of them, or none when one line is wrong",
    permission="module.vpn.create_vpn_client",
    input=CreateMany,
    bulk=True,
    objects=("vpn_client",),
)
class CreateSeveral(Change[CreateMany]):
    concurrency = 500
    _ca: CaFacts
    _lines: dict[str, Line]
    _work: asyncio.Task[None] | None = None
    _wanted: dict[str, Wanted]
    _made: dict[str, Made]

    async def plan(self) -> Plan:
        given = self.input
        lines = await asyncio.to_thread(self._read)
        self._lines = {line.given.name: line for line in lines}

        def work(tx: Session) -> CaFacts:
            ca = ca_facts(tx, find_ca(tx, given.ca_id))
            _refuse_taken(tx, self._lines)
            return ca

        self._ca = ca = await self.ctx.database.read(work)
        keys.check_at_hand(ca, plain(given.ca_passphrase))
        targets, warnings = await asyncio.to_thread(self._targets)
        more = [f"and {len(warnings) - _SHOWN} warnings more"] if len(warnings) > _SHOWN else []
        return record_plan(
            "vpn.clients.create_many",
            f"create {len(targets)} VPN clients under {ca.name}",
            targets,
            given,
            undo="vpn.clients.revoke_many",
            level=ca.level,
            warnings=[*warnings[:_SHOWN], *more],
        )

    def _read(self) -> list[Line]:
        given = self.input
        if (given.content is None) == (given.path is None):
            raise InvalidParameter(field="content", reason="give content or path, one of them")
        text = given.content if given.content is not None else read_text(self.ctx.house, given.path or "")
        return parse(text, given.ca_id, given.expiration)

    def _targets(self) -> tuple[list[Target], list[str]]:
        targets: list[Target] = []
        warnings: list[str] = []
        now = self.ctx.now()
        for name, line in self._lines.items():
            one = line.given
            try:
                after, said = plan_of_new(self._ca, name, one.email, one, one.expiration, now)
            except InvalidParameter as error:
                raise InvalidParameter(field="content", reason=f"line {line.number}: {error.message}") from error
            targets.append(new_target(self._ca, name, after))
            warnings += said
        return targets, warnings

    async def execute(self, target: Target) -> None:
        """The first one makes all of them; if that fails, every one of them has failed."""
        if self._work is None:
            self._work = asyncio.create_task(self._make_all(), name="create VPN clients")
        await asyncio.shield(self._work)

    async def _make_all(self) -> None:
        self._wanted = {
            name: Wanted(whom(name, line.given.email, line.given), line.given.expiration, line.given.key_type)
            for name, line in self._lines.items()
        }
        made = await issue_all(self.ctx, self._ca, plain(self.input.ca_passphrase), list(self._wanted.values()))
        self._made = dict(zip(self._wanted, made, strict=True))

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        if len(outcomes) < len(self._lines) or any(outcome.state != "done" for outcome in outcomes):
            raise _first_error(outcomes)
        _refuse_taken(tx, self._lines)
        rows = {
            name: new_client(
                self._ca, self._made[name], {column: getattr(line.given, column) for column in ("name", *CLIENT_FIELDS)}
            )
            for name, line in self._lines.items()
        }
        tx.add_all(list(rows.values()))
        tx.flush()
        settle_certificates(tx, [(self._made[name], self._wanted[name], row.id) for name, row in rows.items()])
        announce_all(tx, "vpn_client", [row.id for row in rows.values()], "created")
        for outcome in outcomes:
            outcome.target = replace(outcome.target, id=str(rows[outcome.target.name].id))
        return {"clients": [client_json(rows[outcome.target.name], self.ctx.now()) for outcome in outcomes]}


def _first_error(outcomes: list[Outcome]) -> ConsoleError:
    """All or none: one that did not get made takes the others with it."""
    bad = next((outcome for outcome in outcomes if outcome.error), None)
    said = bad.error["message"] if bad is not None and bad.error else "it was interrupted"
    name = bad.target.name if bad is not None else "one of them"
    return InvalidParameter(field="content", reason=f"{name}: {said}; nothing was created")


def _refuse_taken(tx: Session, lines: Mapping[str, Line]) -> None:
    names = list(lines)
    taken: list[str] = []
    for start in range(0, len(names), 500):
        taken += tx.exec(select(VpnClient.name).where(col(VpnClient.name).in_(names[start : start + 500]))).all()
    if taken:
        shown = "; ".join(f"line {lines[name].number}: {name} exists already" for name in sorted(taken)[:_SHOWN])
        more = f" and {len(taken) - _SHOWN} more" if len(taken) > _SHOWN else ""
        raise NameNotUnique(f"{shown}{more}; nothing was created", field="content", entity="VPN client", name=taken[0])
