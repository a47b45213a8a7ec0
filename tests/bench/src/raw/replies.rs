//! Skips answers of a server (RESP2) without making values of them.

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, Result, bail};

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// The answers of a connection.
pub(super) struct Replies<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

impl<R: Read> Replies<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER_BYTES, reader), line: Vec::new() }
    }

    /// Skips so many answers; fails at an error among them, on any level.
    pub(super) fn skip(&mut self, answers: usize) -> Result<()> {
        // Values that are still to be skipped, the parts of lists included.
        let mut left = answers;
        while left > 0 {
            left -= 1;
            self.line.clear();
            self.reader.read_until(b'\n', &mut self.line)?;
            let line = std::str::from_utf8(&self.line)?.trim_end();
            let (kind, rest) = line.split_at_checked(1).context("the server closed the connection")?;
            match kind {
                "+" | ":" => {}
                // Nothing, in place of a text or a list.
                "$" | "*" if rest == "-1" => {}
                "$" => {
                    let bytes = rest.parse::<usize>()?;
                    self.consume(bytes + 2)?;
                }
                "*" => left += rest.parse::<usize>()?,
                "-" => bail!("the server answered {rest}"),
                _ => bail!("the server answered in an unknown shape: {line}"),
            }
        }
        Ok(())
    }

    fn consume(&mut self, mut bytes: usize) -> Result<()> {
        while bytes > 0 {
            let available = self.reader.fill_buf()?.len();
            if available == 0 {
                bail!("the server closed the connection");
            }
            let part = available.min(bytes);
            self.reader.consume(part);
            bytes -= part;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_skipped_with_what_is_in_them() {
        let answers = b"+OK\r\n*2\r\n$3\r\na\r\n\r\n*1\r\n:5\r\n$-1\r\n*-1\r\n$0\r\n\r\n+LAST\r\n";
        let mut replies = Replies::new(&answers[..]);
        replies.skip(5).unwrap();
        let mut rest = String::new();
        replies.reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "+LAST\r\n");
    }

    #[test]
    fn errors_and_ends_are_reported() {
        assert!(Replies::new(&b"*1\r\n-ERR no\r\n"[..]).skip(1).unwrap_err().to_string().contains("ERR no"));
        assert!(Replies::new(&b"+OK\r\n"[..]).skip(2).is_err());
        assert!(Replies::new(&b"$9\r\nabc"[..]).skip(1).is_err());
    }
}
