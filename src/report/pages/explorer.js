// The list of all walked features: what it shows, their addresses, and which two stand side by side.
//
// The address after `#` is one of:
//   explainer=…&scorer=…&hook=…         the list; only what differs from its first state
//   HOOK/METHOD/ID                      leads to the feature's page
//   compare/HOOK/METHOD/ID              the list, with the first of two features chosen
//   compare/HOOK/METHOD/ID/HOOK/METHOD/ID   both side by side
// Parts are percent-encoded. METHOD is the dictionary's name. A feature of a control's own dictionary is `ID;CONTROL`.

(() => {
  const ROWS = 50;
  const STEPS = 1e4;
  const STATUSES = ["scored", "undefined", "failed", "skipped"];
  // A row: dictionary, explainer, control + 1, feature, status, reason + 1, explanation + 1, density, scores.
  const [DICTIONARY, EXPLAINER, CONTROL, FEATURE, STATUS, REASON, TEXT, DENSITY, SCORES] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  const dictionaries = data.dictionaries.map(([hook, method, name, file, control]) => ({ hook: data.hooks[hook], method: data.methods[method], name, file, control }));
  const dictionaryOf = (row) => dictionaries[row[DICTIONARY]];
  /** Whether a row is about the feature itself and not about a control of it. */
  const isReal = (row) => row[CONTROL] === dictionaryOf(row).control;
  const controlOf = (row) => (row[CONTROL] > 0 ? data.controls[row[CONTROL] - 1] : null);
  const explainsItself = (row) => controlOf(row) === data.explainers[row[EXPLAINER]];
  const labelOf = (row) => (row[TEXT] > 0 ? data.labels[row[TEXT] - 1] : "");
  const lower = data.labels.map((text) => text.toLowerCase());
  const scoreOf = (row, scorer) => (typeof row[SCORES + scorer] === "number" ? row[SCORES + scorer] / STEPS : null);
  /** Why a row has no score: a reason, or nothing. */
  const whyNot = (row, scorer) => (typeof row[SCORES + scorer] === "string" ? data.reasons[Number(row[SCORES + scorer])] : null);
  const statusOf = (row) => STATUSES[row[STATUS]] + (row[REASON] > 0 ? `: ${data.reasons[row[REASON] - 1]}` : "");
  const isUpward = (scorer) => !data.lower_is_better.includes(scorer);

  // The scores of the lookup of single tokens, which must be read beside those of other explainers.
  const lookups = new Map();
  const keyOf = (row) => `${row[DICTIONARY]}/${row[FEATURE]}`;
  if (data.alone !== null) for (const row of data.rows) if (row[EXPLAINER] === data.alone && isReal(row)) lookups.set(keyOf(row), row);
  const hasAlone = (explainer) => lookups.size > 0 && explainer !== data.alone;
  const tokenAlone = (row, scorer) => scoreOf(lookups.get(keyOf(row)) ?? [], scorer);

  // The rank of a score among all features of the run with the same explainer, dictionaries of controls left out.
  const ranked = new Map();
  function rankOf(row, scorer) {
    const score = scoreOf(row, scorer);
    if (score === null || row[CONTROL] > 0) return null;
    const key = `${row[EXPLAINER]}/${scorer}`;
    if (!ranked.has(key)) {
      const scores = data.rows.filter((other) => other[EXPLAINER] === row[EXPLAINER] && other[CONTROL] === 0).map((other) => scoreOf(other, scorer));
      ranked.set(key, scores.filter((one) => one !== null).sort((a, b) => (isUpward(scorer) ? b - a : a - b)));
    }
    const scores = ranked.get(key);
    const better = (one) => (isUpward(scorer) ? one > score : one < score);
    let [from, to] = [0, scores.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (better(scores[middle])) from = middle + 1;
      else to = middle;
    }
    return [from + 1, scores.length];
  }
  const rankText = (rank) => (rank ? `${whole(rank[0])} of ${whole(rank[1])}` : DASH);

  /** A number from a seed and the name of a feature (FNV-1a with a final mix). Orders do not depend on filters. */
  function drawn(seed, row) {
    const { hook, name, control } = dictionaryOf(row);
    let hash = 0x811c9dc5;
    for (const letter of `${seed}/${hook}/${name}/${control}/${row[FEATURE]}`) hash = Math.imul(hash ^ letter.codePointAt(0), 0x01000193);
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) >>> 0;
  }

  // Features and their addresses.
  const partsOf = ({ dictionary, feature }) => {
    const control = dictionary.control > 0 ? `;${encodeURIComponent(data.controls[dictionary.control - 1])}` : "";
    return [encodeURIComponent(dictionary.hook), encodeURIComponent(dictionary.name), feature + control].join("/");
  };
  const pageOf = ({ dictionary, feature }, query = "") =>
    `features/${encodeURI(dictionary.file)}${query}#${[dictionary.hook, dictionary.name, feature].map(encodeURIComponent).join("/")}`;
  const titleOf = ({ dictionary, feature }) =>
    `${dictionary.name} ${feature} at ${dictionary.hook}${dictionary.control > 0 ? ` (${data.controls[dictionary.control - 1]})` : ""}`;
  const oneOf = (row) => ({ dictionary: dictionaryOf(row), feature: row[FEATURE] });
  const isSame = (a, b) => a !== null && a.dictionary === b.dictionary && a.feature === b.feature;
  const rowsOf = (one) => data.rows.filter((row) => row[FEATURE] === one.feature && dictionaryOf(row) === one.dictionary);

  /** The feature of three parts of an address, or words that say what is not there. */
  function found(parts) {
    let texts;
    try {
      texts = parts.flatMap((part, nth) => (nth === 2 ? part.split(";") : [part])).map(decodeURIComponent);
    } catch (malformed) {
      return { words: "This address is not well-formed." };
    }
    const [hook, name, number, control] = texts;
    const wanted = control === undefined ? 0 : data.controls.indexOf(control) + 1;
    if (!data.hooks.includes(hook)) return { words: `No features at ${hook} are in this run.` };
    const dictionary = dictionaries.find((one) => one.hook === hook && one.name === name && one.control === wanted);
    if (!dictionary || dictionary.file === null || (control !== undefined && wanted === 0)) return { words: `No features of ${name}${control === undefined ? "" : ` (${control})`} at ${hook} are in this run.` };
    const feature = /^\d+$/.test(number) ? Number(number) : null;
    if (feature === null) return { words: `${number} is not the number of a feature.` };
    const one = { dictionary, feature };
    return rowsOf(one).length ? { one } : { words: `Feature ${number} of ${name} at ${hook} was not walked in this run.` };
  }

  // What the list shows.
  const fields = ["explainer", "scorer", "order", "seed", "hook", "method", "control", "status", "search", "score-low", "score-high", "density-low", "density-high"];
  const filters = fields.slice(fields.indexOf("hook"));
  // A narrow screen shows the first rows before the filters.
  const isWide = matchMedia("(min-width: 40rem)").matches;
  const field = Object.fromEntries(fields.map((name) => [name, byId(`explorer-${name}`)]));
  const all = (names, name) => [["", name], ...names.map((text) => [text, text])];
  const explainers = data.explainers.filter((name) => !data.controls.includes(name));
  options(field.explainer, [...explainers.map((name) => [name, name]), ...(explainers.length > 1 ? [["*", "all explainers"]] : [])]);
  options(field.scorer, data.scorers.map((name) => [name, name]));
  options(field.hook, all(data.hooks, "all"));
  options(field.method, all(data.methods, "all"));
  options(field.control, [...all(data.controls, "left out"), ["*", "shown beside the features"]]);
  field.control.closest(".field").hidden = data.controls.length === 0;
  const statuses = new Set(data.rows.map(statusOf));
  const withReasons = (status) => [...statuses].filter((text) => text.startsWith(`${status}: `)).sort();
  options(field.status, [["", "any"], ...STATUSES.filter((status) => [...statuses].some((text) => text.startsWith(status))).flatMap((status) => [[status, status], ...withReasons(status).map((text) => [text, text])])]);
  const numberOfReset = Object.fromEntries(fields.map((name) => [name, field[name].value]));

  let matching = [];
  let page = 0;
  let picked = null;

  const number = (element) => {
    const text = element.value.trim().replace(",", ".").replace("−", "-");
    const value = text.endsWith("%") ? parseFloat(text) / 100 : parseFloat(text);
    const bad = text !== "" && !isFinite(value);
    element.setAttribute("aria-invalid", String(bad));
    return text === "" || bad ? null : value;
  };
  const inside = (value, low, high) =>
    (low === null && high === null) || (value !== null && value !== undefined && (low === null || value >= low) && (high === null || value <= high));
  const scorerNow = () => Math.max(0, data.scorers.indexOf(field.scorer.value));
  const explainerNow = () => data.explainers.indexOf(field.explainer.value);

  function search() {
    const [scorer, explainer, control, status] = [scorerNow(), explainerNow(), field.control.value, field.status.value];
    const words = field.search.value.toLowerCase().split(/\s+/).filter((word) => word);
    const said = words.length === 0 ? null : lower.map((text) => words.every((word) => text.includes(word)));
    const density = [number(field["density-low"]), number(field["density-high"])];
    const score = [number(field["score-low"]), number(field["score-high"])];
    matching = data.rows.filter((row) => {
      const { hook, method } = dictionaryOf(row);
      return (
        (explainer < 0 || row[EXPLAINER] === explainer || explainsItself(row)) &&
        (control === "*" || controlOf(row) === (control || null)) &&
        (field.hook.value === "" || hook === field.hook.value) &&
        (field.method.value === "" || method === field.method.value) &&
        (status === "" || STATUSES[row[STATUS]] === status || statusOf(row) === status) &&
        (said === null || (row[TEXT] > 0 && said[row[TEXT] - 1]) || words.every((word) => word === String(row[FEATURE]))) &&
        inside(row[DENSITY], ...density) &&
        inside(scoreOf(row, scorer), ...score)
      );
    });
    const order = field.order.value;
    if (order === "best" || order === "worst") matching.sort((a, b) => compare(scoreOf(a, scorer), scoreOf(b, scorer), isUpward(scorer) === (order === "best")));
    if (order === "dense" || order === "sparse") matching.sort((a, b) => compare(a[DENSITY], b[DENSITY], order === "dense"));
    if (order === "random") {
      const place = new Map(matching.map((row) => [row, drawn(field.seed.value, row)]));
      matching.sort((a, b) => place.get(a) - place.get(b));
    }
    field.seed.closest(".field").hidden = order !== "random";
    show();
  }

  /** What the list shows, in a sentence. */
  function words(scorer) {
    const how = { best: ", best first", worst: ", worst first" };
    const order = field.order.value;
    const sorted = {
      random: `in random order, seed ${field.seed.value}, with the score ${data.scorers[scorer]}`,
      table: `in the order of the tables, with the score ${data.scorers[scorer]}`,
      dense: `densest first, with the score ${data.scorers[scorer]}`,
      sparse: `sparsest first, with the score ${data.scorers[scorer]}`,
    }[order] ?? `sorted by ${data.scorers[scorer]}${how[order]}`;
    const [by, simulator] = field.explainer.value.split(" → ");
    const who = explainerNow() < 0 ? "under every explainer" : `explained by ${by}${simulator ? `, simulated by ${simulator}` : ""}`;
    const controls = { "": data.controls.length ? " Controls are left out." : "", "*": " Controls stand beside them, in italics." }[field.control.value] ?? ` Of the control ${field.control.value} alone.`;
    return `${many(matching.length, explainerNow() < 0 || field.control.value === "*" ? "row" : "feature")}, ${who}, ${data.scorers.length ? sorted : "without scores"}.${controls}`;
  }

  const cell = (name, text, kind) => make("td", { "data-name": name, class: kind }, text);
  /** A score, or in small print why there is none. */
  function scoreCell(row, scorer, kind) {
    const why = row[STATUS] === 0 ? whyNot(row, scorer) : null;
    return cell(data.scorers[scorer], why === null ? fixed(scoreOf(row, scorer), 2) : make("span", { class: "why" }, ...breakable(why)), kind);
  }

  function cells(row, scorer, others) {
    const [one, control] = [oneOf(row), controlOf(row)];
    const name = `${one.dictionary.name} ${one.feature}`;
    const link = one.dictionary.file === null ? name : make("a", { href: pageOf(one), "data-feature": one.feature }, name);
    const said = row[STATUS] === 0 ? make("span", { dir: "auto" }, labelOf(row)) : make("span", { class: "why" }, statusOf(row));
    const chosen = isSame(picked, one);
    const button = make("button", { type: "button", "data-compare": "", "aria-pressed": String(chosen), "aria-label": `compare ${titleOf(one)}` }, "compare");
    button.addEventListener("click", () => pick(one));
    return [
      make("th", { scope: "row", class: "left" }, link, control === null ? "" : ` (${control})`, make("span", { class: "hook" }, ...breakable(one.dictionary.hook))),
      ...(explainerNow() < 0 ? [make("td", { class: "left" }, data.explainers[row[EXPLAINER]])] : []),
      ...(data.scorers.length ? [scoreCell(row, scorer, "chosen")] : []),
      ...(hasAlone(explainerNow()) ? [cell("token alone", row[EXPLAINER] === data.alone ? DASH : fixed(tokenAlone(row, scorer), 2))] : []),
      ...others.map((nth) => scoreCell(row, nth)),
      cell("density", significant(row[DENSITY])),
      cell("rank in run", rankText(rankOf(row, scorer))),
      make("td", { class: "text" }, said),
      make("td", {}, one.dictionary.file === null ? "" : button),
    ];
  }

  function show() {
    const pages = Math.max(1, Math.ceil(matching.length / ROWS));
    page = Math.min(Math.max(page, 0), pages - 1);
    const scorer = scorerNow();
    const others = data.main.filter((nth) => nth !== scorer);
    const order = field.order.value;
    const left = (name) => ({ name, left: true });
    const upward = isUpward(scorer);
    const chosen = data.scorers.length ? [{ name: data.scorers[scorer], sort: { best: upward ? "descending" : "ascending", worst: upward ? "ascending" : "descending" } }] : [];
    const heads = [
      left("feature"),
      ...(explainerNow() < 0 ? [left("explainer")] : []),
      ...chosen,
      ...(hasAlone(explainerNow()) ? [{ name: "token alone" }] : []),
      ...others.map((nth) => ({ name: data.scorers[nth] })),
      { name: "density", sort: { dense: "descending", sparse: "ascending" } },
      { name: "rank in run" },
      left("label"),
    ];
    byId("explorer-head").replaceChildren(
      ...heads.map((head) => make("th", { scope: "col", class: head.left ? "left" : null, "aria-sort": head.sort?.[order] }, head.name)),
      make("th", { scope: "col" }, make("span", { class: "unseen" }, "compare")),
    );
    const rows = matching.slice(page * ROWS, (page + 1) * ROWS);
    byId("explorer-rows").replaceChildren(...rows.map((row) => make("tr", { class: isReal(row) ? null : "control" }, ...cells(row, scorer, others))));
    byId("explorer-count").textContent = words(scorer);
    const alone = hasAlone(explainerNow()) ? `Token alone: the same score of ${data.explainers[data.alone]}, each token's mean. ` : "";
    byId("explorer-words").textContent = `${alone}Rank: among all features of the run with this score and explainer.`;
    byId("explorer-page").textContent = `page ${whole(page + 1)} of ${whole(pages)}`;
    for (const [name, off] of [["first", page === 0], ["previous", page === 0], ["next", page === pages - 1], ["last", page === pages - 1]]) byId(`explorer-${name}`).disabled = off;
  }

  // The address keeps the state of the list.
  let typing = false;
  let listed = "";
  function remember(isTyping = false) {
    const values = new URLSearchParams();
    for (const name of fields) if (field[name].value !== numberOfReset[name] && !field[name].closest(".field").hidden) values.set(name, field[name].value);
    if (page > 0) values.set("page", String(page + 1));
    // One step back undoes a word, not a letter.
    if (isTyping && typing) readdress(values);
    else advance(values);
    typing = isTyping;
    listed = values.toString();
  }
  /** Changes the address with a new entry in the history. */
  function advance(values) {
    const text = values.toString();
    if (text === location.hash.slice(1)) return;
    try {
      history.pushState(null, "", text ? `#${text}` : location.pathname + location.search);
    } catch (refused) {
      readdress(values);
    }
  }
  /** Sets the fields from the address; returns what it asks for and this run has not. */
  function recall() {
    const values = address();
    const absent = [];
    for (const name of fields) {
      const value = values.get(name) ?? numberOfReset[name];
      field[name].value = value;
      if (field[name].value === value) continue;
      absent.push(`${name} ${value}`);
      field[name].value = numberOfReset[name];
    }
    page = Math.max(0, (parseInt(values.get("page"), 10) || 1) - 1);
    if (isWide || filters.some((name) => values.has(name))) byId("explorer-filters").open = true;
    return absent;
  }

  // Two features side by side.
  function facts(one) {
    const rows = rowsOf(one);
    const real = rows.filter(isReal);
    const pairs = [];
    data.explainers.forEach((name, explainer) => {
      if (data.controls.includes(name)) return;
      const row = real.find((row) => row[EXPLAINER] === explainer);
      for (const scorer of data.main) {
        const text = !row ? DASH : row[STATUS] === 0 ? whyNot(row, scorer) ?? fixed(scoreOf(row, scorer), 2) : statusOf(row);
        pairs.push([data.scorers[scorer], text, name]);
      }
    });
    const first = real.find((row) => row[EXPLAINER] === 0);
    pairs.push(["rank in run", first ? rankText(rankOf(first, 0)) : DASH, data.scorers[0]]);
    pairs.push(["density", significant(real.find((row) => row[DENSITY] !== null)?.[DENSITY])]);
    return pairs;
  }
  const beside = sideBySide({ title: titleOf, page: pageOf, facts });

  function pick(one) {
    if (picked && !isSame(picked, one)) {
      location.hash = `compare/${partsOf(picked)}/${partsOf(one)}`;
      return;
    }
    picked = isSame(picked, one) ? null : one;
    mark();
    show();
    byId("explorer-rows").querySelector('[aria-pressed="true"]')?.focus();
  }
  function mark() {
    byId("compare-bar").hidden = picked === null;
    byId("compare-chosen").textContent = picked ? `${titleOf(picked)} is chosen. Press “compare” at a second feature to see both side by side.` : "";
  }
  byId("compare-cancel").addEventListener("click", () => pick(picked));

  // What the address asks for.
  const title = document.title;
  function follow() {
    const hash = location.hash.slice(1);
    // A place on this page, for example the content that the skip link leads to.
    if (hash !== "" && byId(hash)) return;
    const absent = [];
    const isChoices = hash === "" || /^[a-z-]+=/.test(hash);
    const parts = isChoices ? [] : hash.split("/");
    const isComparing = parts[0] === "compare";
    const asked = isComparing ? [parts.slice(1, 4), parts.slice(4)] : [parts];
    const wanted = asked.filter((three) => three.length > 0 && hash.includes("/")).map((three) => (three.length === 3 ? found(three) : { words: "This address is not well-formed." }));
    wanted.forEach(({ words }) => words && absent.push(words));
    if (!absent.length && !isComparing && wanted.length) {
      location.replace(pageOf(wanted[0].one));
      return;
    }
    const pair = isComparing && !absent.length ? wanted.map(({ one }) => one) : [];
    const both = pair.length === 2;
    byId("browse").hidden = both;
    byId("compare").hidden = !both;
    byId("explorer-title").textContent = both ? "Two features side by side" : "All features";
    document.title = both ? `${pair.map(titleOf).join(" · ")} · autointerp` : title;
    if (both) {
      picked = null;
      byId("compare-back").href = `#${listed}`;
      beside.show(pair);
      byId("explorer-title").focus();
    } else {
      beside.hide();
      if (pair.length) picked = pair[0];
      const unknown = isChoices ? recall() : [];
      if (isChoices) listed = hash;
      if (unknown.length) absent.push(`The address asks for what this run has not: ${unknown.join(", ")}.`);
      mark();
      search();
    }
    byId("explorer-absent").hidden = absent.length === 0;
    byId("explorer-absent").textContent = absent.length ? `${absent.join(" ")} Here is the list of all features.` : "";
  }

  function turn(to) {
    page = to;
    show();
    remember();
    if (byId("explorer-table").getBoundingClientRect().top < 0) byId("explorer-table").scrollIntoView();
  }
  byId("explorer-first").addEventListener("click", () => turn(0));
  byId("explorer-previous").addEventListener("click", () => turn(page - 1));
  byId("explorer-next").addEventListener("click", () => turn(page + 1));
  byId("explorer-last").addEventListener("click", () => turn(Math.ceil(matching.length / ROWS) - 1));

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
  function change(isTyping) {
    clearTimeout(waiting);
    page = 0;
    search();
    remember(isTyping);
  }
  const form = byId("explorer");
  form.addEventListener("input", (event) => {
    clearTimeout(waiting);
    if (event.target.matches("input")) waiting = setTimeout(() => change(true), 120);
    else change(false);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    change(false);
  });
  form.addEventListener("reset", () => setTimeout(() => change(false), 0));
  addEventListener("hashchange", follow);
  follow();
})();
