// The table of all walked features: filters, order, and one page of rows at a time.

(() => {
  const ROWS = 50;
  const STATUSES = ["scored", "undefined", "failed", "skipped"];
  // A row: dictionary, explainer, control + 1, feature, status, reason + 1, explanation + 1, density, scores.
  const [DICTIONARY, EXPLAINER, CONTROL, FEATURE, STATUS, REASON, TEXT, DENSITY, SCORES] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  const fields = ["hook", "method", "explainer", "status", "search", "density-low", "density-high", "scorer", "score-low", "score-high", "order", "controls"];
  const field = Object.fromEntries(fields.map((name) => [name, byId(`explorer-${name}`)]));
  const lower = data.texts.map((text) => text.toLowerCase());
  let found = [];
  let page = 0;

  const all = (list, name) => [["", name], ...list.map((text, nth) => [String(nth), text])];
  options(field.hook, all(data.hooks, "all"));
  options(field.method, all(data.methods, "all"));
  options(field.explainer, all(data.explainers, "all"));
  options(field.status, all(STATUSES, "any"));
  options(field.scorer, data.scorers.map((text, nth) => [String(nth), text]));
  byId("explorer-controls").closest(".field").hidden = data.controls.length === 0;

  const number = (element) => {
    const text = element.value.trim().replace(",", ".").replace("−", "-");
    const value = text.endsWith("%") ? parseFloat(text) / 100 : parseFloat(text);
    const bad = text !== "" && !isFinite(value);
    element.setAttribute("aria-invalid", String(bad));
    return text === "" || bad ? null : value;
  };
  const inside = (value, low, high) =>
    (low === null && high === null) || (value !== null && value !== undefined && (low === null || value >= low) && (high === null || value <= high));

  function search() {
    const wanted = (name) => (field[name].value === "" ? null : Number(field[name].value));
    const [hook, method, explainer, status] = ["hook", "method", "explainer", "status"].map(wanted);
    const words = field.search.value.toLowerCase().split(/\s+/).filter((word) => word);
    const density = [number(field["density-low"]), number(field["density-high"])];
    const score = [number(field["score-low"]), number(field["score-high"])];
    const scorer = Number(field.scorer.value || 0);
    const controls = field.controls.checked;
    const matching = words.length === 0 ? null : lower.map((text) => words.every((word) => text.includes(word)));
    found = data.rows.filter((row) => {
      const place = data.dictionaries[row[DICTIONARY]];
      return (
        (hook === null || place[0] === hook) &&
        (method === null || place[1] === method) &&
        (explainer === null || row[EXPLAINER] === explainer) &&
        (status === null || row[STATUS] === status) &&
        (controls || row[CONTROL] === 0) &&
        (matching === null || (row[TEXT] > 0 && matching[row[TEXT] - 1])) &&
        inside(row[DENSITY], density[0], density[1]) &&
        inside(row[SCORES + scorer], score[0], score[1])
      );
    });
    const order = field.order.value;
    if (order === "best" || order === "worst") found.sort((a, b) => compare(a[SCORES + scorer], b[SCORES + scorer], order === "best"));
    if (order === "dense" || order === "sparse") found.sort((a, b) => compare(a[DENSITY], b[DENSITY], order === "dense"));
    page = 0;
    show();
    remember();
  }

  /** What a field held when the page was opened; the address names only what differs. */
  const first = Object.fromEntries(fields.map((name) => [name, field[name].type === "checkbox" ? false : field[name].value]));
  function remember() {
    const values = new URLSearchParams();
    for (const name of fields) {
      const now = field[name].type === "checkbox" ? field[name].checked : field[name].value;
      if (now !== first[name]) values.set(name, now === true ? "1" : now);
    }
    readdress(values);
  }
  function recall() {
    const values = address();
    for (const name of fields) {
      if (field[name].type === "checkbox") field[name].checked = values.get(name) === "1";
      else if (values.has(name)) field[name].value = values.get(name);
    }
  }

  function cells(row, scorer) {
    const place = data.dictionaries[row[DICTIONARY]];
    const control = row[CONTROL] > 0 ? ` (${data.controls[row[CONTROL] - 1]})` : "";
    const reason = row[REASON] > 0 ? `: ${data.reasons[row[REASON] - 1]}` : "";
    const text = row[TEXT] > 0 ? data.texts[row[TEXT] - 1] : "";
    const link = place[3] === null ? String(row[FEATURE]) : make("a", { href: `features/${encodeURI(place[3])}#f=${row[FEATURE]}`, "data-feature": row[FEATURE] }, String(row[FEATURE]));
    const others = data.scorers.map((_, nth) => nth).filter((nth) => nth !== scorer);
    return [
      make("th", { scope: "row" }, link),
      make("td", { class: "left" }, place[2] + control),
      make("td", { class: "left" }, data.hooks[place[0]]),
      make("td", { class: "left" }, data.explainers[row[EXPLAINER]]),
      ...(data.scorers.length ? [make("td", { class: "chosen" }, fixed(row[SCORES + scorer], 2))] : []),
      make("td", {}, significant(row[DENSITY])),
      make("td", { class: "text" }, make("span", { dir: "auto" }, text)),
      make("td", { class: "wrap" }, STATUSES[row[STATUS]] + reason),
      ...others.map((nth) => make("td", {}, fixed(row[SCORES + nth], 2))),
    ];
  }

  function show() {
    const pages = Math.max(1, Math.ceil(found.length / ROWS));
    page = Math.min(Math.max(page, 0), pages - 1);
    const scorer = Number(field.scorer.value || 0);
    const chosen = data.scorers.length ? [{ name: data.scorers[scorer], sort: { best: "descending", worst: "ascending" } }] : [];
    const density = { name: "density", sort: { dense: "descending", sparse: "ascending" } };
    const left = (name) => ({ name, left: true });
    const others = data.scorers.filter((_, nth) => nth !== scorer).map((name) => ({ name }));
    const heads = [{ name: "feature" }, left("method"), left("hook point"), left("explainer"), ...chosen, density, left("explanation"), left("status"), ...others];
    byId("explorer-head").replaceChildren(...heads.map((head) => make("th", { scope: "col", class: head.left ? "left" : null, "aria-sort": head.sort?.[field.order.value] }, head.name)));
    const rows = found.slice(page * ROWS, (page + 1) * ROWS);
    byId("explorer-rows").replaceChildren(...rows.map((row) => make("tr", { class: row[CONTROL] > 0 ? "control" : null }, ...cells(row, scorer))));
    const real = data.rows.reduce((n, row) => n + (row[CONTROL] === 0), 0);
    const of = field.controls.checked ? data.rows.length : real;
    byId("explorer-count").textContent = `${many(found.length, "row")} of ${whole(of)}${field.controls.checked ? ", controls among them" : ""}`;
    byId("explorer-page").textContent = `page ${whole(page + 1)} of ${whole(pages)}`;
    for (const [name, off] of [["first", page === 0], ["previous", page === 0], ["next", page === pages - 1], ["last", page === pages - 1]]) byId(`explorer-${name}`).disabled = off;
  }

  function turn(to) {
    page = to;
    show();
  }
  byId("explorer-first").addEventListener("click", () => turn(0));
  byId("explorer-previous").addEventListener("click", () => turn(page - 1));
  byId("explorer-next").addEventListener("click", () => turn(page + 1));
  byId("explorer-last").addEventListener("click", () => turn(Math.ceil(found.length / ROWS) - 1));

  // Arrow keys move between rows, and across pages of rows.
  const links = () => [...byId("explorer-rows").querySelectorAll("a")];
  byId("explorer-rows").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const now = links().indexOf(document.activeElement);
    if (!step || now < 0) return;
    event.preventDefault();
    let to = links()[now + step];
    if (!to) {
      const before = page;
      turn(page + step);
      if (page !== before) to = step > 0 ? links()[0] : links().at(-1);
    }
    if (to) to.focus();
    else links()[now]?.focus();
  });
  field.search.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" || !links()[0]) return;
    event.preventDefault();
    links()[0].focus();
  });

  let waiting = 0;
  const soon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, 120);
  };
  const form = byId("explorer");
  form.addEventListener("input", (event) => (event.target.matches("input:not([type=checkbox])") ? soon() : search()));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  form.addEventListener("reset", () => setTimeout(search, 0));
  addEventListener("hashchange", () => {
    recall();
    search();
  });
  recall();
  search();
})();
