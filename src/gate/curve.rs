//! The two numbers of every curve of patching on a task, as the accepted file stores them.

use serde::{Deserialize, Serialize};

use super::run_folder::RunFolder;
use crate::report::{PatchedNumber, TaskPatching};

/// One number of one curve, in nats or in features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurveNumber {
    /// Task and divergence; numbers of different ones are not compared.
    pub task: String,
    pub hook: String,
    pub method: String,
    pub order: String,
    /// `area` or `half`.
    pub number: String,
    /// The number; null if it is undefined.
    pub value: Option<f64>,
    /// Ends of its interval over pairs of prompts.
    pub ci_low: Option<f64>,
    pub ci_high: Option<f64>,
}

/// What numbers must share to be compared.
pub fn kind_of(task: &TaskPatching) -> String {
    format!("{} ({}), {}", task.task, task.prompts, task.divergence)
}

/// Curves of methods, controls left out, as (hook point, method, order, number, value).
pub fn numbers(task: &TaskPatching) -> Vec<([&str; 4], &PatchedNumber)> {
    let own = task.dictionaries.iter().filter(|dictionary| dictionary.control.is_none());
    let curves = own.flat_map(|one| one.curves.iter().map(move |curve| (one, curve)));
    let of_curve = curves.filter(|(_, curve)| !curve.is_control).flat_map(|(one, curve)| {
        [("area", &curve.area), ("half", &curve.half)].map(|(name, number)| {
            ([one.hook.as_str(), one.method.as_str(), curve.order.as_str(), name], number)
        })
    });
    of_curve.collect()
}

/// The numbers of a run, for the accepted file; none without a task.
pub fn curve_numbers(run: &RunFolder) -> Vec<CurveNumber> {
    let Some(task) = &run.summary.patching else { return Vec::new() };
    let one = |([hook, method, order, number], value): ([&str; 4], &PatchedNumber)| CurveNumber {
        task: kind_of(task),
        hook: hook.into(),
        method: method.into(),
        order: order.into(),
        number: number.into(),
        value: value.value,
        ci_low: value.ci_low,
        ci_high: value.ci_high,
    };
    numbers(task).into_iter().map(one).collect()
}
