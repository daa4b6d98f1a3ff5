// One feature of a dictionary at a time: its fragments, explanations, scores and simulations.

(() => {
  const LISTS = ["top", "random", "quantile", "not firing"];
  const LIST_WORDS = [
    "Top: the largest activations",
    "Random: a uniform draw of firing fragments",
    "Quantiles: firing fragments by rank of their maximum, strongest group first",
    "Not firing: fragments without activation, or almost none",
  ];
  const ROLES = ["neither", "explained on", "scored on", "compared on", "not scored on"];
  const ROLE_WORDS = ["used neither to explain nor to score", "shown to the explainer", "scored on: a simulator predicted its activations", "used to choose the best of several explanations", "not scored on; without the protocol it is unknown whether it was used to explain"];
  const SHADES = 9;
  const PARTS = 8;
  /** How many of the strongest fragments stand open. */
  const STRONGEST = 4;
  /** `open`: the lists of fragments that the reader unfolded; they stay so from feature to feature. */
  const state = { feature: null, simulation: 0, isSimulated: false, open: new Set(), shares: false };
  const features = data.features;
  const numbered = new Map(features.map((feature, nth) => [feature.feature, nth]));
  const real = (feature) => feature.lines.filter((line) => !line.control);

  // The list of features beside the page.
  const orders = [
    ["number", "by number"],
    ...data.scorers.flatMap((name, nth) => [[`best ${nth}`, `${name}, best first`], [`worst ${nth}`, `${name}, worst first`]]),
    ["dense", "densest first"],
    ["sparse", "sparsest first"],
  ];
  options(byId("feature-order"), orders);
  const scoreOf = (feature, nth) => real(feature)[0]?.scores[nth] ?? null;
  let listed = features;
  function list() {
    const [order, place] = byId("feature-order").value.split(" ");
    const words = byId("feature-filter").value.toLowerCase().split(/\s+/).filter((word) => word);
    const said = (feature) => [String(feature.feature), ...feature.lines.flatMap((line) => [line.label || "", line.text || ""])].join(" ").toLowerCase();
    listed = words.length ? features.filter((feature) => words.every((word) => said(feature).includes(word))) : [...features];
    if (order === "best" || order === "worst") listed.sort((a, b) => compare(scoreOf(a, place), scoreOf(b, place), order === "best"));
    if (order === "dense" || order === "sparse") listed.sort((a, b) => compare(a.density, b.density, order === "dense"));
    const scorer = place === undefined ? 0 : Number(place);
    byId("feature-count").textContent = `${many(listed.length, "feature")} of ${whole(features.length)}${data.scorers.length ? `; number, ${data.scorers[scorer]}` : ""}`;
    byId("feature-list").replaceChildren(
      ...listed.map((feature) =>
        make(
          "li",
          {},
          make(
            "a",
            { href: addressOf(feature.feature), "data-feature": feature.feature, title: real(feature)[0]?.text },
            make("strong", {}, String(feature.feature)),
            " ",
            make("span", { class: "score" }, fixed(scoreOf(feature, scorer), 2)),
            " ",
            make("span", { class: "said" }, labelOf(feature) || real(feature)[0]?.status || ""),
          ),
        ),
      ),
    );
    mark();
  }
  function mark() {
    for (const link of byId("feature-list").querySelectorAll("a")) {
      const here = state.feature && Number(link.dataset.feature) === state.feature.feature;
      if (here) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
      if (here) link.parentNode.parentNode.scrollTop += middle(link);
    }
  }
  /** How far the list must scroll so that a link is inside it. */
  function middle(link) {
    const [box, own] = [byId("feature-list").getBoundingClientRect(), link.getBoundingClientRect()];
    if (own.top >= box.top && own.bottom <= box.bottom) return 0;
    return own.top - box.top - box.height / 2;
  }

  function step(by) {
    if (!listed.length) return;
    const now = listed.indexOf(state.feature);
    const to = now < 0 ? 0 : Math.min(Math.max(now + by, 0), listed.length - 1);
    if (listed[to] !== state.feature) location.hash = addressOf(listed[to].feature);
  }

  // Activations are quantised to bytes; `scale` is the byte of 0 and the step between bytes.
  const valueOf = (feature, byte) => (byte - feature.scale[0]) * feature.scale[1];
  const highest = (feature) => (255 - feature.scale[0]) * feature.scale[1];
  function shade(feature, value) {
    const most = highest(feature);
    return value <= 0 || most <= 0 ? 0 : Math.min(SHADES, Math.max(1, Math.ceil((value / most) * SHADES - 0.02)));
  }

  function explanations(feature) {
    const parts = real(feature).map((line) => {
      const explainer = data.explainers[line.explainer];
      const prompts = explainer.prompts.map(([name, digest]) => `${name} ${digest.slice(0, 16)}`).join(", ");
      const text = line.text || (line.reason === undefined ? "no explanation" : `no explanation: ${data.reasons[line.reason]}`);
      const raw = line.label ? make("details", {}, make("summary", {}, "All rules, as the explainer wrote them"), make("p", { class: "claim", dir: "auto" }, text)) : null;
      return make(
        "article",
        { class: "explanation", "data-explainer": explainer.label },
        make("h3", {}, explainer.label),
        make("p", { class: `claim${line.label ? " folded" : ""}`, dir: "auto" }, line.label || text),
        raw,
        make("p", { class: "quiet" }, [line.cut ? "Shortened; scores.jsonl has all of it." : "", prompts ? `Questions asked: ${prompts}.` : ""].filter((part) => part).join(" ")),
      );
    });
    const head = make("tr", {}, make("th", { scope: "col", class: "left" }, "explainer"), make("th", { scope: "col", class: "left" }, "control"), ...data.scorers.map((name) => make("th", { scope: "col" }, name)), make("th", { scope: "col", class: "left" }, "status"));
    const rows = feature.lines.map((line) => {
      const why = new Map(line.why || []);
      const cells = line.scores.map((score, nth) =>
        make("td", { class: why.has(nth) ? "why" : null }, score === null && why.has(nth) ? data.reasons[why.get(nth)] : fixed(score, 2)),
      );
      const status = line.status + (line.reason === undefined ? "" : `: ${data.reasons[line.reason]}`);
      return make("tr", { class: line.control ? "control" : null }, make("th", { scope: "row", class: "left" }, data.explainers[line.explainer].label), make("td", { class: "left" }, line.control || "real"), ...cells, make("td", { class: "left" }, status));
    });
    const half = data.chance_is_half.map((nth) => data.scorers[nth]);
    const chance = half.length ? ` Chance is 0.5 in ${half.join(", ")}, 0 in the others.` : "";
    const table = rows.length
      ? make("div", { class: "scroll", role: "group", tabindex: "0" }, make("table", { id: "scores" }, make("caption", {}, `Scores of this feature. A control is the score of a wrong explanation, or of one known to be right.${chance}`), make("thead", {}, head), make("tbody", {}, ...rows)))
      : make("p", { class: "quiet" }, "No score of this feature is in the run folder.");
    byId("explanations").replaceChildren(...parts, table, ...judged(feature), ...questions(feature));
    byId("explanations").querySelectorAll("table").forEach(nameCells);
  }

  function judged(feature) {
    if (!feature.judged) return [];
    const rows = feature.judged.map((one) => {
      const name = `${one.judging} · ${data.explainers[one.explainer].label}`;
      if (one.reason !== null) return make("tr", {}, make("th", { scope: "row", class: "left" }, name), make("td", { colspan: 2, class: "left" }, data.reasons[one.reason]));
      if (one.choices) return make("tr", {}, make("th", { scope: "row", class: "left" }, name), make("td", { colspan: 2, class: "wrap" }, chosen(one.choices)));
      if (one.grades) return make("tr", {}, make("th", { scope: "row", class: "left" }, name), make("td", { colspan: 2, class: "wrap" }, graded(one.grades)));
      const cell = (nth) => (one.gain ? `${significant(one.gain[nth])} nats over ${one.said[nth][0]}` : `${one.said[nth][1]} of ${one.said[nth][0]}`);
      return make("tr", {}, make("th", { scope: "row", class: "left" }, name), make("td", {}, cell(0)), make("td", {}, cell(1)));
    });
    const head = make("tr", {}, ...["judged by a language model", "firing ones said to fire", "other ones said to fire"].map((name, nth) => make("th", { scope: "col", class: nth ? null : "left" }, name)));
    const caption = make("caption", {}, "Verdicts on whole fragments; for surprisal, the mean gain in log-likelihood; for specificity, grades of the explanation; for intervention, choices between two texts.");
    return [make("div", { class: "scroll", role: "group", tabindex: "0" }, make("table", {}, caption, make("thead", {}, head), make("tbody", {}, ...rows)))];
  }

  function chosen([right, wrong, alike]) {
    const same = alike ? `; ${many(alike, "further pair")} of equal texts, which count half` : "";
    return `steered text chosen in ${right} of ${right + wrong}${same}`;
  }

  /** Pairs of texts that a judge told apart by the explanation. */
  function questions(feature) {
    if (!feature.questions) return [];
    const answer = ([explainer, right]) => `${data.explainers[explainer].label}: ${right === null ? "not asked, the texts are equal" : right ? "right" : "wrong"}`;
    const text = (name, words) => [make("strong", {}, name), make("blockquote", { dir: "auto" }, make("bdi", {}, words))];
    const shown = feature.questions.map((one) =>
      make("figure", { class: "question" }, make("figcaption", {}, `After “${one.prompt}”`), ...text("steered", one.steered), ...text(one.control === "random" ? "random direction of the same size" : "unsteered", one.other), make("figcaption", {}, one.answers.map(answer).join("; "))),
    );
    return [make("details", { id: "questions" }, make("summary", {}, `Which of two texts was steered? (${shown.length})`), ...shown)];
  }

  function graded(intervals) {
    const grades = (counts) => counts.map((n, grade) => (n ? `${n} × ${grade}` : "")).filter((part) => part).reverse().join(", ");
    return `fragments × grade (0 to 3), weakest interval of activation first: ${intervals.map((counts) => grades(counts) || "no fragment").join(" | ")}`;
  }

  function simulations(feature) {
    const some = data.explainers.map((_, nth) => nth).filter((nth) => feature.shown.some((one) => one[3][nth]));
    const select = byId("simulation");
    options(select, some.map((nth) => [String(nth), data.explainers[nth].label]));
    if (!some.includes(state.simulation)) state.simulation = some[0] ?? 0;
    select.value = String(state.simulation);
    // Judged scores need no simulation.
    select.parentElement.hidden = some.length === 0;
    state.isSimulated = some.length > 0;
  }

  function legend(feature) {
    const scale = (name, letter) =>
      make(
        "span",
        { class: "scale" },
        make("span", { class: "name" }, name),
        " 0 ",
        ...Array.from({ length: SHADES }, (_, nth) => make("span", { class: `box ${letter}${nth + 1}` })),
        ` ${significant(highest(feature))}`,
      );
    const minus = feature.scale && feature.scale[0] > 0 ? make("span", { class: "scale" }, make("span", { class: "minus" }, "below 0"), " dotted") : null;
    byId("legend").replaceChildren(
      scale("true: behind the text", "a"),
      ...(state.isSimulated ? [scale("simulated: the bar below it", "s")] : []),
      ...(minus ? [minus] : []),
    );
  }

  function fragment(feature, shown, place, role) {
    const [number, document, packed] = data.fragments[shown[0]];
    const tokens = numbersOf(packed);
    const truths = unpacked(shown[2]).map((byte) => valueOf(feature, byte));
    const simulated = shown[3][state.simulation] ? unpacked(shown[3][state.simulation]).map((byte) => valueOf(feature, byte)) : null;
    const words = (at) =>
      [
        `${data.tokens[tokens[at]]}`,
        `true ${significant(truths[at])}`,
        simulated ? `simulated ${significant(simulated[at])}` : null,
        at < feature.first_scored ? "not counted" : null,
      ]
        .filter((part) => part)
        .join(" · ");
    const cells = tokens.map((token, at) => {
      const minus = truths[at] < 0 && -truths[at] > 0.02 * highest(feature);
      const kind = `t a${shade(feature, truths[at])}${minus ? " minus" : ""}${at < feature.first_scored ? " lead" : ""}`;
      const bar = simulated ? make("i", { class: `s s${shade(feature, simulated[at])}` }) : null;
      return make("span", { class: kind, "data-tip": words(at) }, make("bdi", {}, data.tokens[token]), bar);
    });
    const text = make("div", { class: "text", tabindex: "0", role: "group", "aria-label": `fragment ${number}: ${tokens.length} tokens, arrow keys read their values` }, ...cells);
    let at = -1;
    const to = (next) => {
      cells[at]?.classList.remove("now");
      at = Math.min(Math.max(next, 0), cells.length - 1);
      cells[at].classList.add("now");
      tip(cells[at]);
      byId("token-value").textContent = `token ${at + 1} of ${cells.length}: ${words(at)}`;
    };
    text.addEventListener("keydown", (event) => {
      const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: cells.length - 1 }[event.key];
      if (next === undefined || isForField(event)) return;
      event.preventDefault();
      event.stopPropagation();
      to(next);
    });
    text.addEventListener("blur", () => {
      cells[at]?.classList.remove("now");
      at = -1;
    });
    const also = shown[1].filter((member) => member[0] !== place[0]).map((member) => LISTS[member[0]]);
    const group = place[0] === 2 ? ` ${place[1] + 1} of ${feature.n_quantiles}` : ` ${place[1] + 1}`;
    const most = truths.reduce((most, value, nth) => (nth < feature.first_scored ? most : Math.max(most, value)), truths.length > feature.first_scored ? -Infinity : 0);
    const about = `· fragment ${whole(number)}${document === null ? "" : `, document ${whole(document)}`} · largest ${significant(most)}${also.length ? ` · also in ${also.join(", ")}` : ""}`;
    return make(
      "article",
      { class: "fragment", "data-fragment": number, "data-list": LISTS[place[0]], "data-role": ROLES[role] },
      make("p", { class: "about" }, make("span", { class: `role role${role}`, "data-tip": ROLE_WORDS[role] }, ROLES[role]), ` ${LISTS[place[0]]}${group} ${about}`),
      make("div", { class: "lines" }, make("div", { class: "names", "aria-hidden": "true" }, make("span", {}, "true"), simulated ? make("span", { class: "simulated" }, "simulated") : null), text),
      simulated || role !== 2 || !state.isSimulated ? null : make("p", { class: "quiet" }, "This explainer's simulation failed or is not in the run folder."),
    );
  }

  function fragments(feature) {
    byId("evidence-note").textContent = "";
    byId("token-value").textContent = "";
    if (feature.scale === undefined) {
      byId("fragments").replaceChildren(make("p", { class: "quiet" }, "No fragment of this feature is in the run folder."));
      byId("legend").replaceChildren();
      return;
    }
    legend(feature);
    const taken = new Set();
    const parts = [];
    for (let list = 0; list < LISTS.length; list += 1) {
      const members = [];
      for (const shown of feature.shown) {
        const place = shown[1].find((member) => member[0] === list);
        if (place && !taken.has(shown[0])) members.push([place, shown]);
      }
      members.sort(([a], [b]) => a[1] - b[1]);
      members.forEach(([, shown]) => taken.add(shown[0]));
      const drawn = members.map(([place, shown]) => fragment(feature, shown, place, place[2]));
      if (list === 0) parts.push(...drawn.splice(0, STRONGEST));
      if (drawn.length) parts.push(folded(list, drawn, members.length));
    }
    const step = feature.scale[1];
    byId("evidence-note").textContent =
      `${state.isSimulated ? "Only fragments that were scored on have simulations. " : ""}${feature.shown.length} of ${many(feature.n_fragments, "fragment")} of this feature are on this page. ` +
      `Activations are kept in steps of ${significant(step)}, a 255th of the feature's range` +
      `${state.isSimulated && data.explainers[state.simulation]?.ten_point ? "; this simulator predicts levels from 0 to 10, and 10 is drawn as the largest activation" : ""}. ` +
      `${feature.first_scored > 0 ? "The first token is not counted." : ""}`;
    byId("fragments").replaceChildren(...parts);
  }

  /** A list of fragments behind a click. */
  function folded(list, drawn, n) {
    const count = drawn.length < n ? `${drawn.length} more of ${n}` : String(n);
    const part = make("details", { open: state.open.has(list), "data-list": LISTS[list] }, make("summary", {}, `${LIST_WORDS[list]} (${count})`), ...drawn);
    part.addEventListener("toggle", () => (part.open ? state.open.add(list) : state.open.delete(list)));
    return part;
  }

  // Simulated against true, in bins.
  function scatter(feature) {
    const joint = feature.joint || [];
    byId("scatter-section").hidden = joint.length === 0;
    byId("scatter").replaceChildren(...joint.map((one) => scatterOf(feature, one)));
  }
  function scatterOf(feature, one) {
    const [size, left, bottom] = [190, 46, 36];
    const cells = [];
    const packed = numbersOf(one.cells);
    for (let at = 0, cell = 0; at < packed.length; at += 2) {
      cell += packed[at];
      cells.push([Math.floor(cell / data.bins), cell % data.bins, packed[at + 1]]);
    }
    const largest = Math.max(...cells.map((cell) => cell[2]));
    const low = -feature.scale[0] * feature.scale[1];
    const high = highest(feature);
    const width = size / data.bins;
    const at = (bin) => (bin + 0.5) * width;
    const value = (bin) => low + ((bin + 0.5) / data.bins) * (high - low);
    const zero = ((0 - low) / (high - low)) * size;
    const label = data.explainers[one.explainer].label;
    const svg = draw(
      "svg",
      { viewBox: `0 0 ${left + size + 10} ${size + bottom + 8}`, width: left + size + 10, height: size + bottom + 8, role: "img", "aria-label": `simulated against true activation, ${label}` },
      draw("rect", { x: left, y: 4, width: size, height: size, class: "frame" }),
      draw("line", { x1: left, y1: 4 + size, x2: left + size, y2: 4, class: "grid" }),
      ...(low < 0
        ? [draw("line", { x1: left + zero, y1: 4, x2: left + zero, y2: 4 + size, class: "grid" }), draw("line", { x1: left, y1: 4 + size - zero, x2: left + size, y2: 4 + size - zero, class: "grid" })]
        : []),
      ...cells.map(([x, y, n]) =>
        // Area by logarithm: most tokens have no activation, and the others must be visible.
        draw("circle", { cx: left + at(x), cy: 4 + size - at(y), r: (width / 2) * Math.sqrt((Math.log(n) + 0.6) / (Math.log(largest) + 0.6)), class: "dot", "data-tip": `${many(n, "token")}: true about ${significant(value(x))}, simulated about ${significant(value(y))}` }),
      ),
      draw("text", { x: left, y: size + 20, class: "tick" }, significant(low)),
      draw("text", { x: left + size, y: size + 20, class: "tick", "text-anchor": "end" }, significant(high)),
      draw("text", { x: left + size / 2, y: size + 34, class: "axis", "text-anchor": "middle" }, "true"),
      draw("text", { x: left - 5, y: size + 4, class: "tick", "text-anchor": "end" }, significant(low)),
      draw("text", { x: left - 5, y: 14, class: "tick", "text-anchor": "end" }, significant(high)),
      draw("text", { x: 0, y: 0, class: "axis", "text-anchor": "middle", transform: `translate(12 ${4 + size / 2}) rotate(-90)` }, "simulated"),
    );
    const past = one.n_beyond ? ` ${many(one.n_beyond, "prediction")} beyond the scale, drawn at its edge.` : "";
    return make("figure", { "data-explainer": label }, make("figcaption", {}, make("strong", {}, label)), svg, make("figcaption", {}, `${many(one.n_tokens, "scored token")} of ${many(one.n_fragments, "fragment")}, top and random, in ${data.bins} by ${data.bins} bins; a dot's area grows with the logarithm of its tokens.${past}`));
  }

  // The distribution of its activations.
  function profile(feature) {
    const histogram = feature.profile && feature.profile.histogram;
    byId("profile-section").hidden = !histogram;
    if (!histogram) return;
    const counts = numbersOf(histogram.counts);
    const names = [...histogram.tokens.map((token) => data.tokens[token]), "all other tokens"];
    const rows = names.map((_, nth) => counts.slice(nth * histogram.bins, (nth + 1) * histogram.bins));
    const totals = Array.from({ length: histogram.bins }, (_, bin) => rows.reduce((sum, row) => sum + row[bin], 0));
    const total = totals.reduce((sum, n) => sum + n, 0);
    const [left, width, height, bottom] = [56, 620, 180, 36];
    const most = Math.max(1, ...totals);
    const bar = width / histogram.bins;
    const edge = (bin) => histogram.low + (bin / histogram.bins) * (histogram.high - histogram.low);
    const marks = [];
    for (let bin = 0; bin < histogram.bins; bin += 1) {
      let top = height;
      rows.forEach((row, nth) => {
        if (row[bin] === 0) return;
        const tall = (row[bin] / (state.shares ? totals[bin] : most)) * height;
        top -= tall;
        const kind = nth === rows.length - 1 ? "rest" : `part${nth % PARTS}`;
        marks.push(draw("rect", { x: left + bin * bar + 0.5, y: 6 + top, width: bar - 1, height: Math.max(tall, 0.3), class: kind, "data-tip": `${names[nth]}: ${whole(row[bin])} of ${whole(totals[bin])}, ${significant(edge(bin))} to ${significant(edge(bin + 1))}` }));
      });
    }
    const svg = draw(
      "svg",
      { viewBox: `0 0 ${left + width + 8} ${height + bottom + 8}`, width: left + width + 8, height: height + bottom + 8, role: "img", "aria-label": "histogram of activations by token; the numbers are in the table below" },
      draw("line", { x1: left, y1: 6 + height, x2: left + width, y2: 6 + height, class: "grid" }),
      ...marks,
      draw("text", { x: left - 6, y: 16, class: "tick", "text-anchor": "end" }, state.shares ? "100 %" : whole(most)),
      draw("text", { x: left - 6, y: 6 + height, class: "tick", "text-anchor": "end" }, "0"),
      draw("text", { x: left, y: height + 22, class: "tick" }, significant(histogram.low)),
      draw("text", { x: left + width, y: height + 22, class: "tick", "text-anchor": "end" }, significant(histogram.high)),
      draw("text", { x: left + width / 2, y: height + 36, class: "axis", "text-anchor": "middle" }, "activation"),
    );
    const key = make("ul", { class: "key" }, ...names.map((name, nth) => make("li", {}, make("span", { class: `box ${nth === rows.length - 1 ? "rest" : `part${nth % PARTS}`}` }), " ", make("bdi", { class: "token" }, name), ` ${whole(rows[nth].reduce((sum, n) => sum + n, 0))}`)));
    const shares = make("button", { type: "button", id: "histogram-shares", "aria-pressed": String(state.shares) }, "shares within each bin");
    shares.addEventListener("click", () => {
      state.shares = !state.shares;
      profile(feature);
      byId("histogram-shares").focus();
    });
    const table = make(
      "details",
      {},
      make("summary", {}, "The same numbers"),
      make("div", { class: "scroll", role: "group", tabindex: "0" }, make("table", {}, make("caption", {}, "Firing tokens by activation"), make("thead", {}, make("tr", {}, make("th", { scope: "col", class: "left" }, "from"), ...names.map((name) => make("th", { scope: "col" }, make("bdi", { class: "token" }, name))))), make("tbody", {}, ...totals.map((_, bin) => make("tr", {}, make("th", { scope: "row", class: "left" }, significant(edge(bin))), ...rows.map((row) => make("td", {}, whole(row[bin])))))))),
    );
    const of = feature.profile.n_tokens === null ? "" : ` of ${whole(feature.profile.n_tokens)}`;
    byId("profile").replaceChildren(
      make("figure", { id: "histogram" }, make("div", { class: "scroll", role: "group", tabindex: "0" }, svg), key, make("figcaption", {}, `${whole(histogram.n_firing ?? total)}${of} tokens fire it; stacked by token, the commonest apart. `, shares)),
      table,
    );
  }

  // Text written with its code set high, beside unsteered text and a random direction.
  function steering(feature) {
    const shown = feature.profile && feature.profile.steering;
    byId("steering-section").hidden = !shown;
    if (!shown) return;
    const text = ([words, perplexity, edit], nth) => {
      const name = ["unsteered", "steered", "random direction of the same size"][nth];
      const facts = [...(perplexity === null ? [] : [`perplexity ${significant(perplexity)}`]), ...(edit === null ? [] : [`edit ${significant(edit)}`])];
      return make("figure", { "data-text": name }, make("figcaption", {}, make("strong", {}, name), ...facts.map((fact) => `, ${fact}`)), make("blockquote", {}, make("bdi", {}, words)));
    };
    const times = shown.times_max === null ? "" : `, ${significant(shown.times_max)} × its maximum activation`;
    const raised = shown.raised.flatMap((token) => [" ", make("bdi", { class: "token" }, data.tokens[token])]);
    byId("steering").replaceChildren(
      make("p", {}, `After “${shown.prompt}”, with the code set to ${significant(shown.change)}${times} at every position, seed ${shown.seed}. `, ...(shown.kl === null ? [] : [`KL of the next token ${significant(shown.kl)} nats. `]), ...(raised.length ? ["Most raised next tokens:", ...raised] : [])),
      ...shown.texts.map(text),
      make("p", { class: "quiet" }, "Perplexity of the written text under the unsteered model. Edit: mean norm of the change over the prompt. The random direction changes every position by as much as the feature would."),
    );
  }

  function show(number) {
    const nth = numbered.get(number);
    if (nth === undefined) {
      const left = data.skipped.find(([, numbers]) => numbers.includes(number));
      absent(`Feature ${number}`, left ? `Feature ${number} was walked and left out: ${data.reasons[left[0]]}.` : `Feature ${number} was not evaluated. The run evaluated ${many(features.length, "feature")} of ${data.dictionary} at ${data.hook}.`);
      return;
    }
    const feature = features[nth];
    state.feature = feature;
    byId("feature-absent").hidden = true;
    byId("feature-view").hidden = false;
    byId("feature-title").replaceChildren(make("a", { href: addressOf(number) }, `Feature ${number}`));
    document.title = `Feature ${number} of ${data.dictionary} at ${data.hook} · autointerp`;
    glance(feature);
    explanations(feature);
    simulations(feature);
    fragments(feature);
    scatter(feature);
    profile(feature);
    steering(feature);
    mark();
    const place = listed.indexOf(feature);
    byId("previous").disabled = place === 0;
    byId("next").disabled = place === listed.length - 1;
  }

  /** Says why no feature is shown; `elsewhere` is the address of another page that may have it. */
  function absent(title, words, elsewhere) {
    state.feature = null;
    byId("feature-view").hidden = true;
    byId("feature-title").textContent = title;
    const link = elsewhere && !alone ? make("a", { href: `../features.html${elsewhere}` }, "Look for it among all features.") : null;
    const box = byId("feature-absent");
    box.hidden = false;
    box.replaceChildren(words, ...(link ? [" ", link] : []));
    mark();
  }

  /** Opens the feature that the address names; without an address, the first of the list. */
  function follow() {
    const wanted = readAddress(location.hash);
    if (wanted === null) {
      // An anchor of the page itself, such as that of "Skip to the content", changes nothing.
      if (state.feature && location.hash.length > 1) return;
      if (listed.length) {
        if (location.hash.length < 2) readdress(addressOf(listed[0].feature).slice(1));
        show(listed[0].feature);
      } else absent("Features", data.skipped.length ? "Every feature that was walked was left out." : "No feature of this dictionary was walked.");
    } else if (wanted.feature === undefined) {
      absent("Unknown address", `“${wanted.text}” is not the address of a feature. An address is HOOK/METHOD/FEATURE, such as ${data.hook}/${data.dictionary}/0.`);
    } else if ((wanted.hook ?? data.hook) !== data.hook || (wanted.dictionary ?? data.dictionary) !== data.dictionary) {
      absent("Another page", `This page is about ${data.dictionary} at ${data.hook}. The address names feature ${wanted.feature} of ${wanted.dictionary} at ${wanted.hook}.`, location.hash);
    } else show(wanted.feature);
  }

  byId("simulation").addEventListener("change", (event) => {
    state.simulation = Number(event.target.value);
    if (state.feature) fragments(state.feature);
  });
  byId("feature-order").addEventListener("change", list);
  byId("feature-filter").addEventListener("input", list);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  addEventListener("keydown", (event) => {
    if (isForField(event)) return;
    const by = { j: 1, n: 1, ArrowRight: 1, k: -1, p: -1, ArrowLeft: -1 }[event.key];
    // Arrow keys scroll a table that is wider than the page.
    const scrolls = event.key.startsWith("Arrow") && event.target instanceof Element && event.target.closest(".scroll, summary, #feature-list");
    if (!by || scrolls) return;
    event.preventDefault();
    step(by);
  });
  addEventListener("hashchange", follow);
  if (data.scorers.length) byId("feature-order").value = "best 0";
  list();
  follow();
})();
