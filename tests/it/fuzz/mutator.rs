//! Changes to inputs that know their form: values of JSON and YAML, lines, headers, files of a folder, and bytes.
//!
//! An input depends only on the target's name and its number, so a failure can be repeated.

use serde_json::{Map, Value};

/// Numbers by which inputs are changed: SplitMix64 (Steele, Lea and Flood 2014).
pub struct Draws(u64);

impl Draws {
    /// The draws of one input.
    pub fn of(target: &str, number: u64) -> Self {
        let hashed = target.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hashed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 for an `end` of 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// An item of a list that is not empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// What the bytes of an input are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Bytes,
    Text,
    Json,
    JsonLines,
    Yaml,
    /// A length in eight bytes, a JSON object of that length, and the rest: safetensors.
    Headed,
    /// Files of a folder, each after a line [`MARK`] with its name, which says its form.
    Files,
}

/// Begins the line with the name of a file.
pub const MARK: &str = "\n%%% ";

/// A folder as one input.
pub fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    files.iter().flat_map(|(name, bytes)| [MARK.as_bytes(), name.as_bytes(), b"\n", bytes].concat()).collect()
}

/// The files of such an input, as far as it has that form.
pub fn unpacked(input: &[u8]) -> Vec<(String, &[u8])> {
    let mark = MARK.as_bytes();
    let starts: Vec<usize> =
        (0..input.len()).filter(|&at| input[at] == b'\n' && input[at..].starts_with(mark)).collect();
    let ends = starts.iter().skip(1).copied().chain([input.len()]);
    let file = |(&start, end): (&usize, usize)| {
        let inside = &input[start + mark.len()..end];
        let line = inside.iter().position(|&byte| byte == b'\n')?;
        Some((String::from_utf8_lossy(&inside[..line]).into_owned(), &inside[line + 1..]))
    };
    starts.iter().zip(ends).filter_map(file).collect()
}

/// Changes seeds of one form.
pub struct Mutator<'a> {
    pub form: Form,
    pub seeds: &'a [Vec<u8>],
    /// Words of the format, put into texts.
    pub words: &'a [&'a str],
}

/// Longest input; longer ones are cut.
const LONGEST: usize = 1 << 20;

/// Values that break assumptions.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "2",
    "0.5",
    "1e-3",
    "255",
    "65536",
    "16777216",
    "2147483647",
    "2147483648",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "1e18",
    "1e308",
    "-1e308",
    "1e-320",
    "1e999",
    "-0.0",
    "123456789012345678901234567890",
    "\"\"",
    "\"a\"",
    "\"0\"",
    "\"NaN\"",
    "\"inf\"",
    "\"../../../x\"",
    "\"/tmp/x\"",
    "\"\\u0000\"",
    "\"\\u001b[31m\\u202e\\u2066\"",
    "\"é😀\\uffff\"",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    "{\"\": {\"\": 0}}",
    "[0, 0, 0, 0, 0, 0, 0, 0]",
    "[\"a\", 1, null]",
];

/// Values that are no JSON, or no usual one; written at [`RAW`].
const RAW_VALUES: &[&str] =
    &["NaN", "Infinity", "-Infinity", ".nan", "1e400", "01", "0x10", "\"\\ud800\"", "\"", "*a", "!!x 1", "~"];

/// Stand-ins for what a JSON value cannot hold; `written` puts the thing in their place.
const RAW: &str = "\u{1}RAW";
const DEEP: &str = "\u{1}DEEP";
const TWICE: &str = "\u{1}TWICE";

impl Mutator<'_> {
    /// An input: a seed with some changes.
    pub fn input(&self, draws: &mut Draws) -> Vec<u8> {
        let seed = draws.pick(self.seeds);
        let mut input = self.changed(seed, self.form, draws);
        input.truncate(LONGEST);
        input
    }

    fn changed(&self, seed: &[u8], form: Form, draws: &mut Draws) -> Vec<u8> {
        match form {
            Form::Bytes => self.bytes(seed, draws),
            Form::Text => self.text(seed, draws),
            Form::Json => self.json(seed, serde_json::from_slice(seed).ok(), draws),
            Form::Yaml if draws.one_in(2) => self.text(seed, draws),
            Form::Yaml => {
                let value = std::str::from_utf8(seed).ok().and_then(|text| serde_saphyr::from_str(text).ok());
                self.json(seed, value, draws)
            }
            Form::JsonLines => self.lines(seed, draws),
            Form::Headed => self.headed(seed, draws),
            Form::Files => self.files(seed, draws),
        }
    }

    fn json(&self, seed: &[u8], value: Option<Value>, draws: &mut Draws) -> Vec<u8> {
        let Some(mut value) = value.filter(|_| !draws.one_in(6)) else { return self.bytes(seed, draws) };
        for _ in 0..=draws.below(3) {
            self.change_value(&mut value, draws);
        }
        let written = written(&value, draws);
        if draws.one_in(12) { self.bytes(&written, draws) } else { written }
    }

    fn lines(&self, seed: &[u8], draws: &mut Draws) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = seed.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        let (at, other) = (draws.below(lines.len()), draws.below(lines.len()));
        match draws.below(8) {
            0 => drop(lines.remove(at)),
            1 => lines.swap(at, other),
            2 => lines.insert(other, lines[at].clone()),
            _ => lines[at] = self.changed(&lines[at].clone(), Form::Json, draws),
        }
        lines.join(&b'\n')
    }

    fn headed(&self, seed: &[u8], draws: &mut Draws) -> Vec<u8> {
        let header = seed.first_chunk::<8>().and_then(|length| {
            seed.get(8..8_usize.checked_add(usize::try_from(u64::from_le_bytes(*length)).ok()?)?)
        });
        let Some(header) = header.filter(|_| !draws.one_in(4)) else { return self.bytes(seed, draws) };
        let rest = &seed[8 + header.len()..];
        let header = self.changed(header, Form::Json, draws);
        let length = if draws.one_in(20) { draws.below(2 * header.len()) } else { header.len() };
        let rest = if draws.one_in(4) { self.bytes(rest, draws) } else { rest.to_vec() };
        [&(length as u64).to_le_bytes()[..], &header, &rest].concat()
    }

    fn files(&self, seed: &[u8], draws: &mut Draws) -> Vec<u8> {
        let mut files: Vec<(String, Vec<u8>)> =
            unpacked(seed).into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect();
        if files.is_empty() {
            return self.bytes(seed, draws);
        }
        for _ in 0..=draws.below(2) {
            let (at, other) = (draws.below(files.len()), draws.below(files.len()));
            if draws.one_in(30) {
                files[at].1 = files[other].1.clone();
            } else if draws.one_in(30) && files.len() > 1 {
                files.remove(at);
            } else {
                let form = form_of(&files[at].0);
                files[at].1 = self.changed(&files[at].1.clone(), form, draws);
            }
        }
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        packed(&files)
    }

    fn text(&self, seed: &[u8], draws: &mut Draws) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = seed.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        for _ in 0..=draws.below(3) {
            let (at, other) = (draws.below(lines.len()), draws.below(lines.len()));
            match draws.below(8) {
                0 if lines.len() > 1 => drop(lines.remove(at)),
                1 => lines.insert(other, lines[at].clone()),
                2 => lines[at].splice(0..0, b"  ".repeat(1 + draws.below(3))).for_each(drop),
                3 => {
                    let value = draws.pick(VALUES).as_bytes();
                    let start = lines[at].iter().position(|&byte| byte == b':').map_or(0, |colon| colon + 1);
                    lines[at].splice(start.., [b" ", value].concat()).for_each(drop);
                }
                _ => lines[at] = self.bytes(&lines[at].clone(), draws),
            }
        }
        lines.join(&b'\n')
    }

    /// One to four changes of bytes.
    fn bytes(&self, seed: &[u8], draws: &mut Draws) -> Vec<u8> {
        let mut changed = seed.to_vec();
        for _ in 0..=draws.below(4) {
            self.change_bytes(&mut changed, draws);
        }
        changed
    }

    fn change_bytes(&self, changed: &mut Vec<u8>, draws: &mut Draws) {
        let length = changed.len();
        // Headers are at the beginning.
        let near = if draws.one_in(2) { length } else { length.min(256) };
        let at = draws.below(near);
        match draws.below(16) {
            0..=3 => changed.get_mut(at).into_iter().for_each(|byte| *byte = draws.next() as u8),
            4 => changed.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << draws.below(8)),
            5..=7 => overwrite(changed, at, &number(draws)),
            8 => changed.splice(at..at, number_text(draws)).for_each(drop),
            9 => {
                let run = changed[at..(at + draws.below(40)).min(length)].to_vec();
                let to = draws.below(length);
                changed.splice(to..to, run).for_each(drop);
            }
            10 => drop(changed.drain(at..(at + draws.below(20)).min(length))),
            11 if draws.one_in(8) => changed.truncate(at),
            12 if draws.one_in(8) => {
                let run = changed[at..(at + 1 + draws.below(8)).min(length)].to_vec();
                let times = 1 << draws.below(12);
                changed.splice(at..at, run.repeat(times)).for_each(drop);
            }
            13 if draws.one_in(4) => {
                let other = draws.pick(self.seeds);
                let from = draws.below(other.len());
                changed.truncate(at);
                changed.extend_from_slice(&other[from..]);
            }
            14 => {
                let word: &[u8] =
                    if self.words.is_empty() { b"\xff" } else { draws.pick(self.words).as_bytes() };
                let over = if draws.one_in(2) { word.len() } else { 0 };
                changed.splice(at..(at + over).min(length), word.iter().copied()).for_each(drop);
            }
            // One more or one less in a number of four bytes.
            _ => {
                if let Some(bytes) = changed.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
                    let step = if draws.one_in(2) { 1 } else { u32::MAX };
                    *bytes = u32::from_le_bytes(*bytes).wrapping_add(step).to_le_bytes();
                }
            }
        }
    }

    /// Changes one value inside another.
    fn change_value(&self, whole: &mut Value, draws: &mut Draws) {
        let copy = nth(whole, &mut draws.below(count(whole))).cloned();
        let Some(value) = nth_mut(whole, &mut draws.below(count(whole))) else { return };
        let word = |draws: &mut Draws| {
            if self.words.is_empty() { "x".to_string() } else { (*draws.pick(self.words)).to_string() }
        };
        let kind = draws.below(16);
        match value {
            Value::Object(fields) if kind < 9 && !fields.is_empty() => {
                let key = fields.keys().nth(draws.below(fields.len())).cloned().unwrap_or_default();
                let held = fields.get(&key).cloned().unwrap_or_default();
                match kind {
                    0 | 1 => drop(fields.remove(&key)),
                    2 => drop(fields.insert(word(draws), held)),
                    3 => drop(fields.insert(key.to_uppercase(), held)),
                    4 => drop(fields.insert(format!("{TWICE}{key}"), held)),
                    5 => drop(fields.insert(word(draws), any_value(draws))),
                    _ => drop(fields.insert(key, any_value(draws))),
                }
            }
            Value::Array(items) if kind < 9 && !items.is_empty() => {
                let (at, other) = (draws.below(items.len()), draws.below(items.len()));
                match kind {
                    0 | 1 => drop(items.remove(at)),
                    2 | 3 => items.swap(at, other),
                    4 => items.extend(vec![items[at].clone(); 1 << draws.below(9)]),
                    5 => items.truncate(at),
                    _ => items[at] = any_value(draws),
                }
            }
            Value::Number(number) if kind < 10 => {
                let got = number.as_f64().unwrap_or(0.0);
                let steps =
                    [got + 1.0, got - 1.0, -got, got * 2.0, got * 1e6, got * 1e18, got / 2.0, got + 0.5];
                let new = *draws.pick(&steps);
                let whole = new.fract() == 0.0 && new.abs() < 9e15;
                *value = if whole { (new as i64).into() } else { new.into() };
            }
            Value::String(text) if kind < 10 => {
                let bytes = self.bytes(text.as_bytes(), draws);
                *text =
                    if draws.one_in(3) { word(draws) } else { String::from_utf8_lossy(&bytes).into_owned() };
            }
            _ if kind == 15 => *value = copy.unwrap_or_default(),
            _ => *value = any_value(draws),
        }
    }
}

/// The form of a file by its name.
fn form_of(name: &str) -> Form {
    match name.rsplit('.').next() {
        Some("json") => Form::Json,
        Some("jsonl") => Form::JsonLines,
        Some("yaml" | "yml") => Form::Yaml,
        Some("safetensors") => Form::Headed,
        Some("txt" | "jinja") => Form::Text,
        _ => Form::Bytes,
    }
}

fn overwrite(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes.iter_mut().skip(at).zip(new).for_each(|(byte, new)| *byte = *new);
}

/// A number at a limit, in one of the widths and orders of bytes that formats have.
fn number(draws: &mut Draws) -> Vec<u8> {
    let limits = [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
    let wide = [1 << 32, 1 << 53, i64::MAX as u64, 1 << 63, u64::MAX, u64::MAX - 7];
    let limit = if draws.one_in(3) { *draws.pick(&wide) } else { *draws.pick(&limits) };
    let width = *draws.pick(&[1, 2, 4, 4, 8, 8]);
    if draws.one_in(5) {
        limit.to_be_bytes()[8 - width..].to_vec()
    } else {
        limit.to_le_bytes()[..width].to_vec()
    }
}

fn number_text(draws: &mut Draws) -> Vec<u8> {
    let texts = ["0", "-1", "9", "99999999999", "18446744073709551616", "1e999", "NaN", "0x7fffffff", "-"];
    draws.pick(&texts).as_bytes().to_vec()
}

fn any_value(draws: &mut Draws) -> Value {
    match draws.below(24) {
        0 | 1 => Value::String(format!("{RAW}{}", draws.below(RAW_VALUES.len()))),
        2 => Value::String(DEEP.into()),
        3 => Value::String("long ".repeat(1 << draws.below(12))),
        4 => Value::Object(Map::from_iter([("a".to_string(), Value::Null)])),
        _ => serde_json::from_str(draws.pick::<&str>(VALUES)).unwrap_or_default(),
    }
}

/// Number of values inside a value, itself included.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

fn nth<'a>(value: &'a Value, left: &mut usize) -> Option<&'a Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter().find_map(|item| nth(item, left)),
        Value::Object(fields) => fields.values().find_map(|item| nth(item, left)),
        _ => None,
    }
}

fn nth_mut<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth_mut(item, left)),
        Value::Object(fields) => fields.values_mut().find_map(|item| nth_mut(item, left)),
        _ => None,
    }
}

/// A value as text, with what its stand-ins stand for.
fn written(value: &Value, draws: &mut Draws) -> Vec<u8> {
    let mut text = value.to_string();
    let escaped = |mark: &str| mark.replace('\u{1}', "\\u0001");
    if text.contains("\\u0001") {
        text = text.replace(&format!("\"{}", escaped(TWICE)), "\"");
        for (at, raw) in RAW_VALUES.iter().enumerate().rev() {
            text = text.replace(&format!("\"{}{at}\"", escaped(RAW)), raw);
        }
        let (open, close) = *draws.pick(&[("[", "]"), ("{\"a\":", "}"), ("[", "")]);
        let depth = *draws.pick(&[100, 130, 10_000, 50_000]);
        let deep = format!("{}0{}", open.repeat(depth), close.repeat(depth));
        text = text.replace(&format!("\"{}\"", escaped(DEEP)), &deep);
    }
    text.into_bytes()
}
