"""An optimizer's line and marker as a small picture, for legends and tables."""

from collections.abc import Mapping
from typing import Any

from jaxopt_lab.report.page.charts import BLACK
from jaxopt_lab.report.page.markup import Html, el

OUTLINES = {  # Vega's symbols as paths in a square from -1 to 1
    "circle": "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0Z",
    "square": "M-.9,-.9H.9V.9H-.9Z",
    "triangle-up": "M0,-1L1,.8H-1Z",
    "triangle-down": "M0,1L1,-.8H-1Z",
    "diamond": "M0,-1.1L.9,0L0,1.1L-.9,0Z",
    "cross": "M-.35,-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z",
}


def swatch(look: Mapping[str, Any]) -> Html:
    """Draw a line in the optimizer's colour and dash with its marker."""
    colour = "currentColor" if look["color"] == BLACK else look["color"]
    line = el(
        "line",
        x1=1,
        y1=6,
        x2=29,
        y2=6,
        stroke=colour,
        stroke_width=2,
        stroke_dasharray=" ".join(map(str, look["dash"])),
    )
    mark = el("path", d=OUTLINES.get(look["shape"], look["shape"]), fill=colour, transform="translate(15 6) scale(4.2)")
    return el("svg", line, mark, viewBox="0 0 30 12", width=30, height=12, class_="swatch", aria_hidden="true")
