"""Charts as Vega-Lite specifications. Their data sets are named: the page's scripts fill and change them.

Data sets: `context` (grey: what is not selected), `focus` (what is), `marked` (the one configuration that was picked),
and those of each chart. Rows have `c`, the position of the configuration, and `o`, its optimizer.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # a name; nothing is loaded from there
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
COLOURS = {  # by role; the scripts change them with the theme
    "ink": "#1c1e21",
    "quiet": "#5f6670",
    "line": "#e4e6ea",
    "strip": "#f1f2f4",
    "shade": "#c6cad1",
    "paper": "#ffffff",
}
BLACK = "#000000"  # in the palette; drawn in ink, so that it is seen on a dark page
HEIGHT = 340
MOST_TICKS = 6  # of a logarithmic axis
ROW = 36  # height of a pair in a forest plot
ARROWS = (("left", "low"), ("right", "high"))  # at which end of an interval that leaves the axis
TIMES = "\N{MULTIPLICATION SIGN}"
STAR = "★"
SHORT = ".4~g"  # at most four significant digits
MISSING = -0.11  # height on parallel coordinates' axes of those without the hyperparameter, and of the diverged


def sensitivity(sweep: Mapping[str, Any], position: int) -> Spec:
    """Draw the metric against the hyperparameter at `position`: a point for each configuration, a line for the best."""
    parameter, metric = sweep["parameters"][position], sweep["metric"]
    x = {"field": f"h{position}", "title": parameter["words"], **_scale_of(parameter)}
    y, colour, shape = _metric_axis(metric), _colour(sweep), _shape(sweep)
    band = {"x": x, "y": _metric_axis(metric, "low"), "y2": {"field": "high"}, "color": colour}
    small: Spec = {"type": "point", "filled": True}
    star = {"x": x, "y": y} | {"text": {"value": STAR}}
    look: Spec = {"type": "text", "fontSize": 18}
    edge: Spec = {"stroke": _of("ink"), "strokeWidth": 3, "strokeJoin": "round"}
    tuned = "selected" in sweep["configs"]
    seen = {"size": 40, "opacity": 0.7} if tuned else {"size": 26, "opacity": 0.45}
    layers = [
        *_strip(metric),
        _layer("context", small | {"size": 18, "opacity": 0.45, "color": _of("shade")}, x=x, y=y),
        _layer("line", {"type": "area", "opacity": 0.14, "clip": True}, **band),
        _layer("focus", small | seen, x=x, y=y, color=colour, shape=shape),
        _layer("line", {"type": "line", "strokeWidth": 2}, x=x, y=y, color=colour, strokeDash=_dash(sweep)),
        _layer("line", small | {"size": 48, "opacity": 1}, x=x, y=y, color=colour, shape=shape),
        _layer("partly", {"type": "point", "size": 20, "strokeWidth": 1.3}, x=x, y=y, color=colour, shape=shape),
        *([_layer("tuned", look | edge, **star), _layer("tuned", look, **star, color=colour)] if tuned else []),
        _layer(
            "marked", {"type": "point", "size": 190, "strokeWidth": 2.5, "opacity": 1, "color": _of("ink")}, x=x, y=y
        ),
    ]
    return _finished(layers, f"{metric['words']} against {parameter['words']}, a point for each configuration")


def curves(sweep: Mapping[str, Any], curve: Mapping[str, Any]) -> Spec:
    """Draw a metric against the step: each optimizer's best configuration with quartiles, and others faintly."""
    first, last = curve["points"][0], curve["points"][-1]
    x = {"field": "s", "type": "quantitative", "title": curve["x"], "axis": {"grid": False, "tickCount": 6}}
    x["scale"] = {"domain": [first, max(last, first + 1e-9)], "nice": False, "zero": False}
    y, colour = _metric_axis(curve), _colour(sweep)
    line = {"x": x, "y": y, "detail": {"field": "c"}}
    faint = _fading(len(sweep["configs"]["number"])) / 2
    band = line | {"y": _metric_axis(curve, "low"), "y2": {"field": "high"}, "color": colour}
    spot: Spec = {"type": "point", "filled": True, "size": 44, "opacity": 1}
    layers = [
        *_strip(curve),
        _layer("context", {"type": "line", "strokeWidth": 1, "opacity": 0.5, "color": _of("shade")}, **line),
        _layer("focus", {"type": "line", "strokeWidth": 1, "opacity": faint}, **line, color=colour),
        _layer("band", {"type": "area", "opacity": 0.16, "clip": True}, **band),
        _layer("best", {"type": "line", "strokeWidth": 2.4}, **line, color=colour, strokeDash=_dash(sweep)),
        _layer("spots", spot, x=x, y=y, color=colour, shape=_shape(sweep)),
        _layer("marked", {"type": "line", "strokeWidth": 3.5, "color": _of("ink")}, **line),
    ]
    return _finished(layers, f"{curve['words']} against {curve['x']}, a line for each configuration")


def parallel(sweep: Mapping[str, Any], count: int) -> Spec:
    """Draw parallel coordinates of `count` axes: a line for each configuration from axis to axis, `a0`, `a1`, ..."""
    bare: Spec = {"type": "quantitative", "axis": None}
    along = bare | {"scale": {"domain": [-0.35, count - 0.45], "nice": False, "zero": False}}
    upward = bare | {"scale": {"domain": [MISSING - 0.07, 1.14], "nice": False, "zero": False}}
    at = lambda field: upward | {"field": field}
    x, text = along | {"field": "x"}, {"field": "text"}

    def lines(name: str, look: Spec) -> list[Spec]:
        colour = {} if "color" in look else {"color": _colour(sweep)}
        ends = lambda i: {"x": along | {"datum": i}, "x2": {"datum": i + 1}, "y2": {"field": f"a{i + 1}"}}
        rule = {"type": "rule"} | look
        return [_layer(name, rule, y=at(f"a{i}"), **ends(i), **colour) for i in range(count - 1)]

    label: Spec = {"type": "text", "color": _of("quiet"), "fontSize": 10.5, "align": "left", "dx": 6, "limit": 90}
    halo: Spec = {"stroke": _of("paper"), "strokeWidth": 3, "strokeOpacity": 0.85}
    name: Spec = {"type": "text", "baseline": "bottom", "fontSize": 12, "fontWeight": 600, "limit": 130}
    whole = {"x": x, "y": at("y"), "y2": {"field": "y2"}}
    layers = [
        *lines("context", {"color": _of("shade"), "opacity": 0.35, "strokeWidth": 0.7}),
        *lines("focus", {"opacity": _fading(len(sweep["configs"]["number"])), "strokeWidth": 1.1}),
        *lines("marked", {"color": _of("ink"), "strokeWidth": 3}),
        _layer("axes", {"type": "rule", "color": _of("quiet"), "strokeWidth": 1}, **whole),
        _layer("ranges", {"type": "rule", "color": _of("ink"), "strokeWidth": 5, "opacity": 0.55}, **whole),
        _layer("ticks", {"type": "point", "shape": "stroke", "size": 40, "color": _of("quiet")}, x=x, y=at("y")),
        _layer("ticks", label | halo, x=x, y=at("y"), text=text),
        _layer("ticks", label, x=x, y=at("y"), text=text),
        _layer("names", name | {"color": _of("ink")}, x=x, y=at("y"), text=text),
    ]
    return _finished(layers, "Parallel coordinates, a line for each configuration", HEIGHT + 20)


def effects(sweep: Mapping[str, Any], title: str, low: float, high: float, rows: int) -> Spec:
    """Draw a forest plot: `rows` pairs below each other, at `y` 0, 1, ..., with effects from `low` to `high`."""
    along: Spec = {"type": "quantitative", "title": title, "axis": {"format": SHORT, "tickCount": 6}}
    along |= {"scale": {"domain": [low, high], "nice": False, "zero": False}}
    down: Spec = {"type": "quantitative", "axis": None}
    down |= {"scale": {"domain": [rows - 0.5, -0.75], "nice": False, "zero": False}}
    y, at = down | {"field": "y"}, lambda name: along | {"field": name}
    interval, effect = {"x": at("low"), "x2": {"field": "high"}, "y": y}, {"x": at("effect"), "y": y}
    colour, shape = _colour(sweep), _shape(sweep)
    rule: Spec = {"type": "rule", "strokeWidth": 2}
    point: Spec = {"type": "point", "size": 90, "opacity": 1}
    arrow: Spec = {"type": "point", "filled": True, "size": 60, "opacity": 1}
    label: Spec = {"type": "text", "align": "left", "baseline": "bottom", "dy": -7, "fontSize": 12}
    name = {"x": {"value": 0}, "y": y, "text": {"field": "pair"}}
    quiet, ink, none = {"color": _of("shade")}, {"color": _of("ink")}, {"fill": _of("paper"), "filled": True}
    layers = [
        _layer("zero", {"type": "rule", "color": _of("quiet")}, x=at("end")),
        _layer("context", rule | quiet, **interval),
        _layer("context", point | quiet | {"size": 30}, **effect),
        _layer("context", label | {"color": _of("quiet")}, **name),
        _layer("undecided", rule | ink, **interval),
        _layer("undecided", point | none | {"stroke": _of("ink"), "strokeWidth": 1.5}, **effect),
        _layer("decided", rule, **interval, color=colour),
        _layer("decided", point | {"filled": True}, **effect, color=colour, shape=shape),
        _layer("named", label | ink, **name),
        *(_layer(side, arrow | ink | {"shape": f"triangle-{side}"}, x=at(end), y=y) for side, end in ARROWS),
    ]
    return _finished(layers, f"{title}, with 95 % intervals, a row for each pair", ROW * rows + 60)


def heatmap(sweep: Mapping[str, Any]) -> Spec:
    """Draw the metric over two hyperparameters; the scripts set the titles "@x" and "@y" and fill the cells."""
    metric = sweep["metric"]
    names: Spec = {"labelAngle": 0, "labelLimit": 110, "labelOverlap": True, "grid": False, "ticks": False}
    band: Spec = {"type": "ordinal", "sort": None, "axis": names, "scale": {"paddingInner": 0.03}}
    x, y = band | {"field": "x", "title": "@x"}, band | {"field": "y", "title": "@y"}
    colour = {
        "field": "v",
        "type": "quantitative",
        "title": metric["words"],
        "scale": {
            "type": "log" if metric["log"] else "linear",
            "domain": sorted([metric["best"], metric["worst"]]),
            "scheme": "viridis",
            "reverse": not metric["greater"],  # bright is good
            "clamp": True,
            "nice": False,
        },
        "legend": {"gradientLength": 160, "format": SHORT, "tickCount": 4},
    }
    strong = {"condition": {"test": "datum.on", "value": 1}, "value": 0.22}
    star: Spec = {"type": "text", "text": STAR, "fontSize": 17, "color": "#000000"}
    halo: Spec = {"stroke": "#ffffff", "strokeWidth": 2.5, "strokeJoin": "round"}
    layers = [
        _layer("frame", {"type": "rect", "color": _of("line"), "opacity": 0.45}, x=x, y=y),
        _layer("lost", {"type": "rect", "color": _of("shade")}, x=x, y=y, opacity=strong),
        _layer("cells", {"type": "rect"}, x=x, y=y, color=colour, opacity=strong),
        _layer("lost", {"type": "text", "text": TIMES, "fontSize": 15, "color": _of("ink")}, x=x, y=y, opacity=strong),
        _layer("best", star | halo, x=x, y=y),
        _layer("best", star, x=x, y=y),
        _layer("marked", {"type": "rect", "filled": False, "stroke": _of("ink"), "strokeWidth": 3}, x=x, y=y),
    ]
    return _finished(layers, f"Heat map of {metric['words']} over two hyperparameters")


def _layer(data: str, mark: Spec, **encoding: Any) -> Spec:
    return {"data": {"name": data}, "mark": mark, "encoding": encoding}


def _of(role: str) -> dict[str, str]:
    """Refer to a colour of the theme."""
    return {"expr": role}


def _fading(count: int) -> float:
    """Return the opacity of lines: less of each where there are many."""
    return round(max(0.06, min(0.6, 8.0 / count**0.6)), 3)


def _by_optimizer(sweep: Mapping[str, Any], values: Sequence[Any]) -> Spec:
    """Return a channel by optimizer. It has no legend: that of the page's selection serves all charts."""
    names = [optimizer["name"] for optimizer in sweep["optimizers"]]
    return {"field": "o", "title": None, "legend": None, "scale": {"domain": names, "range": list(values)}}


def _colour(sweep: Mapping[str, Any]) -> Spec:
    colours = [optimizer["color"] for optimizer in sweep["optimizers"]]
    return _by_optimizer(sweep, [_of("ink") if colour == BLACK else colour for colour in colours])


def _shape(sweep: Mapping[str, Any]) -> Spec:
    return _by_optimizer(sweep, [optimizer["shape"] for optimizer in sweep["optimizers"]])


def _dash(sweep: Mapping[str, Any]) -> Spec:
    return _by_optimizer(sweep, [optimizer["dash"] for optimizer in sweep["optimizers"]])


def _scale_of(parameter: Mapping[str, Any]) -> Spec:
    """Return type, scale and axis of a hyperparameter along x."""
    if parameter["kind"] == "text":
        scale: Spec = {"type": "point", "domain": parameter["values"], "padding": 0.5}
        return {"type": "nominal", "sort": None, "scale": scale, "axis": {"labelAngle": 0, "labelLimit": 120}}
    scale = {"domain": [parameter["low"], parameter["high"]], "nice": False, "padding": 14}
    scale |= {"type": "log"} if parameter["kind"] == "log" else {"zero": False}
    ticks = [value for value, _ in parameter["ticks"]]
    axis: Spec = {"grid": False, "format": SHORT} | ({"values": ticks} if len(ticks) > 1 else {})
    return {"type": "quantitative", "scale": scale, "axis": axis}


def _metric_axis(axis: Mapping[str, Any], field: str = "y") -> Spec:
    """Return the y axis of a metric: without labels in the strip, which is not part of the scale."""
    end = axis["end"] if axis["beyond"] else axis["worst"]
    inside = f"datum.value {'>=' if axis['worst'] < axis['best'] else '<='} {axis['worst']!r} ? datum.label : ''"
    scale: Spec = {"domain": sorted([axis["start"], end]), "nice": False}
    scale |= {"type": "log"} if axis["log"] else {"zero": False}
    shown: Spec = {"labelExpr": inside, "format": SHORT, "tickCount": 6, "labelOverlap": True}
    shown |= {"values": _round_numbers(axis["best"], axis["worst"])} if axis["log"] else {}
    return {"field": field, "type": "quantitative", "title": axis["title"], "scale": scale, "axis": shown}


def _round_numbers(low: float, high: float) -> list[float]:
    """Return ticks of a logarithmic axis: powers of ten, with 2 and 5 between them where there is room."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{m}e{power}") for power in range(first, last + 1) for m in factors]
        ticks = [tick for tick in ticks if low * 0.99 <= tick <= high]
        if len(ticks) <= MOST_TICKS:
            break
    return ticks[:: -(-len(ticks) // MOST_TICKS)]


def _strip(axis: Mapping[str, Any]) -> list[Spec]:
    """Return the strip beyond the worse end of a metric's axis, where diverged trials are."""
    if not axis["beyond"]:
        return []
    rows = {"values": [{"y": axis["worst"], "high": axis["end"]}]}
    below = axis["worst"] < axis["best"]
    said: Spec = {"type": "text", "text": " or ".join(axis["beyond"]), "align": "left", "dx": 5, "fontSize": 10}
    said |= {"color": _of("quiet"), "baseline": "bottom" if below else "top", "dy": -3 if below else 3}
    y, high = _metric_axis(axis), _metric_axis(axis, "high")
    rect = {"type": "rect", "color": _of("strip")}
    return [
        {"data": rows, "mark": rect, "encoding": {"y": y, "y2": {"field": "high"}}},
        {"data": rows, "mark": said, "encoding": {"x": {"value": 0}, "y": high}},
    ]


def _finished(layers: list[Spec], description: str, height: int = HEIGHT) -> Spec:
    """Return the layers as one specification, with the page's colours as parameters that a theme changes."""
    text: Spec = {"labelColor": _of("quiet"), "titleColor": _of("ink"), "labelFontSize": 11, "titleFontSize": 12}
    line: Spec = {"domainColor": _of("line"), "tickColor": _of("line"), "gridColor": _of("line")}
    return {
        "$schema": SCHEMA,
        "description": description,
        "width": "container",
        "height": height,
        "background": "transparent",
        "autosize": {"type": "fit-x", "contains": "padding"},
        "params": [{"name": role, "value": colour} for role, colour in COLOURS.items()],
        "layer": layers,
        "config": {
            "font": FONT,
            "aria": False,  # the page describes the chart; a description of each mark takes most of the time to draw
            "mark": {"invalid": "show"},  # rows have no invalid values, so none are looked for
            "view": {"stroke": None},
            "axis": {**text, **line, "titleFontWeight": 500, "titlePadding": 10, "labelPadding": 5},
            "legend": {**text, "titleFontWeight": 500},
        },
    }
