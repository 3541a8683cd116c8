"""The form for an operation whose typed line was not enough: what is missing, and secrets, never typed in a line."""

from __future__ import annotations

from typing import Any

from opsconsole.client import Json
from screens.performing import Order, Performing
from screens.render.form import fields, schema
from screens.shell.commands import Call
from screens.text import Safe
from screens.widgets.form import Form


def form_for(call: Call, performing: Performing) -> Form:
    """All fields of the operation, with what was typed in them; lists that were typed stay as they are."""
    fixed = {name: value for name, value in call.data.items() if not isinstance(value, (str, int, float))}
    given = {name: str(value) for name, value in call.data.items() if name not in fixed}

    async def submit(data: Json) -> Any:
        order = Order(call.operation, {**fixed, **data}, Safe(call.operation))
        done = await performing.run(order)
        if done is not None:
            await performing.report(order, done)
        return done

    return Form(str(Safe(call.row[1])), fields(schema(call.operation), list(fixed)), submit, given=given)
