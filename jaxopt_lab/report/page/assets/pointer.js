// The pointer in a chart: what is under it, and ranges that it drags.

const tip = byId("tip");
const DRAGGED = 6; // pixels from which on a click is a drag

function position(view, name, value) {
  const scale = view.scale(name);
  return scale(value) + (scale.bandwidth ? scale.bandwidth() / 2 : 0);
}

/** The row nearest to a point of the chart, where it is near enough; chosen ones before others. */
function nearest(view, candidates, where, x, y) {
  let [found, least] = [null, NEAR * NEAR];
  for (const row of candidates) {
    const [px, py] = where(row);
    const away = (px - x) ** 2 + (py - y) ** 2;
    const distance = away < least && !isChosen(row) ? away + NEAR : away;
    if (distance < least) [found, least] = [row.c, distance];
  }
  return found;
}

function nearestCurve(view, x, y) {
  const curve = page.curves[Number(byId("curves-of").value)];
  const step = view.scale("x").invert(x);
  const scale = view.scale("y");
  let i = curve.points.findIndex((s) => s >= step);
  if (i < 0) i = curve.points.length - 1;
  const j = Math.max(0, i - 1);
  const share = i === j ? 0 : (step - curve.points[j]) / (curve.points[i] - curve.points[j]);
  let [found, least] = [null, NEAR];
  for (const c of latest.drawn || []) {
    const [a, b] = [curve.values[c][j], curve.values[c][i]];
    if (a === null || b === null) continue;
    const distance = Math.abs(scale(a) * (1 - share) + scale(b) * share - y);
    if (distance < least) [found, least] = [c, distance];
  }
  return found;
}

function nearestLine(view, x, y) {
  const at = view.scale("x").invert(x);
  const i = Math.min(axes.length - 2, Math.max(0, Math.floor(at)));
  const share = Math.min(1, Math.max(0, at - i));
  const scale = view.scale("y");
  let [found, least] = [null, NEAR];
  for (const row of latest.lines) {
    const distance = Math.abs(scale(row[`a${i}`] * (1 - share) + row[`a${i + 1}`] * share) - y);
    if (distance < least) [found, least] = [row.c, distance];
  }
  return found;
}

/** The position of the category under a coordinate of a band scale; -1 where there is none. */
function category(scale, at) {
  const width = scale.bandwidth();
  return scale.domain().findIndex((label) => at >= scale(label) && at <= scale(label) + width);
}

function cellUnder(view, x, y) {
  const [i, j] = [category(view.scale("x"), x), category(view.scale("y"), y)];
  const { cells } = latest;
  const label = view.scale("y").domain()[j];
  const found = [...cells.cells, ...cells.lost].find((cell) => cell.i === i && cell.y === label);
  return found ? found.c : null;
}

/** Select the range of a hyperparameter between two coordinates of a scale. */
function restrictTo(view, at, from, to, name) {
  const scale = view.scale(name);
  const [low, high] = [Math.min(from, to), Math.max(from, to)];
  if (parameters[at].kind === "text") {
    const inside = (text) => position(view, name, text) >= low && position(view, name, text) <= high;
    const only = new Set(parameters[at].values.map((text, i) => [text, i]).filter(([text]) => inside(text)).map(([, i]) => i));
    if (only.size) restrict(at, { only });
    return;
  }
  const ends = [scale.invert(low), scale.invert(high)].sort((a, b) => a - b);
  restrict(at, { low: ends[0], high: ends[1] });
}

function brushAxis(view, a, b) {
  const i = Math.round(view.scale("x").invert(a[0]));
  const axis = axes[i];
  if (!axis) return;
  const ends = [a[1], b[1]].map((y) => view.scale("y").invert(y)).sort((p, q) => p - q);
  if (axis.kind === "text") {
    const only = new Set(axis.values.keys());
    for (const value of only) if (height(axis, value) < ends[0] || height(axis, value) > ends[1]) only.delete(value);
    if (only.size) restrict(axis.key, { only });
    return;
  }
  const values = ends.map((at) => valueAt(axis, Math.min(1, Math.max(0, at))));
  if (axis.kind === "metric" && ends[0] < 0) values[0] = LOST; // dragged down to the diverged
  values.sort((p, q) => p - q);
  restrict(axis.key, { low: values[0], high: values[1] });
}

function brushCells(view, a, b) {
  const { cells } = latest;
  [["x", heat.x, cells.across, 0], ["y", heat.y, cells.up, 1]].forEach(([name, at, axis, k]) => {
    const scale = view.scale(name);
    const [low, high] = [Math.min(a[k], b[k]), Math.max(a[k], b[k])];
    const inside = axis.labels.map((label, i) => [label, i]).filter(([label]) => {
      const start = scale(label);
      return start <= high && start + scale.bandwidth() >= low;
    }).map(([, i]) => i);
    if (!inside.length) return;
    if (parameters[at].kind === "text") {
      const values = valuesOf(heat.optimizer, at);
      restrict(at, { only: new Set(inside.map((i) => values[i])) });
    } else {
      const ends = inside.flatMap((i) => axis.ends(i));
      restrict(at, { low: Math.min(...ends), high: Math.max(...ends) });
    }
  });
}

/** Show what is under the pointer, mark it on a click, and select ranges on a drag. */
function attend(name, view, place) {
  const kind = KINDS[name];
  const point = (event) => {
    const canvas = place.querySelector("canvas");
    const box = canvas.getBoundingClientRect();
    const [left, top] = view.origin();
    return [event.clientX - box.left - left, event.clientY - box.top - top];
  };
  let from = null;
  const band = make("div", { class: "band", hidden: true });
  const surface = place.querySelector(".vega-embed") || place;
  surface.append(band);
  const dragged = (event) => from && Math.hypot(event.clientX - from.x, event.clientY - from.y) > DRAGGED;
  surface.onpointerdown = (event) => {
    if (event.button === 0 && event.pointerType !== "touch") from = { x: event.clientX, y: event.clientY, at: point(event) };
  };
  surface.onpointermove = (event) => {
    if (kind.brush && dragged(event)) {
      const box = surface.getBoundingClientRect();
      band.hidden = false;
      band.style.left = `${Math.min(event.clientX, from.x) - box.left}px`;
      band.style.width = `${Math.abs(event.clientX - from.x)}px`;
      band.style.top = `${Math.min(event.clientY, from.y) - box.top}px`;
      band.style.height = `${Math.abs(event.clientY - from.y)}px`;
      hideTip();
      return;
    }
    const c = kind.near(view, ...point(event));
    if (c === null) hideTip();
    else showTip(...(kind.show || configurationFacts)(c), event.clientX, event.clientY);
  };
  surface.onpointerup = (event) => {
    if (kind.brush && dragged(event)) kind.brush(view, from.at, point(event));
    else if (from || event.pointerType === "touch") {
      const c = kind.near(view, ...point(event));
      if (c !== null) (kind.pick || mark)(c);
    }
    from = null;
    band.hidden = true;
  };
  surface.onpointerleave = () => {
    hideTip();
    from = null;
    band.hidden = true;
  };
}

const configurationFacts = (c) => [`Configuration ${rows[c].number}`, facts(rows[c])];

function showTip(title, pairs, x, y) {
  const list = make("dl");
  for (const [name, value] of pairs) list.append(make("dt", {}, name), make("dd", {}, value));
  tip.replaceChildren(make("strong", {}, title), list);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, x + 16 + box.width > innerWidth ? x - box.width - 12 : x + 16)}px`;
  tip.style.top = `${Math.max(4, Math.min(innerHeight - box.height - 4, y + 12))}px`;
}

const hideTip = () => { tip.hidden = true; };

