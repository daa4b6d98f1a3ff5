//! Decompression of gzip and Zstandard, and what went wrong with it in words.

use std::error::Error;
use std::io::{self, BufRead, Cursor, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::sniff::Compression;

/// A reader whose first bytes were looked at.
pub(super) struct Peeked<R> {
    first: Cursor<Vec<u8>>,
    /// What went wrong after the first bytes.
    failure: Option<io::Error>,
    rest: R,
}

impl<R: Read> Peeked<R> {
    /// Reads up to `n` bytes ahead. A pipe may give them in many small pieces.
    pub(super) fn new(mut rest: R, n: usize) -> Self {
        let mut first = Vec::new();
        let failure = (&mut rest).take(n as u64).read_to_end(&mut first).err();
        Self { first: Cursor::new(first), failure, rest }
    }

    /// The first bytes.
    pub(super) fn first(&self) -> &[u8] {
        self.first.get_ref()
    }

    /// What went wrong before a single byte could be read.
    pub(super) fn early_failure(&mut self) -> Option<io::Error> {
        if self.first().is_empty() { self.failure.take() } else { None }
    }
}

impl<R: Read> Read for Peeked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.first.read(out)?;
        if read > 0 {
            return Ok(read);
        }
        match self.failure.take() {
            Some(error) => Err(error),
            None => self.rest.read(out),
        }
    }
}

/// Why compressed data cannot be read.
pub(super) fn failure(compression: Compression, error: &io::Error) -> String {
    let name = compression.name();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
        {
            return format!(
                "does not decompress: the {name} data ends too early; download or compress it again"
            );
        }
        match cause.downcast_ref::<FrameDecoderError>() {
            Some(FrameDecoderError::WindowSizeTooBig { requested }) => {
                return format!(
                    "does not decompress: it needs a window of {} MiB, and 100 are read; compress it again without \
                     `--long` or `--ultra`",
                    requested >> 20
                );
            }
            Some(FrameDecoderError::DictNotProvided { .. }) => {
                return "does not decompress: it needs a dictionary; compress it again without one".into();
            }
            _ => {}
        }
        // An `io::Error` gives the source of what it holds, and not what it holds.
        let held = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = held.map_or(cause.source(), |held| Some(held as &(dyn Error + 'static)));
    }
    format!("does not decompress: the {name} data is damaged; download or compress it again")
}

/// Decodes all frames of a Zstandard file. Parallel compressors write several; `ruzstd` stops after the first.
pub(super) struct ZstdFrames<R> {
    input: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdFrames<R> {
    pub(super) fn new(input: R) -> Self {
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
