//! A ticker in this process, ended when the test is.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::NamedTempFile;
use tickwire_ticker::config::FeedChoice;
use tickwire_ticker::player::Speed;
use tickwire_ticker::{Settings, Stop, Ticker};
use tracing::Level;

/// A ticker that serves until it is dropped.
pub(crate) struct Server {
    ticker: Option<Ticker>,
    address: SocketAddr,
    stop: Stop,
}

impl Server {
    /// Two shards, a synthetic feed, and what `change` makes of these settings.
    pub(crate) fn start(change: impl FnOnce(&mut Settings)) -> Self {
        // What the server has to say is shown with a failure; the first test of a process is first.
        let _ = tracing_subscriber::fmt().with_max_level(Level::WARN).with_test_writer().try_init();
        let mut settings = Settings::new("127.0.0.1:0".parse().unwrap());
        settings.engine.shards = 2;
        change(&mut settings);
        let ticker = Ticker::start(&settings).unwrap();
        let (address, stop) = (ticker.local_addr(), ticker.stop());
        Self { ticker: Some(ticker), address, stop }
    }

    /// A server whose feed is quiet for as long as a test runs.
    pub(crate) fn quiet() -> Self {
        Self::start(|settings| {
            settings.pace.hold_for = usize::MAX;
            // Silence is not what these tests are about.
            settings.rules.heartbeat = Duration::from_secs(60);
        })
    }

    /// A server that plays `recordings` as fast as it can, once `listeners` listen.
    pub(crate) fn replaying(recordings: &[&NamedTempFile], listeners: usize) -> Self {
        Self::start(|settings| {
            settings.feed = replay(recordings);
            settings.pace.speed = Speed::Max;
            settings.pace.hold_for = listeners;
            // One that reads may have to wait for a core of a busy machine.
            settings.pace.patience = Duration::from_secs(20);
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn stop(&self) {
        self.stop.stop();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(ticker) = self.ticker.take() {
            ticker.join().unwrap();
        }
    }
}

pub(crate) fn replay(recordings: &[&NamedTempFile]) -> FeedChoice {
    FeedChoice::Replay(recordings.iter().map(|file| file.path().to_owned()).collect())
}

/// A file with these lines.
pub(crate) fn recording<S: AsRef<str>>(lines: impl IntoIterator<Item = S>) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    for line in lines {
        writeln!(file, "{}", line.as_ref()).unwrap();
    }
    file
}

/// `count` trades of `symbol`, a millisecond apart, at prices that rise by a cent.
pub(crate) fn trades(symbol: &str, count: u64) -> Vec<String> {
    let trade = |index: u64| {
        let (ts, price) = (1_700_000_000_000_000_000 + index * 1_000_000, 10_000 + index);
        let price = format!("{}.{:02}", price / 100, price % 100);
        format!(r#"{{"ts":{ts},"symbol":"{symbol}","type":"trade","price":{price},"size":2}}"#)
    };
    (0..count).map(trade).collect()
}

/// The folder of recorded events: `TICKWIRE_DATA`, or `../shared/data` beside the workspace.
pub(crate) fn recorded_data() -> Option<PathBuf> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").into();
    let folder = PathBuf::from(std::env::var_os("TICKWIRE_DATA").unwrap_or_else(beside));
    folder.is_dir().then_some(folder)
}
