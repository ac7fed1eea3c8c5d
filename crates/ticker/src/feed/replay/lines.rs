//! Lines of a file, plain or gzip-compressed, of any size and read once through.
//!
//! Whether a file is compressed is seen from its first bytes, not from its name. One buffer holds
//! one line; a line beyond [`LINE_BYTES_MAX`] is passed over without being held.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

/// The lines of a file.
pub(super) struct Lines {
    source: Box<dyn BufRead + Send>,
    number: u64,
    buffer: Vec<u8>,
}

/// One line.
pub(super) struct Line<'a> {
    /// Counts from 1.
    pub(super) number: u64,
    /// Without its end; `None` if it is longer than [`LINE_BYTES_MAX`].
    pub(super) text: Option<&'a mut [u8]>,
}

/// The file cannot be read to its end.
#[derive(Debug)]
pub(super) struct Broken {
    /// Number of the last line that could be read.
    pub(super) after: u64,
    pub(super) error: io::Error,
}

impl Lines {
    /// Opens a regular file: it will be read more than once.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let mut source = BufReader::with_capacity(SOURCE_BYTES, file);
        let compressed = source.fill_buf()?.starts_with(&GZIP_MAGIC);
        let source: Box<dyn BufRead + Send> = if compressed {
            Box::new(BufReader::with_capacity(SOURCE_BYTES, MultiGzDecoder::new(source)))
        } else {
            Box::new(source)
        };
        Ok(Self { source, number: 0, buffer: Vec::new() })
    }

    /// The next line; `None` after the last.
    pub(super) fn next_line(&mut self) -> Result<Option<Line<'_>>, Broken> {
        self.buffer.clear();
        let mut whole = true;
        let mut begun = false;
        loop {
            let bytes = match self.source.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Broken { after: self.number, error }),
            };
            if bytes.is_empty() {
                break;
            }
            begun = true;
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            whole &= self.buffer.len() + part.len() <= LINE_BYTES_MAX;
            if whole {
                self.buffer.extend_from_slice(part);
            }
            let taken = part.len() + usize::from(end.is_some());
            self.source.consume(taken);
            if end.is_some() {
                break;
            }
        }
        if !begun {
            return Ok(None);
        }
        self.number += 1;
        let text = whole.then_some(self.buffer.as_mut_slice());
        Ok(Some(Line { number: self.number, text }))
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lines").field("number", &self.number).finish_non_exhaustive()
    }
}

/// RFC 1952 section 2.3.1.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

const SOURCE_BYTES: usize = 64 * 1024;

/// Longest line: three hundred times an event, whatever else its feed puts into it.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn read(content: &[u8]) -> Result<Vec<Option<Vec<u8>>>, Broken> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let mut lines = Lines::open(file.path()).unwrap();
        let mut texts = Vec::new();
        while let Some(line) = lines.next_line()? {
            assert_eq!(line.number, texts.len() as u64 + 1);
            texts.push(line.text.map(|text| text.to_vec()));
        }
        Ok(texts)
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_and_compressed_files_have_the_same_lines() {
        let mut content = Vec::new();
        for index in 0..50_000 {
            writeln!(content, "line {index} {}", "x".repeat(index % 97)).unwrap();
        }
        content.extend_from_slice(b"\nlast without an end");
        let lines: Vec<_> = content.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        let expected: Vec<_> = lines.into_iter().map(Some).collect();
        assert_eq!(read(&content).unwrap(), expected);
        assert_eq!(read(&gzip(&content)).unwrap(), expected);
        let (first, second) = content.split_at(100_000);
        let members = [gzip(first), gzip(second)].concat();
        assert_eq!(read(&members).unwrap(), expected, "two gzip members are one file");
    }

    #[test]
    fn a_line_up_to_the_limit_is_whole_and_a_longer_one_is_passed_over() {
        let at_limit = vec![b'a'; LINE_BYTES_MAX];
        let beyond = vec![b'b'; 3 * LINE_BYTES_MAX];
        let content = [&at_limit[..], b"\n", &beyond, b"\nshort\n"].concat();
        let expected = [Some(at_limit), None, Some(b"short".to_vec())];
        assert_eq!(read(&content).unwrap(), expected);
        assert_eq!(read(&vec![b'c'; LINE_BYTES_MAX + 1]).unwrap(), [None]);
    }

    #[test]
    fn a_file_that_is_cut_off_says_after_which_line() {
        let content: Vec<u8> =
            (0..20_000).flat_map(|n| format!("{}\n", n * n).into_bytes()).collect();
        let mut compressed = gzip(&content);
        compressed.truncate(compressed.len() / 2);
        let broken = read(&compressed).unwrap_err();
        assert!(broken.after > 100 && broken.after < 20_000, "{broken:?}");
    }

    #[test]
    fn an_empty_file_has_no_line_and_a_folder_is_no_file() {
        assert_eq!(read(b"").unwrap(), Vec::<Option<Vec<u8>>>::new());
        assert!(Lines::open(&std::env::temp_dir()).is_err());
    }
}
