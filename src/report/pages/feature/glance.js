// A feature at a glance, and the addresses of features.

/** Whether the page is one feature's view, without other pages beside it. */
const alone = byId("features").hidden;

/** `#HOOK/METHOD/FEATURE`, each part percent-encoded. */
const addressOf = (number, dictionary = data.dictionary) => `#${[data.hook, dictionary, number].map(encodeURIComponent).join("/")}`;

/**
 * What an address names: null for none or for an anchor of the page itself; without `feature` if it cannot be read. The
 * older form is `#f=17`.
 */
function readAddress(hash) {
  const text = hash.slice(1);
  if (text === "" || byId(text)) return null;
  const old = /^f=(\d+)$/.exec(text);
  if (old) return { feature: Number(old[1]) };
  try {
    const [hook, dictionary, number, ...more] = text.split("/").map(decodeURIComponent);
    if (more.length === 0 && /^\d+$/.test(number)) return { hook, dictionary, feature: Number(number) };
    return { text: decodeURIComponent(text) };
  } catch (malformed) {
    return { text };
  }
}

/** The line of the first explainer; none for a feature without scores. */
const primary = (feature) => feature.lines.find((line) => !line.control);
/** The explanation as one line. */
const labelOf = (feature) => primary(feature)?.label || primary(feature)?.text;

function glance(feature) {
  byId("feature-label").replaceChildren(...label(feature));
  byId("facts").replaceChildren(...facts(feature).map(([name, value, hint]) => make("div", { "data-tip": hint }, make("dt", {}, name), make("dd", {}, ...value))));
  const place = primary(feature);
  byId("standing-note").textContent = place ? `Places are among all scored features of ${data.method} at ${data.hook}, explained by ${data.explainers[place.explainer].label}.` : "";
  const parts = [activations(feature), ...effects(feature)].filter((part) => part);
  byId("glance-parts").replaceChildren(...parts);
  byId("glance-nearest").replaceChildren(...nearest(feature));
}

function label(feature) {
  const line = primary(feature);
  const why = line && line.reason !== undefined ? `: ${data.reasons[line.reason]}` : "";
  const text = make("p", { class: `label${line?.label ? " folded" : ""}`, dir: "auto" }, labelOf(feature) || `no explanation${why}`);
  if (!line || !labelOf(feature)) return [text];
  const by = make("span", { class: "quiet" }, `explained by ${data.explainers[line.explainer].name}`);
  if (!feature.more) return [text, make("p", { class: "by" }, by)];
  const rules = make("ul", { class: "rules" }, ...feature.rules.map((rule) => make("li", { dir: "auto" }, rule)));
  return [text, make("details", { id: "more-rules" }, make("summary", {}, feature.more, " ", by), rules)];
}

/** Name, value, and what the value means where that needs words. */
function facts(feature) {
  const rows = (feature.standings || []).map(([scorer, words]) => {
    const score = primary(feature).scores[scorer];
    const value = score === null ? [] : [make("strong", {}, fixed(score, 2)), ", "];
    return [data.scorers[scorer], [...value, words]];
  });
  const per = feature.density === null ? DASH : `${significant(feature.density * 100)} % of tokens`;
  const of = feature.n_tokens === undefined ? null : `${whole(feature.firing_tokens)} of ${whole(feature.n_tokens)} tokens`;
  rows.push(["fires on", [per], of]);
  if (feature.firing_fragments !== undefined && feature.firing_fragments !== null) {
    const documents = feature.firing_documents === null ? "" : `, ${many(feature.firing_documents, "document")}`;
    rows.push(["in", [`${many(feature.firing_fragments, "fragment")}${documents}`]]);
  }
  rows.push(["largest activation", [significant(feature.max_activation)]]);
  if (feature.trace && !alone) rows.push(["causes", [make("a", { href: encodeURI(feature.trace), id: "to-trace" }, "earlier features that cause it")]]);
  const own = feature.profile;
  if (own && own.kurtosis !== null) rows.push(["kurtosis", [significant(own.kurtosis)], "excess kurtosis of its activations"]);
  if (own && own.ablation) {
    const [change, tokens, fragments] = own.ablation;
    const over = tokens === null ? "" : `, mean over ${many(tokens, "token")}${fragments === null ? "" : ` of ${many(fragments, "fragment")}`}`;
    rows.push(["loss without it", [`${change > 0 ? "+" : ""}${significant(change)} nats a token`], `change of the loss when the feature is ablated${over}`]);
  }
  return rows;
}

const smallHead = (text) => make("h2", { class: "small" }, text);

/** A histogram of its activations other than 0, all tokens together. */
function activations(feature) {
  const histogram = feature.profile && feature.profile.histogram;
  if (!histogram) return null;
  const counts = numbersOf(histogram.counts);
  const bins = Array.from({ length: histogram.bins }, (_, bin) => counts.reduce((sum, n, at) => sum + (at % histogram.bins === bin ? n : 0), 0));
  const [width, height] = [320, 84];
  const most = Math.max(1, ...bins);
  const bar = width / histogram.bins;
  const edge = (bin) => histogram.low + (bin / histogram.bins) * (histogram.high - histogram.low);
  const bars = bins.map((n, bin) => {
    const tall = n === 0 ? 0 : Math.max((n / most) * height, 1);
    return draw("rect", { x: bin * bar + 0.5, y: 2 + height - tall, width: bar - 1, height: tall, class: "bar", "data-tip": `${many(n, "token")}, ${significant(edge(bin))} to ${significant(edge(bin + 1))}` });
  });
  const svg = draw(
    "svg",
    { viewBox: `0 0 ${width} ${height + 20}`, width, height: height + 20, role: "img", "aria-label": `histogram of activations from ${significant(histogram.low)} to ${significant(histogram.high)}; the largest bar has ${many(most, "token")}` },
    draw("line", { x1: 0, y1: 2 + height, x2: width, y2: 2 + height, class: "base" }),
    ...bars,
    draw("text", { x: 0, y: height + 16, class: "tick" }, significant(histogram.low)),
    draw("text", { x: width, y: height + 16, class: "tick", "text-anchor": "end" }, significant(histogram.high)),
    draw("text", { x: width / 2, y: height + 16, class: "tick", "text-anchor": "middle" }, "activation"),
  );
  const total = histogram.n_firing ?? bins.reduce((sum, n) => sum + n, 0);
  const of = feature.profile.n_tokens === null ? " tokens" : ` of ${many(feature.profile.n_tokens, "token")}`;
  return make("div", { id: "glance-histogram" }, smallHead(`Activations: ${whole(total)}${of} are not 0`), svg);
}

/** The tokens whose logits its direction moves most. */
function effects(feature) {
  const own = feature.profile;
  if (!own || !(own.raised.length || own.lowered.length || own.logits_note)) return [];
  const side = (name, list) =>
    make("div", {}, smallHead(name), make("ul", { class: "chips" }, ...list.map(([token, effect]) => make("li", {}, make("bdi", { class: "token" }, data.tokens[token]), " ", make("span", { class: "quiet" }, fixed(effect, 2))))));
  const sides = own.raised.length || own.lowered.length ? [side("Raises the logits of", own.raised), side("Lowers the logits of", own.lowered)] : [];
  const note = own.logits_note ? make("p", { class: "quiet" }, sides.length ? own.logits_note : `No effect on logits: ${own.logits_note}`) : null;
  return [make("div", { id: "glance-logits" }, ...sides, note)];
}

/** The closest directions, each with a link to its view where it has one. */
function nearest(feature) {
  const lists = feature.neighbours || [];
  const part = (name, list, others) => {
    if (!list || list.length === 0) return null;
    const items = list.map(([dictionary, number, cosine, evaluated]) => {
      const [title, file] = data.dictionaries[dictionary];
      const words = others ? `${title} ${number}` : String(number);
      const to = `${others ? encodeURI(file || "") : ""}${addressOf(number, title)}`;
      const hint = others ? null : data.features.find((other) => other.feature === number);
      const linked = evaluated && !alone && (!others || file);
      const mark = evaluated ? null : make("span", { class: "quiet" }, "not evaluated ");
      return make("li", { "data-tip": hint ? labelOf(hint) : null }, linked ? make("a", { href: to, "data-neighbour": number }, words) : words, " ", mark, make("span", { class: "quiet" }, fixed(cosine, 2)));
    });
    return make("div", {}, smallHead(name), make("ul", { class: "chips" }, ...items));
  };
  return [part("Nearest features of this dictionary (cosine)", lists[0], false), part("Nearest features of others (cosine)", lists[1], true)].filter((found) => found);
}

