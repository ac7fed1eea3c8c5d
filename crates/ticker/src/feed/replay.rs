//! The replay feed: recorded events from newline-delimited JSON files, plain or gzip-compressed.
//!
//! Files are read twice. A first pass at start-up learns the instruments and reports every line
//! that is no event, with its file, its number and the reason; then the events are streamed, so
//! that a file may be far larger than memory. Each file is shifted to the same start and they are
//! merged by time; at the same instant, the file that was named first comes first. An event whose
//! time lies before that of the line before it keeps its place in the file.

mod line;
mod lines;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::event::{Change, Event};
use crate::instrument::{Instrument, Listing};
use line::{OutOfShape, Parser, Record};
use lines::{Broken, Lines};

/// A feed of recorded events.
#[derive(Debug)]
pub struct Replay {
    listing: Listing,
    streams: Vec<Stream>,
    /// Offset at which this pass over the files began.
    began_ns: u64,
    /// Offset of the last event that was yielded.
    offset_ns: u64,
    events: u64,
    skipped: u64,
}

impl Replay {
    /// Opens recorded files, and reads each once to learn its instruments.
    ///
    /// # Errors
    ///
    /// When a file cannot be read to its end, or holds no event at all.
    pub fn open(paths: &[PathBuf]) -> Result<Self, ReplayError> {
        let mut survey = Survey::default();
        let mut streams = Vec::with_capacity(paths.len());
        for path in paths {
            let first_ts_ns = survey.file(path)?;
            streams.push(Stream::open(path, first_ts_ns, &survey.listing)?);
        }
        survey.report_rest();
        let Survey { listing, events, skipped, .. } = survey;
        Ok(Self { listing, streams, began_ns: 0, offset_ns: 0, events, skipped })
    }

    /// The next event of all files; `None` after the last.
    pub fn next_event(&mut self) -> Option<Event> {
        let heads = self.streams.iter().enumerate();
        let heads = heads.filter_map(|(index, stream)| Some((stream.head.as_ref()?, index)));
        let (_, index) = heads.min_by_key(|(head, index)| (head.offset_ns, *index))?;
        let mut event = self.streams[index].advance(&self.listing)?;
        event.offset_ns = event.offset_ns.saturating_add(self.began_ns);
        self.offset_ns = event.offset_ns;
        Some(event)
    }

    /// Begins again with the first event of each file; offsets go on from the last.
    ///
    /// # Errors
    ///
    /// When a file cannot be opened again.
    pub fn rewind(&mut self) -> Result<(), ReplayError> {
        self.began_ns = self.offset_ns;
        for stream in &mut self.streams {
            *stream = Stream::open(&stream.path, stream.first_ts_ns, &self.listing)?;
        }
        Ok(())
    }

    /// The instruments of all files, in order of appearance.
    #[must_use]
    pub const fn listing(&self) -> &Listing {
        &self.listing
    }

    /// Events of one pass over all files.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Lines of one pass that are no events and were skipped.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// Why recorded files cannot be replayed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The file cannot be opened.
    Open(PathBuf, io::Error),
    /// The file cannot be read on after the line of this number.
    Read(PathBuf, u64, io::Error),
    /// No line of the file is an event; so many were skipped.
    Empty(PathBuf, u64),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(path, error) => {
                write!(formatter, "{} cannot be opened: {error}", path.display())
            }
            Self::Read(path, line, error) => {
                let path = path.display();
                write!(formatter, "{path} cannot be read after line {line}: {error}")
            }
            Self::Empty(path, skipped) => write!(
                formatter,
                "{} holds no event: {skipped} lines are out of shape; one event a line is \
                 expected, such as {EXAMPLE}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ReplayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(_, error) | Self::Read(_, _, error) => Some(error),
            Self::Empty(..) => None,
        }
    }
}

/// What the first pass learns.
#[derive(Default)]
struct Survey {
    listing: Listing,
    events: u64,
    skipped: u64,
    reported: u64,
}

impl Survey {
    /// Reads a file to its end, and returns the time of its first event.
    fn file(&mut self, path: &Path) -> Result<u64, ReplayError> {
        let mut lines = open(path)?;
        let mut parser = Parser::default();
        let (mut first_ts_ns, skipped_before) = (None, self.skipped);
        while let Some(line) = lines.next_line().map_err(|broken| failed(path, broken))? {
            let number = line.number;
            match parser.parse(line).and_then(|record| self.learn(&record)) {
                Ok(ts_ns) => first_ts_ns = first_ts_ns.or(Some(ts_ns)),
                Err(OutOfShape::Blank) => {}
                Err(reason) => self.skip(path, number, &reason),
            }
        }
        let skipped = self.skipped - skipped_before;
        first_ts_ns.ok_or_else(|| ReplayError::Empty(path.to_owned(), skipped))
    }

    fn learn(&mut self, record: &Record<'_>) -> Result<u64, OutOfShape> {
        let decimals = match &record.change {
            Change::Trade(trade) => trade.price.scale(),
            Change::Quote(quote) => quote.bid.scale().max(quote.ask.scale()),
        };
        match self.listing.find(record.symbol) {
            Some(id) => self.listing.widen(id, decimals),
            None => {
                let symbol = record.symbol.to_owned();
                let instrument =
                    Instrument { name: symbol.clone(), symbol, price_decimals: decimals };
                self.listing.add(instrument).ok_or(OutOfShape::TooManySymbols)?;
            }
        }
        self.events += 1;
        Ok(record.ts_ns)
    }

    fn skip(&mut self, path: &Path, number: u64, reason: &OutOfShape) {
        self.skipped += 1;
        if self.reported < REPORTS_MAX {
            self.reported += 1;
            tracing::warn!("{}:{number}: skipped, {reason}", path.display());
        }
    }

    fn report_rest(&self) {
        if self.skipped > self.reported {
            let (skipped, reported) = (self.skipped, self.reported);
            tracing::warn!("{skipped} lines are skipped in all; the first {reported} were named");
        }
    }
}

/// One file being streamed: its next event is read ahead, so that files can be merged.
#[derive(Debug)]
struct Stream {
    path: PathBuf,
    first_ts_ns: u64,
    lines: Lines,
    parser: Parser,
    head: Option<Event>,
    /// Offset of the event that was read last.
    offset_ns: u64,
}

impl Stream {
    fn open(path: &Path, first_ts_ns: u64, listing: &Listing) -> Result<Self, ReplayError> {
        let (lines, parser) = (open(path)?, Parser::default());
        let path = path.to_owned();
        let mut stream = Self { path, first_ts_ns, lines, parser, head: None, offset_ns: 0 };
        stream.head = stream.read(listing);
        Ok(stream)
    }

    /// Yields the event that was read ahead, and reads the next.
    fn advance(&mut self, listing: &Listing) -> Option<Event> {
        let next = self.read(listing);
        std::mem::replace(&mut self.head, next)
    }

    /// Reads up to the next line that is an event; the first pass has reported the others.
    fn read(&mut self, listing: &Listing) -> Option<Event> {
        loop {
            let line = match self.lines.next_line() {
                Ok(line) => line?,
                Err(broken) => {
                    let error = failed(&self.path, broken);
                    tracing::error!("{error}; the replay goes on without it");
                    return None;
                }
            };
            let Ok(record) = self.parser.parse(line) else { continue };
            // A file that grew after the first pass may bring a symbol that is not listed.
            let Some(instrument) = listing.find(record.symbol) else { continue };
            let offset_ns = record.ts_ns.saturating_sub(self.first_ts_ns);
            self.offset_ns = self.offset_ns.max(offset_ns);
            let (offset_ns, ts_ns) = (self.offset_ns, record.ts_ns);
            return Some(Event { offset_ns, ts_ns, instrument, change: record.change });
        }
    }
}

fn open(path: &Path) -> Result<Lines, ReplayError> {
    Lines::open(path).map_err(|error| ReplayError::Open(path.to_owned(), error))
}

fn failed(path: &Path, broken: Broken) -> ReplayError {
    ReplayError::Read(path.to_owned(), broken.after, broken.error)
}

/// Lines out of shape that are named one by one before they are only counted.
const REPORTS_MAX: u64 = 48;

const EXAMPLE: &str =
    r#"{"ts":1610064000278000000,"symbol":"BTCUSDT","type":"trade","price":39432.48,"size":0.5}"#;

#[cfg(test)]
mod tests;
