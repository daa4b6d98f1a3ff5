//! The pages of a run, opened from disk in a real browser.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::browser::Browser;
use crate::program::call;
use crate::toy::Toy;

/// What a corpus may hold that a page must show as text.
const HOSTILE: [&str; 5] = [
    "the dog saw </script><script>document.title='broken'</script> near the river",
    "the cat held \" onmouseover=\"document.title='broken' over the stone",
    "a bird heard \u{202e}desrever\u{202c} and\u{200d}joined\u{200b} in the garden",
    "one child found <!-- <img src=x onerror=\"document.title='broken'\"> --> today",
    "the old dog left {{ 7*7 }} ${7*7} %3Cscript%3E again",
];

/// Between the toy text's documents.
const SEPARATOR: &str = "<|endoftext|>";

/// A finished run of the toy suite on a text full of markup.
pub fn run(toy: &Toy) -> PathBuf {
    // In every document, so that features fire on it.
    let plain = fs::read_to_string(toy.path("corpus.txt")).expect("a text");
    let documents = plain.split(SEPARATOR).zip(HOSTILE.iter().cycle()).map(|(text, hostile)| {
        let (first, rest) = text.split_once('.').unwrap_or((text, ""));
        format!("{first}. {hostile}.{rest}")
    });
    toy.write("corpus.txt", &documents.collect::<Vec<_>>().join(SEPARATOR));
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg("run"));
    let size = ["--set", "features.per_cell=12"];
    call(toy.home(), &[&["run", &suite, "--out", &out, "--quiet"], size.as_slice()].concat()).ok();
    toy.path("run")
}

pub fn feature_page(run: &Path) -> PathBuf {
    let mut pages: Vec<PathBuf> = fs::read_dir(run.join("features"))
        .expect("feature pages")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    pages.sort();
    pages.into_iter().find(|page| page.to_string_lossy().ends_with("--topk.html")).expect("a page of topk")
}

pub fn texts(browser: &Browser, script: &str) -> Vec<String> {
    let found = browser.run(script);
    found
        .as_array()
        .expect("a list")
        .iter()
        .map(|text| text.as_str().unwrap_or_default().to_string())
        .collect()
}

pub fn assert_quiet(browser: &Browser, place: &str) {
    assert_eq!(browser.console(), Vec::<String>::new(), "the console after {place}");
    for address in browser.requests() {
        assert!(address.starts_with("file:") || address.starts_with("data:"), "{place} asked for {address}");
    }
    assert_ne!(browser.run("return document.title"), Value::from("broken"), "{place} ran text");
}

/// Puts the first two features of the list side by side.
pub fn compare_first_two(browser: &Browser) {
    // The same file may be open already, with both side by side.
    browser.run("location.hash = ''");
    browser.wait("document.querySelectorAll('#explorer-rows [data-compare]').length > 1");
    for nth in 0..2 {
        browser.run(&format!("document.querySelectorAll('#explorer-rows [data-compare]')[{nth}].click()"));
    }
    browser.wait("document.querySelectorAll('#compare-pages iframe').length === 2");
    browser
        .wait("[...document.querySelectorAll('#compare-pages iframe')].every(frame => frame.style.height)");
}

#[test]
fn a_reader_finds_the_way_from_the_index_to_a_feature() {
    let Some(browser) = Browser::open(1280, 900) else { return };
    let toy = Toy::new();
    let run = run(&toy);

    browser.go(&run.join("index.html"), "");
    browser.wait("document.querySelectorAll('#cells tbody tr').length > 3");
    let loaded = browser.run("return performance.getEntriesByType('navigation')[0].loadEventEnd");
    println!("the index was loaded after {loaded} ms");
    // Sorted by the first score, then the other way round; the order is said to assistive tools.
    let column = "const heads = [...document.querySelectorAll('#cells thead th')]; const nth = heads.findIndex(h => h.textContent.includes('top_and_random'));";
    browser.run(&format!("{column} heads[nth].querySelector('button').click();"));
    let sorted = browser.run(&format!("{column} return heads[nth].getAttribute('aria-sort')"));
    assert!(["ascending", "descending"].contains(&sorted.as_str().unwrap_or_default()), "{sorted}");
    let values = format!(
        "{column} return [...document.querySelectorAll('#cells tbody tr')].map(r => parseFloat(r.cells[nth].textContent.replace('−', '-'))).filter(isFinite)"
    );
    let before: Vec<f64> = serde_json::from_value(browser.run(&values)).expect("numbers");
    browser.run(&format!("{column} heads[nth].querySelector('button').click();"));
    let after: Vec<f64> = serde_json::from_value(browser.run(&values)).expect("numbers");
    assert!(
        before.len() > 3
            && before.windows(2).all(|pair| pair[0] >= pair[1])
                != before.windows(2).all(|pair| pair[0] <= pair[1]),
        "{before:?}"
    );
    assert_eq!(before.iter().rev().copied().collect::<Vec<_>>(), after);
    // A mark of the chart says its value.
    browser.hover("figure svg [data-tip] *");
    browser.wait("!document.getElementById('tip').hidden");
    let tip = browser.run("return document.getElementById('tip').textContent");
    assert!(tip.as_str().is_some_and(|tip| tip.chars().any(|c| c.is_ascii_digit())), "{tip}");
    browser.picture("index");
    assert_quiet(&browser, "the index");

    browser.click("a[href='features.html']");
    browser.wait("document.querySelectorAll('#explorer-rows tr').length > 3");
    let all =
        browser.run("return document.querySelectorAll('#explorer-rows tr').length").as_u64().expect("rows");
    browser.run("const s = document.getElementById('explorer-method'); s.selectedIndex = 1; s.dispatchEvent(new Event('input', {bubbles: true}));");
    browser.wait(&format!("document.querySelectorAll('#explorer-rows tr').length < {all}"));
    let methods = texts(
        &browser,
        "return [...document.querySelectorAll('#explorer-rows tr')].map(r => r.querySelector('a').textContent.replace(/ \\d+$/, ''))",
    );
    assert!(!methods.is_empty() && methods.iter().all(|method| method == &methods[0]), "{methods:?}");
    // Words narrow it to rows whose explanation has them; none has these.
    browser.type_into("#explorer-search", "no explanation says this");
    browser.wait("document.querySelectorAll('#explorer-rows tr').length === 0");
    browser.click("#explorer-reset");
    browser.wait(&format!("document.querySelectorAll('#explorer-rows tr').length === {all}"));
    browser.picture("explorer");
    // From the search field by keys alone: down to the first row, one further, and into the feature.
    browser.type_into("#explorer-search", "\u{e015}\u{e015}");
    let chosen = browser.run("return document.activeElement.href");
    assert!(chosen.as_str().is_some_and(|link| link.contains("/features/")), "{chosen}");
    browser.press("\u{e007}");
    browser
        .wait("document.getElementById('feature-view') && !document.getElementById('feature-view').hidden");
    assert_eq!(browser.run("return location.href"), chosen);
    assert_quiet(&browser, "the explorer");
}

#[test]
fn the_index_opens_with_the_verdict_on_screens_wide_and_narrow() {
    let toy = Toy::new();
    let mut run_folder = None;
    for (width, height) in [(1280, 900), (390, 844)] {
        let Some(browser) = Browser::open(width, height) else { return };
        let run = run_folder.get_or_insert_with(|| run(&toy)).clone();
        browser.go(&run.join("index.html"), "");
        browser.wait("document.querySelectorAll('#cells tbody tr').length > 3");
        let before = |what: &str| {
            browser.run(&format!(
                "return Boolean(document.getElementById('verdict').compareDocumentPosition(document.querySelector({what:?})) & Node.DOCUMENT_POSITION_FOLLOWING)"
            ))
        };
        for what in ["figure", "#glance-table", "#asked-facts", "#cells"] {
            assert_eq!(before(what), Value::from(true), "{what} stands before the verdict");
        }
        let said =
            texts(&browser, "return [...document.querySelectorAll('#verdict p')].map(p => p.textContent)");
        assert!(said.iter().any(|text| text.contains("top_and_random")), "{said:?}");
        let heads = texts(
            &browser,
            "return [...document.querySelector('.standing').querySelectorAll('thead th')].map(h => h.textContent.trim())",
        );
        assert!(heads.iter().any(|head| head == "shuffled"), "{heads:?}");
        // Neither the page nor a ranking scrolls sideways.
        let sideways = "return [document.documentElement, ...document.querySelectorAll('#verdict > .verdict .scroll')].map(e => e.scrollWidth - e.clientWidth)";
        let sideways: Vec<i64> = serde_json::from_value(browser.run(sideways)).expect("numbers");
        assert!(sideways.len() > 1 && sideways.iter().all(|pixels| *pixels == 0), "{width}: {sideways:?}");
        if width == 1280 {
            let bottom = "return document.querySelector('.standing').getBoundingClientRect().bottom";
            let bottom = browser.run(bottom).as_f64().expect("a number");
            assert!(bottom <= f64::from(height), "the first ranking ends at {bottom}");
        }
        assert_quiet(&browser, "the verdict");
    }
}

#[test]
fn a_feature_shows_its_evidence() {
    let Some(browser) = Browser::open(1280, 900) else { return };
    let toy = Toy::new();
    let run = run(&toy);
    browser.go(&feature_page(&run), "");
    browser.wait(
        "document.getElementById('feature-view') && document.querySelectorAll('#feature-list a').length > 2",
    );
    browser.click("#feature-list a");
    browser.wait("document.querySelectorAll('#fragments .t').length > 20");
    // The glance is all of it above the first fragment, and on the first screen.
    let parts: Vec<f64> = serde_json::from_value(browser.run(
        "const box = part => document.querySelector(part).getBoundingClientRect(); return ['#feature-label', '#facts', '#glance-histogram', '#glance-logits', '#glance-nearest'].map(part => box(part).bottom + scrollY).concat(box('.fragment').top + scrollY)",
    ))
    .expect("places");
    let (first_fragment, glance) = parts.split_last().expect("parts");
    assert!(glance.iter().all(|bottom| bottom <= first_fragment && *bottom < 900.0), "{parts:?}");
    assert!(glance[0] < glance[1] && glance[1] < glance[2] && glance[3] < glance[4], "{parts:?}");
    let text = |part: &str| {
        let found = browser.run(&format!("return document.querySelector('{part}').textContent"));
        found.as_str().unwrap_or_default().to_string()
    };
    assert!(text(".label").contains(" → ") && !text(".label").contains(" then "), "{}", text(".label"));
    assert!(
        text("#facts").contains(" of 12") && text("#facts").contains("beyond_token"),
        "{}",
        text("#facts")
    );
    assert!(text("#glance-nearest").contains("cosine"));
    // Explained and scored fragments are told apart; a scored one has its simulation below.
    let roles = texts(
        &browser,
        "return [...document.querySelectorAll('#fragments [data-role]')].map(f => f.dataset.role)",
    );
    assert!(
        roles.iter().any(|role| role == "explained on") && roles.iter().any(|role| role == "scored on"),
        "{roles:?}"
    );
    let simulated = browser.run("return [...document.querySelectorAll('[data-role=\"scored on\"]')].every(f => f.querySelector('i.s'))");
    assert_eq!(simulated, Value::Bool(true));
    let shades =
        texts(&browser, "return [...document.querySelectorAll('#fragments .t')].map(t => t.className)");
    assert!(
        shades.iter().any(|shade| shade.contains(" a9") || shade.contains("a9")),
        "the strongest token has the darkest shade"
    );
    // A token's value by pointer and by keys.
    browser.hover("#fragments .t");
    browser.wait("document.getElementById('tip').textContent.includes('true')");
    browser.run("document.querySelector('#fragments .text').focus()");
    browser.press("\u{e014}");
    browser.wait("document.getElementById('token-value').textContent.startsWith('token 1 of 64')");
    browser.picture("feature");
    // The other lists are behind a click, and stay open from feature to feature.
    browser.run("document.querySelector('#fragments details[data-list=\"random\"] summary').click()");
    browser.wait("document.querySelector('#fragments details[data-list=\"random\"]').open");
    // The next feature by a key, the one before by another.
    browser.run("document.activeElement.blur()");
    let first = browser.run("return location.hash");
    browser.press("j");
    browser.wait(&format!("location.hash !== {first}"));
    assert_eq!(
        browser.run("return document.querySelector('#fragments details[data-list=\"random\"]').open"),
        Value::Bool(true)
    );
    browser.press("k");
    browser.wait(&format!("location.hash === {first}"));
    // The list by the worst score, and narrowed.
    browser.run("const s = document.getElementById('feature-order'); s.value = 'worst 0'; s.dispatchEvent(new Event('input', {bubbles: true})); s.dispatchEvent(new Event('change', {bubbles: true}));");
    let scores: Vec<f64> = serde_json::from_value(browser.run("return [...document.querySelectorAll('#feature-list .score')].map(s => parseFloat(s.textContent.replace('−', '-'))).filter(isFinite)")).expect("numbers");
    assert!(scores.windows(2).all(|pair| pair[0] <= pair[1]), "{scores:?}");
    assert_quiet(&browser, "a feature");
}

#[test]
fn the_address_of_a_feature_opens_it() {
    let Some(browser) = Browser::open(1280, 900) else { return };
    let toy = Toy::new();
    let run = run(&toy);
    let page = feature_page(&run);
    browser.go(&page, "");
    browser.wait("document.querySelectorAll('#feature-list a').length > 2");
    let links = texts(
        &browser,
        "return [...document.querySelectorAll('#feature-list a')].map(a => a.getAttribute('href'))",
    );
    let name = page.file_stem().expect("a name").to_string_lossy().replace("--", "/");
    assert!(links[0].starts_with(&format!("#{name}/")), "{links:?}");
    // Opened without an address, the page gets that of the feature that it shows; the heading leads to itself.
    browser.wait(&format!("location.hash === '{}'", links[0]));
    assert_eq!(
        browser.run("return document.querySelector('#feature-title a').getAttribute('href')"),
        Value::from(links[0].as_str())
    );
    let number = |link: &str| link.rsplit('/').next().expect("a number").to_string();
    let shows = |number: &str| {
        browser.wait(&format!("document.getElementById('feature-title').textContent === 'Feature {number}'"));
    };
    browser.go(&page, &links[2]);
    shows(&number(&links[2]));
    // The older form still opens the feature; steps change the address, and Back undoes them.
    browser.go(&page, &format!("#f={}", number(&links[1])));
    shows(&number(&links[1]));
    browser.press("j");
    shows(&number(&links[2]));
    browser.run("history.back()");
    shows(&number(&links[1]));
    // What is no address of this page is said.
    for (address, words) in [
        (format!("#{name}/99999"), "was not evaluated"),
        ("#hook_embed/nothing/3".into(), "The address names feature 3 of nothing at hook_embed"),
        ("#%E0%A4%A".into(), "is not the address of a feature"),
        ("#<img src=x onerror=1>".into(), "is not the address of a feature"),
    ] {
        browser.run(&format!("location.hash = {}", serde_json::json!(address)));
        browser.wait("document.getElementById('feature-view').hidden");
        let said = browser.run("return document.getElementById('feature-absent').textContent");
        assert!(said.as_str().is_some_and(|said| said.contains(words)), "{address}: {said}");
    }
    // A near feature that was evaluated has a view; one that was not says so.
    let near = "[...document.querySelectorAll('#glance-nearest li')]";
    let mut linked = None;
    for link in &links {
        browser.run(&format!("location.hash = '{link}'"));
        shows(&number(link));
        let marks = browser.run(&format!("return {near}.every(one => Boolean(one.querySelector('a')) !== one.textContent.includes('not evaluated'))"));
        assert_eq!(marks, Value::Bool(true), "{link}");
        let found = browser.run("return document.querySelector('#glance-nearest a')?.href ?? null");
        linked = linked.or_else(|| found.as_str().map(|to| (link.clone(), to.to_string())));
    }
    let (from, to) = linked.expect("some feature has an evaluated neighbour");
    browser.run(&format!("location.hash = '{from}'"));
    shows(&number(&from));
    browser.click("#glance-nearest a");
    shows(&number(&to));
    assert_eq!(browser.run("return location.href"), Value::from(to));
    assert_quiet(&browser, "addresses");
}

#[test]
fn hostile_text_shows_as_text() {
    let Some(browser) = Browser::open(1280, 900) else { return };
    let toy = Toy::new();
    let run = run(&toy);
    let page = feature_page(&run);
    browser.go(&page, "");
    browser.wait("document.querySelectorAll('#feature-list a').length > 2");
    let n =
        browser.run("return document.querySelectorAll('#feature-list a').length").as_u64().expect("features");
    let mut shown = String::new();
    for nth in 0..n {
        browser.run(&format!("document.querySelectorAll('#feature-list a')[{nth}].click()"));
        browser.wait("document.querySelectorAll('#fragments .t').length > 20");
        shown.push_str(
            browser
                .run("return document.getElementById('fragments').textContent")
                .as_str()
                .unwrap_or_default(),
        );
    }
    assert!(
        shown.contains("<script>") || shown.contains("onmouseover") || shown.contains("<!--"),
        "no fragment has the markup"
    );
    assert!(!shown.contains(['\u{202e}', '\u{200b}', '\u{200d}']), "an invisible character is not shown");
    assert_eq!(
        browser.run("return document.querySelectorAll('#fragments script, #fragments img').length"),
        Value::from(0)
    );
    assert_quiet(&browser, "hostile text");
}

#[test]
fn pages_are_dark_where_the_reader_prefers_it_and_print() {
    let Some(browser) = Browser::open(1280, 900) else { return };
    let toy = Toy::new();
    let run = run(&toy);
    for (name, page) in [
        ("index", run.join("index.html")),
        ("explorer", run.join("features.html")),
        ("feature", feature_page(&run)),
    ] {
        let mut backgrounds = Vec::new();
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            browser.go(&page, "");
            backgrounds.push(browser.run("return getComputedStyle(document.body).backgroundColor"));
        }
        assert_ne!(backgrounds[0], backgrounds[1], "{name}");
        // The switch overrules the system.
        browser.click("#theme");
        browser.wait(&format!("getComputedStyle(document.body).backgroundColor === {}", backgrounds[0]));
        assert!(browser.printed().len() > 1000, "{name}");
        browser.prefer("light");
        // The choice is remembered for every page; the next one shall follow the system again.
        browser.run("localStorage.clear()");
        assert_quiet(&browser, name);
    }
}

/// Names of the charts of a page that do not follow a dark theme.
const LIGHT_CHARTS: &str = "
    const light = (colour) => {
      const [r, g, b, a] = (colour.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
      return a !== 0 && 0.2126 * r + 0.7152 * g + 0.0722 * b > 128;
    };
    return [...document.querySelectorAll('figure[data-chart]')].filter((figure) => {
      const image = figure.querySelector('img');
      if (image) return !image.currentSrc.endsWith('#dark');
      const svg = figure.querySelector('svg');
      const all = svg.getBoundingClientRect();
      return light(getComputedStyle(svg).backgroundColor) || [...svg.querySelectorAll('rect, path')].some((shape) => {
        const box = shape.getBoundingClientRect();
        const style = getComputedStyle(shape);
        return style.fill !== 'none' && box.width * box.height > 0.1 * all.width * all.height && light(style.fill) && Number(style.fillOpacity) === 1;
      });
    }).map((figure) => figure.dataset.chart)";

#[test]
fn charts_follow_the_theme_and_thumbnails_open() {
    let Some(browser) = Browser::open(1280, 900) else { return };
    let toy = Toy::new();
    let run = run(&toy);
    browser.prefer("dark");
    browser.go(&run.join("index.html"), "");
    let charts = texts(&browser, "return [...document.querySelectorAll('figure')].map(f => f.dataset.chart)");
    assert!(
        charts[0].starts_with("scores_averaged.") && charts[1].starts_with("scores_by_layer."),
        "{charts:?}"
    );
    // Files of charts far below are loaded too.
    let files = "[...document.querySelectorAll('figure img')]";
    browser.run(&format!("{files}.forEach(i => i.loading = 'eager')"));
    browser.wait(&format!("{files}.every(i => i.complete && i.currentSrc)"));
    assert_eq!(texts(&browser, LIGHT_CHARTS), Vec::<String>::new(), "light charts on a dark page");
    browser.picture("charts-dark");
    // The switch of the page overrules the system, for files of charts too.
    browser.click("#theme");
    browser.wait(&format!("document.documentElement.dataset.theme === 'light' && {files}.every(i => !i.currentSrc.endsWith('#dark'))"));
    browser.click("#theme");
    browser.wait(&format!("document.documentElement.dataset.theme === 'dark' && {files}.every(i => i.currentSrc.endsWith('#dark'))"));
    browser.run("localStorage.clear()");
    let columns =
        "return getComputedStyle(document.querySelector('.charts')).gridTemplateColumns.split(' ').length";
    assert_eq!(browser.run(columns), Value::from(2));
    // By keys alone: open, close, and the reader is where they were.
    let parts = "document.querySelector('.charts figure').querySelectorAll('svg, img').length";
    browser.run("document.querySelector('.charts .enlarge').focus()");
    browser.press("\u{e007}");
    browser.wait("document.querySelector('dialog[open] .scroll > :is(svg, img)')");
    assert_eq!(browser.run(&format!("return {parts}")), Value::from(0), "the chart is in the page once");
    let large =
        browser.run("return document.querySelector('dialog .scroll > *').getBoundingClientRect().width");
    assert!(large.as_f64().is_some_and(|width| width > 600.0), "{large}");
    browser.picture("chart-dialog");
    browser.press("\u{e00c}");
    browser.wait(&format!("!document.querySelector('dialog[open]') && {parts} === 1"));
    let focus = browser.run("return document.activeElement.className");
    assert_eq!(focus, Value::from("enlarge"));
    // The same links lead to files that are there.
    for link in
        texts(&browser, "return [...document.querySelectorAll('.enlarge')].map(a => a.getAttribute('href'))")
    {
        assert!(link.ends_with(".svg") && run.join(&link).exists(), "{link}");
    }
    assert_quiet(&browser, "a dialog");
    drop(browser);
    let Some(narrow) = Browser::open(390, 844) else { return };
    narrow.go(&run.join("index.html"), "");
    assert_eq!(narrow.run(columns), Value::from(1));
}

#[test]
fn pages_are_accessible_in_both_themes_on_screens_wide_and_narrow() {
    let Some(axe) = std::env::var_os("AUTOINTERP_AXE") else {
        println!("skipped: AUTOINTERP_AXE is not set (the file axe.min.js of axe-core)");
        return;
    };
    let axe = fs::read_to_string(axe).expect("axe-core");
    let toy = Toy::new();
    let mut run_folder = None;
    for (width, height) in [(1280, 900), (390, 844)] {
        let Some(browser) = Browser::open(width, height) else { return };
        let run = run_folder.get_or_insert_with(|| run(&toy)).clone();
        for (name, page) in [
            ("index", run.join("index.html")),
            ("explorer", run.join("features.html")),
            ("compare", run.join("features.html")),
            ("feature", feature_page(&run)),
        ] {
            for scheme in ["light", "dark"] {
                browser.prefer(scheme);
                browser.go(&page, "");
                if name == "compare" {
                    compare_first_two(&browser);
                }
                if name == "feature" {
                    browser.wait("document.querySelectorAll('#feature-list a').length > 2");
                    browser.run("document.querySelector('#feature-list a').click()");
                    browser.wait("document.querySelectorAll('#fragments .t').length > 20");
                }
                let wide = browser.run(
                    "return document.documentElement.scrollWidth - document.documentElement.clientWidth",
                );
                assert_eq!(wide, Value::from(0), "{name} scrolls sideways at {width} pixels");
                browser.picture(&format!("{name}-{scheme}-{width}"));
                browser.run(&axe);
                let found = browser.run_later(
                    "const done = arguments[arguments.length - 1]; axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations.map(v => [v.id, v.impact, v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + ' ' + (n.failureSummary || ''))])), e => done(String(e)));",
                );
                let violations: Vec<&Value> =
                    found.as_array().unwrap_or_else(|| panic!("axe failed: {found}")).iter().collect();
                assert!(violations.is_empty(), "{name}, {scheme}, {width} pixels: {violations:#?}");
            }
        }
    }
}
