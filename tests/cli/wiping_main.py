"""The real program and one operation more, which needs a second person: python -m tests.cli.wiping_main ARGUMENTS."""

from __future__ import annotations

from opsconsole import index, indexing
from opsconsole.__main__ import main
from opsconsole.engine.registry import REGISTRY
from tests.opsconsole.wiping import NAME, declaration

if __name__ == "__main__":
    REGISTRY[NAME] = declaration()
    index.MODULES[NAME] = REGISTRY[NAME].module
    index.OPTIONS[NAME] = indexing.options_of(indexing.schema_of(REGISTRY[NAME]))
    raise SystemExit(main())
