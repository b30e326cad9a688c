// What happens once the page is there.

const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");

function showTheme(chosen) {
  root.dataset.theme = chosen;
  const button = byId("theme");
  button.textContent = chosen === "dark" ? "Light theme" : "Dark theme";
  return setTheme(chosen);
}

async function start() {
  root.classList.add("scripted");
  byId("theme").addEventListener("click", () => showTheme(root.dataset.theme === "dark" ? "light" : "dark"));
  showTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => showTheme(dark.matches ? "dark" : "light"));
  let before = null;
  addEventListener("beforeprint", () => { before = root.dataset.theme; showTheme("light"); });
  addEventListener("afterprint", () => showTheme(before));
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  document.querySelectorAll("[data-file]").forEach((button) => button.addEventListener("click", () => {
    const [name, type] = FILES[button.dataset.file];
    save(name, new Blob([page[button.dataset.file]], { type }));
  }));
  if (page.sweep) {
    use(page.sweep);
    await explore();
  }
  if (page.tasks) await compare();
  root.dataset.ready = String(Math.round(performance.now()));
}

/** Let the controls and charts show the selection. */
async function explore() {
  listeners.push((chosen) => { latest.chosen = chosen; });
  listeners.push(() => refreshers.forEach((refresh) => refresh()));
  listeners.push(sayCount);
  makeOptimizers();
  if (byId("rows")) {
    listeners.push((chosen) => { shownCount = PER_PAGE; fillRows(chosen); });
    byId("more").addEventListener("click", () => { shownCount += 5 * PER_PAGE; fillRows(latest.chosen); });
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.pick");
    if (button) mark(Number(button.dataset.config));
  });
  document.querySelectorAll("[data-chart]").forEach((button) => button.addEventListener("click", async () => {
    const { chart, kind } = button.dataset;
    save(`${chart}.${kind}`, await saveChart(chart, kind));
  }));
  ["sensitivity", "curves"].forEach((name) => {
    const select = byId(`${name}-of`);
    if (select) select.addEventListener("change", () => draw(name));
  });
  listeners.push(() => Promise.all([...views.keys()].map(fill)));
  await showSweep();
}

/** Show the sweep that is in use, from scratch. */
function showSweep() {
  latest.chosen = order.filter((c) => isChosen(rows[c]));
  makeRanges();
  sayCount(latest.chosen);
  if (byId("rows")) {
    makeRowsTable();
    shownCount = PER_PAGE;
    fillRows(latest.chosen);
  }
  return drawAll();
}

let sequence = 0; // the latest one
/** Draw the charts one after another, those nearest to the window first, so that the page answers in between. */
async function drawAll() {
  sequence += 1;
  const own = sequence;
  const away = (name) => {
    const { top, bottom } = byId(`chart-${name}`).getBoundingClientRect();
    return Math.max(top - innerHeight, -bottom);
  };
  const left = Object.keys(KINDS).filter((name) => byId(`chart-${name}`));
  while (left.length && own === sequence) {
    left.sort((a, b) => away(a) - away(b)); // again, since the reader may have scrolled
    const name = left.shift();
    await (name === "heatmap" ? makeHeat() : draw(name));
    await new Promise((done) => setTimeout(done));
  }
  if (own === sequence) root.dataset.drawn = String(own);
}

start();
