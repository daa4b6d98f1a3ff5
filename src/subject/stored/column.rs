//! A column of numbers in one or several files: its number format and where its rows are.

use half::{bf16, f16};

/// A number format, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    F16,
    Bf16,
    F32,
    F64,
    Int { bytes: usize, signed: bool },
}

impl Number {
    /// Its name in numpy; none for integers and for what numpy has not.
    pub fn numpy(self) -> Option<&'static str> {
        match self {
            Self::F16 => Some("<f2"),
            Self::F32 => Some("<f4"),
            Self::F64 => Some("<f8"),
            Self::Bf16 | Self::Int { .. } => None,
        }
    }

    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Int { bytes, .. } => bytes,
        }
    }

    pub fn is_float(self) -> bool {
        !matches!(self, Self::Int { .. })
    }

    /// The numbers in `bytes` as f32; none for integers.
    pub fn floats(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F16 => convert(bytes, out, |two| f16::from_le_bytes(two).to_f32()),
            Self::Bf16 => convert(bytes, out, |two| bf16::from_le_bytes(two).to_f32()),
            Self::F32 => convert(bytes, out, f32::from_le_bytes),
            Self::F64 => convert(bytes, out, |eight| f64::from_le_bytes(eight) as f32),
            Self::Int { .. } => {}
        }
    }

    /// The integers in `bytes`; none for floats.
    pub fn integers(self, bytes: &[u8]) -> Vec<i128> {
        let Self::Int { bytes: width, signed } = self else { return Vec::new() };
        let integer = |chunk: &[u8]| {
            let negative = signed && chunk.last().is_some_and(|byte| byte & 0x80 != 0);
            let mut all = [if negative { 0xFF } else { 0 }; 16];
            all[..width].copy_from_slice(chunk);
            i128::from_le_bytes(all)
        };
        bytes.chunks_exact(width).map(integer).collect()
    }
}

fn convert<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    for (slot, chunk) in out.iter_mut().zip(bytes.as_chunks().0) {
        *slot = number(*chunk);
    }
}

/// Rows of a column that follow each other in a file.
#[derive(Debug, Clone, Copy)]
struct Part {
    first: usize,
    rows: usize,
    /// Index of the file.
    file: usize,
    /// Byte of the file at which the first row begins.
    offset: u64,
}

/// A column `[rows, shape…]`, row-major.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub number: Number,
    /// Shape of a row.
    pub shape: Vec<usize>,
    parts: Vec<Part>,
}

impl Column {
    pub fn new(number: Number, shape: Vec<usize>) -> Self {
        Self { number, shape, parts: Vec::new() }
    }

    /// Appends rows that begin at byte `offset` of a file.
    pub fn push(&mut self, file: usize, offset: u64, rows: usize) {
        let first = self.rows();
        if rows > 0 {
            self.parts.push(Part { first, rows, file, offset });
        }
    }

    /// Appends the rows of a column of the same format and shape, whose files are counted from `first_file`.
    pub fn append(&mut self, other: &Self, first_file: usize) {
        other.parts.iter().for_each(|part| self.push(first_file + part.file, part.offset, part.rows));
    }

    pub fn rows(&self) -> usize {
        self.parts.last().map_or(0, |part| part.first + part.rows)
    }

    /// Numbers in a row.
    pub fn entries(&self) -> usize {
        self.shape.iter().product()
    }

    /// File and byte at which all rows begin, if they follow each other in one file.
    pub fn block(&self) -> Option<(usize, u64)> {
        match self.parts.as_slice() {
            [part] => Some((part.file, part.offset)),
            _ => None,
        }
    }

    /// File and byte at which a row begins; none beyond the last row.
    pub fn place(&self, row: usize) -> Option<(usize, u64)> {
        let nth = self.parts.partition_point(|part| part.first + part.rows <= row);
        let part = self.parts.get(nth)?;
        let bytes = (row - part.first) * self.entries() * self.number.bytes();
        Some((part.file, part.offset + bytes as u64))
    }

    /// Number format and shape of a row, for messages.
    pub fn words(&self) -> String {
        let number = match self.number {
            Number::Int { bytes, signed } => {
                format!("{}{}", if signed { "int" } else { "uint" }, 8 * bytes)
            }
            other => format!("{other:?}").to_lowercase(),
        };
        format!("{number} {:?}", self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_format_are_read() {
        let floats = |number: Number, bytes: &[u8]| {
            let mut out = [0.0; 1];
            number.floats(bytes, &mut out);
            out[0]
        };
        assert_eq!(floats(Number::F16, &f16::from_f32(-1.5).to_le_bytes()), -1.5);
        assert_eq!(floats(Number::Bf16, &bf16::from_f32(-1.5).to_le_bytes()), -1.5);
        assert_eq!(floats(Number::F32, &2.25f32.to_le_bytes()), 2.25);
        assert_eq!(floats(Number::F64, &2.25f64.to_le_bytes()), 2.25);
        let int = |bytes, signed| Number::Int { bytes, signed };
        assert_eq!(int(2, true).integers(&(-3i16).to_le_bytes()), [-3]);
        assert_eq!(int(2, false).integers(&(-3i16).to_le_bytes()), [65_533]);
        assert_eq!(
            int(8, true).integers(&[7, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]),
            [7, -1]
        );
        assert_eq!(int(8, false).integers(&u64::MAX.to_le_bytes()), [i128::from(u64::MAX)]);
    }

    #[test]
    fn rows_are_found_over_parts_and_files() {
        let mut column = Column::new(Number::F32, vec![2, 3]);
        column.push(0, 100, 4);
        column.push(0, 500, 0);
        let mut more = Column::new(Number::F32, vec![2, 3]);
        more.push(0, 8, 2);
        column.append(&more, 1);
        assert_eq!(column.rows(), 6);
        assert_eq!(column.place(3), Some((0, 100 + 3 * 24)));
        assert_eq!(column.place(4), Some((1, 8)));
        assert_eq!(column.place(6), None);
    }
}
