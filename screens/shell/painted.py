"""An app that writes what differs, reads what is pasted as text, and collects garbage while nobody types."""

from __future__ import annotations

from typing import Any, TypeVar

from textual._compositor import CompositorUpdate
from textual.app import App
from textual.driver import Driver
from textual.events import Event, Key, Resize
from textual.screen import Screen

from screens.shell.collecting import LOOK_EVERY, Collecting
from screens.shell.driver import ConsoleDriver
from screens.shell.picture import Picture

R = TypeVar("R")


class PaintedApp(App[R]):
    """The library's app with our driver and a picture of the terminal."""

    def __init__(self, *, ansi_color: bool | None = None) -> None:
        super().__init__(ansi_color=ansi_color)
        self.picture = Picture()
        self.collecting = Collecting()

    def on_mount(self) -> None:
        if not self.is_headless:
            self.call_after_refresh(self.collecting.begin)
            self.set_interval(LOOK_EVERY, self.collecting.look)

    def get_driver_class(self) -> type[Driver]:
        return ConsoleDriver

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        """Only what differs from the picture on the terminal is written."""
        if isinstance(renderable, CompositorUpdate):
            if not self.picture.known:
                renderable = self._all_of(screen)
            renderable = self.picture.after(renderable, self.size.height)
        elif renderable is not None:
            self.picture.forget()
        super()._display(screen, renderable)

    def _all_of(self, screen: Screen[Any]) -> Any:
        return screen._compositor.render_update(  # noqa: SLF001 - the library's screen does the same
            full=True, screen_stack=self._background_screens
        )

    async def on_event(self, event: Event) -> None:
        if isinstance(event, Key):
            self.collecting.typed()
        elif isinstance(event, Resize):
            self.picture.forget()
        await super().on_event(event)

    def action_redraw(self) -> None:
        """Whatever another program wrote over it, all of the screen again."""
        self.picture.forget()
        self._display(self.screen, self._all_of(self.screen))
