//! Number types of stored tensors, all little-endian.

use float8::{F8E4M3, F8E5M2};
use half::{bf16, f16};
use safetensors::Dtype;

/// Number type of a tensor, by safetensors' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[expect(non_camel_case_types, reason = "safetensors' words")]
pub enum Element {
    F64,
    F32,
    F16,
    BF16,
    #[strum(serialize = "F8_E4M3")]
    F8_E4M3,
    #[strum(serialize = "F8_E5M2")]
    F8_E5M2,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
    /// A type that is listed but not read, with its size in bits.
    #[strum(disabled)]
    Other(&'static str, usize),
}

impl Element {
    pub fn name(self) -> &'static str {
        match self {
            Self::Other(name, _) => name,
            known => known.into(),
        }
    }

    /// Whether numbers are integers or bools.
    pub fn is_integer(self) -> bool {
        use Element::{Bool, I8, I16, I32, I64, U8, U16, U32, U64};
        matches!(self, I64 | I32 | I16 | I8 | U64 | U32 | U16 | U8 | Bool)
    }

    /// Bits of one number.
    pub fn bits(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 64,
            Self::F32 | Self::I32 | Self::U32 => 32,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 16,
            Self::F8_E4M3 | Self::F8_E5M2 | Self::I8 | Self::U8 | Self::Bool => 8,
            Self::Other(_, bits) => bits,
        }
    }

    /// The number at the start of `bytes`; None for a float that is not finite, an integer that f64 cannot hold, a bool
    /// that is neither 0 nor 1, or too few bytes.
    pub fn number(self, bytes: &[u8]) -> Option<f64> {
        let integer = |x: i128| (x as f64 as i128 == x).then_some(x as f64);
        let number = match self {
            Self::F64 => f64::from_le_bytes(*bytes.first_chunk()?),
            Self::F32 => f32::from_le_bytes(*bytes.first_chunk()?).into(),
            Self::F16 => f16::from_le_bytes(*bytes.first_chunk()?).into(),
            Self::BF16 => bf16::from_le_bytes(*bytes.first_chunk()?).into(),
            Self::F8_E4M3 => F8E4M3::from_bits(*bytes.first()?).to_f32().into(),
            Self::F8_E5M2 => F8E5M2::from_bits(*bytes.first()?).to_f32().into(),
            Self::I64 => integer(i64::from_le_bytes(*bytes.first_chunk()?).into())?,
            Self::I32 => i32::from_le_bytes(*bytes.first_chunk()?).into(),
            Self::I16 => i16::from_le_bytes(*bytes.first_chunk()?).into(),
            Self::I8 => i8::from_le_bytes(*bytes.first_chunk()?).into(),
            Self::U64 => integer(u64::from_le_bytes(*bytes.first_chunk()?).into())?,
            Self::U32 => u32::from_le_bytes(*bytes.first_chunk()?).into(),
            Self::U16 => u16::from_le_bytes(*bytes.first_chunk()?).into(),
            Self::U8 => (*bytes.first()?).into(),
            Self::Bool => bytes.first().filter(|byte| **byte < 2).map(|byte| f64::from(*byte))?,
            Self::Other(..) => return None,
        };
        number.is_finite().then_some(number)
    }

    /// The numbers at `outer[i] + inner[j]` (in numbers from the start of `bytes`), row-major over (i, j), as f32. NaN
    /// stands for a number that is not finite, that f32 cannot hold, or that lies outside `bytes`.
    pub fn gather(self, bytes: &[u8], outer: &[usize], inner: &[usize]) -> Vec<f32> {
        let grid = Grid { bytes, outer, inner };
        let exact = |x: f64| if f64::from(x as f32) == x { x as f32 } else { f32::NAN };
        match self {
            Self::F64 => grid.read(|bytes| f64::from_le_bytes(bytes) as f32),
            Self::F32 => grid.read(f32::from_le_bytes),
            Self::F16 => grid.read(|bytes| f16::from_le_bytes(bytes).to_f32()),
            Self::BF16 => grid.read(|bytes| bf16::from_le_bytes(bytes).to_f32()),
            Self::F8_E4M3 => grid.read(|[byte]| F8E4M3::from_bits(byte).to_f32()),
            Self::F8_E5M2 => grid.read(|[byte]| F8E5M2::from_bits(byte).to_f32()),
            Self::I64 | Self::U64 => grid.read(|bytes: [u8; 8]| self.number(&bytes).map_or(f32::NAN, exact)),
            Self::I32 | Self::U32 => grid.read(|bytes: [u8; 4]| self.number(&bytes).map_or(f32::NAN, exact)),
            Self::I16 | Self::U16 => grid.read(|bytes: [u8; 2]| self.number(&bytes).map_or(f32::NAN, exact)),
            Self::I8 | Self::U8 | Self::Bool => {
                grid.read(|bytes: [u8; 1]| self.number(&bytes).map_or(f32::NAN, exact))
            }
            Self::Other(..) => vec![f32::NAN; outer.len().saturating_mul(inner.len())],
        }
    }
}

impl From<Dtype> for Element {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            Dtype::F8_E4M3 => Self::F8_E4M3,
            Dtype::F8_E5M2 => Self::F8_E5M2,
            Dtype::I64 => Self::I64,
            Dtype::I32 => Self::I32,
            Dtype::I16 => Self::I16,
            Dtype::I8 => Self::I8,
            Dtype::U64 => Self::U64,
            Dtype::U32 => Self::U32,
            Dtype::U16 => Self::U16,
            Dtype::U8 => Self::U8,
            Dtype::BOOL => Self::Bool,
            Dtype::F4 => Self::Other("F4", 4),
            Dtype::F6_E2M3 => Self::Other("F6_E2M3", 6),
            Dtype::F6_E3M2 => Self::Other("F6_E3M2", 6),
            Dtype::F8_E8M0 => Self::Other("F8_E8M0", 8),
            Dtype::F8_E4M3FNUZ => Self::Other("F8_E4M3FNUZ", 8),
            Dtype::F8_E5M2FNUZ => Self::Other("F8_E5M2FNUZ", 8),
            Dtype::C64 => Self::Other("C64", 64),
            other => Self::Other("a type that is not known", other.bitsize()),
        }
    }
}

/// Numbers to read: all sums of an outer and an inner place.
struct Grid<'a> {
    bytes: &'a [u8],
    outer: &'a [usize],
    inner: &'a [usize],
}

/// Outer places that are read side by side: with contiguous f32 columns, one page of memory.
const BLOCK: usize = 1024;

impl Grid<'_> {
    fn read<const N: usize>(&self, number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let Self { bytes, outer, inner } = *self;
        let mut values = Vec::with_capacity(outer.len().saturating_mul(inner.len()));
        if inner.windows(2).all(|pair| pair[1] == pair[0] + 1) {
            let first = inner.first().copied().unwrap_or(0);
            for place in outer {
                let run =
                    bytes.get((place + first) * N..(place + first + inner.len()) * N).unwrap_or_default();
                values.extend(run.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)));
            }
            return values;
        }
        // In the order of columns, whose numbers lie side by side where rows do not.
        values.resize(outer.len().saturating_mul(inner.len()), f32::NAN);
        for (block, places) in outer.chunks(BLOCK).enumerate() {
            for (column, step) in inner.iter().enumerate() {
                for (row, place) in places.iter().enumerate() {
                    let found = bytes.get((place + step) * N..).and_then(<[u8]>::first_chunk);
                    values[(block * BLOCK + row) * inner.len() + column] =
                        found.map_or(f32::NAN, |b| number(*b));
                }
            }
        }
        values
    }
}
