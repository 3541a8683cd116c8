"""An operation is declared once, beside the code that does it; everything else is made from the declaration.

    @read("hosts.list", summary=…, permission="host.view_host", input=ListHosts)
    async def list_hosts(ctx: Context, query: ListHosts) -> Json: …

    @change("services.restart", summary=…, permission=…, input=ServiceTargets, danger="high")
    class Restart(Change[ServiceTargets]): …

Modules are imported on use: `find()` looks an id up in the generated index and imports only the module it names.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from opsconsole.engine.decide import Needs
from opsconsole.engine.errors import NotSupported, ObjectNotFound
from opsconsole.engine.permissions import module_of

if TYPE_CHECKING:
    from sqlmodel import Session

    from opsconsole.engine.audit import Entry
    from opsconsole.engine.context import Context
    from opsconsole.engine.plan import Plan, Target

Kind = Literal["read", "write", "action", "task"]
Danger = Literal["none", "low", "high"]
Json = dict[str, Any]


class Input(BaseModel):
    """Base of every input model: unknown fields are refused, so that a typing error never means "all"."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=2_000_000)

    def shown(self) -> Json:
        """What the record of a run keeps of it; secret fields are hidden."""
        return self.model_dump(mode="json", exclude_unset=True)


class Nothing(Input):
    """An operation without input."""


I = TypeVar("I", bound=Input)  # noqa: E741 - the usual name of an input
ReadFunction = Callable[["Context", Any], Awaitable[Any]]
StreamFunction = Callable[["Context", Any], AsyncIterator[Json]]
BecomesFunction = Callable[["Context", Any], Awaitable[tuple[str, Json]]]


@dataclass(slots=True)
class Outcome:
    """What became of one target. `state`: done | failed | unknown | skipped. `after` is what was read back."""

    target: Target
    state: str = "done"
    before: Json | None = None
    after: Json | None = None
    error: Json | None = None

    def as_json(self) -> Json:
        return {
            "kind": self.target.kind,
            "id": self.target.id,
            "name": self.target.name,
            "host": self.target.host,
            "state": self.state,
            "after": self.after,
            "error": self.error,
        }


class Change(Generic[I]):
    """One change on its way through the house. Subclasses plan, do, verify and record; the engine does the rest.

    `plan` is a pure read. `execute` and `verify` are called once per target, at most `concurrency` at a time, outside
    any transaction; what they raise becomes that target's error. `record` runs inside the one transaction that also
    writes the audit rows, after every target has ended, and returns the answer of a single, successful call; it may be
    run a second time after a lost lock, so what it keeps on `self` it must set and not add to.

    `audit_kind` and `op_type` are those of the journal's projection a successful change belongs to (`host`, `add`).
    """

    concurrency: int = 20
    resumes: ClassVar[bool] = False
    """Whether `execute` may be called again for a target that was in flight when a worker died: all it does attaches to
    what was begun (`TaskWork.detached`) or is proven by a look. Otherwise such a target is unknown."""
    many_as_task: ClassVar[bool] = False
    """With more targets than a handful (the setting `task_above`) a worker performs it as a task."""
    audit_kind: ClassVar[str] = "operation"
    op_type: ClassVar[str] = ""

    def __init__(self, ctx: Context, given: I) -> None:
        self.ctx = ctx
        self.input = given

    async def plan(self) -> Plan:
        raise TypeError(f"{type(self).__name__} does not plan")

    async def execute(self, target: Target) -> Json | None:
        """Do it; the answer is handed to `verify`. Changes of our own database need nothing here."""
        return None

    async def verify(self, target: Target, effect: Json | None) -> Json | None:
        """Read back by other evidence than the command's return code; the answer is the state after."""
        return dict(target.after)

    async def proven(self, target: Target, before: Json) -> Json | None:
        """Evidence that what a worker had begun before it died was done: the state after, by a look that `plan` has
        just taken and the state before, as it was recorded. None: nothing proves it, and the target is unknown."""
        return None

    async def settle(self, outcomes: list[Outcome]) -> None:
        """After the last target and before the record: look again at what others are looking at, too."""

    def record(self, tx: Session, outcomes: list[Outcome]) -> Any:
        """Write the change. Nothing to write for changes that live only on a host."""
        return {}

    async def told(self, answer: Any) -> None:
        """After the commit: tell those outside who want to know. It is done by now, so nothing may be raised."""

    def audit_entries(self, outcomes: list[Outcome]) -> list[Entry]:
        """Journal rows beside the one per target (one per flag granted), asked for after `record`. Who, where from,
        reason, run and plan are filled in by the engine."""
        return []

    @classmethod
    def narrow(cls, given: Json, targets: list[Json]) -> Json:
        """The input as given, for these targets (`{kind, id, name, host}`) alone: what `runs.retry` runs again."""
        raise NotSupported(what="a retry", reason="this operation cannot be repeated for some of its targets")


@dataclass(frozen=True, slots=True)
class Operation:
    """A declaration. `objects` are the kinds it acts on (menus and palette), `key` its key on their screen.

    `becomes` is set on an operation that stands for another one (`runs.retry`): it answers that one's id and input;
    with `as_task` that one is performed by a worker. Operations of kind `task` always are.
    """

    id: str
    summary: str
    permission: str
    kind: Kind
    danger: Danger
    input: type[Input]
    module: str
    reversible: bool = True
    objects: tuple[str, ...] = ()
    key: str = ""
    bulk: bool = False
    streams: bool = False
    target_permission: str | None = None
    second_person: bool = False
    read: ReadFunction | None = None
    stream: StreamFunction | None = None
    change: type[Change[Any]] | None = None
    becomes: BecomesFunction | None = None
    as_task: bool = False

    @property
    def needs(self) -> Needs:
        return Needs(
            operation=self.id,
            permission=self.permission,
            kind=self.kind,
            danger=self.danger,
            module=module_of(self.id),
            target_permission=self.target_permission,
        )


REGISTRY: dict[str, Operation] = {}


def _register(operation: Operation) -> None:
    if operation.id in REGISTRY:
        raise ValueError(f"{operation.id} is declared twice: {REGISTRY[operation.id].module} and {operation.module}")
    REGISTRY[operation.id] = operation


F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type[Change[Any]])


def read(id: str, *, summary: str, permission: str, input: type[Input] = Nothing, **more: Any) -> Callable[[F], F]:  # noqa: A002
    """Declare a read: an async function from context and input to a JSON-able answer."""

    def declare(function: F) -> F:
        _register(Operation(id, summary, permission, "read", "none", input, function.__module__, read=function, **more))
        return function

    return declare


def stream(id: str, *, summary: str, permission: str, input: type[Input] = Nothing, **more: Any) -> Callable[[F], F]:  # noqa: A002
    """Declare a streaming read: an async generator of JSON objects, ended by closing it."""

    def declare(function: F) -> F:
        _register(
            Operation(
                id,
                summary,
                permission,
                "read",
                "none",
                input,
                function.__module__,
                streams=True,
                stream=function,
                **more,
            )
        )
        return function

    return declare


def change(
    id: str,  # noqa: A002
    *,
    summary: str,
    permission: str,
    input: type[Input] = Nothing,  # noqa: A002
    kind: Kind = "write",
    danger: Danger = "low",
    **more: Any,
) -> Callable[[C], C]:
    """Declare a change: a class with plan, execute, verify and record."""

    def declare(cls: C) -> C:
        _register(Operation(id, summary, permission, kind, danger, input, cls.__module__, change=cls, **more))
        return cls

    return declare


def stand_in(
    id: str,  # noqa: A002
    *,
    summary: str,
    permission: str,
    input: type[Input] = Nothing,  # noqa: A002
    kind: Kind = "action",
    danger: Danger = "low",
    **more: Any,
) -> Callable[[F], F]:
    """Declare an operation that becomes another one: an async function to that one's id and input. Rights, plan,
    confirmation, journal and answer are the other one's."""

    def declare(function: F) -> F:
        _register(
            Operation(id, summary, permission, kind, danger, input, function.__module__, becomes=function, **more)
        )
        return function

    return declare


def find(operation: str) -> Operation:
    """The declaration of an id, importing its module on first use; ObjectNotFound names the nearest ids."""
    known = REGISTRY.get(operation)
    if known is not None:
        return known
    from opsconsole import index

    module = index.MODULES.get(operation)
    if module is not None:
        importlib.import_module(module)
        known = REGISTRY.get(operation)
    if known is None:
        raise ObjectNotFound(
            entity="operation", id=operation, hint=_nearest(operation, list(index.MODULES)), field="operation"
        )
    return known


def _nearest(wrong: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(wrong, known, n=3, cutoff=0.5)
    return f"; did you mean {', '.join(close)}?" if close else "; see: opsconsole ops"
