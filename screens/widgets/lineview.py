"""The base of the widgets that paint line by line themselves: lists and logs."""

from __future__ import annotations

from textual.geometry import Region
from textual.scroll_view import ScrollView
from textual.strip import Strip


class LineView(ScrollView, inherit_bindings=False):
    """A scroll view without border, padding, tint or opacity, whose `render_line` gives whole lines.

    The library dresses every line of a widget in those anew with each paint, which is a third of what a scrolling log
    costs; here only the filters (no colour, ASCII, what is unprintable) are put over a line, and kept with it.
    """

    ALLOW_SELECT = False

    def render_lines(self, crop: Region) -> list[Strip]:
        filters, background = self.get_line_filters(), self.background_colors[1]
        strips = []
        for y in crop.line_range:
            strip = self.render_line(y)
            for line_filter in filters:
                strip = strip.apply_filter(line_filter, background)
            strips.append(strip)
        first, last = crop.column_span
        if first == 0 and last >= self.scrollable_content_region.width:
            return strips
        return [strip.crop(first, last) for strip in strips]

    def refresh_line(self, y: int) -> None:
        """Repaint line `y` of what is scrolled; the scroll bar beside it is left alone."""
        self.refresh(Region(0, y - round(self.scroll_y), self.scrollable_content_region.width, 1))
