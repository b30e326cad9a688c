// The charts: each is a Vega view whose data sets are filled from the selection.

const THEMES = {
  light: { ink: "#1c1e21", quiet: "#5f6670", line: "#e4e6ea", strip: "#f1f2f4", shade: "#c6cad1", paper: "#ffffff" },
  dark: { ink: "#eceef1", quiet: "#a3abb6", line: "#2f343b", strip: "#23272d", shade: "#4a515b", paper: "#16181c" },
};
const MOST_CONTEXT = 120; // curves of configurations that are not selected
const NEAR = 14; // pixels within which a configuration is under the pointer
const views = new Map(); // by chart
const turns = new Map(); // how often each chart was drawn
let theme = "light";

/** A compiled specification without its checks of every value: rows have no invalid ones, and checking takes half the time. */
function unchecked(spec) {
  const isCheck = (rule) => rule && typeof rule.test === "string" && rule.test.startsWith("!isValid(datum");
  return JSON.parse(JSON.stringify(spec), (_, value) => (Array.isArray(value) && value.length === 2 && isCheck(value[0]) ? value[1] : value));
}

const embedding = {
  actions: false, ast: true, defaultStyle: false, tooltip: false, renderer: "canvas", mode: "vega-lite", patch: unchecked,
};

/** A copy of a specification with the texts "@x" and "@y" replaced by titles. */
function titled(spec, titles = {}) {
  const replaced = (key, value) => (key === "title" && Object.hasOwn(titles, value) ? titles[value] : value);
  return JSON.parse(JSON.stringify(spec), replaced);
}

/** A specification by its name, that of the task where a page has several. */
const chartOf = (name) => page.charts[task === null ? name : `${task} ${name}`];

/** The kinds of charts: their specification, their data sets, and what is under the pointer. */
const KINDS = {
  effects: {
    spec: () => chartOf("effects"),
    data: effectsData,
    near: pairUnder,
    show: pairFacts,
    pick: pickPair,
    brush: null,
  },
  sensitivity: {
    spec: () => chartOf(`sensitivity ${byId("sensitivity-of").value}`),
    data: sensitivityData,
    near: (view, x, y) => nearest(view, shownRows(), (row) => [position(view, "x", row[`h${key()}`]), view.scale("y")(row.y)], x, y),
    brush: (view, a, b) => {
      restrictTo(view, Number(key()), a[0], b[0], "x");
    },
  },
  curves: {
    spec: () => chartOf(`curves ${byId("curves-of").value}`),
    data: curveData,
    near: nearestCurve,
    brush: null,
  },
  parallel: { spec: () => chartOf("parallel"), data: parallelData, near: nearestLine, brush: brushAxis },
  heatmap: {
    spec: () => titled(chartOf("heatmap"), { "@x": parameters[heat.x].words, "@y": parameters[heat.y].words }),
    data: (chosen) => (latest.cells = heatCells(chosen)),
    near: cellUnder,
    brush: brushCells,
  },
};

const key = () => byId("sensitivity-of").value;
const shownRows = () => rows.filter((row) => row[`h${key()}`] !== null);
const latest = { chosen: [] };

/** Draw a chart in its place; a chart that was there is replaced. */
async function draw(name) {
  const place = byId(`chart-${name}`);
  const spec = place && KINDS[name].spec();
  if (!spec) return;
  const turn = (turns.get(name) || 0) + 1;
  turns.set(name, turn);
  const { view } = await vegaEmbed(place, spec, embedding);
  place.setAttribute("role", "img"); // which Vega has changed
  if (turns.get(name) !== turn) { // it has been asked for again
    view.finalize();
    return;
  }
  if (views.has(name)) views.get(name).finalize();
  views.set(name, view);
  for (const [role, colour] of Object.entries(THEMES[theme])) view.signal(role, colour);
  await fill(name);
  attend(name, view, place);
}

/** Forget all charts, whose data are of another task. */
function forget() {
  for (const [name, view] of views) {
    turns.set(name, turns.get(name) + 1);
    view.finalize();
  }
  views.clear();
}

/** Fill a chart's data sets from the selection. */
function fill(name) {
  const view = views.get(name);
  if (!view) return null;
  const sets = KINDS[name].data(latest.chosen);
  for (const [set, values] of Object.entries(sets)) if (Array.isArray(values)) view.data(set, values);
  return view.runAsync();
}

function setTheme(chosen) {
  theme = chosen;
  return Promise.all([...views.values()].map((view) => {
    for (const [role, colour] of Object.entries(THEMES[theme])) view.signal(role, colour);
    return view.runAsync();
  }));
}

/** The data of rows that are chosen (focus), of the others (context), and of the marked one. */
function split(chosen, has, most = Infinity) {
  const on = new Set(chosen);
  return {
    context: isAll() ? [] : thinned(order.filter((c) => !on.has(c)), most).map((c) => rows[c]).filter(has),
    focus: thinned(chosen, most).map((c) => rows[c]).filter(has),
    marked: rows.filter((row) => row.c === state.marked && has(row)),
  };
}

function sensitivityData(chosen) {
  const at = Number(key());
  const has = (row) => row.values[at] !== null;
  const best = new Map();
  for (const c of chosen) { // best first
    const row = rows[c];
    const pair = `${row.at} ${row.values[at]}`;
    if (has(row) && !row.early && parameters[at].joined[row.at] && !best.has(pair)) best.set(pair, row);
  }
  const partly = chosen.map((c) => rows[c]).filter((row) => row.partly && has(row)).map((row) => ({ ...row, y: metric.lanes[row.at] }));
  const tuned = sweep.configs.selected ? { tuned: rows.filter((row) => row.selected && state.optimizers.has(row.at) && has(row)) } : {};
  return { ...split(chosen, has), line: [...best.values()], partly, ...tuned };
}

function curveOf(row, curve, more = {}) {
  const points = [];
  curve.values[row.c].forEach((y, i) => {
    if (y !== null) points.push({ c: row.c, o: row.o, s: curve.points[i], y, ...more });
  });
  return points;
}

/** Evenly every so many, so that at most `most` are left; the first ones are always among them. */
function thinned(list, most) {
  if (list.length <= most) return list;
  const half = list.slice(0, Math.floor(most / 2));
  const apart = (list.length - half.length) / (most - half.length);
  for (let i = 0; half.length < most; i += 1) half.push(list[Math.floor(most / 2) + Math.floor(i * apart)]);
  return half;
}

function curveData(chosen) {
  const curve = page.curves[Number(byId("curves-of").value)];
  const on = new Set(chosen);
  const most = page.most_drawn;
  const drawn = thinned(chosen, most);
  const others = isAll() ? [] : thinned(order.filter((c) => !on.has(c)), Math.min(most, MOST_CONTEXT));
  const best = curve.bests.map((c, i) => [c, i]).filter(([c]) => on.has(c));
  const band = best.flatMap(([c, i]) => curve.points.flatMap((s, j) => {
    const [low, high] = [curve.bands[i][0][j], curve.bands[i][1][j]];
    return low === null || high === null ? [] : [{ c, o: rows[c].o, s, low, high }];
  }));
  const lines = best.flatMap(([c]) => curveOf(rows[c], curve));
  const apart = Math.max(1, Math.floor(curve.points.length / 6));
  const spots = best.flatMap(([c], i) => curveOf(rows[c], curve).filter((_, j) => (j + i) % apart === 0));
  const marked = state.marked === null ? [] : curveOf(rows[state.marked], curve);
  latest.drawn = [...new Set([...drawn, ...others, ...best.map(([c]) => c)])];
  return {
    context: others.flatMap((c) => curveOf(rows[c], curve)),
    focus: drawn.flatMap((c) => curveOf(rows[c], curve)),
    best: lines,
    band,
    spots,
    marked,
  };
}

// Parallel coordinates: axes from 0 to 1, and a place below for what has no value.
const MISSING = -0.11;
let axes = [];

function axesOf() {
  const varied = parameters.map((parameter, i) => ({ ...parameter, key: i })).filter((parameter) => parameter.count > 1);
  const chosen = varied.length || !parameters.length ? varied : [{ ...parameters[0], key: 0 }];
  return [...chosen, { ...metric, key: METRIC, kind: "metric" }];
}

/** The height of a value on an axis; null for one without a value, or beyond the range. */
function height(axis, value) {
  if (value === null || !Number.isFinite(value)) return null;
  if (axis.kind === "text") return axis.values.length > 1 ? value / (axis.values.length - 1) : 0.5;
  const log = axis.kind === "metric" ? axis.log : axis.kind === "log";
  const [low, high] = axis.kind === "metric" ? [axis.worst, axis.best] : [axis.low, axis.high];
  if (low === high) return 0.5;
  const to = log ? Math.log : (v) => v;
  const at = (to(value) - to(low)) / (to(high) - to(low));
  if (axis.kind !== "metric") return at;
  return Number.isNaN(at) || at < 0 ? null : Math.min(at, 1);
}

/** The value at a height of an axis. */
function valueAt(axis, at) {
  if (axis.kind === "text") return at * (axis.values.length - 1);
  const log = axis.kind === "metric" ? axis.log : axis.kind === "log";
  const [low, high] = axis.kind === "metric" ? [axis.worst, axis.best] : [axis.low, axis.high];
  return log ? Math.exp(Math.log(low) + at * (Math.log(high) - Math.log(low))) : low + at * (high - low);
}

const heightOf = (axis, row) => {
  const at = axis.key === METRIC && row.early ? null : height(axis, valueOf(row, axis.key));
  return at === null ? MISSING : at;
};

function parallelData(chosen) {
  if (rows.length && !("a0" in rows[0])) for (const row of rows) axes.forEach((axis, i) => { row[`a${i}`] = heightOf(axis, row); });
  const ticks = axes.flatMap((axis, i) => ticksOf(axis).map((tick) => ({ ...tick, x: i })));
  const lines = split(chosen, () => true, page.most_lines);
  latest.lines = lines.focus;
  return {
    ...lines,
    axes: axes.map((_, x) => ({ x, y: 0, y2: 1 })),
    names: axes.map((axis, x) => ({ x, y: 1.07, text: axis.words })),
    ticks,
    ranges: axes.flatMap((axis, x) => barsOf(axis).map(([y, y2]) => ({ x, y, y2 }))),
  };
}

function ticksOf(axis) {
  if (axis.kind === "text") {
    const apart = Math.ceil(axis.values.length / 12);
    const every = axis.values.map((text, i) => ({ y: height(axis, i), text })).filter((_, i) => i % apart === 0);
    return axis.everywhere ? every : [...every, { y: MISSING, text: "none" }];
  }
  if (axis.kind === "metric") {
    const inside = [0, 0.25, 0.5, 0.75, 1].map((y) => ({ y, text: number(valueAt(axis, y)) }));
    const [first, ...others] = axis.beyond;
    return first ? [...inside, { y: MISSING, text: others.length ? `${first}, ...` : first }] : inside;
  }
  const marked = axis.ticks.map(([value, text]) => ({ y: height(axis, value), text }));
  const ends = marked.length > 1 ? marked : [axis.low, axis.high].map((value) => ({ y: height(axis, value), text: short(value) }));
  return axis.everywhere ? ends : [...ends, { y: MISSING, text: "none" }];
}

/** The selected parts of an axis, as bars beside it. */
function barsOf(axis) {
  const range = state.ranges.get(axis.key);
  if (!range) return [];
  if (range.only) return [...range.only].map((value) => [height(axis, value) - 0.02, height(axis, value) + 0.02]);
  const worse = axis.kind === "metric" && metric.greater ? range.low : range.high;
  const ends = [range.low, range.high].map((value) => height(axis, Number.isFinite(value) ? value : valueAt(axis, 0)));
  const bar = ends.map((at) => (at === null ? 0 : Math.max(0, Math.min(1, at)))).sort((a, b) => a - b);
  return [axis.kind === "metric" && !Number.isFinite(worse) ? [MISSING, bar[1]] : bar];
}

