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
  if (sweep) await explore();
  root.dataset.ready = String(Math.round(performance.now()));
}

async function explore() {
  latest.chosen = order.slice();
  listeners.push((chosen) => { latest.chosen = chosen; });
  listeners.push(() => refreshers.forEach((refresh) => refresh()));
  listeners.push(sayCount);
  makeRanges();
  sayCount(latest.chosen);
  if (byId("rows")) {
    makeRowsTable();
    fillRows(latest.chosen);
    listeners.push((chosen) => { shownCount = PER_PAGE; fillRows(chosen); });
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
  await Promise.all([draw("sensitivity"), draw("curves"), draw("parallel"), makeHeat()]);
  listeners.push(() => Promise.all([...views.keys()].map(fill)));
}

start();
