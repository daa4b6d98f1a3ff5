//! Reads tables of a FlatBuffer, the encoding of Arrow's metadata. Every access is checked against the buffer.
//!
//! A table begins with the distance back to its vtable, which lists the offset of each field; absent fields have offset 0.
//! Tables, strings and vectors are stored behind forward offsets. Source: the FlatBuffers internals document.

/// A table of a buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Follows the forward offset at `at`.
fn follow(bytes: &[u8], at: usize) -> Option<usize> {
    at.checked_add(u32::from_le_bytes(array(bytes, at)?) as usize)
}

impl<'a> Table<'a> {
    /// The root table of a buffer.
    pub fn root(bytes: &'a [u8]) -> Option<Self> {
        Some(Self { bytes, at: follow(bytes, 0)? })
    }

    /// Position of a field's value; none if the field is absent or the table damaged.
    fn slot(&self, field: usize) -> Option<usize> {
        let back = i64::from(i32::from_le_bytes(array(self.bytes, self.at)?));
        let vtable = usize::try_from(self.at as i64 - back).ok()?;
        let size = usize::from(u16::from_le_bytes(array(self.bytes, vtable)?));
        let entry = 4 + 2 * field;
        if entry + 2 > size {
            return None;
        }
        match u16::from_le_bytes(array(self.bytes, vtable.checked_add(entry)?)?) {
            0 => None,
            offset => self.at.checked_add(usize::from(offset)),
        }
    }

    fn scalar<const N: usize>(&self, field: usize) -> Option<[u8; N]> {
        array(self.bytes, self.slot(field)?)
    }

    /// A byte; absent fields are 0, as for the other numbers.
    pub fn u8(&self, field: usize) -> u8 {
        self.scalar(field).map_or(0, u8::from_le_bytes)
    }

    pub fn i16(&self, field: usize) -> i16 {
        self.scalar(field).map_or(0, i16::from_le_bytes)
    }

    pub fn i32(&self, field: usize) -> i32 {
        self.scalar(field).map_or(0, i32::from_le_bytes)
    }

    pub fn i64(&self, field: usize) -> i64 {
        self.scalar(field).map_or(0, i64::from_le_bytes)
    }

    pub fn table(&self, field: usize) -> Option<Self> {
        Some(Self { bytes: self.bytes, at: follow(self.bytes, self.slot(field)?)? })
    }

    pub fn text(&self, field: usize) -> Option<&'a str> {
        let (start, length) = self.vector(field)?;
        std::str::from_utf8(self.bytes.get(start..start.checked_add(length)?)?).ok()
    }

    /// Position of a vector's first item and number of items.
    fn vector(&self, field: usize) -> Option<(usize, usize)> {
        let at = follow(self.bytes, self.slot(field)?)?;
        Some((at.checked_add(4)?, u32::from_le_bytes(array(self.bytes, at)?) as usize))
    }

    /// A vector of tables; none if it is absent or damaged.
    pub fn tables(&self, field: usize) -> Option<Vec<Self>> {
        let (start, length) = self.vector(field)?;
        // Checked first, so that a damaged length allocates nothing.
        self.bytes.get(start..start.checked_add(length.checked_mul(4)?)?)?;
        let item = |nth| Some(Self { bytes: self.bytes, at: follow(self.bytes, start + 4 * nth)? });
        (0..length).map(item).collect()
    }

    /// A vector of structs of two 64-bit integers; none if it is absent or damaged.
    pub fn pairs(&self, field: usize) -> Option<Vec<[i64; 2]>> {
        let (start, length) = self.vector(field)?;
        let bytes = self.bytes.get(start..start.checked_add(length.checked_mul(16)?)?)?;
        let number = |chunk: &[u8]| array(chunk, 0).map(i64::from_le_bytes);
        bytes.chunks_exact(16).map(|pair| Some([number(pair)?, number(&pair[8..])?])).collect()
    }
}
