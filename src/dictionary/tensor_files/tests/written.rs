//! Small files made byte by byte.

use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// An entry of an archive; fields may lie.
#[derive(Clone)]
pub struct Entry {
    pub name: String,
    pub bytes: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    pub len: u32,
    pub crc: u32,
}

pub fn stored(name: &str, bytes: &[u8]) -> Entry {
    let mut crc = Crc::new();
    crc.update(bytes);
    let len = u32::try_from(bytes.len()).expect("small");
    Entry { name: name.to_string(), bytes: bytes.to_vec(), method: 0, flags: 0, len, crc: crc.sum() }
}

pub fn deflated(name: &str, bytes: &[u8]) -> Entry {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    Entry { bytes: encoder.finish().expect("memory"), method: 8, ..stored(name, bytes) }
}

/// A zip archive; `wide` writes sizes, places and the end record in ZIP64 form.
pub fn zip(entries: &[Entry], wide: bool) -> Vec<u8> {
    let mut file = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let start = file.len();
        let packed = u32::try_from(entry.bytes.len()).expect("small");
        let fixed = |sizes: [u32; 2]| {
            let mut fixed = Vec::new();
            for field in [20, entry.flags, entry.method, 0, 0] {
                fixed.extend(field.to_le_bytes());
            }
            for field in [entry.crc, sizes[0], sizes[1]] {
                fixed.extend(field.to_le_bytes());
            }
            fixed.extend((entry.name.len() as u16).to_le_bytes());
            fixed
        };
        file.extend(b"PK\x03\x04");
        file.extend(fixed([packed, entry.len]));
        // Bytes of padding, as torch writes them to align storages.
        file.extend(5_u16.to_le_bytes());
        file.extend(entry.name.as_bytes());
        file.extend(b"FB\x01\x00Z");
        file.extend(&entry.bytes);
        let extra = if wide {
            let sizes = [u64::from(entry.len), u64::from(packed), start as u64];
            [&[1, 0, 24, 0][..], &sizes.map(u64::to_le_bytes).concat()].concat()
        } else {
            Vec::new()
        };
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(fixed(if wide { [u32::MAX; 2] } else { [packed, entry.len] }));
        directory.extend((extra.len() as u16).to_le_bytes());
        directory.extend([0; 10]);
        directory.extend(if wide { u32::MAX } else { start as u32 }.to_le_bytes());
        directory.extend(entry.name.as_bytes());
        directory.extend(extra);
    }
    let (start, size, count) = (file.len(), directory.len(), entries.len());
    file.extend(directory);
    if wide {
        let end = file.len() as u64;
        file.extend(b"PK\x06\x06");
        file.extend([44_u64, 0x2d_002d, 0].map(u64::to_le_bytes)[0]);
        file.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.extend([count as u64, count as u64, size as u64, start as u64].map(u64::to_le_bytes).concat());
        file.extend(b"PK\x06\x07\0\0\0\0");
        file.extend(end.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        file.extend(b"PK\x05\x06\0\0\0\0");
        file.extend([0xff; 12]);
        file.extend([0, 0]);
    } else {
        file.extend(b"PK\x05\x06\0\0\0\0");
        file.extend([count as u16; 2].map(u16::to_le_bytes).concat());
        file.extend([size as u32, start as u32].map(u32::to_le_bytes).concat());
        file.extend([0, 0]);
    }
    file
}

/// Writes a pickle opcode by opcode.
pub struct Pickler(pub Vec<u8>);

impl Pickler {
    pub fn new() -> Self {
        Self(b"\x80\x02".to_vec())
    }

    pub fn op(&mut self, opcodes: &[u8]) -> &mut Self {
        self.0.extend(opcodes);
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    pub fn int(&mut self, number: usize) -> &mut Self {
        match u16::try_from(number) {
            Ok(small) => self.op(b"M").op(&small.to_le_bytes()),
            Err(_) => self.op(b"\x8a\x08").op(&number.to_le_bytes()),
        }
    }

    pub fn sizes(&mut self, sizes: &[usize]) -> &mut Self {
        self.op(b"(");
        for size in sizes {
            self.int(*size);
        }
        self.op(b"t")
    }

    pub fn global(&mut self, module: &str, name: &str) -> &mut Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    pub fn storage(&mut self, kind: (&str, &str), key: &str, length: usize) -> &mut Self {
        self.op(b"(").text("storage").global(kind.0, kind.1).text(key).text("cpu").int(length).op(b"tQ")
    }

    /// A tensor of a storage `("FloatStorage", key, length)`.
    pub fn tensor(
        &mut self,
        storage: (&str, &str, usize),
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) -> &mut Self {
        let (kind, key, length) = storage;
        self.global("torch._utils", "_rebuild_tensor_v2").op(b"(").storage(("torch", kind), key, length);
        self.int(offset).sizes(shape).sizes(strides).op(b"\x89");
        self.global("collections", "OrderedDict").op(b")RtR")
    }

    pub fn stop(&mut self) -> Vec<u8> {
        self.op(b".");
        std::mem::take(&mut self.0)
    }
}

/// A torch file of a pickle and storages.
pub fn torch(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut entries = vec![stored("ae/data.pkl", pickle), stored("ae/byteorder", b"little")];
    entries.extend(storages.iter().map(|(key, bytes)| stored(&format!("ae/data/{key}"), bytes)));
    entries.push(stored("ae/version", b"3\n"));
    zip(&entries, false)
}

/// A torch file of one tensor `x`.
pub fn one_tensor(
    kind: &str,
    bytes: &[u8],
    length: usize,
    offset: usize,
    shape: &[usize],
    strides: &[usize],
) -> Vec<u8> {
    let mut pickler = Pickler::new();
    pickler.op(b"}(").text("x").tensor((kind, "0", length), offset, shape, strides).op(b"u");
    torch(&pickler.stop(), &[("0", bytes)])
}

/// A `.npy` array.
pub fn npy(version: u8, descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}   \n");
    let mut array = [b"\x93NUMPY".as_slice(), &[version, 0]].concat();
    match version {
        1 => array.extend((header.len() as u16).to_le_bytes()),
        _ => array.extend((header.len() as u32).to_le_bytes()),
    }
    [&array, header.as_bytes(), data].concat()
}

pub fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
