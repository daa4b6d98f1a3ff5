//! Reads UTF-8 text from plain and compressed files.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::CorpusError;
use super::decompress::{Peeked, ZstdFrames, failure};
use super::sniff::{Compression, LOOK_BYTES, unread};
use crate::base::FileError;

const BUFFER_BYTES: usize = 1 << 18;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Text that ends at a line feed, at the end of the file, or at the limit.
pub(super) struct Segment {
    pub(super) text: String,
    /// Its line in the file, from 1.
    pub(super) line: u64,
}

/// The same as bytes.
pub(super) struct Raw {
    pub(super) bytes: Vec<u8>,
    /// Line of the first byte, from 1.
    pub(super) line: u64,
    /// Place of the first byte in the decompressed file.
    offset: u64,
    /// Whether the limit cut it.
    pub(super) is_cut: bool,
}

/// Reads UTF-8 from a plain or compressed file, at most one line at a time, or several blank ones.
pub(super) struct TextReader {
    input: Box<dyn BufRead>,
    path: PathBuf,
    compression: Option<Compression>,
    /// First bytes of the text.
    look: Vec<u8>,
    offset: u64,
    line: u64,
    starts_line: bool,
    /// First bytes of a character that was cut by the last segment's limit.
    carried: Vec<u8>,
}

impl TextReader {
    /// Opens a file. gzip and Zstandard are known by their first bytes and decompressed while reading. With `as_text`,
    /// the suite says that it is plain text.
    ///
    /// # Errors
    /// A format that is not read, by name.
    pub(super) fn open(path: &Path, as_text: bool) -> Result<Self, CorpusError> {
        let refused = |why: &str| Err(content_error(path, why));
        let file = File::open(path).map_err(|source| unreadable(path, source))?;
        let mut plain = Peeked::new(file, LOOK_BYTES);
        if let Some(error) = plain.early_failure() {
            return Err(unreadable(path, error));
        }
        let extension = |path: &Path| {
            path.extension().map(|text| text.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
        };
        let outer = extension(path);
        let named = matches!(outer.as_str(), "gz" | "zst");
        let inner = if named { extension(Path::new(path.file_stem().unwrap_or_default())) } else { outer };
        let compression = Compression::of(plain.first());
        let Some(compression) = compression else {
            if let Some(why) = unread(plain.first(), &inner, as_text) {
                return refused(&why);
            }
            if named {
                return refused(
                    "does not decompress: its name says that it is compressed, and its content does not; rename it, or \
                     download it again",
                );
            }
            return Ok(Self::over(plain, path, None));
        };
        let plain = BufReader::with_capacity(BUFFER_BYTES, plain);
        let decoder: Box<dyn Read> = match compression {
            Compression::Gzip => Box::new(MultiGzDecoder::new(plain)),
            Compression::Zstd => Box::new(ZstdFrames::new(plain)),
        };
        let mut text = Peeked::new(decoder, LOOK_BYTES);
        if let Some(error) = text.early_failure() {
            return Err(failed(path, Some(compression), error));
        }
        if Compression::of(text.first()).is_some() {
            return refused("is compressed twice: unpack it once and name what was in it");
        }
        match unread(text.first(), &inner, as_text) {
            Some(why) => refused(&format!("is compressed, and its content {why}")),
            None => Ok(Self::over(text, path, Some(compression))),
        }
    }

    fn over<R: Read + 'static>(input: Peeked<R>, path: &Path, compression: Option<Compression>) -> Self {
        Self {
            look: input.first().to_vec(),
            input: Box::new(BufReader::with_capacity(BUFFER_BYTES, input)),
            path: path.to_path_buf(),
            compression,
            offset: 0,
            line: 1,
            starts_line: true,
            carried: Vec::new(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The first bytes of the text, and whether there is no more. Given once.
    pub(super) fn look(&mut self) -> (Vec<u8>, bool) {
        let look = std::mem::take(&mut self.look);
        let whole = look.len() < LOOK_BYTES;
        (look, whole)
    }

    /// Bytes of text read so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next segment of at most about `limit` bytes; `None` at the end of the file.
    pub(super) fn segment(&mut self, limit: usize) -> Result<Option<Segment>, CorpusError> {
        let Some(Raw { bytes, line, offset, is_cut }) = self.raw(limit)? else { return Ok(None) };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(Segment { text, line })),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let cut_by_limit = error.utf8_error().error_len().is_none() && is_cut && valid > 0;
                let mut bytes = error.into_bytes();
                if !cut_by_limit {
                    let offset = offset + valid as u64;
                    return Err(CorpusError::NotUtf8 { path: self.path.clone(), offset, line });
                }
                self.carried = bytes.split_off(valid);
                self.offset -= self.carried.len() as u64;
                Ok(Some(Segment { text: String::from_utf8(bytes).unwrap_or_default(), line }))
            }
        }
    }

    /// The next bytes, at most about `limit`; `None` at the end of the file.
    pub(super) fn raw(&mut self, limit: usize) -> Result<Option<Raw>, CorpusError> {
        let mut bytes = std::mem::take(&mut self.carried);
        let at_end = self.fill(&mut bytes, limit)?;
        if self.offset == 0 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
            self.offset = BYTE_ORDER_MARK.len() as u64;
            if bytes.is_empty() && !at_end {
                self.fill(&mut bytes, limit)?;
            }
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        let (line, offset) = (self.line, self.offset);
        self.offset += bytes.len() as u64;
        self.starts_line = bytes.ends_with(b"\n");
        // Line feeds are at the end, or everywhere.
        self.line += match (self.starts_line, bytes[0]) {
            (true, b'\n') => bytes.len() as u64,
            (starts_line, _) => u64::from(starts_line),
        };
        let is_cut = !at_end && !self.starts_line;
        Ok(Some(Raw { bytes, line, offset, is_cut }))
    }

    /// Appends bytes up to a line feed or the limit. Returns true at the end of the file.
    fn fill(&mut self, bytes: &mut Vec<u8>, limit: usize) -> Result<bool, CorpusError> {
        while bytes.len() < limit {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(&self.path, self.compression, error)),
            };
            if available.is_empty() {
                return Ok(true);
            }
            let room = available.len().min(limit - bytes.len());
            let line_feed = available[..room].iter().position(|&byte| byte == b'\n');
            let mut taken = line_feed.map_or(room, |at| at + 1);
            // Blank lines come together, so that a file of nothing else is read fast.
            if line_feed == Some(0) && bytes.is_empty() && self.starts_line {
                taken = available[..room].iter().take_while(|&&byte| byte == b'\n').count();
            }
            bytes.extend_from_slice(&available[..taken]);
            self.input.consume(taken);
            if line_feed.is_some() {
                break;
            }
        }
        Ok(false)
    }
}

fn failed(path: &Path, compression: Option<Compression>, error: io::Error) -> CorpusError {
    match compression {
        // The system's own errors are about the file and not about its content.
        Some(compression) if error.raw_os_error().is_none() => {
            content_error(path, &failure(compression, &error))
        }
        _ => unreadable(path, error),
    }
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> CorpusError {
    CorpusError::File { source: FileError { action: "read", path: path.to_path_buf(), source } }
}

pub(super) fn content_error(path: &Path, why: &str) -> CorpusError {
    CorpusError::Content { path: path.to_path_buf(), why: why.to_string() }
}

/// Reads a whole file, plain or compressed, as one text of at most `most` bytes.
///
/// # Errors
/// A file that is missing, no text in UTF-8, or longer.
pub fn read_text(path: &Path, most: usize) -> Result<String, CorpusError> {
    let mut reader = TextReader::open(path, true)?;
    let mut text = String::new();
    while let Some(segment) = reader.segment(BUFFER_BYTES)? {
        text.push_str(&segment.text);
        if text.len() > most {
            return Err(content_error(
                path,
                &format!("is longer than {} MiB: give a shorter text", most >> 20),
            ));
        }
    }
    Ok(text)
}
