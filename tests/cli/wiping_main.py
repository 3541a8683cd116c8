"""The real program and one operation more, which needs a second person: python -m tests.cli.wiping_main ARGUMENTS."""

from __future__ import annotations

import sys
from typing import Any

from opsconsole import index, indexing
from opsconsole.__main__ import main
from opsconsole.engine.registry import REGISTRY
from tests.opsconsole.wiping import NAME, declaration

if __name__ == "__main__":
    REGISTRY[NAME] = declaration()
    made: dict[str, Any] = {}
    exec(compile(indexing.index_text([REGISTRY[NAME]]), "index.py", "exec"), made)  # noqa: S102 - our own generated text
    index.OPERATIONS += made["OPERATIONS"]
    index.MODULES |= made["MODULES"]
    index.OPTIONS |= made["OPTIONS"]
    if len(sys.argv) == 1:
        from screens.render import form

        form._schemas()[NAME] = indexing.schema_of(REGISTRY[NAME])
    raise SystemExit(main())
