// Two features side by side: a table of what this page knows of both, and the evidence of their own pages in frames.

/**
 * `list` says what the page knows of features: `title(one)`, `page(one)`, and `facts(one)`: name, text, and what the name
 * is about, in the same order for every feature. A feature is {dictionary, feature}.
 */
function sideBySide(list) {
  const columns = matchMedia("(min-width: 56rem)");
  const cosines = make("td", { id: "compare-cosine", class: "left", colspan: 2 });
  let frames = [];

  /** The cosine of two directions, if one feature is among the nearest of the other. */
  function cosine() {
    const [a, b] = frames.map((frame) => frame.one);
    if (a.dictionary.hook !== b.dictionary.hook || a.dictionary.control !== b.dictionary.control) return "not known: another hook point or model";
    for (const [from, to] of [frames, [...frames].reverse()]) {
      const found = from.nearest?.find(([name, feature]) => name === to.one.dictionary.name && feature === to.one.feature);
      if (found) return fixed(found[2], 3);
    }
    return frames.every((frame) => frame.nearest) ? "not known: neither is among the nearest of the other" : "not known";
  }

  /** Gives the rows of both frames the same heights where the frames stand side by side. */
  function align() {
    if (!frames.every((frame) => frame.heights)) return;
    const names = new Set(frames.flatMap((frame) => Object.keys(frame.heights)));
    const height = (name) => Math.max(...frames.map((frame) => frame.heights[name] ?? 0));
    const wanted = columns.matches ? Object.fromEntries([...names].map((name) => [name, height(name)])) : {};
    frames.forEach((frame) => frame.element.contentWindow.postMessage({ wanted, theme: document.documentElement.dataset.theme ?? "" }, "*"));
  }

  const isHeight = (value) => typeof value === "number" && value >= 0 && value < 1e5;
  addEventListener("message", (event) => {
    const frame = frames.find((frame) => frame.element.contentWindow === event.source);
    const { heights, height, nearest } = event.data ?? {};
    if (!frame || !isHeight(height) || !Object.values(heights ?? {}).every(isHeight)) return;
    frame.element.style.height = `${Math.ceil(height)}px`;
    frame.nearest = Array.isArray(nearest) ? nearest : null;
    const changed = JSON.stringify(frame.heights) !== JSON.stringify(heights);
    frame.heights = heights;
    cosines.textContent = cosine();
    if (changed) align();
  });
  columns.addEventListener("change", align);
  byId("theme").addEventListener("click", () => frames.length && align());

  function evidence(one) {
    const title = list.title(one);
    const element = make("iframe", { src: list.page(one, "?only=glance"), title: `${title} at a glance` });
    const column = make("section", { "aria-label": title }, make("h2", {}, make("a", { href: list.page(one) }, ...breakable(title))), element);
    return { one, element, column };
  }

  function show(pair) {
    frames = pair.map(evidence);
    const facts = pair.map(list.facts);
    const head = (one) => make("th", { scope: "col", class: "left" }, make("a", { href: list.page(one) }, ...breakable(list.title(one))));
    byId("compare-head").replaceChildren(make("th", { scope: "col", class: "left" }, "feature"), ...pair.map(head));
    const row = (name, of, cells) => make("tr", {}, make("th", { scope: "row", class: "left" }, ...breakable(name), of ? make("span", { class: "hook" }, " ", ...breakable(of)) : null), ...cells);
    cosines.textContent = cosine();
    byId("compare-rows").replaceChildren(
      ...facts[0].map(([name, text, of], nth) => row(name, of, [text, facts[1][nth][1]].map((text) => make("td", { class: "left" }, ...breakable(text))))),
      row("cosine of their directions", null, [cosines]),
    );
    byId("compare-pages").replaceChildren(...frames.map((frame) => frame.column));
  }

  function hide() {
    frames = [];
    byId("compare-pages").replaceChildren();
  }
  return { show, hide };
}
