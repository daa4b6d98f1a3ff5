//! Every rule on a run made for it: the exact sentence, and none where the rule does not hold.

use super::*;
use crate::base::Tally;
use crate::report::fixture::{self, separate};
use crate::report::ranking::{RankedMethod, Ranking};
use crate::report::schema::{Cell, DifferenceRow, Family, QualityRow, Role, Verdict};

const HOOKS: [&str; 2] = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"];
const PRIMARY: &str = "top_and_random";

/// A row with a mean and half of its interval.
fn row(method: &str, mean: f64, half: f64) -> RankedMethod {
    RankedMethod {
        method: method.into(),
        mean: Some(mean),
        ci_low: Some(mean - half),
        ci_high: Some(mean + half),
        n_scored: 80,
        n_per_hook: (40, 40),
        ..RankedMethod::default()
    }
}

fn control(method: &str, control: &str, mean: f64, half: f64) -> RankedMethod {
    RankedMethod { control: Some(control.into()), ..row(method, mean, half) }
}

fn role(method: &str) -> Role {
    match method {
        "topk" | "sae" | "gated" => Role::Trained,
        "yours" => Role::Read,
        _ => Role::Baseline,
    }
}

/// Adds a ranking and its cells.
fn add(summary: &mut Summary, explainer: &str, scorer: &str, mut rows: Vec<RankedMethod>) {
    rows.sort_by(|a, b| b.mean.unwrap_or(f64::MIN).total_cmp(&a.mean.unwrap_or(f64::MIN)));
    separate(&mut rows);
    for row in &rows {
        summary.cells.extend(HOOKS.map(|hook| Cell {
            hook: hook.into(),
            method: row.method.clone(),
            control: row.control.clone(),
            protocol: "standard".into(),
            explainer: explainer.into(),
            simulator: explainer.into(),
            scorer: scorer.into(),
            mean: row.mean,
            n_requested: 50,
            n_scored: 40,
            tally: Tally { scored: 40, ..Tally::default() },
            ..Cell::default()
        }));
    }
    for row in rows.iter().filter(|row| row.control.is_none()) {
        if summary.quality.iter().all(|known| known.method != row.method) {
            summary.quality.extend(HOOKS.map(|hook| QualityRow {
                hook: hook.into(),
                method: row.method.clone(),
                role: Some(role(&row.method)),
                n_features: 128,
                ..QualityRow::default()
            }));
        }
    }
    summary.rankings.push(Ranking {
        scorer: scorer.into(),
        protocol: "standard".into(),
        explainer: explainer.into(),
        simulator: explainer.into(),
        primary: scorer == PRIMARY,
        hooks: HOOKS.map(String::from).into(),
        confidence: 0.95,
        rows,
        note: None,
    });
}

/// A run with one scorer and one explainer.
fn made(rows: Vec<RankedMethod>) -> Summary {
    let mut summary = Summary { primary: Some(PRIMARY.into()), ..Summary::default() };
    add(&mut summary, "neuron_to_graph", PRIMARY, rows);
    summary
}

/// Two autoencoders above two baselines, with both controls.
fn usual() -> Vec<RankedMethod> {
    vec![
        row("topk", 0.76, 0.03),
        row("sae", 0.74, 0.03),
        row("random", 0.48, 0.03),
        row("pca", 0.61, 0.03),
        control("topk", "random_weights", 0.87, 0.03),
        control("topk", "shuffled", 0.01, 0.03),
        control("sae", "shuffled", -0.01, 0.03),
    ]
}

fn with(summary: &Summary, rule: Rule) -> Option<String> {
    let findings = Findings::new(summary);
    findings.sentences.into_iter().find(|sentence| sentence.rule == rule).map(|sentence| sentence.text)
}

fn says(summary: &Summary, rule: Rule, text: &str) {
    assert_eq!(with(summary, rule).as_deref(), Some(text));
}

fn silent(summary: &Summary, rules: &[Rule]) {
    for rule in rules {
        assert_eq!(with(summary, *rule), None, "{rule:?}");
    }
}

#[test]
fn the_leaders_and_what_is_not_separated_from_them() {
    let summary = made(usual());
    says(
        &summary,
        Rule::Lead,
        "`topk` (0.76) is highest in `top_and_random`; `sae` (0.74) is not separated from it, the other 2 are (at most 0.61).",
    );
    silent(&summary, &[Rule::NotRanked, Rule::OnlyMethod, Rule::Untested, Rule::NotSeparated, Rule::Chance]);
    let alone = made(vec![row("topk", 0.76, 0.03), row("sae", 0.61, 0.03), row("random", 0.4, 0.03)]);
    says(
        &alone,
        Rule::Lead,
        "`topk` (0.76) scores higher than every other method in `top_and_random`, 0.15 above the next, `sae` (0.61).",
    );
    let two = made(vec![row("topk", 0.76, 0.03), row("sae", 0.75, 0.03), row("random", 0.4, 0.03)]);
    says(
        &two,
        Rule::Lead,
        "`topk` (0.76) is highest in `top_and_random`; `sae` (0.75) is not separated from it, `random` (0.40) is.",
    );
    // The wide interval of the highest reaches all others, which differ among each other.
    let wide = made(vec![row("topk", 0.76, 0.5), row("sae", 0.6, 0.01), row("random", 0.4, 0.01)]);
    says(
        &wide,
        Rule::Lead,
        "`topk` (0.76) is highest in `top_and_random`, but no other method is separated from it.",
    );
}

#[test]
fn runs_in_which_nothing_leads() {
    let close = made(vec![row("topk", 0.12, 0.2), row("pca", 0.03, 0.2)]);
    says(
        &close,
        Rule::NotSeparated,
        "In `top_and_random` no two methods are separated at n = 40 features per hook point (means 0.03 to 0.12).",
    );
    says(&close, Rule::Chance, "No interval lies above chance (0).");
    silent(&close, &[Rule::Lead, Rule::Baselines, Rule::Untested]);
    let one = made(vec![row("topk", 0.28, 0.08)]);
    says(
        &one,
        Rule::OnlyMethod,
        "`topk` is the only method with a place in `top_and_random` (0.28 [0.20, 0.36]), so there is nothing to compare it with.",
    );
    silent(&one, &[Rule::NotSeparated, Rule::Lead, Rule::Chance]);
    let bare = |method: &str, mean| RankedMethod { ci_low: None, ci_high: None, ..row(method, mean, 0.0) };
    let untested = made(vec![bare("topk", 0.5), bare("pca", 0.4)]);
    says(
        &untested,
        Rule::Untested,
        "The means in `top_and_random` are 0.40 to 0.50 and have no interval, so no method is shown to lead.",
    );
    silent(&untested, &[Rule::NotSeparated, Rule::Lead, Rule::Chance]);
    let mut none = made(vec![row("topk", 0.5, 0.1)]);
    none.rankings[0].rows[0] =
        RankedMethod { method: "topk".into(), reason: Some("no <mean>".into()), ..RankedMethod::default() };
    says(&none, Rule::NotRanked, "No method has a place in `top_and_random`: `no <mean>`.");
}

#[test]
fn methods_against_the_baselines() {
    let over = "`topk` and `sae` score higher than every baseline (at most 0.61).";
    says(&made(usual()), Rule::Baselines, over);
    let one = made(vec![row("topk", 0.76, 0.03), row("sae", 0.6, 0.03), row("pca", 0.61, 0.03)]);
    says(
        &one,
        Rule::Baselines,
        "`topk` scores higher than the baseline `pca` (0.61). That is not shown for `sae`.",
    );
    let none = made(vec![row("sae", 0.6, 0.03), row("pca", 0.61, 0.03), row("random", 0.3, 0.03)]);
    says(&none, Rule::Baselines, "No method is shown to score higher than every baseline (at most 0.61).");
    // Without recorded roles nothing is called a baseline, whatever its name.
    let mut unknown = made(usual());
    unknown.quality.iter_mut().for_each(|row| row.role = None);
    silent(&unknown, &[Rule::Baselines, Rule::MissingBaseline]);
    let mut lacking = made(vec![row("topk", 0.76, 0.03), row("sae", 0.6, 0.03)]);
    let text = with(&lacking, Rule::MissingBaseline).expect("a sentence");
    assert!(text.starts_with("The suite has no baseline (random directions, neurons, PCA, ICA)"), "{text}");
    says(&lacking, Rule::Next, "Next: add a baseline, `{use: baselines/random.yaml}`, to `methods`.");
    lacking.quality.iter_mut().for_each(|row| row.role = Some(Role::Baseline));
    says(&lacking, Rule::MissingBaseline, "Every method here is a baseline.");
}

#[test]
fn permuted_weights_in_words() {
    let on = |mean: f64, half: f64| {
        made(vec![
            row("topk", 0.76, half),
            row("random", 0.3, 0.03),
            control("topk", "random_weights", mean, half),
        ])
    };
    for (mean, half, text) in [
        (
            0.87,
            0.03,
            "higher still (0.87 against 0.76), so this score does not show that the model learnt it.",
        ),
        (0.77, 0.03, "as high (0.77 against 0.76), so this score does not show that the model learnt it."),
        (
            0.74,
            0.03,
            "lower (0.74 against 0.76) but is not separated, so it is open whether the model learnt it.",
        ),
        (0.03, 0.03, "lower (0.03 against 0.76), so this score depends on the trained weights."),
    ] {
        let expected = format!("`topk` on permuted weights scores {text}");
        says(&on(mean, half), Rule::PermutedWeights, &expected);
    }
    let mut untested = on(0.0, 0.03);
    let weights = untested.rankings[0].rows.iter_mut().find(|row| row.control.is_some()).expect("a control");
    (weights.ci_low, weights.ci_high) = (None, None);
    untested.rankings[0].rows[0].above.clear();
    says(
        &untested,
        Rule::PermutedWeights,
        "`topk` on permuted weights scores lower (0.00 against 0.76), which could not be tested.",
    );
    let mut rows = usual();
    rows.push(control("sae", "random_weights", 0.9, 0.03));
    rows.push(control("topk", "random_weights_and_embeddings", 0.1, 0.03));
    says(
        &made(rows),
        Rule::PermutedWeights,
        "`topk` and `sae` on permuted weights score higher still (0.87 against 0.76 and 0.90 against 0.74), so this score does not show that the model learnt it. \
         `topk` on permuted weights and embeddings scores lower (0.10 against 0.76), so this score depends on the trained weights.",
    );
}

#[test]
fn shuffled_explanations_in_words() {
    let summary = made(usual());
    says(&summary, Rule::Shuffled, "Shuffled explanations are not above chance (-0.01 to 0.01).");
    silent(&summary, &[Rule::ShuffledAsHigh]);
    let of = |mean: f64, half: f64| {
        made(vec![row("topk", 0.5, 0.1), row("pca", 0.1, 0.1), control("topk", "shuffled", mean, half)])
    };
    says(
        &of(0.2, 0.05),
        Rule::Shuffled,
        "Shuffled explanations of `topk` score above chance (0.20), so a part of this score is not about the feature.",
    );
    says(
        &of(0.45, 0.1),
        Rule::ShuffledAsHigh,
        "`topk` is not separated from its shuffled explanations, so it is open whether the explanations fit their features.",
    );
    let mut bare = of(0.02, 0.05);
    let shuffled = bare.rankings[0].rows.iter_mut().find(|row| row.control.is_some()).expect("a control");
    (shuffled.ci_low, shuffled.ci_high) = (None, None);
    says(&bare, Rule::Shuffled, "Shuffled explanations score 0.02; chance is 0.");
    // Where chance is one half, a shuffled score of one half is no finding.
    let mut half = Summary::default();
    add(
        &mut half,
        "neuron_to_graph",
        "detection",
        vec![row("topk", 0.8, 0.05), control("topk", "shuffled", 0.51, 0.05)],
    );
    says(&half, Rule::Shuffled, "Shuffled explanations are not above chance (0.51).");
}

#[test]
fn token_means_against_the_explanations() {
    let with_lookup = |mean: f64, half: f64| {
        let mut summary = made(usual());
        let rows = vec![row("topk", mean, half), row("sae", mean - 0.02, half)];
        add(&mut summary, "token_lookup_fit", PRIMARY, rows);
        summary
    };
    says(
        &with_lookup(0.83, 0.03),
        Rule::TokenLookup,
        "Token means alone (`token_lookup_fit`) score as high or higher for `topk` and `sae` (0.83 and 0.81), so their explanations say no more than the token.",
    );
    says(
        &with_lookup(0.5, 0.03),
        Rule::TokenLookup,
        "Token means alone (`token_lookup_fit`) score lower for `topk` and `sae` (0.50 and 0.48), so their explanations say more than the token.",
    );
    let open = with(&with_lookup(0.73, 0.03), Rule::TokenLookup).expect("a sentence");
    assert!(
        open.ends_with("but intervals overlap: whether their explanations say more than the token is open."),
        "{open}"
    );
    silent(&made(usual()), &[Rule::TokenLookup]);
    // Token identity earns nothing there.
    let mut beyond = Summary::default();
    add(&mut beyond, "neuron_to_graph", "beyond_token", usual());
    add(&mut beyond, "token_lookup_fit", "beyond_token", usual());
    silent(&beyond, &[Rule::TokenLookup]);
}

#[test]
fn controls_that_the_suite_lacks() {
    let without = |names: &[&str]| {
        let is_kept = |row: &RankedMethod| row.control.as_deref().is_none_or(|name| !names.contains(&name));
        made(usual().into_iter().filter(is_kept).collect())
    };
    silent(&without(&[]), &[Rule::MissingControl]);
    says(
        &without(&["random_weights"]),
        Rule::MissingControl,
        "The suite has no control on permuted weights, so no score here shows that the model learnt what it measures: add `{random_weights: [topk]}` to `controls`.",
    );
    says(
        &without(&["shuffled"]),
        Rule::MissingControl,
        "The suite has no shuffled control, so no score here shows that an explanation fits its own feature: add `shuffled` to `controls`.",
    );
    says(
        &without(&["shuffled", "random_weights"]),
        Rule::MissingControl,
        "The suite has no control on permuted weights and no shuffled one, so no score here shows that the model learnt what it measures or that an explanation fits its own feature: add `shuffled` and `{random_weights: [topk]}` to `controls`.",
    );
}

/// Planned comparisons of `topk` with others, one verdict for each hook point.
fn planned(against: &[(&str, &[Option<Verdict>])]) -> Summary {
    let mut summary = made(usual());
    for (method, verdicts) in against {
        summary.differences.extend(verdicts.iter().enumerate().map(|(nth, verdict)| DifferenceRow {
            hook: format!("blocks.{nth}.hook_resid_post"),
            scorer: PRIMARY.into(),
            explainer: "neuron_to_graph".into(),
            simulator: "neuron_to_graph".into(),
            method_a: "topk".into(),
            method_b: (*method).into(),
            family: Family::Primary,
            verdict: *verdict,
            ..DifferenceRow::default()
        }));
    }
    summary
}

#[test]
fn planned_comparisons_by_hook_point() {
    let (higher, lower) = (Some(Verdict::Higher), Some(Verdict::Lower));
    let (within, open) = (Some(Verdict::WithinMargin), Some(Verdict::NoDifference));
    silent(&made(usual()), &[Rule::Reference]);
    says(
        &planned(&[
            ("pca", &[higher, higher]),
            ("random", &[higher, higher]),
            ("sae", &[open, open]),
            ("gated", &[lower, lower]),
            ("yours", &[within, within]),
        ]),
        Rule::Reference,
        "In planned tests (Holm) `topk` is higher than `pca` and `random` at every hook point, lower than `gated` at every hook point, within the margin of `yours` at every hook point and not shown to differ from `sae` at any hook point.",
    );
    says(
        &planned(&[("pca", &[higher]), ("sae", &[open])]),
        Rule::Reference,
        "In planned tests (Holm) `topk` is higher than `pca` and not shown to differ from `sae`.",
    );
    says(
        &planned(&[("pca", &[higher, open, None]), ("sae", &[lower, open, open])]),
        Rule::Reference,
        "Planned tests (Holm) of `topk` against `pca`: higher at 1 of 3, no difference detected at 1, not tested at 1; against `sae`: lower at 1 of 3, no difference detected at 2.",
    );
    says(
        &planned(&[("pca", &[higher, open]), ("sae", &[lower, open]), ("random", &[higher, lower])]),
        Rule::Reference,
        "In planned tests (Holm) of `topk` against 3 methods, the result depends on the hook point.",
    );
    let mut exploratory = planned(&[("pca", &[higher])]);
    exploratory.differences[0].family = Family::Exploratory;
    silent(&exploratory, &[Rule::Reference]);
}

#[test]
fn shares_that_limit_the_conclusion() {
    let mut summary = made(usual());
    silent(&summary, &[Rule::Unscored, Rule::Constant]);
    for cell in summary.cells.iter_mut().filter(|cell| cell.control.is_none()) {
        cell.tally = Tally { scored: 40, undefined: 8, failed: 2, ..Tally::default() };
        cell.n_constant = 24;
    }
    says(
        &summary,
        Rule::Unscored,
        "20 % of the eligible features have no score here (16 % undefined, 4 % failed); means leave them out.",
    );
    says(&summary, Rule::Constant, "60 % of the predictions are constant here and count as 0.");
    // A tenth and a half are not yet said.
    for cell in &mut summary.cells {
        cell.tally = Tally { scored: 36, undefined: 4, ..Tally::default() };
        cell.n_constant = 20;
    }
    silent(&summary, &[Rule::Unscored, Rule::Constant]);
}

#[test]
fn chosen_features_and_dictionaries_from_elsewhere() {
    let mut summary = made(usual());
    silent(&summary, &[Rule::Chosen, Rule::Elsewhere, Rule::OneHookPoint]);
    for cell in summary.cells.iter_mut().filter(|cell| cell.method == "topk") {
        cell.features = Some("chosen".into());
    }
    says(
        &summary,
        Rule::Chosen,
        "The suite chose the features of `topk`: what is said of them holds for these features only.",
    );
    summary.cells.iter_mut().for_each(|cell| cell.features = Some("chosen".into()));
    says(
        &summary,
        Rule::Chosen,
        "The suite chose all features: this holds for these features only, not for whole dictionaries.",
    );
    summary.quality[0].elsewhere = Some("trained at blocks.3".into());
    says(
        &summary,
        Rule::Elsewhere,
        "`topk` is not applied where trained: its place says nothing about the method.",
    );
    assert!(Findings::new(&summary).rankings[0].rows[0].elsewhere);
    summary.cells.retain(|cell| cell.hook == HOOKS[0]);
    says(
        &summary,
        Rule::OneHookPoint,
        "All of this is at one hook point, `blocks.0.hook_resid_post`; others can differ.",
    );
}

#[test]
fn folders_without_scores_or_rankings() {
    let empty = Findings::new(&Summary::default());
    assert_eq!(empty.sentences.len(), 1);
    assert_eq!(empty.paragraph(None), "No feature was eligible at any hook point, so there are no scores.");
    let mut none = made(vec![row("topk", 0.5, 0.1)]);
    none.rankings.clear();
    for cell in &mut none.cells {
        (cell.mean, cell.n_scored) = (None, 0);
        cell.tally = Tally { skipped: [("too_few_fragments".to_string(), 1200)].into(), ..Tally::default() };
    }
    says(
        &none,
        Rule::NoScores,
        "No feature has a score. The most frequent reason is `too_few_fragments` (2,400 features). Next: more text, `corpus.eval_fragments`, may help.",
    );
    none.cells.iter_mut().for_each(|cell| cell.tally = Tally { failed: 3, ..Tally::default() });
    says(
        &none,
        Rule::NoScores,
        "No feature has a score. The most frequent reason is `failed` (6 features). Next: `scores.jsonl` has the reason of each feature.",
    );
    let mut old = planned(&[("pca", &[Some(Verdict::Higher)])]);
    old.rankings.clear();
    old.reference = Some("sae".into());
    let findings = Findings::new(&old);
    assert!(findings.rankings.is_empty());
    says(
        &old,
        Rule::NoRankings,
        "This folder has no rankings, because an older version wrote it: run the suite again to add them.",
    );
    says(&old, Rule::Reference, "In planned tests (Holm) `topk` is higher than `pca`.");
    silent(&old, &[Rule::Lead, Rule::NotSeparated, Rule::PermutedWeights, Rule::Baselines]);
    silent(&made(usual()), &[Rule::NoScores, Rule::NoRankings]);
}

#[test]
fn what_to_run_next() {
    let complete = |rows: Vec<RankedMethod>| {
        let mut summary = made(rows.clone());
        add(&mut summary, "token_lookup_fit", PRIMARY, rows);
        summary
    };
    says(
        &made(usual()),
        Rule::Next,
        "Next: add `token_lookup_fit` to `pairs`, to see whether the explanations say more than the token.",
    );
    // 40 · (0.03² + 0.03²) / 0.02² = 180 features.
    let mut open = complete(usual());
    open.quality.iter_mut().for_each(|row| row.n_features = 512);
    says(
        &open,
        Rule::Next,
        "Next: telling `topk` and `sae` apart in `top_and_random` takes about 180 features per hook point, now 40 (`features: {per_cell: 180}`).",
    );
    says(
        &complete(usual()),
        Rule::Next,
        "Next: telling `topk` and `sae` apart in `top_and_random` takes about 180 features per hook point, now 40; `topk` has 128, so it takes more hook points.",
    );
    let equal = complete(vec![row("topk", 0.761, 0.03), row("sae", 0.759, 0.03), row("pca", 0.1, 0.03)]);
    says(
        &equal,
        Rule::Next,
        "Next: nothing is likely to tell `topk` and `sae` apart in `top_and_random`, where both score 0.76.",
    );
    let mut chosen = open.clone();
    chosen.cells.iter_mut().for_each(|cell| cell.features = Some("chosen".into()));
    let seeds = "Next: train `topk` several times (`seeds: 3`); an interval covers the choice of features, not another training.";
    says(&chosen, Rule::Next, seeds);
    let mut apart = complete(vec![row("topk", 0.76, 0.03), row("sae", 0.5, 0.03), row("pca", 0.1, 0.03)]);
    says(&apart, Rule::Next, seeds);
    apart.quality.iter_mut().for_each(|row| row.trainings = Some(3));
    silent(&apart, &[Rule::Next]);
    let read = complete(vec![row("yours", 0.76, 0.03), row("pca", 0.1, 0.03)]);
    silent(&read, &[Rule::Next]);
}

#[test]
fn controls_stand_beside_their_method() {
    let mut summary = made(usual());
    add(&mut summary, "token_lookup_fit", PRIMARY, vec![row("topk", 0.83, 0.03)]);
    let findings = Findings::new(&summary);
    let standing = &findings.rankings[0];
    assert_eq!(standing.beside().collect::<Vec<_>>(), ["shuffled", "random_weights", "token_lookup_fit"]);
    let rows: Vec<_> = standing
        .rows
        .iter()
        .map(|row| (row.method.as_str(), row.beside(standing).collect::<Vec<_>>()))
        .collect();
    assert_eq!(
        rows,
        [
            ("topk", vec![Some(0.01), Some(0.87), Some(0.83)]),
            ("sae", vec![Some(-0.01), None, None]),
            ("pca", vec![None, None, None]),
            ("random", vec![None, None, None]),
        ]
    );
    assert!(standing.rows[0].is_reached_by(Some(0.87)) && !standing.rows[0].is_reached_by(Some(0.01)));
    assert_eq!(
        standing.caption(),
        "neuron_to_graph, mean over 2 hook points, intervals that hold together (95 %), n = 40 features per hook point. Methods that share a letter are not separated."
    );
}

#[test]
fn a_run_of_twelve_methods_has_a_short_verdict() {
    let summary = fixture::make(4).summary;
    let findings = Findings::new(&summary);
    let scorers: Vec<&str> = findings.main().into_iter().map(|(scorer, _)| scorer).collect();
    assert_eq!(scorers, ["top_and_random", "beyond_token"]);
    assert!(findings.main().iter().all(|(_, standing)| standing.is_some_and(|one| one.rows.len() == 12)));
    assert_eq!(findings.others().count(), 3);
    let words: usize = findings.sentences.iter().map(|one| one.text.split(' ').count()).sum();
    assert!(words <= 300, "{words} words: {:#?}", findings.sentences);
    let last = findings.sentences.last().expect("sentences");
    assert_eq!(last.rule, Rule::Next);
    // The same summary gives the same verdict.
    assert_eq!(findings, Findings::new(&summary));
}

#[test]
fn a_hostile_name_stays_a_name() {
    let hostile = "a` <script>alert(1)</script> \u{202e}\u{1b}[2J `b";
    let mut rows = usual();
    rows.iter_mut().filter(|row| row.method == "topk").for_each(|row| row.method = hostile.into());
    let summary = made(rows);
    let findings = Findings::new(&summary);
    for sentence in &findings.sentences {
        assert_eq!(sentence.text.matches('`').count() % 2, 0, "{}", sentence.text);
        // Outside of code there is text of this program alone.
        let plain: String = sentence.text.split('`').step_by(2).collect();
        assert!(!plain.contains('<') && !plain.contains("alert"), "{}", sentence.text);
        assert!(!sentence.text.contains(['\u{202e}', '\u{1b}']), "{}", sentence.text);
    }
}
