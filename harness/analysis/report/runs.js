"use strict";
(() => {
  const { find, all, make, announce, unpack, words } = window.report;
  const SVG = "http://www.w3.org/2000/svg";
  const table = find("#run-table");
  const rows = [...table.tBodies[0].rows];
  const COLUMN = { adapter: 1, state: 13, suite: 14 };
  const LABELS = { loss: "loss", grad_norm: "gradient norm", energy_gap: "energy gap" };

  // --- filters -----------------------------------------------------------------------------

  const fields = ["suite", "adapter", "state", "exhibit"].map((name) => find(`#run-${name}`));
  const search = find("#run-search");
  let readers = null;

  // A model's label may hold a comma: then the cell says what its parts are.
  function cellHas(row, name, wanted) {
    if (!wanted) return true;
    const cell = row.cells[COLUMN[name]];
    const text = (cell.firstChild?.textContent ?? "").trim();
    const parts = name === "suite" ? text.split(", ") : [text];
    return (cell.dataset.each ? JSON.parse(cell.dataset.each) : parts).includes(wanted);
  }

  async function filter() {
    const [suite, adapter, state, exhibit] = fields.map((field) => field.value);
    if (exhibit && !readers) {
      const data = await unpack("packed-runs");
      readers = new Map();
      for (const [id, run] of Object.entries(data.runs)) {
        readers.set(id, run.exhibits.map((index) => data.exhibits[index]));
      }
    }
    const wanted = words(search.value);
    let kept = 0;
    for (const row of rows) {
      const id = row.id.slice(4);
      const text = `${row.textContent} ${id}`.toLowerCase();
      row.hidden = !(cellHas(row, "suite", suite) && cellHas(row, "adapter", adapter)
        && cellHas(row, "state", state) && wanted.every((word) => text.includes(word))
        && (!exhibit || readers.get(id).includes(exhibit)));
      const detail = row.nextElementSibling;
      if (detail?.classList.contains("detail")) detail.hidden = row.hidden || !isOpen(row);
      kept += !row.hidden;
    }
    const said = `${kept} of ${rows.length} runs`;
    find("#run-count").textContent = said;
    announce(said);
  }

  function reset() {
    search.value = "";
    fields.forEach((field) => { field.value = ""; });
    return filter();
  }

  search.addEventListener("input", filter);
  fields.forEach((field) => field.addEventListener("change", filter));
  find("#run-reset").addEventListener("click", reset);
  find("#run-count").textContent = `${rows.length} runs`;
  all("a[data-exhibit]").forEach((link) => link.addEventListener("click", () => {
    search.value = "";
    fields.forEach((field) => { field.value = ""; });
    fields[3].value = link.dataset.exhibit;
    filter();
  }));

  // --- a run's details ---------------------------------------------------------------------

  function isOpen(row) { return find(".toggle", row).getAttribute("aria-expanded") === "true"; }

  function yaml(value, indent = "") {
    const plain = (text) => (/^[\w./:+-]+$/.test(text) ? text : JSON.stringify(text));
    if (Array.isArray(value)) {
      return value.every((each) => typeof each !== "object" || each === null)
        ? `[${value.map((each) => yaml(each)).join(", ")}]`
        : value.map((each) => `\n${indent}- ${yaml(each, `${indent}  `).trimStart()}`).join("");
    }
    if (value !== null && typeof value === "object") {
      return Object.entries(value).map(([key, each]) => {
        const nested = each !== null && typeof each === "object" && !Array.isArray(each);
        return `\n${indent}${plain(key)}:${nested ? "" : " "}${yaml(each, `${indent}  `)}`;
      }).join("");
    }
    return typeof value === "string" ? plain(value) : String(value);
  }

  // Only numbers get a true minus sign: words are found and copied as they are written.
  function number(value) {
    if (value === null || value === undefined) return "";
    if (typeof value !== "number") return String(value);
    const exact = Number.isInteger(value) || Math.abs(value) >= 1e5;
    return String(exact ? value : Number(value.toPrecision(6))).replace(/^-/, "−");
  }

  function svg(name, attributes, text) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function curve(name, steps, values, logged) {
    const known = values.map((value, i) => [steps[i], value]).filter(([, value]) => value !== null);
    if (!known.length) return null;
    const heights = known.map(([, value]) => value);
    const [low, high] = [Math.min(...heights), Math.max(...heights)];
    const last = heights[heights.length - 1];
    const span = steps[steps.length - 1] - steps[0] || 1;
    const x = (step) => 4 + 232 * (step - steps[0]) / span;
    // From far to near, such as a loss that falls tenfold, is seen along a logarithm.
    const scale = low > 0 && high > 4 * low ? Math.log : (value) => value;
    const reach = scale(high) - scale(low) || 1;
    const y = (value) => 14 + 60 * (1 - (scale(value) - scale(low)) / reach);
    const box = svg("svg", { viewBox: "0 0 240 92", role: "img" });
    box.append(svg("title", {}, `${LABELS[name]} over ${steps[steps.length - 1]} steps: from `
      + `${number(heights[0])} to ${number(last)}, lowest ${number(low)}, highest ${number(high)}; `
      + `${known.length} of ${logged} logged lines`));
    box.append(svg("line", { x1: 4, y1: 76, x2: 236, y2: 76 }));
    box.append(svg("polyline", {
      points: known.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" "),
    }));
    const along = scale === Math.log ? ", log scale" : "";
    box.append(svg("text", { x: 4, y: 9 }, `${LABELS[name]}${along}: highest ${number(high)}`));
    box.append(svg("text", { x: 4, y: 88 }, `step ${steps[0]}`));
    box.append(svg("text", { x: 236, y: 88, "text-anchor": "end" },
      `${steps[steps.length - 1]}: ${number(last)}`));
    return make("figure", {}, box);
  }

  function curves(run) {
    if (!run.curve) return make("p", {}, "It has no training log here.");
    const { steps, values, logged } = run.curve;
    const box = make("div", { class: "curves" });
    for (const [name, each] of Object.entries(values)) {
      const drawn = curve(name, steps, each, logged);
      if (drawn) box.append(drawn);
    }
    return box;
  }

  function evaluation(each, columns) {
    const summary = make("summary", {}, `${each.name} `,
      make("span", { class: "muted" }, `${each.state}, ${each.of} measurements, ${each.id}`));
    const box = make("details", {}, summary);
    box.addEventListener("toggle", () => {
      if (!box.open || find("table", box) || !each.rows.length) return;
      const shown = columns.slice(0, -1);
      const head = make("tr", {}, ...shown.map((name) => make("th", { scope: "col" },
        name.replace("_", " "))));
      const body = each.rows.map((row) => make("tr", {}, ...shown.map((name, i) => make(
        i ? "td" : "th", i ? {} : { scope: "row" }, number(row[i])))));
      box.append(make("div", { class: "scroll tall", role: "group", tabindex: "0",
        "aria-label": `Measurements of ${each.name}` }, make("table", {},
        make("caption", { class: "sr" }, `Measurements of ${each.name}`),
        make("thead", {}, head), make("tbody", {}, ...body))));
      if (each.rows.length < each.of) {
        box.append(make("p", {}, `${each.of - each.rows.length} more are in its record, `
          + `evals/${each.id}/measurements.jsonl.`));
      }
    });
    return box;
  }

  function details(id, data) {
    const run = data.runs[id];
    const origin = run.origin === null ? null : data.origins[run.origin];
    const box = make("div", { class: "detail-box" });
    box.append(make("h3", {}, `Run ${id}`));
    if (run.reason) box.append(make("p", {}, `Reason: ${run.reason}`));
    box.append(make("ul", {}, ...run.uses.map(([suite, name]) => make("li", {},
      make("a", { href: `#suite-${suite}` }, suite), `: ${name}`))));
    box.append(make("h3", {}, "Training"), curves(run));
    if (Object.keys(run.training).length) box.append(pre(run.training, `Training of ${id}`));
    box.append(make("h3", {}, "Evaluations"));
    box.append(...run.evaluations.map((each) => evaluation(each, data.columns)));
    if (!run.evaluations.length) box.append(make("p", {}, "None is asked for."));
    box.append(make("h3", {}, "Used by"));
    box.append(run.exhibits.length ? make("ul", {}, ...run.exhibits.map((index) => {
      const anchor = data.exhibits[index];
      return make("li", {}, make("a", { href: `#${anchor}` },
        find(`[id="${CSS.escape(anchor)}"] h4`)?.innerText ?? anchor));
    })) : make("p", {}, "No exhibit reads it."));
    box.append(make("h3", {}, "Settings"), pre(run.spec, `Settings of ${id}`));
    box.append(make("h3", {}, "Origin"));
    box.append(origin ? pre(origin, `Origin of ${id}`) : make("p", {}, "Nothing is recorded."));
    return box;
  }

  function pre(value, label) {
    return make("pre", { tabindex: "0", role: "group", "aria-label": label }, yaml(value).trim());
  }

  async function toggle(row, open) {
    const button = find(".toggle", row);
    let detail = row.nextElementSibling;
    if (!detail?.classList.contains("detail")) detail = null;
    if (open && !detail) {
      const data = await unpack("packed-runs");
      if (row.nextElementSibling?.classList.contains("detail")) return;
      const cell = make("td", { colspan: String(row.cells.length) }, details(row.id.slice(4), data));
      detail = make("tr", { class: "detail" }, cell);
      detail.dataset.of = row.id;
      row.after(detail);
      fit();
    }
    if (detail) detail.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
  }

  function fit() {
    const width = table.closest(".scroll").clientWidth;
    all(".detail-box", table).forEach((box) => { box.style.width = `${width}px`; });
  }
  window.addEventListener("resize", fit);

  rows.forEach((row) => {
    const code = find("code", row.cells[0]);
    const button = make("button", { type: "button", class: "toggle", "aria-expanded": "false",
      title: row.id.slice(4) }, make("span", { class: "sr" }, "Run "), code.textContent);
    code.replaceWith(button);
    button.addEventListener("click", () => toggle(row, !isOpen(row)));
  });

  // --- anchors -----------------------------------------------------------------------------

  async function follow() {
    const id = decodeURIComponent(location.hash.slice(1));
    const target = id && document.getElementById(id);
    if (!target) return;
    if (rows.includes(target)) {
      if (target.hidden) await reset();
      await toggle(target, true);
      target.scrollIntoView({ block: "start" });
    }
    for (let up = target; up; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
  }
  window.addEventListener("hashchange", follow);
  follow();

  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = all("details:not([open]):not(.links)");
    closed.forEach((box) => { box.open = true; });
  });
  window.addEventListener("afterprint", () => closed.forEach((box) => { box.open = false; }));
})();
