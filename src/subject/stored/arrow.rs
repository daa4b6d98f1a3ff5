//! Finds columns of numbers in an Arrow IPC stream or file, without reading the numbers.
//!
//! A stream is a schema message and record batches. Every message is metadata (a FlatBuffer) and a body, in which the
//! buffers of all columns follow each other: validity and values of numbers, validity and offsets of lists, then the
//! items' own. Lists of one length are a row of an array, whatever their type. Source: "Arrow Columnar Format",
//! <https://arrow.apache.org/docs/format/Columnar.html>, and its schema files `Message.fbs` and `Schema.fbs`.

use super::column::{Column, Number};
use super::flatbuffer::Table;
use super::open_file::{Contents, OpenFile, is_read};
use crate::subject::SubjectError;

/// First bytes of the file format, which is a stream with a footer.
const FILE_MAGIC: [u8; 8] = *b"ARROW1\0\0";

/// Stands before the length of metadata since Arrow 0.15.
const CONTINUATION: u32 = u32::MAX;

/// Longest metadata of a message; real ones have kilobytes.
const MAX_METADATA: usize = 16 << 20;

/// Most fields of a schema and deepest nesting.
const MAX_FIELDS: usize = 4096;
const MAX_DEPTH: usize = 8;

/// Offsets of lists read at a time.
const OFFSETS_AT_ONCE: usize = 1 << 16;

/// Kinds of messages.
const SCHEMA: u8 = 1;
const RECORD_BATCH: u8 = 3;

struct Field {
    name: String,
    kind: Kind,
}

enum Kind {
    Numbers(Number),
    Lists {
        /// Whether offsets have 64 bits.
        large: bool,
        item: Box<Field>,
    },
    FixedLists {
        size: usize,
        item: Box<Field>,
    },
    /// A type that is skipped.
    Other {
        buffers: usize,
        children: Vec<Field>,
    },
}

struct Message {
    metadata: Vec<u8>,
    /// Where the body begins in the file, and its length.
    body: u64,
    body_length: u64,
}

/// The columns of a file whose names are read, and the names of the others.
pub(super) fn read(file: &OpenFile) -> Result<Contents, SubjectError> {
    let mut at = if file.starts_with(&FILE_MAGIC)? { FILE_MAGIC.len() as u64 } else { 0 };
    let schema = next(file, &mut at)?.ok_or_else(|| file.wrong("is empty: it holds no schema"))?;
    let fields = fields(file, &schema)?;
    let mut columns: Vec<Option<Column>> = fields.iter().map(|_| None).collect();
    while let Some(message) = next(file, &mut at)? {
        let root = message.root(file)?;
        if root.u8(1) == RECORD_BATCH {
            let header = root.table(2).ok_or_else(|| damaged(file))?;
            Batch::new(file, &message, &header)?.add(&fields, &mut columns)?;
        }
    }
    let (read, others): (Vec<Field>, Vec<Field>) = fields.into_iter().partition(|field| is_read(&field.name));
    let found = read.into_iter().zip(columns.into_iter().flatten());
    Ok(Contents {
        columns: found.map(|(field, column)| (field.name, column)).collect(),
        others: others.into_iter().map(|field| field.name).collect(),
        recorded: None,
    })
}

fn damaged(file: &OpenFile) -> SubjectError {
    file.wrong("is no whole Arrow stream: its metadata is damaged; copy or save it again")
}

/// The next message; none at the end of the stream.
fn next(file: &OpenFile, at: &mut u64) -> Result<Option<Message>, SubjectError> {
    if *at >= file.length {
        return Ok(None);
    }
    let mut word = || -> Result<u32, SubjectError> {
        let mut bytes = [0; 4];
        file.read_into(*at, &mut bytes)?;
        *at += 4;
        Ok(u32::from_le_bytes(bytes))
    };
    let mut size = word()?;
    if size == CONTINUATION {
        size = word()?;
    }
    if size == 0 {
        return Ok(None);
    }
    let size = size as usize;
    if size > MAX_METADATA {
        return Err(damaged(file));
    }
    let metadata = file.read(*at, size)?;
    let body = *at + size as u64;
    let body_length =
        Table::root(&metadata).map(|root| root.i64(3)).and_then(|length| u64::try_from(length).ok());
    let body_length = body_length.ok_or_else(|| damaged(file))?;
    *at = body.checked_add(body_length).filter(|&end| end <= file.length).ok_or_else(|| file.cut_short())?;
    Ok(Some(Message { metadata, body, body_length }))
}

impl Message {
    fn root(&self, file: &OpenFile) -> Result<Table<'_>, SubjectError> {
        Table::root(&self.metadata).ok_or_else(|| damaged(file))
    }
}

fn fields(file: &OpenFile, message: &Message) -> Result<Vec<Field>, SubjectError> {
    let root = message.root(file)?;
    let schema = root.table(2).filter(|_| root.u8(1) == SCHEMA).ok_or_else(|| damaged(file))?;
    if schema.i16(0) != 0 {
        return Err(file.wrong("is stored big-endian; save it on a little-endian machine"));
    }
    let mut room = MAX_FIELDS;
    let tables = schema.tables(1).ok_or_else(|| damaged(file))?;
    tables.into_iter().map(|table| field(file, table, &mut room, 0)).collect()
}

/// A field with its children. `room` counts down the fields that may still come.
fn field(file: &OpenFile, table: Table<'_>, room: &mut usize, depth: usize) -> Result<Field, SubjectError> {
    *room = room.checked_sub(1).filter(|_| depth < MAX_DEPTH).ok_or_else(|| damaged(file))?;
    let name = table.text(0).unwrap_or_default().to_string();
    let children = table.tables(5).unwrap_or_default();
    let children = children.into_iter().map(|child| field(file, child, room, depth + 1));
    let mut children = children.collect::<Result<Vec<_>, _>>()?;
    let of_type = table.table(3);
    let number = |at: usize| of_type.map_or(0, |of_type| of_type.i32(at));
    let mut item = || children.pop().map(Box::new).ok_or_else(|| damaged(file));
    let kind = match table.u8(2) {
        _ if table.table(4).is_some() => Kind::Other { buffers: 2, children: Vec::new() },
        2 => match number(0) {
            width @ (8 | 16 | 32 | 64) => {
                let signed = of_type.is_some_and(|of_type| of_type.u8(1) != 0);
                Kind::Numbers(Number::Int { bytes: width as usize / 8, signed })
            }
            _ => return Err(damaged(file)),
        },
        3 => Kind::Numbers(match of_type.map_or(0, |of_type| of_type.i16(0)) {
            0 => Number::F16,
            1 => Number::F32,
            2 => Number::F64,
            _ => return Err(damaged(file)),
        }),
        12 => Kind::Lists { large: false, item: item()? },
        21 => Kind::Lists { large: true, item: item()? },
        16 => {
            let size = usize::try_from(number(0)).map_err(|_| damaged(file))?;
            Kind::FixedLists { size, item: item()? }
        }
        // Null; text and bytes; truth, decimal, dates and times, fixed bytes; struct; map.
        1 => Kind::Other { buffers: 0, children },
        4 | 5 | 19 | 20 => Kind::Other { buffers: 3, children },
        6..=11 | 15 | 18 => Kind::Other { buffers: 2, children },
        13 => Kind::Other { buffers: 1, children },
        17 => Kind::Other { buffers: 2, children },
        other => {
            let why =
                format!("holds the column {name:?} of Arrow type {other}, which is not read: leave it out");
            return Err(file.wrong(&why));
        }
    };
    Ok(Field { name, kind })
}

/// A record batch that is walked column by column.
struct Batch<'a> {
    file: &'a OpenFile,
    body: u64,
    body_length: u64,
    rows: usize,
    /// Length and number of nulls of every column and item, in order.
    nodes: std::vec::IntoIter<[i64; 2]>,
    /// Offset in the body and length of every buffer, in order.
    buffers: std::vec::IntoIter<[i64; 2]>,
}

impl<'a> Batch<'a> {
    fn new(file: &'a OpenFile, message: &Message, header: &Table<'_>) -> Result<Self, SubjectError> {
        if header.table(3).is_some() {
            return Err(
                file.wrong("is compressed (an Arrow stream with compressed buffers): save it without")
            );
        }
        let rows = usize::try_from(header.i64(0)).map_err(|_| damaged(file))?;
        let nodes = header.pairs(1).ok_or_else(|| damaged(file))?.into_iter();
        let buffers = header.pairs(2).ok_or_else(|| damaged(file))?.into_iter();
        Ok(Self { file, body: message.body, body_length: message.body_length, rows, nodes, buffers })
    }

    /// Adds the batch's rows to the columns that are read.
    fn add(&mut self, fields: &[Field], columns: &mut [Option<Column>]) -> Result<(), SubjectError> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut found = fields.iter().zip(columns).filter(|(field, _)| is_read(&field.name)).peekable();
        for one in fields {
            let Some((field, column)) = found.next_if(|(field, _)| std::ptr::eq(*field, one)) else {
                self.skip(one)?;
                continue;
            };
            let (number, shape, offset) = self.values(field, &field.name, 0, self.rows)?;
            let column = column.get_or_insert_with(|| Column::new(number, shape.clone()));
            if column.shape != shape {
                let why = format!(
                    "has rows of shape {:?} and of shape {shape:?} in column {:?}, expected one shape",
                    column.shape, field.name
                );
                return Err(self.file.wrong(&why));
            }
            column.push(0, offset, self.rows);
        }
        Ok(())
    }

    fn node(&mut self) -> Result<[usize; 2], SubjectError> {
        let [length, nulls] = self.nodes.next().ok_or_else(|| damaged(self.file))?;
        let size = |number: i64| usize::try_from(number).map_err(|_| damaged(self.file));
        Ok([size(length)?, size(nulls)?])
    }

    /// Place in the file and length of the next buffer.
    fn buffer(&mut self) -> Result<(u64, u64), SubjectError> {
        let [offset, length] = self.buffers.next().ok_or_else(|| damaged(self.file))?;
        let size = |number: i64| u64::try_from(number).map_err(|_| damaged(self.file));
        let (offset, length) = (size(offset)?, size(length)?);
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.body_length);
        if inside { Ok((self.body + offset, length)) } else { Err(damaged(self.file)) }
    }

    fn skip(&mut self, field: &Field) -> Result<(), SubjectError> {
        self.node()?;
        let (buffers, children): (usize, &[Field]) = match &field.kind {
            Kind::Numbers(_) => (2, &[]),
            Kind::Lists { item, .. } => (2, std::slice::from_ref(item)),
            Kind::FixedLists { item, .. } => (1, std::slice::from_ref(item)),
            Kind::Other { buffers, children } => (*buffers, children),
        };
        for _ in 0..buffers {
            self.buffer()?;
        }
        children.iter().try_for_each(|child| self.skip(child))
    }

    /// Number format, shape of a row, and place in the file of the rows `first..first + rows` of a field.
    fn values(
        &mut self,
        field: &Field,
        column: &str,
        first: usize,
        rows: usize,
    ) -> Result<(Number, Vec<usize>, u64), SubjectError> {
        let [length, nulls] = self.node()?;
        if nulls > 0 {
            return Err(self.file.wrong(&format!("has {nulls} missing values (nulls) in column {column:?}")));
        }
        let end = first.checked_add(rows).filter(|&end| end <= length).ok_or_else(|| damaged(self.file))?;
        if !matches!(field.kind, Kind::Other { .. }) {
            self.buffer()?;
        }
        let (size, start, item) = match &field.kind {
            Kind::Numbers(number) => {
                let (offset, length) = self.buffer()?;
                let needed = end.checked_mul(number.bytes()).filter(|&needed| needed as u64 <= length);
                needed.ok_or_else(|| damaged(self.file))?;
                return Ok((*number, Vec::new(), offset + (first * number.bytes()) as u64));
            }
            Kind::Lists { large, item } => {
                let buffer = self.buffer()?;
                let (size, start) = self.list_size(buffer, *large, column, first, rows)?;
                (size, start, item)
            }
            Kind::FixedLists { size, item } => {
                let start = first.checked_mul(*size).ok_or_else(|| damaged(self.file))?;
                (*size, start, item)
            }
            Kind::Other { .. } => {
                return Err(self.file.wrong(&format!("holds no numbers in column {column:?}")));
            }
        };
        if size == 0 {
            return Err(self.file.wrong(&format!("holds empty lists in column {column:?}")));
        }
        let items = rows.checked_mul(size).ok_or_else(|| damaged(self.file))?;
        let (number, mut shape, offset) = self.values(item, column, start, items)?;
        shape.insert(0, size);
        Ok((number, shape, offset))
    }

    /// Length of the lists `first..first + rows`, which must all have the same, and the index of their first item.
    fn list_size(
        &self,
        (offset, length): (u64, u64),
        large: bool,
        column: &str,
        first: usize,
        rows: usize,
    ) -> Result<(usize, usize), SubjectError> {
        let number = Number::Int { bytes: if large { 8 } else { 4 }, signed: true };
        let needed = (first as u64 + rows as u64 + 1).checked_mul(number.bytes() as u64);
        needed.filter(|&needed| needed <= length).ok_or_else(|| damaged(self.file))?;
        let (mut start, mut previous, mut size) = (0, None, None);
        for from in (0..=rows).step_by(OFFSETS_AT_ONCE) {
            let n = OFFSETS_AT_ONCE.min(rows + 1 - from);
            let bytes =
                self.file.read(offset + ((first + from) * number.bytes()) as u64, n * number.bytes())?;
            for value in number.integers(&bytes) {
                let value = usize::try_from(value).map_err(|_| damaged(self.file))?;
                match previous.replace(value) {
                    None => start = value,
                    Some(before) => {
                        let own = value.checked_sub(before).ok_or_else(|| damaged(self.file))?;
                        let usual = *size.get_or_insert(own);
                        if own != usual {
                            let why = format!(
                                "has lists of {usual} and of {own} items in column {column:?}, expected one length"
                            );
                            return Err(self.file.wrong(&why));
                        }
                    }
                }
            }
        }
        Ok((size.unwrap_or(0), start))
    }
}
