//! Reads UTF-8 text from plain and compressed files.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::CorpusError;
use crate::base::FileError;

const BUFFER_BYTES: usize = 1 << 18;
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Text that ends at a line feed, at the end of the file, or at the limit.
pub(super) struct Segment {
    pub(super) text: String,
    /// Its line in the file, from 1.
    pub(super) line: u64,
}

/// Reads UTF-8 from a plain or compressed file, at most one line at a time.
pub(super) struct TextReader {
    input: Box<dyn BufRead>,
    path: PathBuf,
    compressed: bool,
    offset: u64,
    line: u64,
    /// First bytes of a character that was cut by the last segment's limit.
    carried: Vec<u8>,
}

impl TextReader {
    /// Opens a file; `.gz` and `.zst` are decompressed while reading.
    pub(super) fn open(path: &Path) -> Result<Self, CorpusError> {
        let file = File::open(path).map_err(|source| unreadable(path, source))?;
        let buffered = |inner: Box<dyn Read>| Box::new(BufReader::with_capacity(BUFFER_BYTES, inner));
        let plain = BufReader::with_capacity(BUFFER_BYTES, file);
        let extension = path.extension().map(|text| text.to_string_lossy().to_ascii_lowercase());
        let (input, compressed): (Box<dyn BufRead>, bool) = match extension.as_deref() {
            Some("gz") => (buffered(Box::new(MultiGzDecoder::new(plain))), true),
            Some("zst") => (buffered(Box::new(ZstdFrames::new(plain))), true),
            _ => (Box::new(plain), false),
        };
        Ok(Self { input, path: path.to_path_buf(), compressed, offset: 0, line: 1, carried: Vec::new() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next segment of at most about `limit` bytes; `None` at the end of the file.
    pub(super) fn segment(&mut self, limit: usize) -> Result<Option<Segment>, CorpusError> {
        let mut bytes = std::mem::take(&mut self.carried);
        let at_end = self.fill(&mut bytes, limit)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let cut_by_limit = error.utf8_error().error_len().is_none() && !at_end && valid > 0;
                let mut bytes = error.into_bytes();
                if !cut_by_limit || bytes.ends_with(b"\n") {
                    let offset = self.offset + valid as u64;
                    return Err(CorpusError::NotUtf8 { path: self.path.clone(), offset, line: self.line });
                }
                self.carried = bytes.split_off(valid);
                String::from_utf8(bytes).unwrap_or_default()
            }
        };
        let (line, is_first) = (self.line, self.offset == 0);
        self.offset += text.len() as u64;
        self.line += u64::from(text.ends_with('\n'));
        if is_first && text.starts_with(BYTE_ORDER_MARK) {
            text.remove(0);
        }
        Ok(Some(Segment { text, line }))
    }

    /// Appends bytes up to a line feed or the limit. Returns true at the end of the file.
    fn fill(&mut self, bytes: &mut Vec<u8>, limit: usize) -> Result<bool, CorpusError> {
        while bytes.len() < limit {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(error)),
            };
            if available.is_empty() {
                return Ok(true);
            }
            let room = available.len().min(limit - bytes.len());
            let line_feed = available[..room].iter().position(|&byte| byte == b'\n');
            let taken = line_feed.map_or(room, |at| at + 1);
            bytes.extend_from_slice(&available[..taken]);
            self.input.consume(taken);
            if line_feed.is_some() {
                break;
            }
        }
        Ok(false)
    }

    fn failed(&self, error: io::Error) -> CorpusError {
        if self.compressed {
            let why = format!("does not decompress ({error}): download or compress it again");
            CorpusError::Content { path: self.path.clone(), why }
        } else {
            unreadable(&self.path, error)
        }
    }
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> CorpusError {
    CorpusError::File { source: FileError { action: "read", path: path.to_path_buf(), source } }
}

/// Decodes all frames of a Zstandard file. Parallel compressors write several; `ruzstd` stops after the first.
struct ZstdFrames<R> {
    input: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(input: R) -> Self {
        Self { input, decoder: FrameDecoder::new(), in_frame: false }
    }

    /// Starts the next frame with data. Returns false at the end of the file.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.input.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.input) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut (&mut self.input).take(u64::from(length)), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(stored), Some(computed)) if stored != computed => {
                Err(io::Error::other("a frame's checksum does not match its content"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame && !self.next_frame()? {
                return Ok(0);
            }
            while self.decoder.can_collect() < out.len() && !self.decoder.is_finished() {
                let wanted = BlockDecodingStrategy::UptoBytes(out.len() - self.decoder.can_collect());
                self.decoder.decode_blocks(&mut self.input, wanted).map_err(io::Error::other)?;
            }
            let read = self.decoder.read(out)?;
            if read > 0 {
                return Ok(read);
            }
            if self.decoder.is_finished() {
                self.end_frame()?;
            }
        }
    }
}
