// The controls of the selection: the same by keyboard as by dragging.

const refreshers = []; // of controls, after the selection has changed elsewhere

function distinctOf(key) {
  const found = new Set();
  for (const row of rows) {
    const value = valueOf(row, key);
    if (value !== null && Number.isFinite(value)) found.add(value);
  }
  return [...found].sort((a, b) => a - b);
}

/** A checkbox for each value of a hyperparameter of texts. */
function checkboxes(key, words) {
  const boxes = parameters[key].values.map((text, i) => {
    const box = make("input", { type: "checkbox", checked: true, value: i });
    return { box, label: make("label", {}, box, make("span", {}, text)) };
  });
  const read = () => {
    const only = new Set(boxes.filter(({ box }) => box.checked).map(({ box }) => Number(box.value)));
    restrict(key, only.size === boxes.length ? null : { only });
  };
  boxes.forEach(({ box }) => box.addEventListener("change", read));
  refreshers.push(() => {
    const range = state.ranges.get(key);
    boxes.forEach(({ box }, i) => { box.checked = !range || range.only.has(i); });
  });
  return make("fieldset", {}, make("legend", {}, words), make("div", { class: "legend" }, ...boxes.map(({ label }) => label)));
}

/** Two sliders over the values that were tried, and two fields for any number. */
function range(key, words) {
  const values = distinctOf(key);
  const last = values.length - 1;
  const ends = [["least", 0, -Infinity], ["most", last, Infinity]].map(([side, at, open]) => ({
    side,
    at,
    open,
    slider: make("input", { type: "range", min: 0, max: last, step: 1, value: at, "aria-label": `${words}, ${side}` }),
    field: make("input", { type: "number", step: "any", "aria-label": `${words}, ${side}, as a number` }),
  }));
  const [least, most] = ends;
  // The ends are open, so that what has no finite value stays selected.
  const set = (low, high) => {
    const whole = low === -Infinity && high === Infinity;
    restrict(key, whole ? null : { low: Math.min(low, high), high: Math.max(low, high) });
  };
  const bySlider = (moved) => {
    const [a, b] = [Number(least.slider.value), Number(most.slider.value)];
    if (a > b) (moved === least ? most : least).slider.value = moved.slider.value;
    const [i, j] = [Number(least.slider.value), Number(most.slider.value)];
    set(i === 0 ? -Infinity : values[i], j === last ? Infinity : values[j]);
  };
  const byField = (end) => { // the other field shows a rounded number, so its end is not read from there
    const before = state.ranges.get(key) || { low: -Infinity, high: Infinity };
    const typed = end.field.value === "" ? NaN : Number(end.field.value);
    const value = Number.isFinite(typed) ? typed : end.open;
    set(end === least ? value : before.low, end === most ? value : before.high);
  };
  for (const end of ends) {
    end.slider.addEventListener("input", () => bySlider(end));
    end.field.addEventListener("change", () => byField(end));
  }
  const show = () => {
    const { low, high } = state.ranges.get(key) || { low: -Infinity, high: Infinity };
    const i = values.findIndex((value) => value >= low);
    let j = last;
    while (j > 0 && values[j] > high) j -= 1;
    least.slider.value = i < 0 ? last : i;
    most.slider.value = j;
    [[least, low, 0], [most, high, last]].forEach(([end, value, open]) => {
      const shown = Number.isFinite(value) ? value : values[open];
      end.slider.setAttribute("aria-valuetext", short(shown));
      if (document.activeElement !== end.field) end.field.value = short(shown);
    });
  };
  refreshers.push(show);
  show();
  const sides = ends.map(({ slider, field }) => make("div", { class: "side" }, slider, field));
  return make("fieldset", { class: "range" }, make("legend", {}, words), ...sides);
}

function makeRanges() {
  const place = byId("ranges");
  place.replaceChildren();
  refreshers.length = 0;
  parameters.forEach((parameter, key) => {
    if (parameter.count > 1) place.append(parameter.kind === "text" ? checkboxes(key, parameter.words) : range(key, parameter.words));
  });
  if (distinctOf(METRIC).length > 1) place.append(range(METRIC, metric.words));
}

function makeOptimizers() {
  for (const box of document.querySelectorAll("#optimizers input")) {
    const at = Number(box.dataset.optimizer);
    box.addEventListener("change", () => {
      if (box.checked) state.optimizers.add(at);
      else state.optimizers.delete(at);
      changed();
    });
    listeners.push(() => { box.checked = state.optimizers.has(at); });
  }
  byId("clear").addEventListener("click", clearAll);
}

/** Say how many are selected, and describe the marked one. */
function sayCount(chosen) {
  const lost = chosen.filter((c) => !Number.isFinite(rows[c].median) || rows[c].early).length;
  const [n, all] = [chosen.length.toLocaleString("en"), rows.length.toLocaleString("en")];
  const more = lost ? `; ${lost.toLocaleString("en")} of them have no finite ${sweep.centre} at the end` : "";
  byId("count").textContent = `${n} of ${all} configurations selected${more}.`;
  byId("clear").disabled = isAll() && state.marked === null;
  document.querySelectorAll("#board button.pick").forEach((button) => {
    button.setAttribute("aria-pressed", String(Number(button.dataset.config) === state.marked));
  });
  const place = byId("marked");
  place.hidden = state.marked === null;
  if (state.marked === null) return;
  const row = rows[state.marked];
  const text = facts(row).map(([name, value]) => `${name} ${value}`).join(", ");
  const close = make("button", { type: "button" }, "Unmark");
  close.addEventListener("click", () => mark(row.c));
  place.replaceChildren(make("p", {}, make("strong", {}, `Configuration ${row.number} is marked: `), `${text}.`), close);
}

// The heat map's own controls

function options(select, keys, chosen) {
  select.replaceChildren(...keys.map((at) => make("option", { value: at, selected: at === chosen }, parameters[at].words)));
}

function makeHeat() {
  if (!byId("chart-heatmap")) return;
  const [of, x, y] = ["heat-optimizer", "heat-x", "heat-y"].map(byId);
  const start = () => {
    heat.optimizer = Number(of.value);
    [heat.x, heat.y] = variedBy(heat.optimizer);
    axesChanged();
  };
  const axesChanged = () => {
    const keys = variedBy(heat.optimizer);
    if (heat.x === heat.y) heat.y = keys.find((at) => at !== heat.x);
    options(x, keys, heat.x);
    options(y, keys.filter((at) => at !== heat.x), heat.y);
    heat.fixed.clear();
    byId("heat-others").replaceChildren(...keys.filter((at) => at !== heat.x && at !== heat.y).map(heatSlider));
    return draw("heatmap");
  };
  of.addEventListener("change", start);
  x.addEventListener("change", () => { heat.x = Number(x.value); axesChanged(); });
  y.addEventListener("change", () => { heat.y = Number(y.value); axesChanged(); });
  return start();
}

/** A slider over the values of another hyperparameter; at its left end, the best over all of them. */
function heatSlider(at) {
  const found = categories(heat.optimizer, at);
  const { words } = parameters[at];
  const slider = make("input", { type: "range", min: 0, max: found.labels.length, step: 1, value: 0, "aria-label": words });
  const said = make("output", {}, "best of all");
  slider.addEventListener("input", () => {
    const i = Number(slider.value) - 1;
    if (i < 0) heat.fixed.delete(at);
    else heat.fixed.set(at, { ...found, at: i });
    said.textContent = i < 0 ? "best of all" : found.labels[i];
    slider.setAttribute("aria-valuetext", said.textContent);
    fill("heatmap");
  });
  slider.setAttribute("aria-valuetext", "best of all");
  return make("label", {}, words, " ", slider, said);
}

