"use strict";
(() => {
  const find = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  function make(name, attributes = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  let spoken = 0;
  function announce(text) {
    const box = find("#announce");
    clearTimeout(spoken);
    spoken = setTimeout(() => { box.textContent = text; }, 150);
  }

  // --- theme -------------------------------------------------------------------------------

  const THEMES = ["system", "light", "dark"];
  function theme() {
    return document.documentElement.getAttribute("data-theme") || "system";
  }
  function showTheme() { find("#theme").textContent = `Theme: ${theme()}`; }
  find("#theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
    if (next === "system") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", next);
    try {
      if (next === "system") localStorage.removeItem("theme");
      else localStorage.setItem("theme", next);
    } catch (error) { /* not remembered */ }
    showTheme();
    announce(`Theme: ${next}`);
  });
  showTheme();

  // --- what is packed ----------------------------------------------------------------------

  const unpacked = {};
  function unpack(id) {
    unpacked[id] ??= (async () => {
      const bytes = Uint8Array.from(atob(find(`#${id}`).textContent), (c) => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
      return JSON.parse(await new Response(stream).text());
    })();
    return unpacked[id];
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-csv]");
    if (!button) return;
    const data = await unpack("packed-csv");
    const url = URL.createObjectURL(new Blob([data[button.dataset.csv]], { type: "text/csv" }));
    const link = make("a", { href: url, download: `${button.dataset.name}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  });

  // --- sorting -----------------------------------------------------------------------------

  const PREFIXES = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18 };
  const BINARY = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };
  const TIMES = { µs: 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600, d: 86400 };
  const TIME = /^\d+(\.\d+)?(e[-+]?\d+)? (µs|ms|s|min|h|d)( \d+ (s|min|h))?$/;
  const NUMBER = /^[^\p{L}\d.∞+-]*([-+]?(?:∞|\d*\.?\d+(?:e[-+]?\d+)?))(?: ?(KiB|MiB|GiB|TiB|[kMGTPE])(?![\p{L}\d]))?/u;

  // What a cell is sorted by: a number, with its prefix or unit of time, or null where it has none.
  function numberOf(text) {
    const plain = text.trim().replaceAll("−", "-").replace(/(\d),(?=\d{3}(?!\d))/g, "$1");
    if (TIME.test(plain)) {
      let total = 0;
      for (const part of plain.matchAll(/(\d+(?:\.\d+)?(?:e[-+]?\d+)?) (µs|ms|s|min|h|d)/g)) {
        total += Number(part[1]) * TIMES[part[2]];
      }
      return total;
    }
    const found = NUMBER.exec(plain);
    if (!found) return null;
    const size = found[1].replace("+", "");
    const value = size.includes("∞") ? (size.startsWith("-") ? -Infinity : Infinity) : Number(size);
    return value * (BINARY[found[2]] ?? PREFIXES[found[2]] ?? 1);
  }

  const collator = new Intl.Collator("en", { sensitivity: "base" });
  const WITHIN = /\d+(?:\.\d+)?(?:e[-+]?\d+(?![\p{L}\d]))?(?: ?(?:KiB|MiB|GiB|TiB|[kMGTPE])(?![\p{L}\d]))?/gu;

  // `lr 0.0005, 1.2 M tokens` as words and the numbers between them: [lr , 0.0005, ", ", 1200000].
  function partsOf(text) {
    const plain = text.replace(/(\d),(?=\d{3}(?!\d))/g, "$1");
    const parts = [];
    let from = 0;
    for (const found of plain.matchAll(WITHIN)) {
      parts.push(plain.slice(from, found.index), numberOf(found[0]));
      from = found.index + found[0].length;
    }
    return [...parts, plain.slice(from)];
  }

  // Words and numbers take turns, so that like is compared with like.
  function byParts(a, b) {
    for (let i = 0; i < Math.min(a.length, b.length); i += 1) {
      const order = i % 2 ? Math.sign(a[i] - b[i]) : collator.compare(a[i], b[i]);
      if (order) return order;
    }
    return a.length - b.length;
  }

  function keyOf(row, column) {
    const cell = row.cells[column];
    const text = cell.textContent.trim();
    const value = cell.dataset.v === undefined ? numberOf(text) : Number(cell.dataset.v);
    return { row, text, value, parts: partsOf(text) };
  }

  // Numbers as numbers, then words, then what is empty, in either direction.
  function sort(table, column, descending) {
    const body = table.tBodies[0];
    const details = new Map(all("tr.detail", body).map((row) => [row.dataset.of, row]));
    const keys = [...body.rows].filter((row) => !row.classList.contains("detail"))
      .map((row) => keyOf(row, column));
    const filled = keys.filter((key) => key.text);
    const numeric = filled.filter((key) => key.value !== null).length * 2 >= filled.length;
    const rank = (key) => (!key.text ? 2 : numeric && key.value === null ? 1 : 0);
    const sign = descending ? -1 : 1;
    keys.sort((a, b) => {
      if (rank(a) !== rank(b)) return rank(a) - rank(b);
      if (numeric && rank(a) === 0 && a.value !== b.value) return a.value < b.value ? -sign : sign;
      return sign * byParts(a.parts, b.parts);
    });
    const sorted = keys.flatMap(({ row }) => [row, details.get(row.id)].filter(Boolean));
    body.append(...sorted);
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sort(table, column, descending);
        announce(`Sorted by ${button.innerText}, ${descending ? "descending" : "ascending"}`);
      });
    });
  }

  // --- filtering ---------------------------------------------------------------------------

  function words(text) { return text.toLowerCase().split(/\s+/).filter(Boolean); }

  function filterable(table) {
    const count = find("caption .count", table);
    const input = make("input", { type: "search", autocomplete: "off" });
    const label = make("label", {}, "Filter rows ", input);
    const title = find("caption", table).innerText.replace(count.innerText, "").trim();
    label.append(make("span", { class: "sr" }, ` of ${title}`));
    table.closest(".scroll").before(make("div", { class: "filter" }, label));
    const rows = [...table.tBodies[0].rows];
    input.addEventListener("input", () => {
      const wanted = words(input.value);
      let kept = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !wanted.every((word) => text.includes(word));
        kept += !row.hidden;
      }
      count.textContent = wanted.length ? `${kept} of ${rows.length} rows` : `${rows.length} rows`;
      announce(`${kept} of ${rows.length} rows`);
    });
  }

  all("table.data").forEach((table) => {
    if (table.tBodies[0].rows.length > 1) sortable(table);
    if (table.dataset.filter) filterable(table);
  });

  window.report = { find, all, make, announce, unpack, words };
})();
