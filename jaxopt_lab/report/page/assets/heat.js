// The cells of the heat map: the best selected configuration at each pair of values.

const MOST_CELLS = 24; // values on an axis; more are put into BINS equal ranges
const BINS = 12;
const heat = { optimizer: null, x: null, y: null, fixed: new Map() };

/** The distinct values of a hyperparameter among an optimizer's configurations, in order. */
function valuesOf(optimizer, key) {
  const found = new Set();
  for (const row of rows) if (row.at === optimizer && row.values[key] !== null) found.add(row.values[key]);
  return [...found].sort((a, b) => a - b);
}

const variedBy = (optimizer) => [...parameters.keys()].filter((key) => valuesOf(optimizer, key).length > 1);

/** The categories of an axis: their labels, the category of a value, and the range of each. */
function categories(optimizer, key) {
  const values = valuesOf(optimizer, key);
  if (values.length <= MOST_CELLS || parameters[key].kind === "text") {
    const at = new Map(values.map((value, i) => [value, i]));
    return { labels: values.map((value) => textOf(key, value)), of: (value) => at.get(value), ends: (i) => [values[i], values[i]] };
  }
  const log = parameters[key].kind === "log";
  const [to, from] = log ? [Math.log, Math.exp] : [(v) => v, (v) => v];
  const [low, high] = [to(values[0]), to(values[values.length - 1])];
  const edge = (i) => (i === 0 ? values[0] : i === BINS ? values[values.length - 1] : from(low + ((high - low) * i) / BINS));
  return {
    labels: Array.from({ length: BINS }, (_, i) => `${number(edge(i))}\u2013${number(edge(i + 1))}`),
    of: (value) => Math.min(BINS - 1, Math.floor(((to(value) - low) / (high - low)) * BINS)),
    ends: (i) => [edge(i), edge(i + 1)],
  };
}

/** Cells as rows of the chart's data sets. */
function heatCells(chosen) {
  const { optimizer, x, y, fixed } = heat;
  const [across, up] = [categories(optimizer, x), categories(optimizer, y)];
  const on = new Set(chosen);
  const cells = new Map();
  for (const c of order) { // best first, so the first of a cell is its best
    const row = rows[c];
    if (row.at !== optimizer || row.values[x] === null || row.values[y] === null) continue;
    if ([...fixed].some(([key, category]) => row.values[key] === null || category.of(row.values[key]) !== category.at)) continue;
    const key = `${across.of(row.values[x])} ${up.of(row.values[y])}`;
    const cell = cells.get(key);
    if (!cell || (!cell.on && on.has(c))) cells.set(key, cellOf(row, across, up, on.has(c)));
  }
  const frame = [];
  up.labels.forEach((_, j) => across.labels.forEach((label, i) => frame.push({ x: label, y: up.labels[up.labels.length - 1 - j] })));
  const all = [...cells.values()];
  const known = all.filter((cell) => cell.v !== null);
  const candidates = known.filter((cell) => cell.on);
  const best = candidates.reduce((a, b) => (a === null || rows[b.c].rank < rows[a.c].rank ? b : a), null);
  return {
    across,
    up,
    cells: known,
    lost: all.filter((cell) => cell.v === null),
    frame,
    best: best ? [best] : [],
    marked: all.filter((cell) => cell.c === state.marked),
  };
}

function cellOf(row, across, up, on) {
  const i = across.of(row.values[heat.x]);
  const j = up.of(row.values[heat.y]);
  const known = Number.isFinite(row.median) && !row.early;
  return { x: across.labels[i], y: up.labels[j], i, j, c: row.c, v: known ? row.median : null, on };
}

