"""One change from plan to result, for any screen: plan, ask what the plan asks for, call, show what came of it.

The house decides what confirms a change; here is only shown and carried. While the change runs its dialog counts the
seconds; left with esc the change goes on, and its result comes as a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from opsconsole.client import Client, Json, OperationFailed
from screens.frame import Console
from screens.render.plan import Answer, ladder
from screens.render.result import Outcome, outcomes, progress_word, tally, worst
from screens.text import Safe, join

BUSY_AFTER: Final = 0.4
"""Seconds a call takes before its dialog comes: most are done by then, and a dialog that flashes by only confuses."""
LOOK_EVERY: Final = 1.0

_PLAN_CHANGED: Final = Safe("The plan changed since it was shown; this is the new one.")
_AS_TASK: Final = Safe("a worker does it as a task; t shows how far it is")
_NEEDS_MORE: Final = Safe("More is asked for than was given; this is what is expected now.")


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted: an operation with its input, and how to say so (`restarting 3 services`).

    `narrowed` is the same for some targets only, by their keys `host/name`; without it only a run can be retried.
    `preview` shows the plan even where nothing has to be confirmed. `task` lets a worker do it: `waves`, `limit`,
    `stop_after`.
    """

    operation: str
    data: Json
    label: Safe
    narrowed: Callable[[Collection[str]], Order] | None = None
    preview: bool = False
    task: Json | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it. `answer` is the operation's own; `run_id` names the run, where one was begun, and `task_id` the
    task where a worker does it. With `asked` a second person was asked, and nothing is done yet."""

    answer: Any
    found: dict[str, Outcome] = field(default_factory=dict)
    run_id: str | None = None
    watched: bool = True
    task_id: str | None = None
    asked: bool = False


class Performing:
    """Carries orders out, in a worker of the app."""

    def __init__(self, console: Console, client: Client) -> None:
        self.console = console
        self.client = client

    async def run(self, order: Order) -> Done | None:
        """Plan, ask, call. None when the operator left it; raises `OperationFailed` when nothing was done at all."""
        notice: Safe | None = None
        expected: Json = {}
        silent: dict[str, Outcome] = {}
        while True:
            try:
                plan = {**await self.client.plan(order.operation, order.data), **expected}
            except OperationFailed as error:
                rest = _rest(order, error)
                if rest is None:
                    raise
                silent |= outcomes([{**target, "state": "skipped"} for target in error.targets])
                order, notice, expected = rest, Safe(f"Left out of this plan: {error.message}"), {}
                continue
            answer = await self._confirmed(order, plan, notice)
            if answer is None:
                return None
            if answer.ask:
                return await self._ask(order, answer)
            try:
                result, watched = await self._called(order, plan, answer)
            except OperationFailed as error:
                if error.code == "plan_stale" or (error.exit_status == 7 and error.code != "approval_required"):
                    changed = error.code == "plan_stale" or error.data.get("plan_digest") != plan.get("digest")
                    notice = _PLAN_CHANGED if changed else _NEEDS_MORE
                    expected = {} if changed else {k: error.data[k] for k in ("rung", "expect") if k in error.data}
                    continue
                found = _failed(error, plan)
                if not found:
                    raise
                return Done(None, found | silent, _run_id(error.data))
            task_id = _task_id(result)
            if task_id is not None:
                return Done(result, watched=watched, task_id=task_id)
            return Done(result, _outcomes(result, plan) | silent, _run_id(result), watched)

    async def report(self, order: Order, done: Done) -> list[str] | None:
        """Say what came of it; where there is more to say than `done`, show the list. The keys to try again, or None.

        A result nobody waited for is only said: a dialog that pops up would take keys meant for something else.
        """
        if done.asked:
            return None
        if done.task_id is not None:
            self.console.say(join([order.label, _AS_TASK], ": "), "busy")
            return None
        summary = join([order.label, tally(done.found.values())], ": ")
        role = worst(done.found.values())
        self.console.say(summary, role)
        if role == "ok" or not done.watched:
            return None
        from screens.widgets.result import ResultPane

        return await self.console.push_screen_wait(ResultPane(summary, done.found))

    async def finish(self, order: Order) -> Done | None:
        """`run`, then `report`, and again for what failed as long as the operator wants that."""
        done = await self.run(order)
        last = done
        while last is not None:
            again = await self.report(order, last)
            if not again:
                break
            if last.run_id is not None:
                order = retry_of(order, last.run_id)
            elif order.narrowed is not None:
                order = order.narrowed(again)
            else:
                break
            last = await self.run(order)
        return done

    async def each(self, label: Safe, orders: Mapping[Safe, Order]) -> list[Done]:
        """Several orders one after the other, each with its own plan, by what they are about; one report for all.

        What fails does not keep the others back; who leaves a plan leaves all that would come after it.
        """
        found: dict[str, Outcome] = {}
        done: list[Done] = []
        left, watched = False, True
        for name, order in orders.items():
            try:
                one = None if left else await self.run(order)
            except OperationFailed as error:
                found[name] = Outcome(Safe(""), name, "failed", Safe(error.message))
                continue
            if one is None:
                left = True
                found[name] = Outcome(Safe(""), name, "skipped", Safe("you left the plan"))
                continue
            done.append(one)
            watched = watched and one.watched
            found[name] = next(iter(one.found.values()), Outcome(Safe(""), name, "done", Safe("")))
        again = await self.report(Order("", {}, label), Done(None, found, watched=watched))
        if again:
            done += await self.each(label, {name: order for name, order in orders.items() if name in again})
        return done

    async def _confirmed(self, order: Order, plan: Json, notice: Safe | None) -> Answer | None:
        if ladder(plan).rung == 0 and not order.preview and notice is None:
            return Answer(None)
        from screens.widgets.plan import PlanPane

        return await self.console.push_screen_wait(PlanPane(plan, notice, task=order.task))

    async def _ask(self, order: Order, answer: Answer) -> Done:
        """Ask for the second person; the request is kept and everybody who may decide it hears of it."""
        wanted: Json = {"operation": order.operation, "input": order.data, "reason": answer.reason}
        if order.task is not None:
            wanted["task"] = order.task
        asked = await self.client.call("approvals.request", wanted)
        names = asked.get("eligible") if isinstance(asked, Mapping) else None
        who = join([Safe(name) for name in names or ()], ", ") or Safe("somebody entitled")
        self.console.say(f"{order.label}: asked for; it waits for {who} (9 approvals)", "ok")
        not_told = asked.get("not_told") if isinstance(asked, Mapping) else None
        if not_told:
            self.console.say(f"nobody was told outside the console: {Safe(not_told)}", "warn")
        return Done(asked, asked=True)

    async def _called(self, order: Order, plan: Json, answer: Answer) -> tuple[Any, bool]:
        """The operation's answer, and whether the operator waited for it."""
        self.console.say(f"{order.label} …", "busy")
        before = self.console.screen
        call = asyncio.ensure_future(
            self.client.call(
                order.operation,
                order.data,
                confirm=answer.confirm,
                reason=answer.reason,
                plan_digest=answer.digest,
                break_glass=answer.break_glass,
                task=order.task,
            )
        )
        if (await asyncio.wait({call}, timeout=BUSY_AFTER))[0]:
            return await call, self.console.screen is before
        # Who has gone on to something else meanwhile must not have a dialog take the keys meant for that.
        watched = self.console.screen is before and await self._watch(order, plan, call)
        if not watched:
            self.console.say(f"{order.label} goes on; what comes of it is said here and kept (!)", "busy")
        return await call, watched

    async def _watch(self, order: Order, plan: Json, call: asyncio.Future[Any]) -> bool:
        """Show the seconds, and how far it is, until it is done; False when the operator did not wait."""
        from screens.widgets.result import BusyPane

        total = len(plan.get("targets") or ())
        pane = BusyPane(order.label, total)
        left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self.console.push_screen(pane, lambda _: None if left.done() else left.set_result(None))
        while not call.done() and not left.done():
            await asyncio.wait({call, left}, timeout=LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
            if total > 1 and not call.done() and not left.done():
                pane.progress(await self._progress(plan))
        if left.done():
            return False
        while not left.done():
            if pane.is_active:  # a question may lie over it
                pane.dismiss(None)
            await asyncio.wait({left}, timeout=LOOK_EVERY)
        return True

    async def _progress(self, plan: Json) -> Safe:
        """How far the run of this plan is, as its record says; empty while that is not known."""
        query = {"operation": plan.get("operation"), "state": "running", "page_size": 10}
        try:
            page = await self.client.call("runs.list", query)
        except OperationFailed:
            return Safe("")
        runs = page.get("results") if isinstance(page, Mapping) else None
        same = [run for run in runs or () if run.get("summary") == plan.get("summary")]
        return progress_word(same[0].get("targets") or {}) if same else Safe("")


def retry_of(order: Order, run_id: str) -> Order:
    """The failed targets of a run again; what is unknown is never tried again by itself."""
    return Order("runs.retry", {"id": run_id, "states": ["failed"]}, join([order.label, Safe("again")], " "))


def _rest(order: Order, error: OperationFailed) -> Order | None:
    """What can be done of it without the targets that stand in the way, where the house says so."""
    rest = error.data.get("rest")
    if order.narrowed is None or not isinstance(rest, list):
        return None
    keys = {f"{Safe(item.get('host'))}/{Safe(item.get('name'))}" for item in rest if isinstance(item, Mapping)}
    return order.narrowed(keys)


def _run_id(answer: Any) -> str | None:
    found = answer.get("run_id") if isinstance(answer, Mapping) else None
    return str(found) if found else None


def _task_id(answer: Any) -> str | None:
    only = isinstance(answer, Mapping) and set(answer) == {"task_id"}
    return str(answer["task_id"]) if only else None


def _targets(plan: Mapping[str, Any], **more: Any) -> list[Json]:
    return [{"host": t.get("host"), "name": t.get("name"), **more} for t in plan.get("targets") or ()]


def _outcomes(result: Any, plan: Mapping[str, Any]) -> dict[str, Outcome]:
    """One by one where the answer says so; else all of it was done."""
    results = result.get("results") if isinstance(result, Mapping) and "run_id" in result else None
    return outcomes(results if isinstance(results, list) else _targets(plan, state="done"))


def _failed(error: OperationFailed, plan: Mapping[str, Any]) -> dict[str, Outcome]:
    """What became of each target; empty when the operation was refused as a whole."""
    if error.targets and all("state" in target for target in error.targets):
        return outcomes(error.targets)
    if error.exit_status == 6 and len(plan.get("targets") or ()) == 1:
        state = "unknown" if error.code == "outcome_unknown" else "failed"
        return outcomes(_targets(plan, state=state, error={"message": error.message}))
    return {}
