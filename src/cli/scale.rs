//! `plan --engine`: what a suite would take on other machines, and on many parts.

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

use super::setting;
use crate::report::{count, labelled_list};
use crate::run::{
    AnswerRate, Around, DEVICES, Engine, EngineTime, Failures, HERE, PartsTime, Precision, Repeated,
    RunError, ScaleAsk, Scaled, Span, StageCost, dollars_text, requests_text,
};

/// Width of the left column, in characters.
const LABEL_WIDTH: usize = 20;

/// Stands for every device of the table.
const ALL: &str = "all";

/// Machines that are not here.
#[derive(Debug, Clone, Args)]
pub struct ScaleArgs {
    /// Plan by formulas, without opening the model, for these machines: `here` (measured in a moment), a GPU by its data
    /// sheet, or `all`. Suites that are too large for this machine are planned too.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(engine_names()))]
    pub engine: Vec<String>,
    /// Plan by formulas for a machine with this peak, in FLOP/s.
    #[arg(long, value_name = "X", requires = "memory_bandwidth")]
    pub flops: Option<f64>,
    /// Bytes per second between processor and memory of that machine.
    #[arg(long, value_name = "X", requires = "flops")]
    pub memory_bandwidth: Option<f64>,
    /// Numbers in which GPUs of the table compute products. This program computes in f32 there.
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Numbers::F32)]
    pub precision: Numbers,
    /// Shares of a GPU's peak that the slowest and the fastest stages reach.
    #[arg(long, value_name = "LOW,HIGH", value_parser = pair, default_value = "0.2,0.6")]
    pub utilisation: [f64; 2],
    /// Bytes per second from and to the storage of an engine.
    #[arg(long, value_name = "X", default_value_t = 1e9)]
    pub storage_bandwidth: f64,
    /// Processor cores beside each GPU.
    #[arg(long, value_name = "N", default_value_t = 16.0)]
    pub engine_cores: f64,
    /// Dollars for an hour of an engine.
    #[arg(long, value_name = "X")]
    pub usd_per_hour: Option<f64>,
    /// Tokens per second that your endpoints read and write, all together.
    #[arg(long, value_name = "IN,OUT", value_parser = pair)]
    pub answer_rate: Option<[f64; 2]>,
    /// Dollars for an hour of these endpoints.
    #[arg(long, value_name = "X", requires = "answer_rate")]
    pub answer_usd_per_hour: Option<f64>,
    /// Also show the shares of a run in this many parts (`run --part K/N`): rows, time, and what the shared folder has
    /// to hold and carry. With `--engine`, each part is on one engine: hours and speed-up.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    parts: Option<u16>,
    /// Deaths per hour of a part: the work that is done again.
    #[arg(long, value_name = "PER_HOUR", requires = "parts")]
    pub failures: Option<f64>,
    /// Seconds until a dead part's work is taken over.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub patience: f64,
}

/// Numbers in which products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Numbers {
    /// 32 bits.
    F32,
    /// 16 bits, sums of 32 bits.
    Bf16,
}

fn engine_names() -> Vec<&'static str> {
    [HERE].into_iter().chain(DEVICES.iter().map(|device| device.name)).chain([ALL]).collect()
}

/// Two numbers with a comma between them.
fn pair(text: &str) -> Result<[f64; 2], String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some([first, second]) => Ok([*first, *second]),
        _ => Err("expected two numbers with a comma between them".into()),
    }
}

fn positive(flag: &str, value: f64) -> Result<f64, RunError> {
    let is_fit = value.is_finite() && value > 0.0;
    is_fit.then_some(value).ok_or_else(|| setting(flag, format!("is {value}, expected a number above 0")))
}

fn not_negative(flag: &str, value: f64) -> Result<f64, RunError> {
    let is_fit = value.is_finite() && value >= 0.0;
    is_fit.then_some(value).ok_or_else(|| setting(flag, format!("is {value}, expected a number, 0 or more")))
}

impl ScaleArgs {
    /// The number of parts, if one is given.
    pub fn parts(&self) -> Option<usize> {
        self.parts.map(usize::from)
    }

    /// Whether a plan by formulas is asked for.
    pub fn is_asked(&self) -> bool {
        let is_rated = self.answer_rate.is_some() || self.failures.is_some();
        is_rated || !self.engine.is_empty() || self.flops.is_some()
    }

    /// The question, checked. Without an engine, this machine is meant.
    pub fn ask(&self) -> Result<ScaleAsk, RunError> {
        let around = self.around()?;
        let mut engines = Vec::new();
        for name in &self.engine {
            match name.as_str() {
                HERE => engines.push(Engine::here(&around)),
                ALL => {
                    engines.extend(DEVICES.iter().filter_map(|device| Engine::named(device.name, &around)))
                }
                name => engines.extend(Engine::named(name, &around)),
            }
        }
        if let (Some(flops), Some(bandwidth)) = (self.flops, self.memory_bandwidth) {
            let peaks = [positive("--flops", flops)?, positive("--memory-bandwidth", bandwidth)?];
            engines.push(Engine::new("yours", "--flops and --memory-bandwidth", peaks, &around));
        }
        if engines.is_empty() {
            engines.push(Engine::here(&around));
        }
        Ok(ScaleAsk { engines, answers: self.answers()?, parts: self.parts(), failures: self.failures()? })
    }

    fn around(&self) -> Result<Around, RunError> {
        let [low, high] = self.utilisation;
        if !(low > 0.0 && low <= high && high <= 1.0) {
            let problem =
                format!("is {low},{high}, expected two shares above 0, at most 1, the lower one first");
            return Err(setting("--utilisation", problem));
        }
        let price = self.usd_per_hour.map(|price| not_negative("--usd-per-hour", price));
        Ok(Around {
            precision: match self.precision {
                Numbers::F32 => Precision::F32,
                Numbers::Bf16 => Precision::Bf16,
            },
            utilisation: Span { low, high },
            storage_bandwidth: positive("--storage-bandwidth", self.storage_bandwidth)?,
            cores: positive("--engine-cores", self.engine_cores)?,
            usd_per_hour: price.transpose()?,
        })
    }

    fn answers(&self) -> Result<Option<AnswerRate>, RunError> {
        let Some([tokens_in, tokens_out]) = self.answer_rate else { return Ok(None) };
        let price = self.answer_usd_per_hour.map(|price| not_negative("--answer-usd-per-hour", price));
        Ok(Some(AnswerRate {
            tokens_in: positive("--answer-rate", tokens_in)?,
            tokens_out: positive("--answer-rate", tokens_out)?,
            usd_per_hour: price.transpose()?,
        }))
    }

    fn failures(&self) -> Result<Option<Failures>, RunError> {
        let Some(per_hour) = self.failures else { return Ok(None) };
        Ok(Some(Failures {
            per_hour: not_negative("--failures", per_hour)?,
            patience_hours: not_negative("--patience", self.patience)? / 3600.0,
        }))
    }
}

/// The plan as text.
pub fn scale_text(plan: &Scaled, columns: usize) -> String {
    let mut lines = vec![
        ("suite", plan.suite.clone()),
        ("subject", format!("{}, {} weights", plan.subject, scientific(plan.parameters))),
        ("hook points", count(plan.hooks)),
        (
            "dictionaries",
            format!("{}, of at most {} features", count(plan.dictionaries), count(plan.largest_dictionary)),
        ),
        ("features to score", count(plan.features as usize)),
        ("fit tokens", count(plan.fit_tokens)),
        ("evaluation tokens", count(plan.evaluate_tokens)),
        ("operations", format!("{} FLOP", between(plan.total.flops, scientific))),
    ];
    lines.extend(stages(plan).into_iter().map(|line| ("", line)));
    lines.extend([
        (
            "storage",
            format!(
                "{} in the run folder, {} for activations at a time; {} read and {} written in all",
                bytes(plan.run_folder_bytes),
                bytes(plan.activation_bytes),
                bytes(plan.total.read_bytes),
                bytes(plan.total.written_bytes)
            ),
        ),
        ("LLM requests", requests_text([plan.llm_requests, plan.llm_tokens_in, plan.llm_tokens_out])),
    ]);
    lines.extend(plan.llm.iter().map(|role| ("", role.to_string())));
    if plan.llm_requests > 0 {
        lines.push(("LLM time", answers(plan)));
    }
    for engine in &plan.engines {
        lines.extend(engine_lines(engine));
    }
    lines.extend(plan.notes.iter().map(|note| ("note", note.clone())));
    labelled_list(&lines, LABEL_WIDTH, columns)
}

/// Kinds of work with at least this share of the operations are shown.
const SHOWN_SHARE: f64 = 0.001;

fn stages(plan: &Scaled) -> Vec<String> {
    let least = SHOWN_SHARE * plan.total.flops.high;
    let mut shown: Vec<_> = plan.stages.iter().filter(|stage| stage.cost.flops.high > least).collect();
    shown.sort_by(|a, b| b.cost.flops.high.total_cmp(&a.cost.flops.high));
    let line =
        |stage: &StageCost| format!("{}: {}", stage.work.words(), between(stage.cost.flops, scientific));
    shown.into_iter().map(line).collect()
}

fn answers(plan: &Scaled) -> String {
    let dollars = plan.llm_hours_usd.map_or(String::new(), |usd| format!(", {}", dollars_text(Some(usd))));
    let hours = hours(plan.llm_hours);
    match plan.answer_rate {
        Some(rate) => format!(
            "at most {hours} at {} tokens in and {} out per second{dollars}",
            count(rate.tokens_in as usize),
            count(rate.tokens_out as usize)
        ),
        None => format!("at most {hours}, by an assumed latency"),
    }
}

fn engine_lines(time: &EngineTime) -> Vec<(&'static str, String)> {
    let engine = &time.engine;
    let dollars =
        time.usd.map_or(String::new(), |usd| format!("; {}", between(usd, |usd| dollars_text(Some(usd)))));
    let by_work = |stage: &crate::run::StageHours| {
        let share = stage.hours.high / time.hours.high.max(f64::MIN_POSITIVE);
        (share >= 0.05).then(|| format!("{} {:.0} %", stage.work.words(), 100.0 * share))
    };
    let longest: Vec<String> = time.stages.iter().filter_map(by_work).collect();
    let mut lines = vec![
        ("engine", format!("{}: {} on one{dollars}", engine.name, between(time.hours, hours))),
        (
            "",
            format!(
                "{} FLOP/s in {} at {:.0} to {:.0} %, {}/s of memory, {}/s of storage, {} cores ({})",
                scientific(engine.peak_flops),
                match engine.precision {
                    Precision::F32 => "f32",
                    Precision::Bf16 => "bf16",
                },
                100.0 * engine.utilisation.low,
                100.0 * engine.utilisation.high,
                bytes(engine.memory_bandwidth),
                bytes(engine.storage_bandwidth),
                engine.cores,
                engine.source
            ),
        ),
        ("", longest.join(", ")),
    ];
    lines.retain(|(_, text)| !text.is_empty());
    lines.extend(time.parts.as_ref().map(parts_lines).unwrap_or_default());
    lines
}

fn parts_lines(parts: &PartsTime) -> Vec<(&'static str, String)> {
    let fewer = parts.by_parts.iter().map(|by| format!("{}: {:.1}", by.parts, by.speed_up));
    let mut lines = vec![
        (
            "parts",
            format!(
                "{}: {}, no division takes less than {}; {:.1} times as fast as one ({} tasks can be divided)",
                count(parts.parts),
                between(parts.hours, hours),
                between(parts.bound, hours),
                parts.speed_up,
                count(parts.tasks)
            ),
        ),
        ("speed-up", fewer.collect::<Vec<_>>().join(", ")),
    ];
    lines.retain(|(_, text)| !text.is_empty());
    if let Some(per_hour) = parts.failures_per_hour {
        let ends = [("lower", &parts.repeated_low), ("upper", &parts.repeated_high)];
        let known = ends.iter().filter_map(|(end, found)| Some(repeated(end, found.as_ref()?)));
        let unknown = parts.repeated_reason.iter().map(|reason| format!("undefined at one end: {reason}"));
        lines.extend(known.chain(unknown).map(|text| ("repeated work", text)));
        lines.push(("", format!("each part dies {per_hour} times an hour on average")));
    }
    lines
}

fn repeated(end: &str, found: &Repeated) -> String {
    let share = |share: f64| format!("{:.2}", 100.0 * share);
    format!(
        "at the {end} hours: {} % by formula, {} % simulated ({} to {}), {:.1} deaths, {} to the end ({} to {}; {} runs)",
        share(found.expected_share),
        share(found.share.mean),
        share(found.share.low),
        share(found.share.high),
        found.deaths.mean,
        hours(found.hours.mean),
        hours(found.hours.low),
        hours(found.hours.high),
        found.repetitions
    )
}

/// `2 to 3`, or `2` where both read the same.
fn between(span: Span, text: impl Fn(f64) -> String) -> String {
    let (low, high) = (text(span.low), text(span.high));
    if low == high { low } else { format!("{low} to {high}") }
}

/// `1.2e18`.
fn scientific(value: f64) -> String {
    format!("{value:.1e}")
}

/// `12 MB`, `1.3 TB`.
fn bytes(value: f64) -> String {
    match value {
        ..1e9 => format!("{:.0} MB", value / 1e6),
        ..1e12 => format!("{:.1} GB", value / 1e9),
        ..1e15 => format!("{:.1} TB", value / 1e12),
        _ => format!("{} TB", scientific(value / 1e12)),
    }
}

/// `30 s`, `12 min`, `3.4 h`, `1,200 h`.
fn hours(value: f64) -> String {
    match value {
        ..0.025 => format!("{:.1} s", 3600.0 * value),
        ..2.0 => format!("{:.1} min", 60.0 * value),
        ..100.0 => format!("{value:.1} h"),
        ..1e9 => format!("{} h", count(value.round() as usize)),
        _ => format!("{} h", scientific(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_suit_the_size() {
        assert_eq!(
            [0.001, 0.5, 3.44, 1234.4, 2e9].map(hours),
            ["3.6 s", "30.0 min", "3.4 h", "1,234 h", "2.0e9 h"]
        );
        assert_eq!([1e6, 2.5e9, 1.3e12, 1.3e16].map(bytes), ["1 MB", "2.5 GB", "1.3 TB", "1.3e4 TB"]);
        assert_eq!(between(Span { low: 1.01, high: 1.02 }, hours), "60.6 min to 61.2 min");
        assert_eq!(between(Span { low: 5.01, high: 5.02 }, hours), "5.0 h");
        assert_eq!(
            (pair("1e3, 2"), pair("1").is_err(), pair("1,x").is_err()),
            (Ok([1000.0, 2.0]), true, true)
        );
    }
}
