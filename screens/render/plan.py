"""A plan as the operator reads it, and the ladder: what has to be typed before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from textual.content import Content

from screens.render.host import STALE_AFTER, glyph, span
from screens.text import Safe, content, join
from screens.widgets.roles import CONTENT_STYLES

MAX_TARGETS: Final = 200
MAX_DEPENDENTS: Final = 50


@dataclass(frozen=True, slots=True)
class Ladder:
    """What confirms a plan: `rung` 0 to 4, the text to type, whether a reason is asked, the digest of the plan."""

    rung: int
    expect: str
    needs_reason: bool
    digest: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes with the call: the confirmation, the reason, and the digest of the plan that was shown."""

    confirm: str | None
    reason: str | None = None
    digest: str | None = None


def ladder(plan: Mapping[str, Any]) -> Ladder:
    """The ladder of a plan; a rung nobody knows is the strictest one."""
    rung = plan.get("rung")
    rung = rung if isinstance(rung, int) and 0 <= rung <= 4 else 4
    return Ladder(rung, str(plan.get("expect") or ""), bool(plan.get("needs_reason")), str(plan.get("digest") or ""))


def asks(step: Ladder) -> Safe:
    """The sentence that says what to do."""
    if step.rung == 4:
        return Safe("This needs a second person. It can be asked for headless or in approvals; nothing is done here.")
    if step.rung == 3:
        return join(
            [Safe("Type"), Safe(step.expect), Safe("and a reason to go on; esc leaves everything as it is.")], " "
        )
    if step.rung == 2:
        return join([Safe("Type"), Safe(step.expect), Safe("(how many targets) to go on.")], " ")
    return Safe("Enter does it, esc leaves everything as it is.")


def judge(step: Ladder, typed: str, reason: str) -> Answer | Safe:
    """The answer, or a sentence saying what is expected instead.

    The digest goes along, so that what is done is what was shown and nothing that changed meanwhile.
    """
    typed, reason = typed.strip(), reason.strip()
    if step.rung == 4:
        return asks(step)
    if step.rung >= 2 and not step.expect:
        return Safe("The plan does not say what confirms it, so it cannot be confirmed here.")
    if step.rung >= 2 and typed != step.expect:
        return join([Safe("Expected"), Safe(step.expect), Safe("– typed"), Safe(typed or "nothing")], " ")
    if (step.rung == 3 or step.needs_reason) and not reason:
        return Safe("A reason is needed; it is kept with the record of this change.")
    confirm = {0: None, 1: step.expect or "yes"}.get(step.rung, step.expect)
    return Answer(confirm, reason or None, step.digest or None)


def before_after(before: Mapping[str, Any], after: Mapping[str, Any]) -> Safe:
    """What changes on a target: `active: inactive → active`; what stays is not said."""
    changes = []
    for name in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(name), after.get(name)
        if name in after and old != new:
            changes.append(
                join([Safe(f"{name}: {'?' if old is None else old}"), Safe("?" if new is None else new)], " → ")
            )
    return join(changes, ", ")


def evidence(age: object) -> tuple[Safe, str]:
    """How old the evidence of a plan is, and its role."""
    if not isinstance(age, (int, float)):
        return Safe("state unknown"), "unknown"
    return Safe(f"seen {span(age)} ago"), "warn" if age > STALE_AFTER else "muted"


def plan_text(plan: Mapping[str, Any], plain: bool = False) -> Content:
    """The whole plan: targets with what changes, what depends on them, warnings, how it is verified and undone."""
    parts: list[Content] = []
    targets = list(plan.get("targets") or [])
    several = "s" if len(targets) != 1 else ""
    parts.append(_line(f"{len(targets)} target{several}", "accent"))
    for target in targets[:MAX_TARGETS]:
        parts += _target(target, plain)
    if len(targets) > MAX_TARGETS:
        parts.append(_line(f"… and {len(targets) - MAX_TARGETS} more targets", "warn"))
    parts += _dependents(list(plan.get("dependents") or []))
    parts += [_line(f"{glyph('warn', plain)} {Safe(warning)}", "warn") for warning in plan.get("warnings") or []]
    parts.append(_pair("verified by", plan.get("verification") or "nothing", ""))
    if plan.get("why"):
        parts.append(_pair("asked because", plan["why"], ""))
    undo, reversible = plan.get("undo"), plan.get("reversible")
    fallback = "not said by the plan" if reversible else "nothing: this cannot be taken back"
    parts.append(_pair("undone by", undo or fallback, "" if undo else "warn" if reversible else "bad"))
    return Content("\n").join(parts)


def _target(target: Mapping[str, Any], plain: bool) -> list[Content]:
    where = join([Safe(part) for part in (target.get("host"), target.get("name")) if part], "/")
    age, role = evidence(target.get("evidence_age"))
    change = before_after(target.get("before") or {}, target.get("after") or {})
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
    lines += [_line(f"    {glyph('warn', plain)} {Safe(text)}", "warn") for text in target.get("warnings") or []]
    return lines


def _dependents(names: list[Any]) -> list[Content]:
    if not names:
        return []
    shown = join([Safe(name) for name in names[:MAX_DEPENDENTS]], ", ")
    more = f" and {len(names) - MAX_DEPENDENTS} more" if len(names) > MAX_DEPENDENTS else ""
    return [_pair(f"{len(names)} depend on it", f"{shown}{more}", "warn")]


def _line(text: str, role: str) -> Content:
    return content((Safe(text), CONTENT_STYLES[role]))


def _pair(label: str, value: object, role: str) -> Content:
    return content((f"{label}: ", "dim"), (Safe(value), CONTENT_STYLES[role]))
