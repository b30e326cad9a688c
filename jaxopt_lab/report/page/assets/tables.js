// Tables: sorting, the selected configurations, and files.

function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const descending = heads[column].getAttribute("aria-sort") === "ascending";
  const value = (row) => row.cells[column].dataset.sort;
  const [numbers, texts] = [heads[column].classList.contains("number"), new Intl.Collator("en", { numeric: true })];
  const compare = (a, b) => {
    const [p, q] = [value(a), value(b)];
    if (p === "" || q === "") return (p === "") - (q === ""); // what has no number stays last
    const less = numbers ? Number(p) - Number(q) : texts.compare(p, q);
    return descending ? -less : less;
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  heads.forEach((head, i) => {
    if (i === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, i) => {
    head.querySelector("button").addEventListener("click", () => sortBy(table, i));
  });
}

const PER_PAGE = 20;
let shownCount = PER_PAGE;

function makeRowsTable() {
  const heads = ["", "optimizer", ...parameters.map((parameter) => parameter.words), metric.words, ...(several ? ["quartiles"] : []), "trials"];
  const last = heads.length - 1;
  byId("rows").tHead.replaceChildren(make("tr", {}, ...heads.map((text, i) => make("th", { scope: "col", class: i > 1 && i < last ? "number" : null }, text))));
}

function fillRows(chosen) {
  const body = chosen.slice(0, shownCount).map((c) => {
    const row = rows[c];
    const button = make("button", { type: "button", class: "pick", "aria-pressed": String(state.marked === c), "data-config": c, "aria-label": `Mark configuration ${row.number}` }, row.number);
    const spread = Number.isFinite(row.median) ? row.quartiles.map(number).join("\u2013") : "";
    const cells = [
      ...row.values.map((value, i) => make("td", { class: "number" }, value === null ? "" : textOf(i, value))),
      make("td", { class: "number" }, `${number(row.median)}${row.early ? " when stopped" : ""}`),
      ...(several ? [make("td", { class: "number" }, spread)] : []),
      make("td", {}, row.ended),
    ];
    return make("tr", { class: state.marked === c ? "marked" : null }, make("th", { scope: "row" }, button), make("td", {}, row.selected ? `${row.o} ★` : row.o), ...cells);
  });
  byId("rows").tBodies[0].replaceChildren(...body);
  const n = Math.min(shownCount, chosen.length);
  byId("rows-said").textContent = `${n.toLocaleString("en")} of ${chosen.length.toLocaleString("en")} selected configurations`;
  byId("more").hidden = n === chosen.length;
}

const FILES = { csv: ["trials.csv", "text/csv"], verdict: ["verdict.csv", "text/csv"], scores: ["scores.csv", "text/csv"], attributes: ["recorded.json", "application/json"] };

const pngOf = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

/** A chart as a file: drawn anew, in light colours, with a legend, at a width for a paper. */
async function saveChart(name, kind) {
  const place = make("div", { class: "offscreen" });
  document.body.append(place);
  const legend = { symbolOpacity: 1, symbolStrokeWidth: 2 };
  const withLegend = (at, value) => (at === "legend" && value === null ? legend : value);
  const spec = JSON.parse(JSON.stringify(KINDS[name].spec()), withLegend);
  const { view } = await vegaEmbed(place, { ...spec, width: 640, autosize: "pad", background: "white" }, embedding);
  const sets = KINDS[name].data(latest.chosen);
  for (const [set, values] of Object.entries(sets)) if (Array.isArray(values)) view.data(set, values);
  await view.resize().runAsync();
  const text = kind === "svg" ? await view.toSVG() : null;
  const blob = text === null ? await pngOf(await view.toCanvas(3)) : new Blob([text], { type: "image/svg+xml" });
  view.finalize();
  place.remove();
  return blob;
}

