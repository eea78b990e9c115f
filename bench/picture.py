"""Draws a run's results as an SVG: for each case, a bar for each server.

A bar is the server's ratio to the case's reference. It needs no package and no script, and has
colours for light and dark.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.cases import SHARE
from bench.report import relative, size_text
from bench.results import Results

WIDTH = 960
COLUMNS = 2
MARGIN = 16
COLUMN = (WIDTH - MARGIN * (COLUMNS + 1)) // COLUMNS
NAMES = 104
"""Room for the names at the left of the bars, and for the figures at their right."""
FIGURES = 52
LINE = 18
BAR = 11
TITLE = 26
STYLE = """
  :root { color-scheme: light dark; }
  .ground { fill: #ffffff; } .rule { stroke: #8c959f; stroke-dasharray: 3 3; }
  text { fill: #1f2328; font: 12px system-ui, sans-serif; } .title { font-weight: 600; }
  .figure { fill: #59636e; } .bar { fill: #afb8c1; } .ours { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; } .rule { stroke: #6e7681; }
    text { fill: #e6edf3; } .figure { fill: #9198a1; } .bar { fill: #484f58; }
    .ours { fill: #4493f8; }
  }
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One case: its title, and each server with its ratio."""

    title: str
    bars: Sequence[tuple[str, float]]

    @property
    def height(self) -> int:
        """The height in pixels, with the gap below."""
        return TITLE + LINE * len(self.bars) + MARGIN


def as_svg(results: Results) -> str:
    """Return the picture."""
    panels = _panels(results)
    ends = [MARGIN] * COLUMNS
    drawn: list[str] = []
    for panel in panels:
        column = ends.index(min(ends))
        drawn += _panel(panel, MARGIN + column * (COLUMN + MARGIN), ends[column])
        ends[column] += panel.height
    height = max(ends)
    said = escape("; ".join(_said(panel) for panel in panels))
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img">',
        f"<title>Performance</title><desc>{said}</desc><style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
    ]
    return "\n".join([*head, *drawn, "</svg>"]) + "\n"


def _panels(results: Results) -> list[Panel]:
    panels = []
    for case in results.cases():
        found = ((name, relative(results, case, name)) for name in results.subjects())
        bars = [(name, figure) for name, figure in found if figure is not None]
        if not case.aside and len(bars) > 1:
            against = "share of the rate without" if case.unit == SHARE else f"÷ {case.reference}"
            title = case.title.format(size=size_text(results.size))
            panels.append(Panel(f"{title}, {against}", bars))
    return panels


def _said(panel: Panel) -> str:
    return f"{panel.title}: " + ", ".join(f"{name} {figure:.2f}" for name, figure in panel.bars)


def _panel(panel: Panel, left: int, top: int) -> Iterator[str]:
    room = COLUMN - NAMES - FIGURES
    scale = room / max(1.0, *(figure for _, figure in panel.bars))
    yield f'<text class="title" x="{left}" y="{top + 14}">{escape(panel.title)}</text>'
    for number, (name, figure) in enumerate(panel.bars):
        y, start = top + TITLE + LINE * number, left + NAMES
        kind = "bar ours" if name.startswith("holdall") else "bar"
        length = max(1.0, figure * scale)
        yield f'<text x="{start - 6}" y="{y + BAR - 1}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect class="{kind}" x="{start}" y="{y}" width="{length:.1f}" height="{BAR}"/>'
        yield (
            f'<text class="figure" x="{start + length + 5:.1f}" y="{y + BAR - 1}">'
            f"{figure:.{2 if figure >= 0.1 else 3}f}</text>"
        )
    at, end = left + NAMES + scale, top + TITLE + LINE * len(panel.bars) - LINE + BAR + 3
    yield f'<line class="rule" x1="{at:.1f}" x2="{at:.1f}" y1="{top + TITLE - 3}" y2="{end}"/>'
