// The table of all cells and the table of unplanned comparisons, both sortable by any column.

(() => {
  const ROWS = 60;

  /** A table drawn from rows, a part of them until all are asked for. */
  function tableOf(name, columns, rows, draw) {
    const table = byId(name);
    if (!table) return null;
    let shown = rows;
    let full = false;
    const note = byId(`${name}-count`);
    const more = byId(`${name}-more`);
    const show = () => {
      const part = full ? shown : shown.slice(0, ROWS);
      table.tBodies[0].replaceChildren(...part.map(draw));
      nameCells(table);
      note.textContent = `${many(part.length, "row")} of ${whole(shown.length)}`;
      more.hidden = part.length === shown.length;
    };
    let order = null;
    const arrange = () => {
      if (order) {
        const value = columns[order.nth].value;
        shown = [...shown].sort((a, b) => compare(value(a), value(b), order.falling));
      }
      show();
    };
    sortingHeads(table.tHead.rows[0], columns, (nth, falling) => {
      order = { nth, falling };
      arrange();
    });
    more.addEventListener("click", () => {
      full = true;
      show();
    });
    addEventListener("beforeprint", () => {
      full = true;
      show();
    });
    show();
    return (keep) => {
      shown = rows.filter(keep);
      arrange();
    };
  }

  const text = (nth) => data.texts[nth];
  const value = (nth) => sortable(text(nth));

  // A row of the cells: pairing, hook point, method, control + 1, text of each scorer, counts as texts.
  const [PAIRING, HOOK, METHOD, CONTROL, SCORES, COUNTS] = [0, 1, 2, 3, 4, 5];
  const control = (row) => (row[CONTROL] > 0 ? ` (control: ${data.controls[row[CONTROL] - 1]})` : "");
  const columns = [
    { name: "hook point", left: true, value: (row) => row[HOOK] },
    { name: "method", left: true, value: (row) => data.methods[row[METHOD]] + control(row) },
    { name: "explainer", left: true, value: (row) => data.pairings[row[PAIRING]] },
    ...data.scorers.map((name, nth) => ({ name, value: (row) => sortable(row[SCORES][nth] ?? "") })),
    ...data.counts.map((name, nth) => ({ name, left: nth === data.counts.length - 1, value: (row) => value(row[COUNTS][nth]) })),
  ];
  const method = (row) => {
    const file = row[CONTROL] === 0 ? data.files[row[HOOK]]?.[row[METHOD]] : null;
    const marked = row[CONTROL] === 0 && data.marks?.some(([hook, method]) => hook === row[HOOK] && method === row[METHOD]);
    const name = data.methods[row[METHOD]] + (marked ? " ‡" : "");
    return file ? [make("a", { href: `features/${encodeURI(file)}` }, name)] : [name + control(row)];
  };
  const keep = tableOf("cells", columns, data.cells, (row) =>
    make(
      "tr",
      { class: row[CONTROL] > 0 ? "control" : null },
      make("td", { class: "left" }, data.hooks[row[HOOK]]),
      make("th", { scope: "row", class: "left" }, ...method(row)),
      make("td", { class: "left" }, data.pairings[row[PAIRING]]),
      ...data.scorers.map((_, nth) => make("td", {}, row[SCORES][nth] ?? DASH)),
      ...row[COUNTS].map((nth, place) => make("td", { class: place === row[COUNTS].length - 1 ? "wrap" : null }, text(nth))),
    ),
  );
  if (keep) {
    const fields = ["pairing", "hook", "control"].map((name) => byId(`cells-${name}`));
    const [pairing, hook, controls] = fields;
    options(pairing, [["", "all"], ...data.pairings.map((name, nth) => [String(nth), name])]);
    options(hook, [["", "all"], ...data.hooks.map((name, nth) => [String(nth), name])]);
    const filter = () =>
      keep(
        (row) =>
          (pairing.value === "" || row[PAIRING] === Number(pairing.value)) &&
          (hook.value === "" || row[HOOK] === Number(hook.value)) &&
          (controls.checked || row[CONTROL] === 0),
      );
    fields.forEach((one) => one.addEventListener("input", filter));
    if (data.pairings.length > 1) pairing.value = "0";
    filter();
  }

  const heads = ["hook point", "explainer", "score", "compared", "n", "difference", "p", "verdict"];
  const leftHeads = [0, 1, 2, 3, 7];
  tableOf(
    "exploratory",
    heads.map((name, nth) => ({ name, left: leftHeads.includes(nth), value: (row) => value(row[nth]) })),
    data.exploratory,
    (row) => make("tr", {}, ...row.map((cell, nth) => make("td", { class: leftHeads.includes(nth) ? "left" : null }, text(cell)))),
  );

  document.querySelectorAll("table.sortable").forEach(makeSortable);
  document.querySelectorAll("main table:has(> thead th)").forEach(nameCells);
})();
