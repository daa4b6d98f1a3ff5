//! Functions that transformers offers to chat templates: `tojson` as Python's `json.dumps`, and `strftime_now`.

use std::io;

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Maximum indentation.
const MAX_INDENT: usize = 16;

/// `json.dumps` with `ensure_ascii=False`, as in transformers' filter `tojson`.
pub fn tojson(value: &minijinja::Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get::<Option<usize>>("indent")?.map(|width| width.min(MAX_INDENT));
    for known in ["ensure_ascii", "sort_keys", "separators"] {
        let _: Option<minijinja::Value> = options.get(known)?;
    }
    options.assert_all_used()?;
    let mut bytes = Vec::new();
    let written = match indent {
        None => value.serialize(&mut Serializer::with_formatter(&mut bytes, OneLine)),
        Some(width) => {
            let indent = " ".repeat(width);
            let pretty = PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut bytes, pretty))
        }
    };
    let failed = |reason: &dyn std::fmt::Display| Error::new(ErrorKind::BadSerialization, reason.to_string());
    written.map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

/// One line with Python's separators `, ` and `: `.
struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.begin_array_value(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// `strftime` of Wednesday, 1 January 2025, 00:00 UTC. A fixed date, so that answers do not depend on the day.
pub fn strftime_now(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut code = characters.next();
        let unpadded = code == Some('-');
        if unpadded {
            code = characters.next();
        }
        out.push_str(match (code, unpadded) {
            (Some('d' | 'm' | 'j'), true) => "1",
            (Some('H' | 'M' | 'S'), true) => "0",
            (Some('d' | 'm'), false) => "01",
            (Some('H' | 'M' | 'S'), false) => "00",
            (Some('j'), false) => "001",
            (Some('I'), _) => "12",
            (Some('e'), _) => " 1",
            (Some('y'), _) => "25",
            (Some('Y' | 'G'), _) => "2025",
            (Some('B'), _) => "January",
            (Some('b' | 'h'), _) => "Jan",
            (Some('A'), _) => "Wednesday",
            (Some('a'), _) => "Wed",
            (Some('p'), _) => "AM",
            (Some('u' | 'w'), _) => "3",
            (Some('F'), _) => "2025-01-01",
            (Some('D' | 'x'), _) => "01/01/25",
            (Some('T' | 'X'), _) => "00:00:00",
            (Some('R'), _) => "00:00",
            (Some('c'), _) => "Wed Jan  1 00:00:00 2025",
            (Some('Z'), _) => "UTC",
            (Some('z'), _) => "+0000",
            (Some('%'), _) => "%",
            _ => "",
        });
    }
    out
}
