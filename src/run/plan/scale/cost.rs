//! What a stage takes, whatever the machine: operations, bytes, seconds of a processor core.

use serde::Serialize;

/// A number that is known within bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Span {
    /// At least.
    pub low: f64,
    /// At most.
    pub high: f64,
}

impl Span {
    /// A number that is known.
    pub fn exactly(value: f64) -> Self {
        Self { low: value, high: value }
    }

    /// The sum of both.
    pub fn plus(self, other: Self) -> Self {
        Self { low: self.low + other.low, high: self.high + other.high }
    }

    /// `factor` times as much.
    pub fn times(self, factor: f64) -> Self {
        Self { low: self.low * factor, high: self.high * factor }
    }
}

impl From<[f64; 2]> for Span {
    fn from([low, high]: [f64; 2]) -> Self {
        Self { low, high }
    }
}

/// What a stage takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Cost {
    /// Floating-point operations. A multiply-add counts as two.
    pub flops: Span,
    /// Bytes between processor and memory.
    pub memory_bytes: Span,
    /// Bytes read from storage.
    pub read_bytes: f64,
    /// Bytes written to storage.
    pub written_bytes: f64,
    /// Seconds of one processor core, for work that needs no products: text, scores, tests, pages.
    pub core_seconds: f64,
}

impl Cost {
    /// Operations and bytes of memory that are known.
    pub fn computed(flops: f64, memory_bytes: f64) -> Self {
        Self { flops: Span::exactly(flops), memory_bytes: Span::exactly(memory_bytes), ..Self::default() }
    }

    /// Work of processor cores alone.
    pub fn of_cores(core_seconds: f64) -> Self {
        Self { core_seconds, ..Self::default() }
    }

    /// The sum of both.
    pub fn plus(self, other: Self) -> Self {
        Self {
            flops: self.flops.plus(other.flops),
            memory_bytes: self.memory_bytes.plus(other.memory_bytes),
            read_bytes: self.read_bytes + other.read_bytes,
            written_bytes: self.written_bytes + other.written_bytes,
            core_seconds: self.core_seconds + other.core_seconds,
        }
    }

    /// `factor` times as much.
    pub fn times(self, factor: f64) -> Self {
        Self {
            flops: self.flops.times(factor),
            memory_bytes: self.memory_bytes.times(factor),
            read_bytes: self.read_bytes * factor,
            written_bytes: self.written_bytes * factor,
            core_seconds: self.core_seconds * factor,
        }
    }

    /// The sum of all.
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().fold(Self::default(), Self::plus)
    }
}
