"""The top line: where we are, as whom, how much of the fleet answers, and what must not be overlooked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

from textual.content import Content

from screens.render.host import LEVELS, STALE_AFTER, Host, span
from screens.text import Safe, content
from screens.widgets.line import Line

NOTHING_WAITS: Final[Mapping[str, object]] = MappingProxyType({})
_STYLES: Final = {"prod": "bold reverse $error", "stage": "bold reverse $warning", "dev": "bold reverse $success"}


@dataclass(frozen=True, slots=True)
class Heading:
    """What the top line says. `oldest` is the age in seconds of the oldest reading of a host that is up."""

    title: Safe
    who: Safe
    environment: Safe
    level: str
    others: int
    up: int
    total: int
    read_only: Safe
    frozen: bool
    oldest: float | None


def fleet_heading(
    title: str,
    who: Safe,
    hosts: Iterable[Host],
    now: float,
    *,
    read_only: Safe,
    frozen: bool,
    shown: Iterable[Host] | None = None,
) -> Heading:
    """The heading over these hosts; the environment named is the one where a mistake costs most.

    `shown` are the hosts the list shows, where its filter hides some.
    """
    hosts = list(hosts)
    seen = hosts if shown is None else list(shown)
    ranked = sorted(seen, key=lambda host: LEVELS.index(host.level) if host.level in LEVELS else -1)
    worst = ranked[-1] if ranked else None
    ages = [now - host.seen.at for host in hosts if host.up and host.seen.at is not None]
    return Heading(
        title=Safe(title),
        who=who,
        environment=worst.environment if worst else Safe(""),
        level=worst.level if worst else "",
        others=max(len({host.environment for host in seen}) - 1, 0),
        up=sum(host.answers for host in hosts),
        total=len(hosts),
        read_only=read_only,
        frozen=frozen,
        oldest=max(ages, default=None),
    )


def badges(waiting: Mapping[str, object]) -> list[tuple[str, str]]:
    """What must not be overlooked, from `home.count`: open reviews, what he may decide, what he may do now, and that
    nobody keeps time. The glyph is there for who sees no colour."""

    def number(name: str) -> int:
        value = waiting.get(name)
        return value if isinstance(value, int) else 0

    reviews = number("open_reviews") or number("reviews") + number("my_reviews")
    found = (
        (reviews, "✖", "REVIEW" if reviews == 1 else "REVIEWS", "bold reverse $error"),
        (number("to_decide"), "▲", "TO APPROVE", "bold reverse $warning"),
        (number("mine_approved"), "●", "APPROVED", "bold reverse $success"),
    )
    shown = [(f" {sign} {count} {word} ", style) for count, sign, word, style in found if count]
    if waiting.get("timekeeper") is False:
        late = number("overdue")
        more, style = (f", {late} OVERDUE", "$error") if late else ("", "$warning")
        shown.append((f" ▲ NO TIMEKEEPER{more} ", f"bold reverse {style}"))
    return shown


def heading_text(heading: Heading, waiting: Mapping[str, object] = NOTHING_WAITS) -> Content:
    """The heading as one line, what matters most first, since a narrow window cuts its end."""
    parts: list[str | tuple[str, str]] = [(f" {heading.title} ", "bold")]
    if heading.environment:
        more = f" +{heading.others}" if heading.others else ""
        word = heading.environment.upper() if heading.level == "prod" else heading.environment
        parts += [(f" {word}{more} ", _STYLES.get(heading.level, "reverse")), " "]
    for badge in badges(waiting):
        parts += [badge, " "]
    if heading.read_only:
        parts += [(" READ-ONLY ", "bold reverse"), " "]
    if heading.frozen:
        parts += [(" FROZEN ", "bold reverse $warning"), " "]
    if heading.total:
        parts.append((f"hosts {heading.up}/{heading.total} up", "" if heading.up == heading.total else "$warning"))
    if heading.oldest is not None:
        role = "$warning" if heading.oldest > STALE_AFTER else "dim"
        parts.append((f" · {'stale' if heading.oldest > STALE_AFTER else 'fresh'} {span(heading.oldest)}", role))
    if heading.who:
        parts.append((f" · {heading.who}", "dim"))
    return content(*parts)


class HeaderLine(Line):
    """The top line of a screen that lies over the root of its mode: it says what the root's says."""

    LOOK_EVERY: ClassVar[float] = 1.0

    def __init__(self) -> None:
        super().__init__(id="heading")

    def on_mount(self) -> None:
        self.copy_root()
        self.set_interval(self.LOOK_EVERY, self.copy_root)

    def copy_root(self) -> None:
        """Show what the root of this mode shows now."""
        stack = self.app.screen_stack
        for line in stack[0].query("#heading").results(Line) if stack else ():
            if line is not self:
                self.show(line.render())
                for level in LEVELS:
                    self.screen.set_class(stack[0].has_class(f"-level-{level}"), f"-level-{level}")
