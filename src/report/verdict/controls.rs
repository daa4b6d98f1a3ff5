//! What the controls and the token lookup say about the scores.

use super::Run;
use super::ranked::{Ranked, interval, is_above, lookup_pairing, mean, ranking_of};
use super::words::{between, code, listed, named, one_or};
use crate::report::number::score;
use crate::report::ranking::RankedMethod;
use crate::report::view::{BEYOND_TOKEN, RANDOM_DIRECTION};

/// The control that gives each feature another feature's explanation.
pub const SHUFFLED: &str = "shuffled";

/// Controls on a subject with permuted weights, with what is permuted in words.
pub const PERMUTED: [(&str, &str); 2] = [
    ("random_weights", "permuted weights"),
    ("random_weights_and_embeddings", "permuted weights and embeddings"),
];

/// What a control that scores as high as its method means.
const NOT_LEARNT: &str = ", so this score does not show that the model learnt it";

/// A method's row with the row of its control.
type Paired<'a> = (&'a RankedMethod, &'a RankedMethod);

/// `0.87 against 0.76`
fn against((method, control): &Paired<'_>) -> String {
    format!("{} against {}", score(control.mean), score(method.mean))
}

fn names(pairs: &[Paired<'_>]) -> String {
    named(pairs.iter().map(|(method, _)| method.method.as_str()))
}

/// How a control stands to its method.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stand {
    Higher,
    AsHigh,
    Untested,
    LowerOpen,
    Lower,
}

const STANDS: [Stand; 5] = [Stand::Higher, Stand::AsHigh, Stand::Untested, Stand::LowerOpen, Stand::Lower];

fn stand((method, control): &Paired<'_>) -> Stand {
    if is_above(control, method) {
        Stand::Higher
    } else if is_above(method, control) {
        Stand::Lower
    } else if mean(control) >= mean(method) {
        Stand::AsHigh
    } else if interval(control).is_none() || interval(method).is_none() {
        Stand::Untested
    } else {
        Stand::LowerOpen
    }
}

/// Methods on permuted weights, grouped by how they stand to the methods on the trained weights.
pub fn permuted_weights(ranked: &Ranked<'_, '_>) -> Option<String> {
    let mut texts = Vec::new();
    for (control, on) in PERMUTED {
        let pairs = ranked.controls(control);
        for of in STANDS {
            let these: Vec<Paired<'_>> = pairs.iter().copied().filter(|pair| stand(pair) == of).collect();
            if these.is_empty() {
                continue;
            }
            let n = these.len();
            let is = one_or(n, "is", "are");
            let (how, so) = match of {
                Stand::Higher => ("higher still", NOT_LEARNT.to_string()),
                Stand::AsHigh => ("as high", NOT_LEARNT.to_string()),
                Stand::Untested => ("lower", ", which could not be tested".to_string()),
                Stand::LowerOpen => {
                    ("lower", format!(" but {is} not separated, so it is open whether the model learnt it"))
                }
                Stand::Lower => ("lower", ", so this score depends on the trained weights".to_string()),
            };
            let scores = one_or(n, "scores", "score");
            let numbers = listed(these.iter().map(against).collect());
            texts.push(format!("{} on {on} {scores} {how} ({numbers}){so}.", names(&these)));
        }
    }
    (!texts.is_empty()).then(|| texts.join(" "))
}

/// Shuffled explanations against chance.
pub fn shuffled(ranked: &Ranked<'_, '_>) -> Option<String> {
    let pairs = ranked.controls(SHUFFLED);
    let chance = ranked.chance();
    let means: Vec<f64> = pairs.iter().filter_map(|(_, control)| mean(control)).collect();
    let range = between(&means)?;
    let is_over = |(_, control): &&Paired<'_>| interval(control).is_some_and(|(low, _)| low > chance);
    let over: Vec<Paired<'_>> = pairs.iter().filter(is_over).copied().collect();
    if !over.is_empty() {
        let most: Vec<f64> = over.iter().filter_map(|(_, control)| mean(control)).collect();
        return Some(format!(
            "Shuffled explanations of {} score above chance ({}), so a part of {} is not about the feature.",
            names(&over),
            between(&most)?,
            one_or(over.len(), "this score", "these scores"),
        ));
    }
    let all_tested = pairs.iter().all(|(_, control)| interval(control).is_some());
    Some(match all_tested {
        true => format!("Shuffled explanations are not above chance ({range})."),
        false => format!("Shuffled explanations score {range}; chance is {chance}."),
    })
}

/// Output scores against those of random directions.
pub fn random_directions(ranked: &Ranked<'_, '_>) -> Option<String> {
    let pairs = ranked.controls(RANDOM_DIRECTION);
    let (better, others): (Vec<Paired<'_>>, Vec<Paired<'_>>) =
        pairs.into_iter().partition(|(method, control)| is_above(method, control));
    let (worse, open): (Vec<Paired<'_>>, Vec<Paired<'_>>) =
        others.into_iter().partition(|(method, control)| is_above(control, method));
    let of = |pairs: &[Paired<'_>], one: &str, several: &str| {
        let numbers = listed(pairs.iter().map(against).collect());
        (!pairs.is_empty())
            .then(|| format!("{} {} ({numbers})", names(pairs), one_or(pairs.len(), one, several)))
    };
    let parts = [
        of(
            &better,
            "scores better than random directions of the same norm",
            "score better than random directions of the same norm",
        ),
        of(
            &worse,
            "scores worse than random directions of the same norm",
            "score worse than random directions of the same norm",
        ),
        of(
            &open,
            "is not separated from random directions of the same norm",
            "are not separated from random directions of the same norm",
        ),
    ];
    let sentences: Vec<String> = parts.into_iter().flatten().map(|sentence| sentence + ".").collect();
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

/// Leading methods that are not separated from their own shuffled explanations.
pub fn shuffled_as_high(ranked: &Ranked<'_, '_>) -> Option<String> {
    ranked.is_tested().then_some(())?;
    let leaders = ranked.leaders();
    let is_leader = |method: &RankedMethod| leaders.iter().any(|leader| leader.method == method.method);
    let pairs: Vec<Paired<'_>> = ranked
        .controls(SHUFFLED)
        .into_iter()
        .filter(|(method, control)| is_leader(method) && !is_above(method, control))
        .filter(|(method, control)| interval(method).is_some() && interval(control).is_some())
        .collect();
    (!pairs.is_empty()).then(|| {
        let n = pairs.len();
        format!(
            "{} {} not separated from {} shuffled explanations, so it is open whether the explanations fit their features.",
            names(&pairs),
            one_or(n, "is", "are"),
            one_or(n, "its", "their"),
        )
    })
}

/// The leading methods under explanations that are token means. A score to which token identity contributes nothing
/// needs no such comparison.
pub fn token_lookup(ranked: &Ranked<'_, '_>) -> Option<String> {
    if ranked.scorer == BEYOND_TOKEN {
        return None;
    }
    let lookup = lookup_pairing(ranked.view, ranked.pairing)?;
    let rows = &ranking_of(ranked.view, lookup, ranked.scorer)?.rows;
    let of = |method: &'_ RankedMethod| {
        let mut here = rows.iter().filter(|row| row.control.is_none() && mean(row).is_some());
        here.find(|row| row.method == method.method)
    };
    let leaders = ranked.leaders();
    let pairs: Vec<Paired<'_>> = leaders.iter().filter_map(|row| Some((*row, of(row)?))).collect();
    let (as_high, lower): (Vec<Paired<'_>>, Vec<Paired<'_>>) =
        pairs.into_iter().partition(|(own, lookup)| mean(lookup) >= mean(own));
    let for_names = |pairs: &[Paired<'_>]| {
        let numbers = listed(pairs.iter().map(|(_, lookup)| score(lookup.mean)).collect());
        format!("for {} ({numbers})", names(pairs))
    };
    let start = format!("Token means alone ({}) score", code(lookup.explainer));
    if !as_high.is_empty() {
        return Some(format!(
            "{start} as high or higher {}, so {} explanations say no more than the token.",
            for_names(&as_high),
            one_or(as_high.len(), "its", "their")
        ));
    }
    let apart = |(own, lookup): &Paired<'_>| {
        interval(own).zip(interval(lookup)).is_some_and(|((low, _), (_, high))| low > high)
    };
    let (lower_for, its) = (for_names(&lower), one_or(lower.len(), "its", "their"));
    (!lower.is_empty()).then(|| match lower.iter().all(apart) {
        true => format!("{start} lower {lower_for}, so {its} explanations say more than the token."),
        false => format!(
            "{start} lower {lower_for}, but intervals overlap: whether {its} explanations say more than the token is open."
        ),
    })
}

/// Controls that the suite lacks: permuted weights, and shuffled explanations.
pub fn missing(run: &Run<'_, '_>) -> Option<String> {
    let has = |name: &str| run.view.controls.contains(&name);
    let permuted = PERMUTED.iter().any(|(name, _)| has(name));
    let top = run.main.first().and_then(|ranked| Some(ranked.methods.first()?.method.as_str()));
    let method = top.or(run.view.summary.reference.as_deref()).or(run.view.methods.first().copied())?;
    // The name stands inside the braces of one piece of code.
    let entry = code(&format!("{{random_weights: [{method}]}}"));
    match (permuted, has(SHUFFLED)) {
        (true, true) => None,
        (false, true) => Some(format!(
            "The suite has no control on permuted weights, so no score here shows that the model learnt what it \
             measures: add {entry} to `controls`."
        )),
        (true, false) => Some(
            "The suite has no shuffled control, so no score here shows that an explanation fits its own feature: \
             add `shuffled` to `controls`."
                .to_string(),
        ),
        (false, false) => Some(format!(
            "The suite has no control on permuted weights and no shuffled one, so no score here shows that the model \
             learnt what it measures or that an explanation fits its own feature: add `shuffled` and {entry} to \
             `controls`."
        )),
    }
}
