//! Planned and actual use of language models, as numbers and as text.

use std::fmt;

use crate::report::count;
use crate::run::{RoleUsage, Who};

use serde::{Deserialize, Serialize};

/// Upper bound on the use of one explainer, simulator or judge. It assumes that every feature is eligible, that
/// nothing is cached, and that no question repeats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Planned {
    /// The role.
    #[serde(flatten)]
    pub who: Who,
    /// Requests.
    pub requests: u64,
    /// Input tokens.
    pub tokens_in: u64,
    /// Output tokens.
    pub tokens_out: u64,
    /// Cost in dollars; none if prices are unknown.
    pub dollars: Option<f64>,
    /// Rough duration, from the suite's limits and an assumed generation speed.
    pub minutes: f64,
    /// Whether tokens are counted with the model's own tokenizer, and not approximated.
    pub exact_tokens: bool,
    /// Tokens of the longest question and its answer.
    #[serde(default)]
    pub longest: u64,
    /// Context length of the model, if known.
    #[serde(default)]
    pub context_tokens: Option<u64>,
}

/// A token count, rounded: `12 M`, `340 k`, `3400`.
fn amount(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..10_000_000 => format!("{} k", (n + 500) / 1000),
        _ => format!("{} M", (n + 500_000) / 1_000_000),
    }
}

/// A duration: `30 s` or `12 min`.
pub fn time_text(minutes: f64) -> String {
    if minutes < 1.5 { format!("{:.0} s", (minutes * 60.0).max(1.0)) } else { format!("{minutes:.0} min") }
}

/// A cost, or `prices not given`. A sum of nothing is −0, which is shown as 0.
pub fn dollars_text(dollars: Option<f64>) -> String {
    match dollars.map(|dollars| dollars + 0.0) {
        Some(dollars) if dollars > 0.0 && dollars < 0.1 => format!("${dollars:.4}"),
        Some(dollars) => format!("${dollars:.2}"),
        None => "prices not given".into(),
    }
}

/// Requests of language models, with the tokens that go in and come out.
pub fn requests_text(numbers: [u64; 3]) -> String {
    let [requests, tokens_in, tokens_out] = numbers.map(|number| count(number as usize));
    match numbers[0] {
        0 => "no language model".into(),
        _ => format!("at most {requests} ({tokens_in} tokens in, {tokens_out} out)"),
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: at most {} requests (unreadable answers are asked for again), {}{} tokens in and {} out, {}, about {}",
            self.who,
            self.requests,
            if self.exact_tokens { "" } else { "about " },
            amount(self.tokens_in),
            amount(self.tokens_out),
            dollars_text(self.dollars),
            time_text(self.minutes)
        )
    }
}

impl Planned {
    /// Adds the use of another pair of the suite.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.tokens_in += other.tokens_in;
        self.tokens_out += other.tokens_out;
        self.dollars = self.dollars.zip(other.dollars).map(|(mine, theirs)| mine + theirs);
        self.minutes += other.minutes;
        self.exact_tokens &= other.exact_tokens;
        self.longest = self.longest.max(other.longest);
    }
}

/// Planned and actual use of one role.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Beside {
    /// The role.
    #[serde(flatten)]
    pub who: Who,
    /// Planned use for the whole suite.
    pub planned: Option<Planned>,
    /// Actual use of this run; none if no request was made because all results were stored.
    pub actual: Option<RoleUsage>,
}

impl Beside {
    /// Table cells: role, requests, cached, input tokens, output tokens, cost, time; each as `actual of planned`.
    pub fn cells(&self) -> [String; 7] {
        let of = |taken: &dyn Fn(&RoleUsage) -> String, planned: &dyn Fn(&Planned) -> String| {
            let taken = self.actual.as_ref().map_or("0".to_string(), taken);
            let planned = self.planned.as_ref().map_or("—".to_string(), planned);
            format!("{taken} of {planned}")
        };
        [
            self.who.to_string(),
            of(&|usage| usage.taken.requests.to_string(), &|planned| planned.requests.to_string()),
            self.actual.as_ref().map_or("0".to_string(), |usage| usage.taken.cached.to_string()),
            of(&|usage| amount(usage.taken.tokens_in), &|planned| amount(planned.tokens_in)),
            of(&|usage| amount(usage.taken.tokens_out), &|planned| amount(planned.tokens_out)),
            of(&|usage| dollars_text(usage.taken.dollars), &|planned| dollars_text(planned.dollars)),
            of(&|usage| time_text(usage.minutes), &|planned| time_text(planned.minutes)),
        ]
    }
}

/// Joins planned and actual use by role, in the order of the plan.
pub fn beside(planned: &[Planned], actual: &[RoleUsage]) -> Vec<Beside> {
    let taken = |who: &Who| actual.iter().find(|usage| usage.who == *who).cloned();
    let of_plan = planned.iter().map(|planned| Beside {
        who: planned.who.clone(),
        planned: Some(planned.clone()),
        actual: taken(&planned.who),
    });
    let known = |usage: &&RoleUsage| !planned.iter().any(|planned| planned.who == usage.who);
    let unplanned = actual.iter().filter(known).map(|usage| Beside {
        who: usage.who.clone(),
        planned: None,
        actual: Some(usage.clone()),
    });
    of_plan.chain(unplanned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::plan::who::Step;

    #[test]
    fn nothing_costs_no_negative_dollars() {
        let texts = [-0.0, 0.0, 0.0123, 1.5].map(|dollars| dollars_text(Some(dollars)));
        assert_eq!(texts, ["$0.00", "$0.00", "$0.0123", "$1.50"]);
        assert_eq!(dollars_text(Some(std::iter::empty::<f64>().sum())), "$0.00");
        assert_eq!(dollars_text(None), "prices not given");
    }

    #[test]
    fn planned_and_taken_are_paired_by_name_and_none_is_lost() {
        let who = |name: &str| Who { step: Step::Judge, name: name.into(), model: "m".into() };
        let planned = |name| Planned {
            who: who(name),
            requests: 10,
            tokens_in: 12_345,
            tokens_out: 20,
            dollars: None,
            minutes: 0.5,
            exact_tokens: false,
            longest: 1300,
            context_tokens: None,
        };
        let usage = crate::llm::Usage { requests: 7, cached: 2, ..Default::default() };
        let taken = |name| RoleUsage { who: who(name), taken: usage, minutes: 0.25 };
        let all = beside(&[planned("a"), planned("b")], &[taken("b"), taken("c")]);
        let names: Vec<&str> = all.iter().map(|beside| beside.who.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!((all[0].actual.is_none(), all[2].planned.is_none()), (true, true));
        assert_eq!(
            all[0].planned.as_ref().map(ToString::to_string).as_deref(),
            Some(
                "judge a by m: at most 10 requests (unreadable answers are asked for again), about 12 k tokens in and 20 out, prices not given, about 30 s"
            )
        );
        let lines: Vec<String> = all.iter().map(|beside| beside.cells().join("  ")).collect();
        assert!(lines[0].contains("judge a by m") && lines[0].contains("0 of 10"), "{}", lines[0]);
        assert!(lines[1].contains("7 of 10") && lines[1].contains("15 s of 30 s"), "{}", lines[1]);
        assert!(lines[2].contains("7 of —"), "{}", lines[2]);
    }
}
