//! Machines that a run could go to, and the hours that work takes on them.
//!
//! Between bounds: at least the largest of operations, memory, storage and cores, all of them overlapping and at the upper
//! share of the peak; at most their sum, at the lower share.

use rayon::prelude::*;
use serde::Serialize;

use crate::base::{Matrix, Stopwatch};
use crate::linalg::matmul;
use crate::run::plan::scale::cost::{Cost, Span};

/// The engine that is measured: this machine.
pub const HERE: &str = "here";

/// Shares of the memory bandwidth that programs reach.
const MEMORY_SHARE: Span = Span { low: 0.5, high: 0.9 };

/// Shares of this machine's measured product that a run reaches.
const SHARE_HERE: Span = Span { low: 0.4, high: 1.0 };

/// A GPU by its data sheet. Peaks are dense: with sparsity, data sheets state twice as much.
#[derive(Debug, Clone, Copy)]
pub struct Device {
    /// The name on the command line.
    pub name: &'static str,
    /// Peak of bf16 products with f32 sums, in FLOP/s.
    bf16: f64,
    /// Peak of f32 products without TF32, in FLOP/s.
    f32: f64,
    /// Bytes per second.
    memory_bandwidth: f64,
    /// The data sheet.
    source: &'static str,
}

/// The devices that are known by name.
pub const DEVICES: [Device; 7] = [
    Device {
        name: "a100",
        bf16: 312e12,
        f32: 19.5e12,
        memory_bandwidth: 2.039e12,
        source: "NVIDIA A100 80GB SXM data sheet",
    },
    Device {
        name: "h100",
        bf16: 989e12,
        f32: 67e12,
        memory_bandwidth: 3.35e12,
        source: "NVIDIA H100 SXM data sheet",
    },
    Device {
        name: "h200",
        bf16: 989e12,
        f32: 67e12,
        memory_bandwidth: 4.8e12,
        source: "NVIDIA H200 SXM data sheet",
    },
    Device {
        name: "b200",
        bf16: 2250e12,
        f32: 75e12,
        memory_bandwidth: 7.7e12,
        source: "NVIDIA HGX B200 data sheet, an eighth",
    },
    Device {
        name: "l40s",
        bf16: 362e12,
        f32: 91.6e12,
        memory_bandwidth: 0.864e12,
        source: "NVIDIA L40S data sheet",
    },
    Device {
        name: "rtx4090",
        bf16: 165e12,
        f32: 82.6e12,
        memory_bandwidth: 1.008e12,
        source: "NVIDIA Ada architecture paper, GeForce RTX 4090",
    },
    Device {
        name: "mi300x",
        bf16: 1307e12,
        f32: 163.4e12,
        memory_bandwidth: 5.3e12,
        source: "AMD Instinct MI300X data sheet",
    },
];

/// The numbers that products are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// f32, as this program computes on a GPU.
    F32,
    /// bf16 with f32 sums.
    Bf16,
}

/// What every engine has beside its peaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Around {
    /// Precision of the products.
    pub precision: Precision,
    /// Shares of the peak that products reach: in the slowest and in the fastest stages.
    pub utilisation: Span,
    /// Bytes per second from and to the storage.
    pub storage_bandwidth: f64,
    /// Processor cores beside each engine.
    pub cores: f64,
    /// Dollars for an hour of the engine.
    pub usd_per_hour: Option<f64>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Engine {
    /// Its name.
    pub name: String,
    /// Where its peaks are from.
    pub source: String,
    /// Precision of the products.
    pub precision: Precision,
    /// Peak of products in that precision, in FLOP/s.
    pub peak_flops: f64,
    /// Assumed share of the peak that a stage reaches.
    pub utilisation: Span,
    /// Bytes per second between processor and memory.
    pub memory_bandwidth: f64,
    /// Bytes per second from and to the storage.
    pub storage_bandwidth: f64,
    /// Processor cores beside it.
    pub cores: f64,
    /// Dollars for an hour; null if not given.
    pub usd_per_hour: Option<f64>,
}

impl Engine {
    /// An engine of these peaks.
    pub fn new(name: &str, source: &str, [peak_flops, memory_bandwidth]: [f64; 2], around: &Around) -> Self {
        Self {
            name: name.into(),
            source: source.into(),
            precision: around.precision,
            peak_flops,
            utilisation: around.utilisation,
            memory_bandwidth,
            storage_bandwidth: around.storage_bandwidth,
            cores: around.cores,
            usd_per_hour: around.usd_per_hour,
        }
    }

    /// A device of the table; none if it has no such name.
    pub fn named(name: &str, around: &Around) -> Option<Self> {
        let device = DEVICES.iter().find(|device| device.name == name)?;
        let peak = match around.precision {
            Precision::F32 => device.f32,
            Precision::Bf16 => device.bf16,
        };
        Some(Self::new(device.name, device.source, [peak, device.memory_bandwidth], around))
    }

    /// This machine: its speed is measured in about a fifth of a second, on all threads.
    pub fn here(around: &Around) -> Self {
        let around = Around {
            precision: Precision::F32,
            utilisation: SHARE_HERE,
            cores: rayon::current_num_threads() as f64,
            ..*around
        };
        Self::new(HERE, "measured: an f32 product, and a sum over memory", [product(), memory()], &around)
    }

    /// Hours that work takes.
    pub fn hours(&self, cost: &Cost) -> Span {
        let computed = |flops: f64, share: f64| flops / (self.peak_flops * share);
        let moved = |bytes: f64, share: f64| bytes / (self.memory_bandwidth * share);
        let stored = (cost.read_bytes + cost.written_bytes) / self.storage_bandwidth;
        let on_cores = cost.core_seconds / self.cores;
        let least = computed(cost.flops.low, self.utilisation.high);
        let least = least.max(moved(cost.memory_bytes.low, MEMORY_SHARE.high)).max(stored).max(on_cores);
        let most = computed(cost.flops.high, self.utilisation.low)
            + moved(cost.memory_bytes.high, MEMORY_SHARE.low)
            + stored
            + on_cores;
        Span { low: least, high: most }.times(1.0 / 3600.0)
    }
}

/// Side of the product that is timed, and entries that are summed.
const SIDE: usize = 1024;
const SUMMED: usize = 1 << 25;

/// The best of three products, in FLOP/s.
fn product() -> f64 {
    let matrix = Matrix::from_fn(SIDE, SIDE, |row, col| ((row * 7 + col * 3) % 11) as f32);
    let best = fastest(|| f64::from(matmul(&matrix, &matrix).at(1, 1)));
    2.0 * (SIDE as f64).powi(3) / best
}

/// The best of three sums over memory, in bytes per second.
fn memory() -> f64 {
    let entries = vec![1f32; SUMMED];
    let sum = |chunk: &[f32]| chunk.iter().sum::<f32>();
    let best = fastest(|| f64::from(entries.par_chunks(1 << 16).map(sum).sum::<f32>()));
    4.0 * SUMMED as f64 / best
}

/// The least seconds of three calls.
fn fastest(call: impl Fn() -> f64) -> f64 {
    let time = |_| {
        let watch = Stopwatch::start();
        std::hint::black_box(call());
        watch.seconds()
    };
    (0..3).map(time).fold(f64::INFINITY, f64::min).max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(precision: Precision) -> Around {
        Around {
            precision,
            utilisation: Span { low: 0.25, high: 0.5 },
            storage_bandwidth: 1e9,
            cores: 10.0,
            usd_per_hour: None,
        }
    }

    #[test]
    fn hours_are_the_largest_of_all_or_their_sum() {
        let engine = Engine::new("own", "given", [1e12, 1e11], &around(Precision::F32));
        let cost = Cost {
            flops: Span { low: 1.8e15, high: 3.6e15 },
            memory_bytes: Span { low: 9e13, high: 18e13 },
            read_bytes: 1e12,
            written_bytes: 0.8e12,
            core_seconds: 3600.0,
        };
        // Low: 3600 s computed, 1000 s of memory, 1800 s of storage, 360 s of cores.
        assert!((engine.hours(&cost).low - 1.0).abs() < 1e-12);
        // High: 14,400 + 3,600 + 1,800 + 360 s.
        assert!((engine.hours(&cost).high - 20_160.0 / 3600.0).abs() < 1e-12);
        assert_eq!(engine.hours(&Cost::default()), Span::default());
    }

    #[test]
    fn the_table_has_a_peak_for_each_precision() {
        let peak = |name, precision| Engine::named(name, &around(precision)).map(|engine| engine.peak_flops);
        assert_eq!(peak("h100", Precision::F32), Some(67e12));
        assert_eq!(peak("h100", Precision::Bf16), Some(989e12));
        assert_eq!(peak("h1", Precision::F32), None);
        assert!(DEVICES.iter().all(|device| device.bf16 > device.f32 && device.source.len() > 10));
    }
}
