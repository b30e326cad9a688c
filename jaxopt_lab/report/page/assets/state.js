// The selection, in one place: which configurations are chosen, and which one is marked.

const page = JSON.parse(byId("data").textContent);
const METRIC = "metric"; // its key among the ranges, beside the positions of hyperparameters
let [sweep, metric, parameters, rows, order] = [null, null, [], [], []]; // the order is that of ranks, best first
let LOST = null; // what a configuration without a finite median scores
let several = false; // whether each has quartiles over seeds
let task = null; // the one that is shown, where a page has several
const state = { optimizers: new Set(), ranges: new Map(), marked: null };
const listeners = [];

/** Show a sweep, which may be the tuning of one task of several. The selected optimizers stay so. */
function use(given, of = null) {
  if (!sweep) state.optimizers = new Set(given.optimizers.keys());
  state.ranges.clear();
  state.marked = null;
  [sweep, metric, parameters, task] = [given, given.metric, given.parameters, of];
  LOST = metric.greater ? -Infinity : Infinity;
  several = "low" in sweep.configs;
  rows = makeRows();
  order = rows.map((row) => row.c).sort((a, b) => rows[a].rank - rows[b].rank);
  axes = axesOf();
}

function makeRows() {
  const { configs, optimizers, ends } = sweep;
  const [early, partly, selected] = [new Set(configs.early), new Set(configs.partly), new Set(configs.selected)];
  // Beyond the range, in the strip; on a logarithmic axis, what is better than its end is at that end.
  const clip = (value, at) => {
    if (value === null || (metric.greater ? value < metric.worst : value > metric.worst)) return metric.lanes[at];
    return metric.log && value < metric.best ? metric.best : value;
  };
  return configs.number.map((number, c) => {
    const at = configs.optimizer[c];
    const [low, high] = several ? [configs.low[c], configs.high[c]] : [configs.median[c], configs.median[c]];
    const row = {
      c,
      number,
      at,
      o: optimizers[at].name,
      values: configs.values.map((column) => column[c]),
      median: configs.median[c] === null ? LOST : configs.median[c],
      quartiles: [low, high],
      low: clip(low, at),
      y: clip(configs.median[c], at),
      high: clip(high, at),
      early: early.has(c),
      partly: partly.has(c), // some seeds are beyond the range, the median is not
      selected: selected.has(c), // by tuning
      ended: ends[configs.ended[c]],
      rank: configs.rank[c],
    };
    parameters.forEach((parameter, i) => {
      const value = row.values[i];
      row[`h${i}`] = value === null || parameter.kind !== "text" ? value : parameter.values[value];
    });
    return row;
  });
}

/** The value of a configuration on an axis: a hyperparameter's position, or METRIC. */
const valueOf = (row, key) => (key === METRIC ? row.median : row.values[key]);

/** A hyperparameter's value as text. */
function textOf(key, value) {
  if (value === null || value === undefined) return "none";
  return key !== METRIC && parameters[key].kind === "text" ? parameters[key].values[value] : short(value);
}

function isChosen(row) {
  if (!state.optimizers.has(row.at)) return false;
  for (const [key, range] of state.ranges) {
    const value = valueOf(row, key);
    if (value === null) return false;
    if (range.only ? !range.only.has(value) : value < range.low || value > range.high) return false;
  }
  return true;
}

const isAll = () => state.ranges.size === 0 && state.optimizers.size === sweep.optimizers.length;

/** Restrict a hyperparameter or the metric: {low, high}, {only: values}, or null for no restriction. */
function restrict(key, range) {
  if (range === null) state.ranges.delete(key);
  else state.ranges.set(key, range);
  changed();
}

function mark(c) {
  state.marked = state.marked === c ? null : c;
  changed();
}

function clearAll() {
  state.ranges.clear();
  state.optimizers = new Set(sweep.optimizers.keys());
  state.marked = null;
  changed();
}

let [pending, busy] = [false, false];
/** Tell everything that shows the selection: once for all changes of a frame, and again only after that is drawn. */
function changed() {
  pending = true;
  if (!busy) requestAnimationFrame(tell);
  busy = true;
}

async function tell() {
  pending = false;
  const chosen = order.filter((c) => isChosen(rows[c]));
  try {
    await Promise.all(listeners.map((listener) => listener(chosen)));
  } finally {
    busy = false;
    if (pending) changed();
  }
}

/** What a configuration is, as pairs of words and value. */
function facts(row) {
  const found = [["optimizer", row.o]];
  parameters.forEach((parameter, i) => {
    if (row.values[i] !== null) found.push([parameter.words, textOf(i, row.values[i])]);
  });
  const [low, high] = row.quartiles;
  const spread = several && Number.isFinite(row.median) ? ` (${number(low)}\u2013${number(high)})` : "";
  const when = row.early ? " when stopped" : "";
  found.push([metric.words, `${number(row.median)}${spread}${when}`]);
  found.push(["trials", row.ended]);
  if (row.selected) found.push(["★", "selected by tuning"]);
  return found;
}

