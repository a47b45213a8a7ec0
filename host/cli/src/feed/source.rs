//! Where lines come from: a file, again and again; standard input; or what a program prints.
//!
//! Bounded by [`LINE_BYTES_MAX`], and by the bounds of a batch.

use std::path::PathBuf;

use tokio::fs::File;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use super::line;
use sandbar_store::Field;

/// The most bytes of one line.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// The bytes of the lines of one batch, after which it is closed.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How much is read at once.
const BUFFER_BYTES: usize = 256 << 10;

type Reader = Box<dyn AsyncBufRead + Send + Unpin>;

/// Lines, in order.
pub(crate) struct LineSource {
    reader: Reader,
    /// The file and how often it is read again.
    again: Option<(PathBuf, Repeat)>,
    /// The line that was read last, from 1.
    line: u64,
    /// Entries of this turn.
    entries: u64,
    buffer: Vec<u8>,
}

/// How often a file is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// So many times more.
    Times(u32),
    /// Until it is stopped.
    Forever,
}

/// Entries that were read together.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The entries.
    pub(super) entries: Vec<Vec<Field>>,
    /// The bytes of their lines.
    pub(super) bytes: usize,
    /// The line of the last one, from 1; of the whole source, however often it is read.
    pub(super) last_line: u64,
    /// Why there is no more.
    pub(super) end: Option<End>,
}

/// Why there are no more lines.
#[derive(Debug)]
pub(super) enum End {
    /// All have been read.
    Complete,
    /// A line is malformed, or cannot be read.
    Bad(String),
}

impl std::fmt::Debug for LineSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("again", &self.again).field("line", &self.line).finish_non_exhaustive()
    }
}

impl LineSource {
    /// The lines of a file.
    pub(crate) async fn file(path: PathBuf, repeat: Repeat) -> std::io::Result<Self> {
        let reader = open(&path).await?;
        Ok(Self { again: Some((path, repeat)), ..Self::new(reader) })
    }

    /// The lines of another program.
    pub(crate) fn pipe(pipe: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self::new(Box::new(BufReader::with_capacity(BUFFER_BYTES, pipe)))
    }

    fn new(reader: Reader) -> Self {
        Self { reader, again: None, line: 0, entries: 0, buffer: Vec::new() }
    }

    /// Passes over entries, and answers false where there are fewer.
    pub(super) async fn skip(&mut self, entries: u64) -> Result<bool, String> {
        for _ in 0..entries {
            if self.entry().await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Up to so many entries. Those before a malformed line are answered with it.
    pub(super) async fn read(&mut self, count: usize) -> Lines {
        let mut lines = Lines::default();
        while lines.entries.len() < count && lines.bytes < BATCH_BYTES_MAX {
            match self.entry().await {
                Ok(Some(fields)) => {
                    lines.entries.push(fields);
                    lines.bytes += self.buffer.len();
                    lines.last_line = self.line;
                }
                Ok(None) => {
                    lines.end = Some(End::Complete);
                    break;
                }
                Err(reason) => {
                    lines.end = Some(End::Bad(reason));
                    break;
                }
            }
        }
        lines
    }

    /// The next entry; none at the end.
    async fn entry(&mut self) -> Result<Option<Vec<Field>>, String> {
        loop {
            self.buffer.clear();
            let mut limited = (&mut self.reader).take(LINE_BYTES_MAX + 1);
            let read = limited.read_until(b'\n', &mut self.buffer).await;
            let read = read.map_err(|error| format!("cannot read behind line {}: {error}", self.line))?;
            if read == 0 {
                if self.rewind().await? {
                    continue;
                }
                return Ok(None);
            }
            self.line += 1;
            if read as u64 > LINE_BYTES_MAX {
                return Err(format!("line {}: it is longer than {LINE_BYTES_MAX} bytes", self.line));
            }
            if let Some(fields) =
                line::fields(&self.buffer).map_err(|reason| format!("line {}: {reason}", self.line))?
            {
                self.entries += 1;
                return Ok(Some(fields));
            }
        }
    }

    /// Starts the file again where it is to be repeated. A file without entries is not: it would never end.
    async fn rewind(&mut self) -> Result<bool, String> {
        let Some((path, repeat)) = &mut self.again else { return Ok(false) };
        match repeat {
            Repeat::Times(0) => return Ok(false),
            Repeat::Times(times) => *times -= 1,
            Repeat::Forever => {}
        }
        if self.entries == 0 {
            return Ok(false);
        }
        self.reader = open(path).await.map_err(|error| format!("cannot read `{}` again: {error}", path.display()))?;
        (self.line, self.entries) = (0, 0);
        Ok(true)
    }
}

async fn open(path: &std::path::Path) -> std::io::Result<Reader> {
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, File::open(path).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn entries_before_a_bad_line_are_kept() {
        let mut source = LineSource::pipe(&b"{\"a\":1}\n\n{\"a\":2}\nnonsense\n{\"a\":3}\n"[..]);
        let lines = source.read(10).await;
        assert_eq!((lines.entries.len(), lines.last_line), (2, 3));
        let Some(End::Bad(reason)) = lines.end else { panic!("the line is bad") };
        insta::assert_snapshot!(reason, @"line 4: expected ident (column 2)");
    }

    #[tokio::test]
    async fn a_last_line_needs_no_line_break_and_batches_are_bounded() {
        let mut source = LineSource::pipe(&b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}"[..]);
        assert_eq!(source.read(2).await.entries.len(), 2);
        let rest = source.read(2).await;
        assert!(rest.entries.len() == 1 && matches!(rest.end, Some(End::Complete)), "{rest:?}");
    }

    #[tokio::test]
    async fn a_file_is_repeated_and_entries_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, "{\"a\":1}\n{\"a\":2}\n").unwrap();
        let mut source = LineSource::file(path.clone(), Repeat::Times(2)).await.unwrap();
        assert_eq!(source.skip(1).await, Ok(true));
        let lines = source.read(100).await;
        assert!(lines.entries.len() == 5 && matches!(lines.end, Some(End::Complete)), "{lines:?}");
        std::fs::write(&path, "\n").unwrap();
        let mut empty = LineSource::file(path, Repeat::Forever).await.unwrap();
        assert!(matches!(empty.read(1).await.end, Some(End::Complete)), "a file without entries ends");
    }
}
