//! What a file is, told by its first bytes, whatever its name.

use super::json::{Broken, Cursor};
use crate::base::stand_in;

/// Bytes of a file that are looked at before it is read.
pub(super) const LOOK_BYTES: usize = 1 << 16;
/// A tenth of NUL bytes: no text has so many.
const BINARY_SHARE: usize = 10;
/// Lines that are looked at where the first one is broken.
const LINES_TRIED: usize = 8;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// By the first bytes.
    pub(super) fn of(first: &[u8]) -> Option<Self> {
        match first {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            // A frame with data, and a frame to skip.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
}

const TABLE: &str = "write its text column as JSONL (with the Python library: \
     `datasets.load_dataset(…).to_json(\"corpus.jsonl\")`) and name that file";
const UNPACK: &str = "unpack it and name what was in it";
const OFFICE: &str = "save it as plain text in UTF-8 and name that file";
const NO_TEXT: &str = "name a text file";

/// Formats that are not read: place and bytes of their mark, what they are, what to do.
const MARKS: [(usize, &[u8], &str, &str); 29] = [
    (0, b"PAR1", "parquet", TABLE),
    (0, b"ARROW1", "an Arrow (Feather) file", TABLE),
    (0, b"FEA1", "a Feather file", TABLE),
    (0, b"Obj\x01", "an Avro file", TABLE),
    (0, b"SQLite format 3\0", "an SQLite database", "write its text as JSONL and name that file"),
    (0, b"%PDF-", "a PDF document", "take out its text (`pdftotext`) and name that file"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a Word or other Office document", OFFICE),
    (0, b"{\\rtf", "an RTF document", OFFICE),
    (257, b"ustar", "a tar archive", "unpack it (`tar -xf`) and name the folder"),
    (0, b"\xfd7zXZ\0", "compressed with xz", "unpack it (`xz -d`), or compress it with gzip or zstd"),
    (0, b"\x5d\0\0", "compressed with lzma", "unpack it (`xz -d`), or compress it with gzip or zstd"),
    (0, b"\x04\x22\x4d\x18", "compressed with lz4", "unpack it (`lz4 -d`), or compress it with gzip or zstd"),
    (0, b"\x02\x21\x4c\x18", "compressed with lz4", "unpack it (`lz4 -d`), or compress it with gzip or zstd"),
    (0, b"LZIP\x01", "compressed with lzip", "unpack it (`lzip -d`), or compress it with gzip or zstd"),
    (0, b"\xff\x06\0\0sNaPpY", "compressed with snappy", "unpack it, or compress it with gzip or zstd"),
    (
        0,
        b"\x1f\x9d",
        "compressed with compress",
        "unpack it (`uncompress`), or compress it with gzip or zstd",
    ),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it (`7z x`) and name what was in it"),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (0, b"PK\x05\x06", "an empty zip archive", NO_TEXT),
    (0, b"\x93NUMPY", "a NumPy array", NO_TEXT),
    (0, b"\x89HDF\r\n", "an HDF5 file", NO_TEXT),
    (0, b"\x89PNG\r\n", "a picture", NO_TEXT),
    (0, b"\xff\xd8\xff", "a picture", NO_TEXT),
    (0, b"GIF89a", "a picture", NO_TEXT),
    (0, b"\x7fELF", "a program", NO_TEXT),
    (0, b"\xff\xfe\0\0", "text in UTF-32", "convert it to UTF-8 (`iconv -f UTF-32 -t UTF-8`)"),
    (0, b"\0\0\xfe\xff", "text in UTF-32", "convert it to UTF-8 (`iconv -f UTF-32 -t UTF-8`)"),
    (0, b"\xff\xfe", UTF_16.0, UTF_16.1),
    (0, b"\xfe\xff", UTF_16.0, UTF_16.1),
];
const UTF_16: (&str, &str) = ("text in UTF-16", "convert it to UTF-8 (`iconv -f UTF-16 -t UTF-8`)");

/// Formats that are not read, by extension, where the first bytes do not tell.
const EXTENSIONS: [(&str, &str, &str); 5] = [
    ("parquet", "parquet", TABLE),
    ("br", "compressed with brotli", "unpack it (`brotli -d`), or compress it with gzip or zstd"),
    ("csv", "CSV", CSV),
    ("tsv", "TSV", CSV),
    ("tab", "TSV", CSV),
];
const CSV: &str = "write its text column as JSONL (with the Python library: \
     `pandas.read_csv(…).to_json(\"corpus.jsonl\", orient=\"records\", lines=True)`) and name that file";

/// Why a file with these first bytes and this extension (without that of a compression) is not read, as the end of a
/// sentence about it. With `as_text`, the suite says that it is plain text.
pub(super) fn unread(first: &[u8], extension: &str, as_text: bool) -> Option<String> {
    let is_page = first.trim_ascii_start().starts_with(b"<");
    if let Some(why) = stand_in(first).filter(|_| !(as_text && is_page)) {
        return Some(why);
    }
    let not_read = |what: &str, advice: &str| format!("is {what}, which is not read here: {advice}");
    let marked = |(at, mark, ..): &&(usize, &[u8], &str, &str)| {
        first.get(*at..).is_some_and(|rest| rest.starts_with(mark))
    };
    if let Some((_, _, what, advice)) = MARKS.iter().find(marked) {
        return Some(not_read(what, advice));
    }
    if let Some((what, advice)) = zip(first).or_else(|| binary(first)) {
        return Some(not_read(what, advice));
    }
    if first.starts_with(b"BZh") && matches!(first.get(4..7), Some(b"1AY" | b"\x17rE")) {
        let advice = "unpack it (`bzip2 -d`), or compress it with gzip or zstd";
        return Some(not_read("compressed with bzip2", advice));
    }
    let text = format!("{CSV}; to read it as plain text, set `corpus.separator`");
    let named = EXTENSIONS.iter().find(|(known, ..)| *known == extension);
    match named {
        Some((_, what, CSV)) if !as_text => Some(not_read(what, &text)),
        Some((_, what, advice)) if *advice != CSV => Some(not_read(what, advice)),
        None if !as_text && has_header(first) => Some(not_read("a table (CSV or TSV)", &text)),
        _ => None,
    }
}

/// A zip archive, or a document that is one.
fn zip(first: &[u8]) -> Option<(&'static str, &'static str)> {
    let head = first.strip_prefix(b"PK\x03\x04")?;
    let holds = |name: &[u8]| head.windows(name.len()).take(LOOK_BYTES).any(|part| part == name);
    Some(if holds(b"word/") {
        ("a Word document", OFFICE)
    } else if holds(b"[Content_Types].xml") || holds(b"opendocument") {
        ("an Office document", OFFICE)
    } else if holds(b"epub+zip") {
        ("an EPUB book", OFFICE)
    } else {
        ("a zip archive", "unpack it (`unzip`) and name what was in it")
    })
}

/// Text in UTF-16 without a mark, an Arrow stream, or data with many NUL bytes.
fn binary(first: &[u8]) -> Option<(&'static str, &'static str)> {
    if first.starts_with(b"\xff\xff\xff\xff") && first.get(7) == Some(&0) {
        return Some(("an Arrow stream", TABLE));
    }
    let nuls = |from: usize| first.iter().skip(from).step_by(2).filter(|&&byte| byte == 0).count();
    let (even, odd, half) = (nuls(0), nuls(1), first.len() / 2);
    if first.len() >= 16 && even.max(odd) > half / 2 && even.min(odd) <= half / 20 {
        return Some(UTF_16);
    }
    (first.len() >= 32 && even + odd > first.len() / BINARY_SHARE).then_some(("binary data", NO_TEXT))
}

/// Whether text begins with the header of a table: names without spaces, one of them that of a text, and rows with
/// the same separator.
fn has_header(first: &[u8]) -> bool {
    const NAMES: [&str; 8] =
        ["text", "content", "body", "document", "sentence", "story", "article", "review"];
    let first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
    let mut lines = first.split(|&byte| byte == b'\n');
    let (Some(header), Some(row)) = (lines.next(), lines.next()) else { return false };
    let Ok(header) = std::str::from_utf8(header.trim_ascii_end()) else { return false };
    [',', '\t', ';'].into_iter().any(|mark| {
        let names: Vec<&str> = header.split(mark).map(|name| name.trim_matches('"')).collect();
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
        };
        names.len() > 1
            && names.iter().all(|name| is_name(name))
            && names.iter().any(|name| NAMES.contains(&name.to_ascii_lowercase().as_str()))
            && row.contains(&(mark as u8))
    })
}

/// How the documents of a file lie in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Plain text.
    Text,
    /// A JSON value a line.
    Lines,
    /// The elements of a JSON array, or JSON objects that span several lines.
    Values,
}

/// The shape of a file that begins with `first`. `whole`: there is no more. `is_json`: its name or the suite says so;
/// then only the kind of JSON is looked for. The error is the end of a sentence about the file.
pub(super) fn shape(first: &[u8], whole: bool, is_json: bool) -> Result<Shape, String> {
    let body = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first).trim_ascii_start();
    let usual = if is_json { Shape::Lines } else { Shape::Text };
    match body.first() {
        Some(b'{') => Ok(object_shape(body, whole, is_json).unwrap_or(usual)),
        Some(b'[') => Ok(array_shape(body, whole, is_json)?.unwrap_or(usual)),
        _ => Ok(usual),
    }
}

fn object_shape(body: &[u8], whole: bool, is_json: bool) -> Option<Shape> {
    let spread = |text: &[u8]| if text.contains(&b'\n') { Shape::Values } else { Shape::Lines };
    let mut cursor = Cursor::new(body);
    match cursor.object(&mut |_, _| ()) {
        Ok(()) => {
            let (value, rest) = body.split_at(cursor.at());
            let line_end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            match rest[..line_end].trim_ascii_start().first() {
                None => Some(spread(value)),
                Some(b'{' | b',') => Some(Shape::Values),
                Some(_) => None,
            }
        }
        // Longer than what was looked at. A file that is cut short may still be one of lines.
        Err(Broken::End) if !whole => Some(spread(body)),
        Err(Broken::End) if is_json && !has_lines(body) => Some(spread(body.trim_ascii_end())),
        Err(_) => has_lines(body).then_some(Shape::Lines),
    }
}

/// Whether some of the first lines are JSON objects.
fn has_lines(body: &[u8]) -> bool {
    let object = |line: &[u8]| {
        let mut cursor = Cursor::new(line);
        cursor.object(&mut |_, _| ()).is_ok() && line[cursor.at()..].trim_ascii().is_empty()
    };
    let lines = body.split(|&byte| byte == b'\n').map(|line| line.trim_ascii());
    lines.filter(|line| !line.is_empty()).take(LINES_TRIED).any(object)
}

/// The shape of what begins like a JSON array; none if it is no JSON.
fn array_shape(body: &[u8], whole: bool, is_json: bool) -> Result<Option<Shape>, String> {
    let refused = |what: &str| {
        Err(format!(
            "expected one JSON object a line, or an array of objects or of texts, got an array of {what}: write one \
             JSON object with a field `text` a line"
        ))
    };
    let mut cursor = Cursor::new(&body[1..]);
    cursor.space();
    let kind = cursor.peek();
    if kind == Some(b']') {
        return Ok(is_json.then_some(Shape::Values));
    }
    let value = cursor.value();
    cursor.space();
    let goes_on = matches!(cursor.peek(), Some(b',' | b']'));
    let ended = matches!(value, Err(Broken::End)) || (value.is_ok() && cursor.peek().is_none());
    let is_array = value.is_ok() && goes_on || ended && (is_json || !whole && kind == Some(b'{'));
    match kind {
        Some(b'{') if is_json || is_array => Ok(Some(Shape::Values)),
        Some(b'"') if is_array => Ok(Some(Shape::Values)),
        Some(b'[') if is_array => refused("arrays"),
        Some(b'{' | b'"' | b'[') | None => Ok(None),
        // `[1]` also begins a list of references.
        Some(_) if value.is_ok() && (cursor.peek() == Some(b',') || is_json && goes_on) => {
            refused("numbers or other values")
        }
        Some(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_named_with_what_to_do() {
        let tar = [&[b'a'; 257][..], b"ustar\0"].concat();
        let utf_16: Vec<u8> = "a text without a mark".bytes().flat_map(|byte| [byte, 0]).collect();
        let cases: [(&[u8], &str, [&str; 2]); 18] = [
            (b"PAR1\x15\x04", "", ["parquet", "JSONL"]),
            (b"ARROW1\0\0", "txt", ["Arrow", "JSONL"]),
            (b"\xff\xff\xff\xff\x08\x01\0\0\x10", "", ["Arrow stream", "JSONL"]),
            (b"%PDF-1.7", "txt", ["PDF", "pdftotext"]),
            (b"PK\x03\x04....word/document.xml", "docx", ["Word", "plain text"]),
            (b"PK\x03\x04....corpus.txt", "", ["zip", "unzip"]),
            (&tar, "", ["tar", "tar -xf"]),
            (b"SQLite format 3\0", "db", ["SQLite", "JSONL"]),
            (b"\xfd7zXZ\0\0", "jsonl", ["xz", "xz -d"]),
            (b"BZh91AY&SY", "txt", ["bzip2", "bzip2 -d"]),
            (b"7z\xbc\xaf\x27\x1c", "", ["7z", "7z x"]),
            (b"anything", "br", ["brotli", "brotli -d"]),
            (b"a,b\n1,2\n", "csv", ["CSV", "corpus.separator"]),
            (b"\xef\xbb\xbfid,text\r\n0,\"Once upon a time\"\r\n", "", ["table", "JSONL"]),
            (b"\xff\xfea\0b\0", "txt", ["UTF-16", "iconv"]),
            (&utf_16, "txt", ["UTF-16", "iconv"]),
            (&[0; 64], "", ["binary data", "text file"]),
            (b"version https://git-lfs.github.com/spec/v1\noid", "jsonl", ["git-lfs", "git lfs pull"]),
        ];
        for (first, extension, words) in cases {
            let why = unread(first, extension, false).expect(words[0]);
            assert!(words.iter().all(|word| why.contains(word)), "{why}");
        }
        for text in ["Plain text, with commas, and a text.\nAnd more, too.\n", "BZh is a mark.", "", "LZIP"] {
            assert_eq!(unread(text.as_bytes(), "txt", false), None, "{text}");
        }
        for text in ["<html><body>", "id,text\n0,a\n"] {
            assert!(unread(text.as_bytes(), "txt", false).is_some(), "{text}");
            assert_eq!(unread(text.as_bytes(), "txt", true), None, "{text}");
        }
    }

    #[test]
    fn json_is_told_from_text_by_content() {
        use Shape::{Lines, Text, Values};
        let cases = [
            ("{\"text\": \"a\"}\n{\"text\": \"b\"}\n", Lines, Lines),
            ("{\"text\": \"a\", \"score\": NaN}\n", Lines, Lines),
            ("{\"text\": \"a\",}\n{\"text\": \"b\"}\n", Lines, Lines),
            ("{\n  \"text\": \"a\"\n}\n{\n  \"text\": \"b\"\n}\n", Values, Values),
            ("{\"text\": \"a\"}{\"text\": \"b\"}", Values, Values),
            ("[{\"text\": \"a\"}, {\"text\": \"b\"}]", Values, Values),
            ("  [\n\"a\", \"b\"]", Values, Values),
            ("{a brace} begins\nthis text", Text, Lines),
            ("{\"Well,\" he said.", Text, Lines),
            ("[Chapter 1]\nIt was a dark night.", Text, Lines),
            ("[[Link]] begins a page", Text, Lines),
            ("", Text, Lines),
            ("prose", Text, Lines),
        ];
        for (first, found, under_json_name) in cases {
            assert_eq!(shape(first.as_bytes(), true, false), Ok(found), "{first}");
            assert_eq!(shape(first.as_bytes(), true, true), Ok(under_json_name), "{first}");
        }
        for first in ["[[1, 2], [3]]", "[1, 2]", "[null, 1]"] {
            for is_json in [false, true] {
                let why = shape(first.as_bytes(), true, is_json).expect_err(first);
                assert!(why.contains("got an array of"), "{why}");
            }
        }
        assert_eq!(shape(b"[1] A. Author, A title.\n", true, false), Ok(Text), "a list of references");
        let cut = format!("{{\"text\": \"{}", "a".repeat(99));
        assert_eq!(shape(cut.as_bytes(), false, false), Ok(Lines), "a long first line");
        assert_eq!(shape(cut.as_bytes(), true, false), Ok(Text));
    }
}
