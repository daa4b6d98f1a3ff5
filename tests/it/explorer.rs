//! `features.html` in a real browser: what the list opens on, its addresses, two features side by side, narrow screens.

use std::path::Path;

use serde_json::Value;

use crate::browser::Browser;
use crate::pages::{assert_quiet, compare_first_two, feature_page, run, texts};
use crate::toy::Toy;

/// Sets a field of the list as a reader would.
fn choose(browser: &Browser, field: &str, value: &str) {
    browser.run(&format!(
        "const field = document.getElementById('explorer-{field}'); field.value = {}; \
         field.dispatchEvent(new Event('input', {{bubbles: true}}));",
        Value::from(value)
    ));
}

/// The list of a run, opened at an address.
fn open(browser: &Browser, run: &Path, address: &str) {
    browser.go(&run.join("features.html"), address);
    browser.wait("document.querySelectorAll('#explorer-rows tr').length > 3");
}

fn text(browser: &Browser, id: &str) -> String {
    let found = browser.run(&format!("return document.getElementById('{id}').textContent"));
    found.as_str().unwrap_or_default().to_string()
}

/// The features of the rows shown, such as `topk 3`.
fn names(browser: &Browser) -> Vec<String> {
    texts(browser, "return [...document.querySelectorAll('#explorer-rows a')].map(a => a.textContent)")
}

fn hash(browser: &Browser) -> String {
    browser.run("return location.hash").as_str().unwrap_or_default().to_string()
}

#[test]
fn the_list_opens_on_the_primary_explainer_and_score_and_its_address_keeps_what_was_chosen() {
    let Some(browser) = Browser::open(1280, 900) else { return };
    let toy = Toy::new();
    let run = run(&toy);
    open(&browser, &run, "");
    let said = text(&browser, "explorer-count");
    assert!(said.contains("explained by neuron_to_graph, sorted by top_and_random, best first"), "{said}");
    assert!(said.contains("Controls are left out"), "{said}");
    let heads = texts(
        &browser,
        "return [...document.querySelectorAll('#explorer-head th')].map(head => head.textContent)",
    );
    assert_eq!(
        heads,
        [
            "feature",
            "top_and_random",
            "token alone",
            "beyond_token",
            "density",
            "rank in run",
            "label",
            "compare"
        ]
    );
    let scores: Vec<f64> = serde_json::from_value(browser.run("return [...document.querySelectorAll('#explorer-rows .chosen')].map(cell => parseFloat(cell.textContent.replace('−', '-'))).filter(isFinite)")).expect("numbers");
    assert!(scores.len() > 3 && scores.windows(2).all(|pair| pair[0] >= pair[1]), "{scores:?}");
    let place = browser
        .run("return document.querySelector('#explorer-rows td[data-name=\"rank in run\"]').textContent")
        .as_str()
        .unwrap_or_default()
        .to_string();
    assert!(place.starts_with("1 of "), "{place}");
    let whole = names(&browser);

    // A method, then a random order: each is in the address, and Back takes it away.
    choose(&browser, "method", "topk");
    assert_eq!(hash(&browser), "#method=topk");
    let best = names(&browser);
    assert!(best.iter().all(|name| name.starts_with("topk ")) && best.len() < whole.len(), "{best:?}");
    choose(&browser, "order", "random");
    let drawn = names(&browser);
    assert_ne!(drawn, best);
    assert!(text(&browser, "explorer-count").contains("in random order, seed 1"));
    choose(&browser, "seed", "2");
    browser.wait("location.hash.includes('seed=2')");
    let other = names(&browser);
    assert_ne!(other, drawn);
    let shared = hash(&browser);
    browser.run("history.back()");
    browser.wait("document.getElementById('explorer-seed').value === '1'");
    assert_eq!(names(&browser), drawn);
    browser.run("history.back()");
    browser.wait("document.getElementById('explorer-order').value === 'best'");
    assert_eq!((hash(&browser).as_str(), names(&browser)), ("#method=topk", best));
    // The order of a seed does not depend on the filters, and the address is enough to see it again.
    open(&browser, &run, &shared);
    assert_eq!(names(&browser), other);
    choose(&browser, "method", "");
    let all: Vec<String> = names(&browser).into_iter().filter(|name| name.starts_with("topk ")).collect();
    assert!(!all.is_empty() && other.starts_with(&all), "{all:?} of {other:?}");
    browser.click("#explorer-reset");
    browser.wait("location.hash === ''");
    assert_eq!(names(&browser), whole);

    choose(&browser, "control", "shuffled");
    let said = text(&browser, "explorer-count");
    assert!(said.ends_with("Of the control shuffled alone."), "{said}");
    assert!(names(&browser).len() > 3);
    choose(&browser, "control", "");
    choose(&browser, "explainer", "token_lookup_fit");
    let said = text(&browser, "explorer-count");
    assert!(said.contains("explained by token_lookup_fit"), "{said}");
    assert!(!text(&browser, "explorer-head").contains("token alone"), "it would be the same number twice");
    assert_quiet(&browser, "the list");
}

#[test]
fn an_address_leads_to_its_feature_and_an_unknown_one_to_words_and_the_list() {
    let Some(browser) = Browser::open(1280, 900) else { return };
    let toy = Toy::new();
    let run = run(&toy);
    open(&browser, &run, "");
    let link = browser.run("return document.querySelector('#explorer-rows a').getAttribute('href')");
    let address = link.as_str().and_then(|link| link.split_once('#')).expect("an address").1.to_string();
    let (place, number) = address.rsplit_once('/').expect("three parts");
    assert_eq!(place.split('/').count(), 2, "{address}");
    browser.run(&format!("location.hash = {}", Value::from(address.as_str())));
    browser
        .wait("document.getElementById('feature-view') && !document.getElementById('feature-view').hidden");
    let title = text(&browser, "feature-title");
    assert_eq!(title, format!("Feature {number}"));
    assert!(browser.run("return location.href").as_str().is_some_and(|href| href.ends_with(&address)));

    let (hook, _) = place.split_once('/').expect("two parts");
    for (unknown, words) in [
        (format!("{place}/99999"), "Feature 99999 of ".to_string()),
        (format!("{hook}/nothing/0"), format!("No features of nothing at {hook}")),
        ("nowhere/topk/0".into(), "No features at nowhere".into()),
        ("%E0%A4%A/topk/0".into(), "not well-formed".into()),
        ("<img src=x onerror=1>/topk/0".into(), "No features at <img".into()),
        (format!("compare/{address}/nowhere/topk/0"), "No features at nowhere".into()),
        ("method=nothing".into(), "method nothing".into()),
    ] {
        open(&browser, &run, "");
        browser.run(&format!("location.hash = {}", Value::from(unknown.as_str())));
        browser.wait("!document.getElementById('explorer-absent').hidden");
        let said = text(&browser, "explorer-absent");
        assert!(said.contains(&words), "{unknown}: {said}");
        assert!(names(&browser).len() > 3, "{unknown}");
    }
    assert_quiet(&browser, "addresses");
}

#[test]
fn two_features_stand_side_by_side() {
    let Some(browser) = Browser::open(1280, 900) else { return };
    let toy = Toy::new();
    let run = run(&toy);
    open(&browser, &run, "#method=topk");
    // By keys alone: one feature, then another.
    let press = |nth: usize| {
        browser.run(&format!("document.querySelectorAll('#explorer-rows [data-compare]')[{nth}].focus()"));
        browser.press("\u{e007}");
    };
    let chosen = names(&browser);
    press(0);
    browser.wait("!document.getElementById('compare-bar').hidden");
    assert!(text(&browser, "compare-chosen").starts_with(&chosen[0]));
    let pressed = browser.run("return document.activeElement.getAttribute('aria-pressed')");
    assert_eq!(pressed, Value::from("true"), "the focus stays");
    browser.run("window.told = []; addEventListener('message', event => told.push(event.data));");
    press(1);
    browser.wait("document.querySelectorAll('#compare-pages iframe').length === 2");
    let address = hash(&browser);
    assert!(address.starts_with("#compare/") && address.split('/').count() == 7, "{address}");
    assert_eq!(text(&browser, "explorer-title"), "Two features side by side");
    let heads = texts(
        &browser,
        "return [...document.querySelectorAll('#compare-head a')].map(link => link.textContent)",
    );
    assert!(heads[0].starts_with(&chosen[0]) && heads[1].starts_with(&chosen[1]), "{heads:?}");
    let rows = text(&browser, "compare-rows");
    for row in ["top_and_random", "beyond_token", "rank in run", "density", "cosine of their directions"] {
        assert!(rows.contains(row), "{row}: {rows}");
    }
    // Both pages told the heights of their parts, and rows were given the same heights.
    browser.wait("told.length >= 2");
    browser
        .wait("[...document.querySelectorAll('#compare-pages iframe')].every(frame => frame.style.height)");
    let parts =
        "[...new Set(told.flatMap(one => Object.keys(one.heights).filter(part => one.heights[part] > 0)))]";
    let parts = texts(&browser, &format!("return {parts}"));
    for part in ["feature-label", "facts", "glance-histogram", "glance-logits", "legend", "fragment 1"] {
        assert!(parts.iter().any(|told| told == part), "{part}: {parts:?}");
    }
    browser.wait("new Set([...document.querySelectorAll('#compare-pages iframe')].map(frame => frame.style.height)).size === 1");
    let cosine = text(&browser, "compare-cosine");
    assert!(cosine.starts_with("not known") || cosine.replace('−', "-").parse::<f64>().is_ok(), "{cosine}");
    browser.picture("compare");
    browser.run("history.back()");
    browser.wait("!document.getElementById('browse').hidden");
    assert_eq!((hash(&browser).as_str(), names(&browser)), ("#method=topk", chosen));
    // The address alone shows the same.
    browser.go(&run.join("features.html"), &address);
    browser.wait("document.querySelectorAll('#compare-pages iframe').length === 2");
    assert_quiet(&browser, "two features");
}

#[test]
fn scores_show_without_scrolling_sideways_on_a_narrow_screen() {
    let Some(browser) = Browser::open(390, 844) else { return };
    let toy = Toy::new();
    let run = run(&toy);
    let fits = |name: &str| {
        let (wide, inner) =
            (browser.run("return document.scrollingElement.scrollWidth"), browser.run("return innerWidth"));
        assert!(wide.as_u64() <= inner.as_u64(), "{name}: {wide} of {inner}");
    };
    // The first cell under a head that names the primary score.
    let shows = |name: &str, table: &str| {
        browser.wait(&format!("document.querySelectorAll('{table} tbody tr').length > 0"));
        let place = browser.run(&format!(
            "const cell = document.querySelector('{table} tbody td[data-name*=\"top_and_random\"]'); \
             cell.scrollIntoView(); const box = cell.getBoundingClientRect(); \
             return [box.left, box.right, cell.textContent.trim().length, parseFloat(getComputedStyle(cell).fontSize)]"
        ));
        let place: Vec<f64> = serde_json::from_value(place).expect("numbers");
        assert!(place[0] >= 0.0 && place[1] <= 390.0 && place[2] > 0.0, "{name}: {place:?}");
        assert!(place[3] >= 14.0, "{name} has small type: {place:?}");
    };
    browser.go(&run.join("index.html"), "");
    shows("the index", "#cells");
    fits("the index");
    browser.go(&feature_page(&run), "");
    browser.wait("document.querySelectorAll('#feature-list a').length > 2");
    shows("a feature", "#scores");
    fits("a feature");
    open(&browser, &run, "");
    shows("the list", "#explorer-table");
    fits("the list");
    compare_first_two(&browser);
    fits("two features");
    // One below the other.
    let tops = browser.run("return [...document.querySelectorAll('#compare-pages iframe')].map(frame => frame.getBoundingClientRect().left)");
    assert_eq!(tops[0], tops[1]);
    assert_quiet(&browser, "a narrow screen");
}
