"""audit.verify, audit.anchor: is the journal whole, and noting where it ends."""

from __future__ import annotations

import asyncio
import subprocess

from sqlmodel import Session

from opsconsole.engine import anchors
from opsconsole.engine.audit import head_of
from opsconsole.engine.audit_verify import Anchor, verify
from opsconsole.engine.context import Context
from opsconsole.engine.decide import Subject
from opsconsole.engine.errors import HostAgentCallFailed, StateConflict
from opsconsole.engine.plan import Plan, Target
from opsconsole.engine.records import record_plan
from opsconsole.engine.registry import Change, Json, Nothing, Outcome, change, read

_VIEW = "module.audit.view_audit"


@read(
    "audit.verify",
    summary="Check that the journal is whole: edited, deleted, inserted, reordered, cut",
    permission=_VIEW,
)
async def verify_journal(ctx: Context, query: Nothing) -> Json:
    """The anchors are read before the table, so that a row written meanwhile is not missed as cut off."""
    places = ctx.house.settings.anchors

    def known() -> list[Anchor]:
        return [*anchors.read_home(ctx.house.home), *(found for place in places for found in anchors.read(place))]

    noted = await asyncio.to_thread(known)
    report = await ctx.database.read(lambda tx: verify(tx, ctx.house.audit_key, noted, set(places)))
    return report.as_json()


@change(
    "audit.anchor",
    summary="Note the newest head of the journal in the configured places off this machine",
    permission="module.audit.export_audit",
    kind="action",
)
class SendAnchor(Change[Nothing]):
    async def plan(self) -> Plan:
        places = self.ctx.house.settings.anchors
        if not places:
            raise StateConflict(
                "no place is configured; set anchors in settings.toml, for example file:/mnt/log/anchor"
            )
        targets = [
            Target("anchor", place, place, f"anchor:{place}", Subject("anchor", place), after={"place": place})
            for place in places
        ]
        return record_plan("audit.anchor", f"note the head in {', '.join(places)}", targets, self.input, undo=None)

    async def execute(self, target: Target) -> Json | None:
        head = await self.ctx.database.read(head_of)
        try:
            await asyncio.to_thread(anchors.send, target.id, head)
        except subprocess.CalledProcessError as error:
            reason = (error.stderr or b"").decode("utf-8", "replace").strip()
            raise HostAgentCallFailed(host=target.id, reason=f"git: {reason or error.returncode}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HostAgentCallFailed(host=target.id, reason=str(error)) from error
        return head

    async def verify(self, target: Target, effect: Json | None) -> Json | None:
        """Read back where that is possible; syslog cannot be asked."""
        head = effect or {}
        if target.id != "syslog":
            noted = await asyncio.to_thread(anchors.read, target.id)
            if not any(anchor.mac == head.get("mac") for anchor in noted):
                raise StateConflict(f"{target.id} does not hold the head that was just written there")
        return {"step": head.get("step"), "last_seq": head.get("last_seq")}

    def record(self, tx: Session, outcomes: list[Outcome]) -> Json:
        return {"anchored": [{"where": o.target.id, **(o.after or {})} for o in outcomes if o.state == "done"]}
