"""A plan as the operator reads it, and the ladder: what has to be typed before anything is done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from textual.content import Content

from screens.render.host import LEVELS, STALE_AFTER, glyph, span
from screens.text import Safe, content, join
from screens.widgets.roles import CONTENT_STYLES

MAX_TARGETS: Final = 2000
OBSERVED: Final = ("service", "service_instance")
_DIGEST: Final = re.compile("[0-9a-f]{32,}")
FEW_TARGETS: Final = 6
NAMED_TARGETS: Final = 20
MAX_DEPENDENTS: Final = 200
BREAK_GLASS: Final = "break-glass"
NOTHING: Final = Safe("")


@dataclass(frozen=True, slots=True)
class SecondPerson:
    """How the top rung can be taken: an own approval (`state` pending or approved), who could be asked, and whether
    the glass may be broken."""

    approval_id: str = ""
    state: str = ""
    decided_by: Safe = NOTHING
    eligible: tuple[Safe, ...] = ()
    break_glass: bool = False


NOBODY: Final = SecondPerson()


@dataclass(frozen=True, slots=True)
class Ladder:
    """What confirms a plan: `rung` 0 to 4, the text to type, whether a reason is asked, the digest of the plan, and at
    the top how another person comes in."""

    rung: int
    expect: str
    needs_reason: bool
    digest: str
    second: SecondPerson = NOBODY

    @property
    def takes_reason(self) -> bool:
        """Whether there is a field for a reason."""
        if self.rung == 4:
            return not self.approved and bool(self.second.eligible or self.second.break_glass)
        return self.rung == 3 or self.needs_reason

    @property
    def approved(self) -> bool:
        return self.second.state == "approved" and bool(self.second.approval_id)

    @property
    def takes_word(self) -> bool:
        """Whether there is a field for something to type."""
        return self.rung in (2, 3) or (self.rung == 4 and self.second.break_glass and not self.approved)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes with the call: the confirmation, the reason, and the digest of the plan that was shown. `ask` means to
    ask a second person instead of calling, `break_glass` to call without one."""

    confirm: str | None
    reason: str | None = None
    digest: str | None = None
    ask: bool = False
    break_glass: bool = False


def ladder(plan: Mapping[str, Any]) -> Ladder:
    """The ladder of a plan; a rung nobody knows is the strictest one."""
    rung = plan.get("rung")
    rung = rung if isinstance(rung, int) and 0 <= rung <= 4 else 4
    second = _second(plan) if rung == 4 else NOBODY
    expect, digest = str(plan.get("expect") or ""), str(plan.get("digest") or "")
    return Ladder(rung, expect, bool(plan.get("needs_reason")), digest, second)


def _second(plan: Mapping[str, Any]) -> SecondPerson:
    given, names = plan.get("approval"), plan.get("eligible")
    mine: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    return SecondPerson(
        approval_id=str(mine.get("id") or ""),
        state=str(mine.get("state") or ""),
        decided_by=Safe(mine.get("decided_by")),
        eligible=tuple(Safe(name) for name in names) if isinstance(names, list) else (),
        break_glass=plan.get("break_glass") is True,
    )


def asks(step: Ladder) -> Safe:
    """The sentence that says what to do."""
    if step.rung == 4:
        return _asks_second(step)
    if step.rung == 3:
        return join(
            [Safe("Type"), Safe(step.expect), Safe("and a reason to go on; esc leaves everything as it is.")], " "
        )
    if step.rung == 2:
        said = "(how many targets) and Enter; esc leaves everything as it is."
        return join([Safe("Type"), Safe(step.expect), Safe(said)], " ")
    return Safe("Enter does it, esc leaves everything as it is.")


def _asks_second(step: Ladder) -> Safe:
    second = step.second
    if step.approved:
        said = "approved just this. Enter does it, esc leaves everything as it is."
        return join([second.decided_by, Safe(said)], " ")
    parts = [Safe("This needs a second person.")]
    if second.state == "pending":
        parts.append(Safe("It is asked for and waits for"))
        parts.append(Safe(f"{_names(second)}: esc, and come back when it is decided."))
    elif second.eligible:
        parts.append(Safe(f"Give a reason and press Enter to ask: {_names(second)} could agree."))
    else:
        parts.append(Safe("Nobody else holds the permission on every target, so nobody can be asked."))
    if second.break_glass:
        parts.append(Safe(f"In an emergency type {BREAK_GLASS} and a reason: it is done, and others review it."))
    return join(parts, " ")


def _names(second: SecondPerson) -> Safe:
    if not second.eligible:
        return Safe("somebody entitled")
    *others, last = second.eligible
    return join([join(others, ", "), last], " or ") if others else last


def _judge_second(step: Ladder, typed: str, reason: str) -> Answer | Safe:
    second, digest = step.second, step.digest or None
    if step.approved:
        return Answer(second.approval_id, reason or None, digest)
    if typed and not (second.break_glass and typed == BREAK_GLASS):
        said = join([Safe(f"Expected {BREAK_GLASS} or nothing – typed"), Safe(typed)], " ")
        return said if second.break_glass else asks(step)
    if typed:
        wanted = Safe("A reason is needed; everybody will read it.")
        return Answer(None, reason, digest, break_glass=True) if reason else wanted
    if second.state == "pending" or not second.eligible:
        return asks(step)
    return Answer(None, reason, digest, ask=True) if reason else Safe("A reason is needed, for whoever decides.")


def judge(step: Ladder, typed: str, reason: str) -> Answer | Safe:
    """The answer, or a sentence saying what is expected instead.

    The digest goes along, so that what is done is what was shown and nothing that changed meanwhile.
    """
    typed, reason = typed.strip(), reason.strip()
    if step.rung == 4:
        return _judge_second(step, typed, reason)
    if step.rung >= 2 and not step.expect:
        return Safe("The plan does not say what confirms it, so it cannot be confirmed here.")
    if step.rung >= 2 and typed != step.expect:
        return join([Safe("Expected"), Safe(step.expect), Safe("– typed"), Safe(typed or "nothing")], " ")
    if (step.rung == 3 or step.needs_reason) and not reason:
        return Safe("A reason is needed; it is kept with the record of this change.")
    confirm = {0: None, 1: step.expect or "yes"}.get(step.rung, step.expect)
    return Answer(confirm, reason or None, step.digest or None)


def before_after(before: Mapping[str, Any], after: Mapping[str, Any], none: str = "?") -> Safe:
    """What changes on a target: `active: inactive → active`; what stays is not said. `none` is what null means there:
    not known of a unit, not set in a record of ours."""
    changes = []
    for name in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(name), after.get(name)
        if name not in after or old == new or _is_table(new):
            continue
        was = f"{word(old, none)} → " if name in before else ""
        changes.append(join([Safe(f"{str(name).replace('_', ' ')}:"), Safe(f"{was}{word(new, none)}")], " "))
    return join(changes, ", ")


def word(value: Any, none: str) -> Safe:
    """A value as one reads it."""
    if value is None or value == "":
        return Safe(none)
    if isinstance(value, bool):
        return Safe("yes" if value else "no")
    if isinstance(value, (list, tuple)):
        return join([word(one, none) for one in value], ", ") or Safe("none")
    text = str(value)
    return Safe(text[:8] + "…" if _DIGEST.fullmatch(text) else text)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _tables(after: Mapping[str, Any], none: str) -> list[Content]:
    """Lists of objects, one line each: the preview of an import."""
    lines = []
    for name, rows in after.items():
        if _is_table(rows):
            lines.append(_line(f"    {name}: {len(rows)}", "accent"))
            for row in rows[:MAX_TARGETS]:
                fields = [f"{key} {word(value, none)}" for key, value in row.items() if key != "name"]
                lines.append(content(f"      {Safe(row.get('name'))}  ", (join(fields, ", "), "dim")))
    return lines


def evidence(age: object, kind: str = "service") -> tuple[Safe, str]:
    """How old the evidence about a target is, and its role. What stands on a host must have been looked at; of other
    kinds our own record is the evidence."""
    if not isinstance(age, (int, float)):
        return (Safe("state unknown"), "unknown") if kind in OBSERVED else (Safe("our own record"), "muted")
    return Safe(f"seen {span(age)} ago"), "warn" if age > STALE_AFTER else "muted"


def as_task(options: Mapping[str, Any] | None) -> Safe:
    """How a worker goes through the targets; empty where none does it."""
    if options is None:
        return NOTHING
    waves = options.get("waves")
    parts = [f"in waves of {', '.join(str(wave) for wave in waves)}"] if isinstance(waves, list) and waves else []
    for name, said in (("limit", "{} at once at most"), ("stop_after", "begins nothing more after {} failed")):
        if options.get(name) is not None:
            parts.append(said.format(options[name]))
    return Safe(f"as a task: {', '.join(parts) or 'all at once'}")


def level_of(plan: Mapping[str, Any]) -> str:
    """The level that decides the colour; one nobody knows counts as prod, since it must not look harmless."""
    level = plan.get("level")
    if level is None and plan.get("environment") is None:
        return ""
    return str(level) if level in LEVELS else "prod"


def scope(plan: Mapping[str, Any]) -> Safe:
    """How much is touched: `500 targets on 30 hosts · 4 depend on them · oldest evidence 12m`."""
    targets = list(plan.get("targets") or [])
    hosts = {str(target.get("host")) for target in targets if target.get("host")}
    parts = [f"{len(targets)} target{'s' if len(targets) != 1 else ''}"]
    if len(targets) > 1 and hosts:
        parts[0] += f" on {len(hosts)} host{'s' if len(hosts) != 1 else ''}"
    if plan.get("dependents"):
        parts.append(f"{len(plan['dependents'])} depend on {'it' if len(targets) == 1 else 'them'}")
    ages = [age for target in targets if isinstance(age := target.get("evidence_age"), (int, float))]
    if len(targets) > 1 and ages:
        parts.append(f"oldest evidence {span(max(ages))}")
    return join(parts, " · ")


def plan_text(plan: Mapping[str, Any], plain: bool = False) -> Content:
    """The whole plan: scope, warnings, targets with what changes, how it is verified and undone, what depends on them.
    Long lists come last, so that they hide nothing; of many targets the names stand before.
    """
    targets = list(plan.get("targets") or [])
    listed = [line for target in targets[:MAX_TARGETS] for line in _target(target, plain)]
    if len(targets) > MAX_TARGETS:
        listed.append(_line(f"… and {len(targets) - MAX_TARGETS} more targets", "warn"))
    facts = [_pair("verified by", plan.get("verification") or "nothing", "")]
    if plan.get("why"):
        facts.append(_pair("asked because", plan["why"], ""))
    undo, reversible = plan.get("undo"), plan.get("reversible")
    fallback = "not said by the plan" if reversible else "nothing: this cannot be taken back"
    facts.append(_pair("undone by", undo or fallback, "" if undo else "warn" if reversible else "bad"))
    head = [_line(scope(plan), "accent")]
    head += [_line(f"{glyph('warn', plain)} {Safe(warning)}", "warn") for warning in plan.get("warnings") or []]
    hit = _dependents(list(plan.get("dependents") or []))
    body = [*listed, *facts, *hit]
    if len(targets) > FEW_TARGETS:
        body = [_names_of(targets), *facts, *hit, _line("one by one", "accent"), *listed]
    return Content("\n").join([*head, *body])


def _names_of(targets: list[Any]) -> Content:
    """Many targets in a few lines: those that everything is about, before what a long list would push out of sight."""
    shown = targets[:NAMED_TARGETS]
    same = {target.get("name") for target in targets}
    if len(same) == 1 and all(target.get("host") for target in targets):
        on = join([Safe(target.get("host")) for target in shown], ", ")
        names = join([Safe(same.pop()), on], " on ")
    else:
        names = join([_where(target) for target in shown], ", ")
    more = f" and {len(targets) - NAMED_TARGETS} more, below" if len(targets) > NAMED_TARGETS else ""
    return content("  ", (names, "bold"), more)


def _where(target: Mapping[str, Any]) -> Safe:
    return join([Safe(part) for part in dict.fromkeys((target.get("host"), target.get("name"))) if part], "/")


def _target(target: Mapping[str, Any], plain: bool) -> list[Content]:
    where = _where(target)
    none = "?" if str(target.get("kind") or "service") in OBSERVED else "not set"
    age, role = evidence(target.get("evidence_age"), str(target.get("kind") or "service"))
    change = before_after(target.get("before") or {}, target.get("after") or {}, none)
    environment = Safe(target.get("environment"))
    lines = [
        content(
            "  ",
            (where, "bold"),
            f"  {environment}" if environment else "",
            f"  {change}" if change else "",
            (f"  {age}", CONTENT_STYLES[role]),
        )
    ]
    lines += _tables(target.get("after") or {}, none)
    lines += [_line(f"    {glyph('warn', plain)} {Safe(text)}", "warn") for text in target.get("warnings") or []]
    return lines


def _dependents(names: list[Any]) -> list[Content]:
    """What else is hit, one each: that is what the plan is read for."""
    if not names:
        return []
    lines = [_line("would be hit too", "warn")]
    lines += [_line(f"  {Safe(name)}", "warn") for name in names[:MAX_DEPENDENTS]]
    if len(names) > MAX_DEPENDENTS:
        lines.append(_line(f"  … and {len(names) - MAX_DEPENDENTS} more", "warn"))
    return lines


def _line(text: str, role: str) -> Content:
    return content((Safe(text), CONTENT_STYLES[role]))


def _pair(label: str, value: object, role: str) -> Content:
    return content((f"{label}: ", "dim"), (Safe(value), CONTENT_STYLES[role]))
