"use strict";
// Functions of every page. Text is inserted as text nodes and attributes only, never as markup.

const byId = (id) => document.getElementById(id);
const DASH = "—";

/** An element with attributes and children; texts become text nodes. */
function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for drawings. */
function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A number with three significant digits, or a dash. */
function significant(value) {
  if (value === null || value === undefined || !isFinite(value)) return DASH;
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e5 || size < 1e-3 ? value.toExponential(1) : Number(value.toPrecision(3)).toString();
  return text.replace("-", "−");
}

/** A number with so many decimals, or a dash. */
function fixed(value, decimals) {
  if (value === null || value === undefined || !isFinite(value)) return DASH;
  const text = value.toFixed(decimals);
  return (Number(text) === 0 ? Math.abs(Number(text)).toFixed(decimals) : text).replace("-", "−");
}

const whole = (value) => (value === null || value === undefined ? DASH : value.toLocaleString("en"));
/** `one fragment`, `two fragments`: the noun follows the number. */
const many = (n, noun) => `${whole(n)} ${noun}${n === 1 ? "" : "s"}`;

/** A name that may break behind its points and underscores. */
const breakable = (text) => text.split(/(?<=[._])/).flatMap((part, nth) => (nth ? [make("wbr"), part] : [part]));

/** Fills a select; each option is [value, text]. */
function options(select, list) {
  select.replaceChildren(...list.map(([value, text]) => make("option", { value }, text)));
}

/** What stands after `#`, as names and values. A feature's address is `#f=17`. */
const address = () => new URLSearchParams(location.hash.slice(1));

/** Changes the address without a new entry in the history. */
function readdress(values) {
  const text = values.toString();
  try {
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  } catch (refused) {
    // Some browsers refuse this for local files; the page works without it.
  }
}

// Theme: the system's, light or dark; stored if the browser allows it.
(() => {
  const button = byId("theme");
  const order = ["system", "light", "dark"];
  const show = () => {
    const theme = document.documentElement.dataset.theme || "system";
    button.textContent = `Theme: ${theme}`;
    return theme;
  };
  button.addEventListener("click", () => {
    const theme = order[(order.indexOf(show()) + 1) % order.length];
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try {
      if (theme === "system") localStorage.removeItem("autointerp-theme");
      else localStorage.setItem("autointerp-theme", theme);
    } catch (refused) {
      // Without storage the choice applies to this page only.
    }
    show();
  });
  show();
})();

// The tooltip of elements with `data-tip`, near the hovered or focused element.
const tip = (() => {
  const box = byId("tip");
  const at = (element) => {
    const text = element && element.getAttribute("data-tip");
    if (!text) {
      box.hidden = true;
      return;
    }
    box.textContent = text;
    box.hidden = false;
    const place = element.getBoundingClientRect();
    const left = Math.min(Math.max(4, place.left + place.width / 2 - box.offsetWidth / 2), innerWidth - box.offsetWidth - 4);
    const above = place.top - box.offsetHeight - 6;
    box.style.left = `${Math.max(4, left)}px`;
    box.style.top = `${above > 4 ? above : place.bottom + 6}px`;
  };
  const tipped = (event) => (event.target instanceof Element ? event.target.closest("[data-tip]") : null);
  document.addEventListener("pointerover", (event) => at(tipped(event)));
  document.addEventListener("focusin", (event) => at(tipped(event)));
  document.addEventListener("focusout", () => at(null));
  document.addEventListener("scroll", () => at(null), { passive: true });
  document.addEventListener("keydown", (event) => event.key === "Escape" && at(null));
  return at;
})();

/** Whether a key was meant for a field and not for the page. */
function isForField(event) {
  return event.altKey || event.ctrlKey || event.metaKey || (event.target instanceof Element && event.target.closest("input, select, textarea"));
}

/** Compares what cells hold: numbers by size, texts by the alphabet, what is missing last whichever way. */
function compare(a, b, falling) {
  const missing = (value) => value === null || value === undefined || value === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const both = typeof a === "number" && typeof b === "number";
  const order = both ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return falling ? -order : order;
}

/** The number that a text begins with, or the text itself. */
function sortable(text) {
  const plain = text.trim().replace(/,(?=\d{3})/g, "").replace("−", "-").replace(/^< /, "");
  if (plain === "" || plain === DASH) return null;
  const number = parseFloat(plain);
  return isFinite(number) && /^[-+]?[\d.]/.test(plain) ? number : plain;
}

/**
 * Heads of a table that sort. `columns` are {name, left}; `sort(column, falling)` puts the rows in order. Scores start
 * with the largest, names with the first.
 */
function sortingHeads(row, columns, sort) {
  const heads = columns.map((column, nth) => {
    const button = make("button", { type: "button", "data-sort": nth }, column.name);
    const head = make("th", { scope: "col", class: column.left ? "left" : null, "aria-sort": "none" }, button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const falling = before === "none" ? !column.left : before === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      sort(nth, falling);
    });
    return head;
  });
  row.replaceChildren(...heads);
  return heads;
}

/** Makes the heads of a table that stands in the page sort its rows. */
function makeSortable(table) {
  const row = table.tHead.rows[table.tHead.rows.length - 1];
  const columns = [...row.cells].map((cell) => ({ name: cell.textContent, left: cell.classList.contains("left") }));
  sortingHeads(row, columns, (nth, falling) => {
    const rows = [...table.tBodies[0].rows];
    const value = new Map(rows.map((line) => [line, sortable(line.cells[nth].textContent)]));
    rows.sort((a, b) => compare(value.get(a), value.get(b), falling));
    rows.forEach((line) => line.classList.remove("start"));
    table.tBodies[0].append(...rows);
  });
}

/** Names each cell of a table after its column: a narrow screen shows rows as cards, see `.cards`. */
function nameCells(table) {
  const names = [];
  [...table.tHead.rows].forEach((row, line) => {
    let at = 0;
    for (const head of row.cells) {
      while (names[at]?.[line] !== undefined) at += 1;
      for (let column = at; column < at + head.colSpan; column += 1) {
        names[column] ??= [];
        for (let below = line; below < line + head.rowSpan; below += 1) names[column][below] = below === line ? head.textContent.trim() : "";
      }
      at += head.colSpan;
    }
  });
  for (const row of [...table.tBodies].flatMap((body) => [...body.rows])) {
    let at = 0;
    for (const cell of row.cells) {
      const name = (names[at] ?? []).filter((part) => part).join(" · ");
      if (cell.tagName === "TD" && name) cell.dataset.name = name;
      at += cell.colSpan;
    }
  }
  table.classList.add("cards");
}

const data = JSON.parse(byId("data").textContent || "null");
