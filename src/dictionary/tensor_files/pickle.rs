//! Reads the pickle of a torch file as data. Nothing that it names is imported or called.
//!
//! A pickle is a program for a stack machine: opcodes push constants, collect what lies above a mark into a tuple, list
//! or dict, and remember values by number. Three opcodes run code in Python: GLOBAL and STACK_GLOBAL (import a name),
//! REDUCE (call it), BUILD (set attributes). Here the names are a fixed list, each with a meaning of its own, and any
//! other name ends the reading.
//! Source: Python's `pickletools`; torch's `torch/serialization.py` and `torch/_utils.py`.

use std::collections::HashMap;

use super::globals::{Made, call, global, storage};
use super::value::{Id, Value};

/// Bytes of a pickle. That of a state dict takes some 200 a tensor.
pub const LONGEST: usize = 64 << 20;

/// Opcodes of a pickle. Each makes one value at most, so this bounds memory and time.
const MOST_STEPS: usize = 2_000_000;

/// The values of a pickle and the number of the whole.
#[derive(Debug)]
pub struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine { bytes, ..Machine::default() };
        for _ in 0..MOST_STEPS {
            let start = machine.at;
            let done = machine.step().map_err(|why| format!("{why} (byte {start} of its pickle)"))?;
            if done {
                let root = machine.pop()?;
                if !machine.stack.is_empty() || machine.at != bytes.len() {
                    return Err("its pickle holds more than one value".to_string());
                }
                return Ok(Self { values: machine.values, root });
            }
        }
        Err(format!("its pickle has more than {MOST_STEPS} steps: no state dict is that long"))
    }

    pub fn root(&self) -> Id {
        self.root
    }

    pub fn value(&self, id: Id) -> &Value {
        self.values.get(id).unwrap_or(&Value::None)
    }
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack at which marks stand.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

const CUT: &str = "its pickle ends too early; copy or download the file again";

impl Machine<'_> {
    fn take(&mut self, length: u64) -> Result<&[u8], String> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or(CUT)?;
        self.at += taken.len();
        Ok(taken)
    }

    /// A little-endian number of so many bytes.
    fn number(&mut self, length: u64) -> Result<u64, String> {
        Ok(self.take(length)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn text(&mut self, length_bytes: u64) -> Result<(), String> {
        let length = self.number(length_bytes)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "a text is not UTF-8")?.to_string();
        self.push(Value::Text(text));
        Ok(())
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or(CUT)?;
        self.at += length + 1;
        Ok(String::from_utf8_lossy(&rest[..length]).into_owned())
    }

    fn push(&mut self, value: Value) {
        self.values.push(value);
        self.stack.push(self.values.len() - 1);
    }

    fn pop(&mut self) -> Result<Id, String> {
        // What lies below a mark is out of reach until the mark is taken.
        if self.marks.last().is_some_and(|mark| self.stack.len() <= *mark) {
            return Err(STACK.to_string());
        }
        self.stack.pop().ok_or_else(|| STACK.to_string())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or(STACK)?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, length: usize) -> Result<(), String> {
        let mut items = (0..length).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn remember(&mut self, place: u64) -> Result<(), String> {
        let top = *self.stack.last().ok_or(STACK)?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u64) -> Result<(), String> {
        let id = *self.memo.get(&place).ok_or("a value is used before it is made")?;
        self.stack.push(id);
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), String> {
        let top = *self.stack.last().ok_or(STACK)?;
        match &mut self.values[top] {
            Value::List(list) => list.extend(items),
            _ => return Err("items are added to what is no list".to_string()),
        }
        Ok(())
    }

    fn insert(&mut self, items: &[Id]) -> Result<(), String> {
        let top = *self.stack.last().ok_or(STACK)?;
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err("a key of a dict has no value".to_string());
        };
        match &mut self.values[top] {
            Value::Dict(dict) => dict.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            _ => return Err("entries are added to what is no dict".to_string()),
        }
        Ok(())
    }

    /// Runs one opcode. True at the end.
    fn step(&mut self) -> Result<bool, String> {
        let opcode = self.take(1)?[0];
        match opcode {
            // PROTO and FRAME
            0x80 => match self.number(1)? {
                0..=5 => {}
                other => return Err(format!("pickle protocol {other}; expected 2 to 5")),
            },
            0x95 => drop(self.take(8)?),
            b'.' => return Ok(true),
            // Constants
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool(opcode == 0x88)),
            b'K' => self.integer(1)?,
            b'M' => self.integer(2)?,
            b'J' => {
                let number = self.number(4)? as u32;
                self.push(Value::Int(i64::from(number.cast_signed())));
            }
            0x8a => self.long()?,
            b'G' => {
                let bytes = *self.take(8)?.first_chunk().ok_or(CUT)?;
                self.push(Value::Float(f64::from_be_bytes(bytes)));
            }
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            0x8d => self.text(8)?,
            _ => return self.step_of_containers(opcode).map(|()| false),
        }
        Ok(false)
    }

    fn integer(&mut self, length: u64) -> Result<(), String> {
        let number = self.number(length)?;
        self.push(Value::Int(number.cast_signed()));
        Ok(())
    }

    /// LONG1: a signed integer of any length, of which up to 8 bytes are read.
    fn long(&mut self) -> Result<(), String> {
        let length = self.number(1)?;
        let bytes = self.take(length)?;
        let mut wide = [if bytes.last().is_some_and(|last| *last >= 0x80) { 0xff } else { 0 }; 8];
        wide.get_mut(..bytes.len()).ok_or("an integer has more than 64 bits")?.copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn step_of_containers(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            b'(' => self.marks.push(self.stack.len()),
            b'}' => self.push(Value::Dict(Vec::new())),
            b']' => self.push(Value::List(Vec::new())),
            b')' => self.tuple(0)?,
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.insert(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.insert(&items)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' | b'r' => {
                let place = self.number(if opcode == b'q' { 1 } else { 4 })?;
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'h' | b'j' => {
                let place = self.number(if opcode == b'h' { 1 } else { 4 })?;
                self.recall(place)?;
            }
            _ => self.step_of_names(opcode)?,
        }
        Ok(())
    }

    fn step_of_names(&mut self, opcode: u8) -> Result<(), String> {
        let made = match opcode {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                Value::Global(global(&module, &name)?)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.values[module], &self.values[name]) {
                    (Value::Text(module), Value::Text(name)) => Value::Global(global(module, name)?),
                    _ => return Err("a name to import is no text".to_string()),
                }
            }
            b'R' => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                let made = match (&self.values[callee], &self.values[arguments]) {
                    (Value::Global(global), Value::Tuple(arguments)) => {
                        call(*global, arguments, &self.values)?
                    }
                    _ => return Err("what is no function is called".to_string()),
                };
                match made {
                    Made::Same(id) => {
                        self.stack.push(id);
                        return Ok(());
                    }
                    Made::New(value) => value,
                }
            }
            b'Q' => {
                let id = self.pop()?;
                Value::Storage(storage(&self.values[id], &self.values)?)
            }
            b'b' => return self.build(),
            _ => return Err(unexpected(opcode)),
        };
        self.push(made);
        Ok(())
    }

    /// BUILD sets attributes. A state dict has one, `_metadata`: versions of modules, which change no tensor.
    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let target = *self.stack.last().ok_or(STACK)?;
        let harmless = |key: &Id| matches!(&self.values[*key], Value::Text(text) if text == "_metadata");
        match (&self.values[target], &self.values[state]) {
            (Value::Dict(_), Value::Dict(state)) if state.iter().all(|(key, _)| harmless(key)) => Ok(()),
            _ => Err("attributes are set that no state dict has; expected `_metadata` alone".to_string()),
        }
    }
}

const STACK: &str = "its pickle takes a value where there is none: the file is broken";

/// The refusal of an opcode that files of tensors do not need.
fn unexpected(opcode: u8) -> String {
    let name = match opcode {
        b'i' => "INST",
        b'o' => "OBJ",
        0x81 => "NEWOBJ",
        0x92 => "NEWOBJ_EX",
        0x82..=0x84 => "EXT",
        b'P' => "PERSID",
        b'B' | b'C' | 0x8e => "BINBYTES",
        0x96 => "BYTEARRAY8",
        b'T' | b'U' | b'S' => "STRING",
        b'I' | b'L' | b'F' | b'V' | b'g' | b'p' | b'd' | b'l' => "of protocol 0",
        0x8f..=0x91 => "SET",
        0x8b => "LONG4",
        b'0' | b'1' | b'2' => "POP or DUP",
        _ => "which is none",
    };
    format!("opcode {opcode:#04x} ({name}), which no state dict of tensors needs")
}
