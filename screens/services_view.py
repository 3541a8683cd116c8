"""What of the services table is shown: errors only, main only, one host, instances folded. No terminal here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from screens.render.service import Item, is_bad
from screens.text import Safe


@dataclass
class Narrowing:
    """Switches that hold together, beside the typed filter. A host that cannot be asked is never hidden by `main`."""

    errors: bool = False
    main: bool = False
    folded: bool = False
    host: str = ""

    @property
    def word(self) -> str:
        """What the title says hides the others."""
        parts = (
            ("errors only", self.errors),
            ("main only", self.main),
            ("instances folded", self.folded),
            (f"host {Safe(self.host)}", bool(self.host)),
        )
        return ", ".join(word for word, on in parts if on)

    @property
    def predicate(self) -> Callable[[Item], bool] | None:
        """Whether a row is shown; None when all are."""
        return self._shows if self.word else None

    def _shows(self, item: Item) -> bool:
        service = item.service
        if self.host and item.host.name != self.host:
            return False
        if self.errors and not is_bad(item):
            return False
        if service is None:
            return True
        if self.main and not (service.main or service.of_main):
            return False
        return self.errors or not self.folded or not service.parent

    def step_back(self) -> bool:
        """Undo one narrowing, the hardest to overlook last; False when there is none. Folding is no narrowing."""
        for name, off in (("host", ""), ("errors", False), ("main", False)):
            if getattr(self, name):
                setattr(self, name, off)
                return True
        return False
