"""The journal: its kinds, what narrows it, whether it is whole, and taking it away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from textual import work
from textual.binding import Binding, BindingType

from opsconsole.client import Client, Json
from screens.frame import events, reported
from screens.performing import Order, Performing
from screens.records import RecordsScreen
from screens.render.form import fields, schema
from screens.render.record import KINDS
from screens.text import Safe
from screens.widgets.form import Form
from screens.widgets.header import Heading
from screens.widgets.line import Line

_FILTERS: Final = ("operator", "operation", "target", "result", "time__gt", "time__lt", "run_id", "incident_id")


class AuditScreen(RecordsScreen):
    """`tab` goes through the kinds; `F` narrows in the house, over all lines; `/` among those shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "kind(1)", "next kind", id="audit.next_kind"),
        Binding("shift+tab", "kind(-1)", "kind before", id="audit.kind_before", show=False),
        Binding("F", "narrow_house", "narrow all", id="audit.narrow"),
        Binding("V", "verify", "verify", id="audit.verify"),
        Binding("X", "export", "export", id="audit.export"),
        Binding("A", "anchor", "anchor", id="audit.anchor", show=False),
    ]

    def __init__(self) -> None:
        super().__init__("journal")
        self.kind = ""
        self.filters: Json = {}

    def top(self) -> Line:
        return Line(id="heading")

    def on_mount(self) -> None:
        self._say_what()
        self.set_interval(1.0, self._heading)

    def asked(self) -> Json:
        return {**self.filters, **({"kind": self.kind} if self.kind else {})}

    def _heading(self) -> None:
        facts = self.console.facts
        who = Safe(f"{Safe(facts.get('user'))}@{Safe(facts.get('hostname'))}" if facts else "connecting …")
        nothing = Safe("")
        self.show_heading(
            Heading(Safe("journal"), who, nothing, "", 0, 0, 0, self.console.read_only, frozen=False, oldest=None)
        )

    def _say_what(self) -> None:
        """What the table is about stands in its title."""
        narrowed = " ".join(f"{name}:{value}" for name, value in self.filters.items())
        self.pane.heading = Safe(" · ".join(part for part in (f"journal: {KINDS[self.kind]}", narrowed) if part))
        self.pane.retitle()
        self._heading()

    def action_kind(self, steps: int) -> None:
        """The next kind of records, or the one before."""
        kinds = list(KINDS)
        self.kind = kinds[(kinds.index(self.kind) + steps) % len(kinds)]
        self._say_what()
        self.start_over()

    def action_back(self) -> None:
        if self.pane.step_back():
            return
        if self.filters:
            self.filters = {}
            self._say_what()
            self.start_over()

    def action_narrow_house(self) -> None:
        """A form with the filters of the house."""
        found = [field for field in fields(schema("audit.records.list")) if field.name in _FILTERS]

        async def submit(data: Json) -> Any:
            self.filters = {name: value for name, value in data.items() if value not in (None, "")}
            return data

        given = {name: str(value) for name, value in self.filters.items()}
        self.app.push_screen(Form("Narrow the journal", found, submit, given=given), self._narrowed)

    def _narrowed(self, answer: Any) -> None:
        if answer is not None:
            self._say_what()
            self.start_over()

    # Is it whole, and taking it away

    def action_verify(self) -> None:
        client = self.console.client
        if client is not None:
            self.verify(client)

    @work(group="verify", exclusive=True, exit_on_error=False)
    async def verify(self, client: Client) -> None:
        """Check the whole chain; the verdict is said, and shown with every finding."""
        from screens.shell.answer import AnswerScreen

        self.console.say("checking the whole journal …", "busy")
        with reported(self.console, "checking the journal"):
            report = await client.call("audit.verify", {})
            said, role = verdict(report)
            self.console.say(said, role)
            if role != "ok":
                self.app.push_screen(AnswerScreen("audit.verify", report))

    def action_export(self) -> None:
        client = self.console.client
        if client is not None:
            self.export(client)

    @work(group="export", exclusive=True, exit_on_error=False)
    async def export(self, client: Client) -> None:
        """What is shown here, all of it, into a private file."""
        from screens.shell import taking

        with reported(self.console, "exporting the journal"):
            async with events(client, "audit.export", self.asked()) as lines:
                first = await anext(lines, None)
                opened = taking.create(self.console, "journal", "jsonl")
                if opened is None:
                    return
                path, file = opened
                with file:
                    count = 0
                    line = first
                    while line is not None:
                        file.write(json.dumps(line) + "\n")
                        count += 1
                        line = await anext(lines, None)
            self.console.say(f"{count} records saved in {path}", "ok")

    def action_anchor(self) -> None:
        client = self.console.client
        if client is not None:
            self.send_anchor(client)

    @work(group="anchor", exclusive=True, exit_on_error=False)
    async def send_anchor(self, client: Client) -> None:
        """Note the newest head in the places of the settings."""
        with reported(self.console, "anchoring the journal"):
            await Performing(self.console, client).finish(Order("audit.anchor", {}, Safe("anchoring the journal")))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return None if action == "anchor" and self.console.read_only else True


def verdict(report: Mapping[str, Any]) -> tuple[Safe, str]:
    """One sentence about `audit.verify`, and its role."""
    rows, unanchored = report.get("rows"), report.get("unanchored_rows")
    if report.get("verdict") != "intact":
        kinds = ", ".join(str(kind) for kind in report.get("kinds") or ())
        return Safe(f"the journal is BROKEN: {kinds}"), "bad"
    anchor = report.get("anchor")
    where = anchor.get("where") if isinstance(anchor, Mapping) else None
    tail = f"{unanchored} rows newer than the anchor in {where}" if where else "no anchor off this machine"
    return Safe(f"the journal is intact: {rows} rows; {tail}"), "ok"
