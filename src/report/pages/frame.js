// `?only=glance`: a feature's page inside the side-by-side view of `features.html`. It shows a glance and the
// strongest fragments alone. It tells the outer page the heights of its rows and the nearest features, and gets the
// heights that both pages share.

function standInFrame() {
  const PARTS = ["feature-label", "facts", "glance-histogram", "glance-logits", "glance-nearest", "legend"];
  const outer = location.protocol === "file:" ? "*" : location.origin;
  const isShown = (row) => row !== null && row.getClientRects().length > 0;
  let wanted = {};
  let said = "";

  /** Every row by name, in order; parts that this feature lacks too. */
  function rows() {
    const fragments = [...document.querySelectorAll("#fragments .fragment")].filter(isShown);
    return new Map([...PARTS.map((name) => [name, byId(name)]), ...fragments.map((row, nth) => [`fragment ${nth + 1}`, row])]);
  }

  /** Makes rows as tall as is wanted; the height of a row that is missing here is left empty before the next one. */
  function align() {
    let missing = 0;
    for (const [name, row] of rows()) {
      const height = wanted[name] ?? 0;
      if (!isShown(row)) {
        missing += height;
        continue;
      }
      row.style.marginTop = missing ? `${missing}px` : "";
      row.style.minHeight = height ? `${height}px` : "";
      missing = 0;
    }
  }

  function nearest() {
    const number = Number(location.hash.match(/\d+$/)?.[0]);
    const feature = data.features.find((one) => one.feature === number);
    return feature?.neighbours?.flat().map(([dictionary, near, cosine]) => [data.dictionaries[dictionary][0], near, cosine]);
  }

  function tell() {
    const own = rows();
    for (const row of own.values()) if (row) row.style.marginTop = row.style.minHeight = "";
    const heights = Object.fromEntries([...own].map(([name, row]) => [name, isShown(row) ? Math.ceil(row.getBoundingClientRect().height) : 0]));
    align();
    const message = { heights, height: document.documentElement.getBoundingClientRect().height, nearest: nearest() };
    if (JSON.stringify(message) !== said) parent.postMessage(message, outer);
    said = JSON.stringify(message);
  }

  document.documentElement.classList.add("only");
  document.head.append(make("base", { target: "_top" }));
  addEventListener("message", (event) => {
    if (event.source !== parent) return;
    wanted = event.data.wanted;
    if (event.data.theme) document.documentElement.dataset.theme = event.data.theme;
    else delete document.documentElement.dataset.theme;
    tell();
  });
  new ResizeObserver(tell).observe(document.body);
  // An observer waits until the frame is on the screen.
  addEventListener("load", tell);
}
if (parent !== window && new URLSearchParams(location.search).get("only") === "glance") standInFrame();

