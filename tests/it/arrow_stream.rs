//! Writes Arrow IPC streams as Hugging Face `datasets` stores SAELens's cached activations: one column of activations,
//! lists of lists of f32, and one of token ids, lists of i32 of fixed size. `pyarrow` reads what this writes.

/// Metadata as a FlatBuffer: tables are written before what they refer to, so that offsets point forward.
enum Value {
    Absent,
    Byte(u8),
    Short(i16),
    Int(i32),
    Long(i64),
    Of(Node),
}

enum Node {
    Table(Vec<Value>),
    Text(String),
    Tables(Vec<Node>),
    Pairs(Vec<[i64; 2]>),
}

fn pad(out: &mut Vec<u8>, behind: usize) {
    while !(out.len() + behind).is_multiple_of(8) {
        out.push(0);
    }
}

/// Writes at `slot` how far behind it the end of `out` is.
fn point(out: &mut [u8], slot: usize) {
    let distance = (out.len() - slot) as u32;
    out[slot..slot + 4].copy_from_slice(&distance.to_le_bytes());
}

impl Node {
    fn buffer(self) -> Vec<u8> {
        let mut out = vec![0; 4];
        self.write(&mut out, 0);
        pad(&mut out, 0);
        out
    }

    /// Appends the node and points `slot` to it.
    fn write(self, out: &mut Vec<u8>, slot: usize) {
        match self {
            Self::Table(values) => {
                let vtable = 4 + 2 * values.len();
                pad(out, vtable);
                let start = out.len();
                out.extend((vtable as u16).to_le_bytes());
                out.extend((8 + 8 * values.len() as u16).to_le_bytes());
                for (nth, value) in values.iter().enumerate() {
                    let offset = if matches!(value, Value::Absent) { 0 } else { 8 + 8 * nth as u16 };
                    out.extend(offset.to_le_bytes());
                }
                point(out, slot);
                let table = out.len();
                out.extend(((table - start) as i32).to_le_bytes());
                out.resize(table + 8 + 8 * values.len(), 0);
                for (nth, value) in values.into_iter().enumerate() {
                    let at = table + 8 + 8 * nth;
                    let mut put = |bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
                    match value {
                        Value::Absent => {}
                        Value::Byte(number) => put(&number.to_le_bytes()),
                        Value::Short(number) => put(&number.to_le_bytes()),
                        Value::Int(number) => put(&number.to_le_bytes()),
                        Value::Long(number) => put(&number.to_le_bytes()),
                        Value::Of(node) => node.write(out, at),
                    }
                }
            }
            Self::Text(text) => {
                pad(out, 0);
                point(out, slot);
                out.extend((text.len() as u32).to_le_bytes());
                out.extend(text.as_bytes());
                out.push(0);
            }
            Self::Tables(nodes) => {
                pad(out, 0);
                point(out, slot);
                let start = out.len() + 4;
                out.extend((nodes.len() as u32).to_le_bytes());
                out.resize(start + 4 * nodes.len(), 0);
                for (nth, node) in nodes.into_iter().enumerate() {
                    node.write(out, start + 4 * nth);
                }
            }
            Self::Pairs(pairs) => {
                pad(out, 4);
                point(out, slot);
                out.extend((pairs.len() as u32).to_le_bytes());
                out.extend(pairs.iter().flatten().flat_map(|number| number.to_le_bytes()));
            }
        }
    }
}

fn field(name: &str, kind: u8, of_kind: Vec<Value>, children: Vec<Node>) -> Node {
    Node::Table(vec![
        Value::Of(Node::Text(name.into())),
        Value::Byte(1),
        Value::Byte(kind),
        Value::Of(Node::Table(of_kind)),
        Value::Absent,
        Value::Of(Node::Tables(children)),
    ])
}

const SCHEMA: u8 = 1;
const RECORD_BATCH: u8 = 3;

fn message(kind: u8, header: Node, body: &[u8]) -> Vec<u8> {
    const VERSION: i16 = 4;
    let root =
        vec![Value::Short(VERSION), Value::Byte(kind), Value::Of(header), Value::Long(body.len() as i64)];
    let metadata = Node::Table(root).buffer();
    let mut out = u32::MAX.to_le_bytes().to_vec();
    out.extend((metadata.len() as u32).to_le_bytes());
    out.extend(metadata);
    out.extend(body);
    out
}

/// Buffers of a record batch, each at a multiple of 8 bytes.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    buffers: Vec<[i64; 2]>,
}

impl Body {
    fn push(&mut self, bytes: impl IntoIterator<Item = u8>) {
        let start = self.bytes.len();
        self.bytes.extend(bytes);
        self.buffers.push([start as i64, (self.bytes.len() - start) as i64]);
        pad(&mut self.bytes, 0);
    }
}

/// A stream with `hook` `[sequences, positions, width]` and `token_ids` `[sequences, positions]`, `batch` sequences a record
/// batch.
pub fn stream(hook: &str, activations: &[f32], ids: &[u32], positions: usize, batch: usize) -> Vec<u8> {
    let width = activations.len() / ids.len();
    let float = || field("item", 3, vec![Value::Short(1)], vec![]);
    let list = |name: &str, item: Node| field(name, 12, vec![], vec![item]);
    let int = field("item", 2, vec![Value::Int(32), Value::Byte(1)], vec![]);
    let fields = vec![
        list(hook, list("item", float())),
        field("token_ids", 16, vec![Value::Int(positions as i32)], vec![int]),
    ];
    let schema = Node::Table(vec![Value::Absent, Value::Of(Node::Tables(fields))]);
    let mut out = message(SCHEMA, schema, &[]);
    for (rows, ids) in activations.chunks(batch * positions * width).zip(ids.chunks(batch * positions)) {
        let sequences = ids.len() / positions;
        let offsets =
            |lists: usize, size: usize| (0..=lists).flat_map(move |nth| ((nth * size) as i32).to_le_bytes());
        let mut body = Body::default();
        body.push([]);
        body.push(offsets(sequences, positions));
        body.push([]);
        body.push(offsets(ids.len(), width));
        body.push([]);
        body.push(rows.iter().flat_map(|value| value.to_le_bytes()));
        body.push([]);
        body.push([]);
        body.push(ids.iter().flat_map(|id| id.to_le_bytes()));
        let lengths = [sequences, ids.len(), rows.len(), sequences, ids.len()];
        let header = Node::Table(vec![
            Value::Long(sequences as i64),
            Value::Of(Node::Pairs(lengths.iter().map(|&length| [length as i64, 0]).collect())),
            Value::Of(Node::Pairs(body.buffers)),
        ]);
        out.extend(message(RECORD_BATCH, header, &body.bytes));
    }
    out.extend([0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]);
    out
}
