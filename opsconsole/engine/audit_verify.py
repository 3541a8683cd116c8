"""Is the journal whole? Walks the chain and tells the ways apart in which it may not be.

`edited`, `reordered`: a row is not what was signed. `deleted`, `inserted`: numbers are missing or nobody signed them.
`chain`: a step does not follow from the one before. `tail_cut`: a head or an anchor knows more than the table.
An un-anchored tail is no damage: rows newer than the newest anchor off the box, which nobody could prove missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session, col, select

from data.models import Audit, AuditHead, AuditStep
from opsconsole.engine.audit import host_of, mac_of, row_content, step_content

_CHUNK = 2000
_MAX_FINDINGS = 200


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head noted elsewhere: `where` it is kept, and what it said."""

    where: str
    step: int
    last_seq: int
    mac: str


@dataclass(slots=True)
class Report:
    """`verdict`: intact | broken. Findings are `{kind, seq, step, message}`, at most 200 of them."""

    rows: int = 0
    steps: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)
    anchored_step: int = 0
    anchored_where: str | None = None
    unanchored_rows: int = 0
    last_row: int = 0
    counted: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, message: str, *, seq: int | None = None, step: int | None = None) -> None:
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append({"kind": kind, "seq": seq, "step": step, "message": message})

    def as_json(self) -> dict[str, Any]:
        kinds = sorted({finding["kind"] for finding in self.findings})
        return {
            "verdict": "broken" if self.findings else "intact",
            "kinds": kinds,
            "rows": self.rows,
            "steps": self.steps,
            "findings": self.findings,
            "anchor": {"where": self.anchored_where, "step": self.anchored_step},
            "unanchored_rows": self.unanchored_rows,
        }


def verify(tx: Session, key: bytes, anchors: list[Anchor], off_box: set[str]) -> Report:
    """Check the whole journal against its key, its head and every anchor. Memory stays bounded by one step."""
    report = Report()
    previous: AuditStep | None = None
    macs_at: dict[int, str] = {}
    wanted_steps = {anchor.step for anchor in anchors}
    rows = _rows(tx)
    row = next(rows, None)
    for step in _steps(tx):
        report.steps += 1
        _check_link(report, previous, step)
        row, found = _take(report, rows, row, step)
        _check_rows(report, key, step, found)
        _check_numbers(report, found)
        if step.step in wanted_steps:
            macs_at[step.step] = step.mac
        previous = step
        if found:
            report.last_row = found[-1].seq
    _tell_cut_from_deleted(report)
    while row is not None:
        report.rows += 1
        report.add("inserted", f"row {row.seq} belongs to no signed step", seq=row.seq)
        row = next(rows, None)
    _check_head(report, tx, previous)
    _check_anchors(report, anchors, off_box, previous, macs_at)
    return report


def _rows(tx: Session) -> Iterator[Audit]:
    after = -(2**62)
    while chunk := tx.exec(select(Audit).where(col(Audit.seq) > after).order_by(col(Audit.seq)).limit(_CHUNK)).all():
        yield from chunk
        after = chunk[-1].seq
        tx.expunge_all()


def _steps(tx: Session) -> Iterator[AuditStep]:
    after = -(2**62)
    while chunk := tx.exec(
        select(AuditStep).where(col(AuditStep.step) > after).order_by(col(AuditStep.step)).limit(_CHUNK)
    ).all():
        for step in chunk:
            tx.expunge(step)
        yield from chunk
        after = chunk[-1].step


def _check_link(report: Report, previous: AuditStep | None, step: AuditStep) -> None:
    expected_step = previous.step + 1 if previous else 1
    expected_seq = previous.last_seq + 1 if previous else 1
    if step.step != expected_step or step.first_seq != expected_seq:
        steps, rows = f"{expected_step}–{step.step - 1}", f"{expected_seq}–{step.first_seq - 1}"
        report.add("deleted", f"gap before step {step.step}: steps {steps}, rows {rows} are missing", step=step.step)
    elif step.prev_mac != (previous.mac if previous else ""):
        report.add("chain", f"step {step.step} does not follow from the one before", step=step.step)


def _take(
    report: Report, rows: Iterator[Audit], row: Audit | None, step: AuditStep
) -> tuple[Audit | None, list[Audit]]:
    """The rows of a step; rows below its range were signed by nobody."""
    found: list[Audit] = []
    while row is not None and row.seq <= step.last_seq:
        report.rows += 1
        if row.seq < step.first_seq:
            report.add("inserted", f"row {row.seq} belongs to no signed step", seq=row.seq)
        else:
            found.append(row)
        row = next(rows, None)
    return row, found


def _tell_cut_from_deleted(report: Report) -> None:
    """Rows missing up to the very end were not picked out: the tail was cut, and its steps forgotten."""
    cut = [f for f in report.findings if f["kind"] == "deleted" and f["seq"] is not None and f["seq"] > report.last_row]
    if cut:
        report.findings = [finding for finding in report.findings if finding not in cut]
        first, last = cut[0], cut[-1]
        report.add(
            "tail_cut",
            f"the steps know rows up to {last['seq']}, the table ends at row {report.last_row}",
            seq=first["seq"],
            step=first["step"],
        )


def _check_rows(report: Report, key: bytes, step: AuditStep, found: list[Audit]) -> None:
    before = len(report.findings)
    present = {row.seq for row in found}
    bad = [row for row in found if mac_of(key, row_content(row)) != row.mac]
    for seq in range(step.first_seq, step.last_seq + 1):
        if seq not in present:
            report.add("deleted", f"gap: row {seq} is missing", seq=seq, step=step.step)
    moved = _reordered(key, found, bad)
    for row in bad:
        if row.seq in moved:
            report.add("reordered", f"row {row.seq} was signed as row {moved[row.seq]}", seq=row.seq, step=step.step)
        else:
            report.add("edited", f"row {row.seq} is not what was signed", seq=row.seq, step=step.step)
    if len(report.findings) == before and mac_of(key, step_content(step, [row.mac for row in found])) != step.mac:
        report.add("chain", f"step {step.step} itself is not what was signed", step=step.step)


def _check_numbers(report: Report, found: list[Audit]) -> None:
    """What is not signed but made of what is: the number among the rows of a kind, and the host to be found by. They
    decide what a list shows, so a wrong one would hide a row. Behind a missing row all numbers are off, and that is
    said already."""
    for row in found:
        expected = report.counted.get(row.kind, 0) + 1
        report.counted[row.kind] = row.ordinal
        if report.findings:
            continue
        if row.ordinal != expected:
            report.add("edited", f"row {row.seq} is number {expected} of {row.kind}, not {row.ordinal}", seq=row.seq)
        elif row.host != host_of(row.detail):
            report.add("edited", f"row {row.seq} is listed under another host than it is about", seq=row.seq)


def _reordered(key: bytes, found: list[Audit], bad: list[Audit]) -> dict[int, int]:
    """Rows whose HMAC is right at another place: seq now → seq as signed.

    Tried for the places next to it and in its step.
    """
    moved: dict[int, int] = {}
    for row in bad[:_MAX_FINDINGS]:
        content = row_content(row)
        places = {(other.seq, other.step, other.position) for other in found}
        places |= {
            (row.seq + d, row.step + s, p)
            for d in (-1, 1)
            for s in (-1, 0, 1)
            for p in (row.position, row.position + d)
        }
        for seq, step, position in sorted(places):
            if mac_of(key, content | {"seq": seq, "step": step, "position": position}) == row.mac:
                moved[row.seq] = seq
    return moved


def _check_head(report: Report, tx: Session, last: AuditStep | None) -> None:
    head = tx.exec(select(AuditHead).where(AuditHead.id == 1)).one_or_none()
    at = last.step if last else 0
    if head is None:
        report.add("chain", "the head row is missing")
    elif head.step > at:
        report.add(
            "tail_cut", f"the head knows step {head.step} (row {head.last_seq}), the table ends at step {at}", step=at
        )
    elif head.step < at or head.mac != (last.mac if last else ""):
        report.add("chain", f"the head says step {head.step}, the table ends at step {at}", step=at)


def _check_anchors(
    report: Report, anchors: list[Anchor], off_box: set[str], last: AuditStep | None, macs_at: dict[int, str]
) -> None:
    end = last.step if last else 0
    for anchor in anchors:
        if anchor.step > end:
            report.add(
                "tail_cut",
                f"{anchor.where} knows step {anchor.step} (row {anchor.last_seq}), the table ends at step {end}",
            )
        elif anchor.step and macs_at.get(anchor.step) != anchor.mac:
            report.add("chain", f"step {anchor.step} is not the one noted in {anchor.where}", step=anchor.step)
    counted = [anchor for anchor in anchors if anchor.where in off_box and anchor.step <= end] if off_box else []
    newest = max(counted, key=lambda anchor: anchor.step, default=None)
    if newest is not None:
        report.anchored_step, report.anchored_where = newest.step, newest.where
    report.unanchored_rows = max(0, (last.last_seq if last else 0) - (newest.last_seq if newest else 0))
