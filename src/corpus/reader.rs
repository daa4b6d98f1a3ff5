use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, errors};

use super::CorpusError;
use crate::base::FileError;

const BUFFER_BYTES: usize = 1 << 18;
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A stretch of text that ends with a line feed, at the end of the file, or where the limit cut it.
pub(super) struct Segment {
    pub(super) text: String,
    /// Line of the file it is on, from 1.
    pub(super) line: u64,
}

/// Checked UTF-8 out of a plain or compressed file, a line or less at a time.
pub(super) struct TextReader {
    input: Box<dyn BufRead>,
    path: PathBuf,
    compressed: bool,
    offset: u64,
    line: u64,
    /// First bytes of a character that the last segment's limit cut.
    carried: Vec<u8>,
}

impl TextReader {
    /// Opens a file; `.gz` and `.zst` are decompressed on the way.
    pub(super) fn open(path: &Path) -> Result<Self, CorpusError> {
        let file = File::open(path).map_err(|source| unreadable(path, source))?;
        let plain = BufReader::with_capacity(BUFFER_BYTES, file);
        let extension = path.extension().map(|text| text.to_string_lossy().to_ascii_lowercase());
        let (input, compressed): (Box<dyn BufRead>, bool) = match extension.as_deref() {
            Some("gz") => (Box::new(buffered(MultiGzDecoder::new(plain))), true),
            Some("zst") => (Box::new(buffered(ZstdFrames::new(plain))), true),
            _ => (Box::new(plain), false),
        };
        Ok(Self { input, path: path.to_path_buf(), compressed, offset: 0, line: 1, carried: Vec::new() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The rest of the line in hand, at most about `limit` bytes of it; none at the end.
    pub(super) fn segment(&mut self, limit: usize) -> Result<Option<Segment>, CorpusError> {
        let mut bytes = std::mem::take(&mut self.carried);
        let at_end = self.fill(&mut bytes, limit)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let text = match String::from_utf8(bytes) {
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
        Ok(Some(self.counted(text)))
    }

    fn counted(&mut self, mut text: String) -> Segment {
        let line = self.line;
        let first = self.offset == 0;
        self.offset += text.len() as u64;
        if text.ends_with('\n') {
            self.line += 1;
        }
        if first && text.starts_with(BYTE_ORDER_MARK) {
            text.remove(0);
        }
        Segment { text, line }
    }

    /// Adds bytes up to a line feed or the limit; true at the end of the file.
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
            CorpusError::Corrupt { path: self.path.clone(), why: error.to_string() }
        } else {
            unreadable(&self.path, error)
        }
    }
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> CorpusError {
    CorpusError::File { source: FileError { action: "read", path: path.to_path_buf(), source } }
}

fn buffered<R: Read>(inner: R) -> BufReader<R> {
    BufReader::with_capacity(BUFFER_BYTES, inner)
}

/// All frames of a Zstandard file, one after another: parallel compressors write several, and
/// `ruzstd` itself stops after the first.
struct ZstdFrames<R> {
    input: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(input: R) -> Self {
        Self { input, decoder: FrameDecoder::new(), in_frame: false }
    }

    /// Starts the next frame, past any that hold no data; false at the end of the file.
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
                let decoded: Result<bool, errors::FrameDecoderError> =
                    self.decoder.decode_blocks(&mut self.input, wanted);
                decoded.map_err(io::Error::other)?;
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
