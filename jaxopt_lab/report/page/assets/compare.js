// A comparison: one task at a time, and each pair's effect.

/** The pairs of optimizers that stand out: those of selected ones, or all pairs of one that alone is selected. */
function standsOut({ a, b }) {
  const on = state.optimizers;
  return on.size === 1 ? on.has(a) || on.has(b) : on.has(a) && on.has(b);
}

function effectsData() {
  const { rows: pairs } = page.tasks[task].effects;
  const names = sweep.optimizers.map((optimizer) => optimizer.name);
  const [focus, context] = [pairs.filter(standsOut), pairs.filter((pair) => !standsOut(pair))];
  const kept = new Set([...focus, ...context].slice(0, page.most_pairs));
  latest.pairs = pairs.filter((pair) => kept.has(pair)).map((pair, y) => ({
    ...pair, y, pair: `${names[pair.a]} - ${names[pair.b]}`, o: names[pair.better], on: standsOut(pair),
  }));
  const shown = latest.pairs.filter((pair) => pair.on);
  return {
    zero: [{ end: 0 }],
    context: latest.pairs.filter((pair) => !pair.on),
    undecided: shown.filter((pair) => pair.better === null),
    decided: shown.filter((pair) => pair.better !== null),
    named: shown,
    left: shown.filter((pair) => pair.beyond.includes(-1)),
    right: shown.filter((pair) => pair.beyond.includes(1)),
  };
}

function pairUnder(view, x, y) {
  const at = Math.round(view.scale("y").invert(y) + 0.15); // a pair's name is above its interval
  return at >= 0 && at < latest.pairs.length ? at : null;
}

function pairFacts(i) {
  return [latest.pairs[i].pair, latest.pairs[i].facts];
}

/** Select a pair's optimizers alone; all, where these are selected alone already. */
function pickPair(i) {
  const { a, b } = latest.pairs[i];
  const alone = state.optimizers.size === 2 && state.optimizers.has(a) && state.optimizers.has(b);
  state.optimizers = new Set(alone ? sweep.optimizers.keys() : [a, b]);
  changed();
}

/** Let the table of all comparisons show which pairs stand out. */
function quietPairs() {
  for (const row of document.querySelectorAll("#comparisons-table tbody tr")) {
    row.classList.toggle("quiet", !standsOut({ a: Number(row.dataset.a), b: Number(row.dataset.b) }));
  }
}

async function compare() {
  const [tasks, rates] = [byId("task"), byId("sensitivity-of")];
  const choose = (i) => {
    use(page.tasks[i].sweep, i);
    if (!rates) return;
    const keys = [...parameters.keys()].filter((at) => page.charts[`${i} sensitivity ${at}`]);
    options(rates, keys, keys.find((at) => parameters[at].name === "learning_rate"));
    for (const name of ["sensitivity", "parallel"]) byId(name).hidden = keys.length === 0;
  };
  choose(0);
  listeners.push(quietPairs);
  if (tasks) tasks.addEventListener("change", () => {
    forget();
    choose(tasks.selectedIndex);
    showSweep();
  });
  await explore();
}
