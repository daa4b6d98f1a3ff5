//! Patching on a task, in the pages of a small run opened from disk in a real browser.

use autointerp::report::{
    PatchCurve, PatchPoint, PatchedDictionary, PatchedDifference, PatchedNumber, RenderOptions, Summary,
    TaskPatching, remove_digests, render,
};
use serde_json::Value;

use crate::browser::Browser;
use crate::pages::{assert_quiet, run, texts};
use crate::toy::Toy;

fn number(value: f64) -> PatchedNumber {
    let (ci_low, ci_high) = (Some(0.8 * value), Some(1.2 * value));
    PatchedNumber { value: Some(value), ci_low, ci_high, reason: None }
}

/// A curve that falls to half at `half` features.
fn curve(order: &str, half: f64) -> PatchCurve {
    let point = |n: usize| {
        let doublings = (1.0 + n as f64).log2();
        let kl = 2.0 * 0.5f64.powf(doublings / (1.0 + half).log2());
        PatchPoint {
            n_features: n,
            kl: number(kl),
            logit_difference: number(1.0 - kl / 2.0),
            edit_size: number(doublings),
        }
    };
    PatchCurve {
        order: order.into(),
        is_control: order.starts_with("random"),
        points: [0, 1, 2, 4, 8, 16, 32, 64].map(point).into(),
        area: number(0.1 * half.ln_1p() + 0.5),
        half: number(half),
    }
}

/// A made-up result of the run's methods: each needs three times the features of the one before.
fn task(summary: &Summary) -> TaskPatching {
    let hook = &summary.quality[0].hook;
    let own = summary.quality.iter().filter(|row| row.hook == *hook && row.control.is_none());
    let methods: Vec<String> = own.map(|row| row.method.clone()).collect();
    let dictionary = |(nth, method): (usize, &String)| PatchedDictionary {
        hook: hook.clone(),
        method: method.clone(),
        control: None,
        n_features: 64,
        n_exact: 16,
        curves: [
            ("attribution", 1.0),
            ("exact", 0.8),
            ("random_features", 20.0),
            ("random_directions", 40.0),
        ]
        .map(|(order, factor)| curve(order, factor * 3f64.powi(nth as i32)))
        .into(),
        note: None,
    };
    let reference = summary.reference.clone().unwrap_or_default();
    let others = methods.iter().filter(|method| **method != reference);
    let difference = |method: &String| PatchedDifference {
        hook: hook.clone(),
        order: "attribution".into(),
        number: "half".into(),
        method_a: reference.clone(),
        method_b: method.clone(),
        difference: Some(-6.0),
        ci_low: Some(-9.0),
        ci_high: Some(-3.0),
        p: Some(0.001),
        p_adjusted: Some(0.002),
        verdict: "lower".into(),
    };
    TaskPatching {
        task: "ioi".into(),
        prompts: "embedded".into(),
        n_pairs: 16,
        skipped: Default::default(),
        n_right: 16,
        divergence: "patched_target".into(),
        dictionaries: methods.iter().enumerate().map(dictionary).collect(),
        differences: others.map(difference).collect(),
    }
}

#[test]
fn a_reader_finds_patching_in_both_themes_on_screens_wide_and_narrow() {
    let toy = Toy::new();
    let mut run_folder = None;
    for (width, height) in [(1280, 900), (390, 844)] {
        let Some(browser) = Browser::open(width, height) else { return };
        let run = run_folder.get_or_insert_with(|| {
            let run = run(&toy);
            let path = run.join("summary.json");
            let mut summary = Summary::read(&path).expect("a summary");
            summary.patching = Some(task(&summary));
            remove_digests(&run).expect("removed");
            let text = summary.to_json().expect("JSON");
            autointerp::base::write_atomic(&path, text.as_bytes()).expect("written");
            render(&run, &RenderOptions::default()).expect("rendered");
            run
        });
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            browser.go(&run.join("index.html"), "");
            browser.wait("document.querySelectorAll('#cells tbody tr').length > 3");
            browser.run("document.querySelector('.contents a[href=\"#patching\"]').click()");
            browser.wait("location.hash === '#patching'");
            let said = texts(
                &browser,
                "return [...document.querySelectorAll('#verdict p')].map(p => p.textContent)",
            );
            assert!(
                said.iter().any(|text| text.contains("On ioi (16 pairs, answered rightly on 100 %)")),
                "{said:?}"
            );
            let charts = texts(
                &browser,
                "return [...document.querySelectorAll('figure')].map(f => f.dataset.chart).filter(name => name.startsWith('patching'))",
            );
            assert_eq!(charts.len(), 4, "{charts:?}");
            let wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.run(wide), Value::from(0), "the page scrolls sideways at {width} pixels");
            browser.picture(&format!("patching-{scheme}-{width}"));
        }
        // A click on a head sorts the table by the features for half.
        let column = "const table = document.getElementById('patching-table'); const nth = [...table.tHead.rows[0].cells].findIndex(h => h.textContent.includes('features for half'));";
        browser.run(&format!("{column} table.tHead.rows[0].cells[nth].querySelector('button').click();"));
        let values = browser.run(&format!(
            "{column} return [...table.tBodies[0].rows].filter(r => !r.classList.contains('control')).map(r => parseFloat(r.cells[nth].textContent.replace(',', ''))).filter(isFinite)"
        ));
        let values: Vec<f64> = serde_json::from_value(values).expect("numbers");
        let sorted = |falls: bool| {
            values.windows(2).all(|pair| if falls { pair[0] >= pair[1] } else { pair[0] <= pair[1] })
        };
        assert!(values.len() > 1 && (sorted(true) || sorted(false)), "{values:?}");
        assert_quiet(&browser, "patching");
    }
}
