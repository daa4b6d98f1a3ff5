//! Directory of a zip archive: names of entries and where their bytes lie.
//!
//! The end record, in the last 64 KiB of the file, says where the directory stands. Each record of the directory names an
//! entry, its sizes and the place of its local header, after which its bytes follow. Sizes of 4 GiB and more stand in
//! further records (ZIP64). Read here, because a general reader reserves memory for as many entries as a file claims.
//! Source: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3.

use std::collections::BTreeMap;
use std::ops::Range;

use super::names::shown;
use super::tensor::Piece;

/// Entries of an archive.
const MOST_ENTRIES: usize = 100_000;

/// Bytes of a name.
const LONGEST_NAME: usize = 4096;

/// Value of a field whose number stands in the ZIP64 record.
const ELSEWHERE: usize = u32::MAX as usize;

/// Entries of an archive, by name. No two share a byte or a name.
pub type Archive = BTreeMap<String, Piece>;

/// Reads the directory.
pub fn read(file: &[u8]) -> Result<Archive, String> {
    let (count, directory) = directory(file)
        .ok_or("not a whole zip archive: it has no directory at its end; copy or download it again")?;
    if count > MOST_ENTRIES {
        return Err(format!("an archive of {count} entries; expected at most {MOST_ENTRIES}"));
    }
    let mut archive = Archive::new();
    // Bytes of entries with their headers.
    let mut taken: Vec<Range<usize>> = vec![directory.clone()];
    let mut at = directory.start;
    for _ in 0..count {
        let record =
            Record::read(file, at).ok_or("the directory of the archive is broken; download it again")?;
        at = record.next;
        let refused = |why: String| format!("entry `{}` of the archive {why}", shown(&record.name));
        if record.name.len() > LONGEST_NAME {
            return Err(refused(format!("has a name of more than {LONGEST_NAME} bytes")));
        }
        if record.name.ends_with('/') && record.len == 0 {
            continue;
        }
        let place = record.place(file).ok_or_else(|| refused("does not lie in the file".to_string()))?;
        taken.push(record.header..place.end);
        let piece = record.piece(place).map_err(refused)?;
        if archive.insert(record.name.clone(), piece).is_some() {
            return Err(refused("is there twice".to_string()));
        }
    }
    taken.sort_by_key(|range| (range.start, range.end));
    if at > directory.end || taken.windows(2).any(|pair| pair[0].end > pair[1].start) {
        return Err("entries of the archive overlap: the file is broken or made to mislead".to_string());
    }
    Ok(archive)
}

/// The little-endian number of `length` bytes at a place.
fn number(file: &[u8], at: usize, length: usize) -> Option<usize> {
    let bytes = file.get(at..at.checked_add(length)?)?;
    usize::try_from(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))).ok()
}

/// Whether a record starts with `PK` and these two bytes.
fn is_record(file: &[u8], at: usize, kind: [u8; 2]) -> bool {
    file.get(at..).is_some_and(|rest| rest.starts_with(b"PK") && rest[2..].starts_with(&kind))
}

/// Number of entries, and where the directory lies.
fn directory(file: &[u8]) -> Option<(usize, Range<usize>)> {
    const END: usize = 22;
    const LONGEST_COMMENT: usize = 0xffff;
    let last = file.len().checked_sub(END)?;
    // A comment of the archive follows the end record.
    let end = (last.saturating_sub(LONGEST_COMMENT)..=last).rev().find(|&at| {
        is_record(file, at, [5, 6])
            && number(file, at + 20, 2).is_some_and(|comment| at + END + comment == file.len())
    })?;
    let fields = [(end + 10, 2), (end + 12, 4), (end + 16, 4)];
    let locator = end.checked_sub(20).filter(|at| is_record(file, *at, [6, 7]));
    let (fields, end) = match locator {
        Some(locator) => {
            let end = number(file, locator + 8, 8).filter(|at| is_record(file, *at, [6, 6]))?;
            ([(end + 32, 8), (end + 40, 8), (end + 48, 8)], end)
        }
        None => (fields, end),
    };
    let [count, size, start] = fields.map(|(at, length)| number(file, at, length));
    let directory = start?..start?.checked_add(size?)?;
    (directory.end <= end).then_some((count?, directory))
}

/// One record of the directory.
struct Record {
    name: String,
    flags: usize,
    method: usize,
    checksum: u32,
    /// Bytes in the file and once decompressed.
    packed: usize,
    len: usize,
    /// Place of the local header.
    header: usize,
    /// Place of the next record.
    next: usize,
}

impl Record {
    fn read(file: &[u8], at: usize) -> Option<Self> {
        if !is_record(file, at, [1, 2]) {
            return None;
        }
        let field = |offset, length| number(file, at + offset, length);
        let extra = at + 46 + field(28, 2)?;
        let extra_end = extra + field(30, 2)?;
        let name = file.get(at + 46..extra)?;
        let mut sizes = [field(24, 4)?, field(20, 4)?, field(42, 4)?];
        let mut wide = wide_fields(file.get(extra..extra_end)?);
        for size in sizes.iter_mut().filter(|size| **size == ELSEWHERE) {
            *size = wide.next()?;
        }
        let [len, packed, header] = sizes;
        Some(Self {
            name: String::from_utf8_lossy(name).into_owned(),
            flags: field(8, 2)?,
            method: field(10, 2)?,
            checksum: u32::try_from(field(16, 4)?).ok()?,
            packed,
            len,
            header,
            next: extra_end + field(32, 2)?,
        })
    }

    /// Where the bytes of the entry lie: after its local header.
    fn place(&self, file: &[u8]) -> Option<Range<usize>> {
        if !is_record(file, self.header, [3, 4]) {
            return None;
        }
        let field = |offset| number(file, self.header + offset, 2);
        let start = self.header + 30 + field(26)? + field(28)?;
        let end = start.checked_add(self.packed)?;
        (end <= file.len()).then_some(start..end)
    }

    fn piece(&self, place: Range<usize>) -> Result<Piece, String> {
        const ENCRYPTED: usize = 1;
        if self.flags & ENCRYPTED != 0 {
            return Err("is encrypted; expected a plain archive".to_string());
        }
        match self.method {
            0 if place.len() != self.len => Err("states two different sizes: the file is broken".to_string()),
            0 => Ok(Piece::stored(place)),
            8 => Ok(Piece { place, len: self.len, deflated: Some(self.checksum) }),
            other => Err(format!("is compressed by method {other}; expected stored (0) or deflated (8)")),
        }
    }
}

/// Numbers of the ZIP64 field among the extra fields of a record.
fn wide_fields(mut extra: &[u8]) -> impl Iterator<Item = usize> {
    const ZIP64: usize = 1;
    let mut wide: &[u8] = &[];
    while let (Some(tag), Some(length)) = (number(extra, 0, 2), number(extra, 2, 2)) {
        let Some((field, rest)) = extra[4..].split_at_checked(length) else { break };
        if tag == ZIP64 {
            wide = field;
        }
        extra = rest;
    }
    wide.as_chunks::<8>().0.iter().map_while(|bytes| usize::try_from(u64::from_le_bytes(*bytes)).ok())
}
