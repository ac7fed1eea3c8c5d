//! The command line of `tickwire`, and the settings it becomes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tickwire::{BackendChoice, Balance, Config, Deflate, Limits, Origins, Steering};

use crate::player::{Pace, Speed};
use crate::session::{Rules, SlowConsumer};
use crate::tls::CertificateFiles;

/// Streams market data to browsers: a feed in, a live page and a WebSocket out, on one port.
#[derive(Debug, Parser)]
#[command(name = "tickwire", version, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

impl CommandLine {
    /// What to serve: `serve` is what `tickwire` does without a subcommand.
    #[must_use]
    pub fn serve(self) -> Serve {
        match self.command {
            Some(Command::Serve(serve)) => serve,
            None => self.serve,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the ticker (what `tickwire` does without a subcommand)
    Serve(Serve),
}

/// A name of its own, because an `Option` among the options would be one that may be left out.
type Compression = Option<Deflate>;

/// Options of `tickwire serve`.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9001")]
    listen: SocketAddr,

    /// Event loops, each on a thread of its own; 0: one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    shards: usize,

    /// How the event loops wait for the network: auto, epoll or io_uring
    #[arg(long, value_name = "NAME", default_value = "auto")]
    backend: BackendChoice,

    /// Where market events come from: synthetic, or replay:FILE[,FILE...] with one JSON event a
    /// line, plain or gzip; files start together
    #[arg(long, value_name = "FEED", default_value = "synthetic")]
    feed: FeedChoice,

    /// Seed of the synthetic feed: the same seed gives the same events
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// How fast: 1 as it happened, 10 ten times that, max as fast as the slowest takes it of
    /// those who want every event
    #[arg(long, value_name = "N|max", default_value = "1")]
    speed: Speed,

    /// Begin the replay again after its end
    #[arg(long = "loop")]
    repeat: bool,

    /// Begin the feed when this many clients hold a subscription
    #[arg(long, value_name = "N", default_value_t = 0)]
    hold_for: usize,

    /// Milliseconds of silence after which a client is sent a heartbeat, 100 to 60000
    #[arg(long, value_name = "MS", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(100..=60_000))]
    heartbeat: u64,

    /// Whose web pages may connect: any, same-origin, or a list of origins (scheme, host and port, as
    /// browsers send them) with commas between; clients that are no browsers always may
    #[arg(long, value_name = "ORIGINS", default_value = "any")]
    origins: Origins,

    /// Most connections at a time; further ones are answered 503
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections_max)]
    connections: usize,

    /// Most connections at a time from one address, or IPv6 /64; further ones are answered 429. Leave
    /// it out behind a proxy, where all have the same address
    #[arg(long, value_name = "N")]
    connections_per_address: Option<usize>,

    /// Most memory that clients may make each event loop hold, in MiB; whoever holds most is then
    /// closed with 1013. By default half of what the process may use, divided by the event loops
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    memory: Option<u32>,
    /// Serve https:// and wss:// with the certificates in this file (PEM, the server's own first). With
    /// several, each with its key, a client is shown the one for the name that it asks for; SIGHUP
    /// reads them again
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Vec<PathBuf>,

    /// The private key of the certificate (PEM); as many, and in the same order
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Vec<PathBuf>,

    /// Serve only who shows a token of this file: a line for each, with a name, the SHA-256 of the token
    /// and perhaps its end, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,

    /// What happens to a client that wants every event and reads too slowly for that: close (with 4410)
    /// or drop (what it was not sent, and it is told to subscribe anew)
    #[arg(long, value_name = "WHAT", default_value = "close")]
    slow_consumer: SlowConsumer,

    /// Compression for clients that offer it, as browsers do: off, shared (one compressor for all),
    /// dedicated or dedicated:N (one for each of up to N connections of an event loop)
    #[arg(long, value_name = "MODE", default_value = "off", value_parser = Deflate::parse)]
    deflate: Compression,

    /// Keep each event loop on one core
    #[arg(long)]
    pin: bool,

    /// Give a connection to the event loop of the core that it arrives on: auto (where loops are pinned and
    /// the kernel can), on, off
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    steering: Steering,

    /// Which event loop a connection becomes one of: kernel (whichever it arrives at) or least-loaded
    #[arg(long, value_name = "HOW", default_value = "kernel")]
    balance: Balance,

    /// Most connections accepted in a second; further ones wait in the kernel's queue
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    accepts_per_second: Option<u32>,

    /// Most seconds that a client may stay connected, less up to a tenth; it is then closed with 1001,
    /// and comes back. By default as long as it likes
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    life: Option<u32>,

    /// Seconds over which clients are sent to a successor, 0 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(0..=3_600))]
    drain: u64,
}

/// Where market events come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedChoice {
    /// Invented instruments.
    Synthetic,
    /// Recorded files.
    Replay(Vec<PathBuf>),
}

impl FromStr for FeedChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "synthetic" {
            return Ok(Self::Synthetic);
        }
        let files = text.strip_prefix("replay:").filter(|files| !files.is_empty());
        let files = files.ok_or("choose synthetic or replay:FILE[,FILE...]")?;
        if files.split(',').any(str::is_empty) {
            return Err("a file name is missing beside a comma".to_owned());
        }
        Ok(Self::Replay(files.split(',').map(PathBuf::from).collect()))
    }
}

impl FromStr for SlowConsumer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "close" => Ok(Self::Close),
            "drop" => Ok(Self::Drop),
            _ => Err("choose close or drop"),
        }
    }
}

/// How a ticker is to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The engine's.
    pub engine: Config,
    /// Where market events come from.
    pub feed: FeedChoice,
    /// Seed of the synthetic feed.
    pub seed: u64,
    /// When events are played.
    pub pace: Pace,
    /// What the protocol leaves to the server.
    pub rules: Rules,
    /// The time over which clients are sent to a successor.
    pub drain: Duration,
    /// What it shows its clients; empty: it does not speak TLS.
    pub certificates: CertificateFiles,
    /// The file that says who is served; none: everybody.
    pub tokens: Option<PathBuf>,
}

impl Settings {
    /// A synthetic feed at its own speed under the protocol's usual rules.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        let mut engine = Config::new(listen);
        engine.limits.protocol.message_bytes_max = MESSAGE_BYTES_MAX;
        Self {
            engine,
            feed: FeedChoice::Synthetic,
            seed: 1,
            pace: Pace::default(),
            rules: Rules::default(),
            drain: Duration::from_secs(5),
            certificates: CertificateFiles::default(),
            tokens: None,
        }
    }
}

impl From<Serve> for Settings {
    fn from(serve: Serve) -> Self {
        let mut settings = Self::new(serve.listen);
        settings.engine.shards = serve.shards;
        settings.engine.backend = serve.backend;
        settings.engine.deflate = serve.deflate;
        settings.engine.origins = serve.origins;
        settings.engine.limits.connections_max = serve.connections;
        settings.engine.limits.connections_per_address_max = serve.connections_per_address;
        settings.engine.limits.memory_max =
            serve.memory.map(|mebibytes| (mebibytes as usize) << 20);
        settings.engine.limits.accepts_per_second_max = serve.accepts_per_second;
        settings.engine.limits.life_max =
            serve.life.map(|seconds| Duration::from_secs(seconds.into()));
        settings.engine.pin = serve.pin;
        settings.engine.steering = serve.steering;
        settings.engine.balance = serve.balance;
        settings.drain = Duration::from_secs(serve.drain);
        settings.certificates =
            CertificateFiles { chains: serve.tls_certificate, keys: serve.tls_key };
        settings.feed = serve.feed;
        settings.seed = serve.seed;
        let Serve { speed, repeat, hold_for, .. } = serve;
        settings.pace = Pace { speed, repeat, hold_for, ..Pace::default() };
        settings.tokens = serve.tokens;
        settings.rules.slow_consumer = serve.slow_consumer;
        settings.rules.heartbeat = Duration::from_millis(serve.heartbeat);
        settings
    }
}

/// Longest message of a client: room for a request that names 4,096 symbols.
const MESSAGE_BYTES_MAX: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn settings(arguments: &[&str]) -> Result<Settings, clap::Error> {
        let arguments = [&["tickwire"], arguments].concat();
        CommandLine::try_parse_from(arguments).map(|line| Settings::from(line.serve()))
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_and_takes_the_same_options() {
        for arguments in [&[][..], &["serve"]] {
            let settings = settings(arguments).unwrap();
            assert_eq!(settings.engine.listen, "127.0.0.1:9001".parse().unwrap());
            assert_eq!((settings.engine.shards, settings.seed), (0, 1));
            assert_eq!(settings.feed, FeedChoice::Synthetic);
            assert_eq!(settings.pace.speed, Speed::Times(1.0));
            assert_eq!(settings.engine.limits.protocol.message_bytes_max, 65_536);
        }
        let options = ["--listen", "[::1]:0", "--speed", "max", "--loop", "--hold-for", "7"];
        let options = [&options[..], &["--deflate", "dedicated:9"]].concat();
        let options = [&options[..], &["--origins", "same-origin"]].concat();
        let options = [&options[..], &["--connections-per-address", "3"]].concat();
        let options = [&options[..], &["--memory", "64"]].concat();
        let options = [&options[..], &["--life", "3600"]].concat();
        let protocol = ["--tokens", "tokens.txt", "--slow-consumer", "drop"];
        let options = [&options[..], &protocol].concat();
        let doors = ["--pin", "--steering", "off", "--balance", "least-loaded", "--drain", "0"];
        let options = [&options[..], &doors, &["--accepts-per-second", "100"]].concat();
        for command in [&[][..], &["serve"]] {
            let settings = settings(&[command, &options].concat()).unwrap();
            assert_eq!(settings.engine.listen, "[::1]:0".parse().unwrap());
            let Pace { speed, repeat, hold_for, .. } = settings.pace;
            assert_eq!((speed, repeat, hold_for), (Speed::Max, true, 7));
            assert_eq!(settings.engine.deflate, Some(Deflate::dedicated(9)));
            let limits = settings.engine.limits;
            assert_eq!(limits.connections_max, Limits::default().connections_max);
            assert_eq!(limits.connections_per_address_max, Some(3));
            assert_eq!(limits.memory_max, Some(64 << 20));
            assert_eq!(limits.life_max, Some(Duration::from_secs(3_600)));
            assert_eq!(limits.accepts_per_second_max, Some(100));
            let Config { pin, steering, balance, .. } = settings.engine;
            assert_eq!((pin, steering, balance), (true, Steering::Off, Balance::LeastLoaded));
            assert_eq!(settings.drain, Duration::ZERO);
            assert_eq!(settings.tokens, Some("tokens.txt".into()));
            assert_eq!(settings.rules.slow_consumer, SlowConsumer::Drop);
        }
    }

    #[test]
    fn a_feed_is_synthetic_or_names_its_files() {
        let replay = |files: &[&str]| FeedChoice::Replay(files.iter().map(PathBuf::from).collect());
        assert_eq!("synthetic".parse(), Ok(FeedChoice::Synthetic));
        assert_eq!("replay:a.gz".parse(), Ok(replay(&["a.gz"])));
        assert_eq!("replay:a,/b/c.ndjson".parse(), Ok(replay(&["a", "/b/c.ndjson"])));
        for bad in ["", "replay", "replay:", "replay:a,", "replay:,a", "nats"] {
            assert!(bad.parse::<FeedChoice>().is_err(), "{bad}");
        }
    }

    #[test]
    fn options_out_of_range_are_refused() {
        for bad in [
            &["--listen", "nowhere"][..],
            &["--speed", "0"],
            &["--heartbeat", "10"],
            &["--backend", "kqueue"],
            &["--feed", "tape"],
            &["--deflate", "brotli"],
            &["--origins", "*.example.org"],
            &["--connections-per-address", "few"],
            &["--memory", "0"],
            &["--life", "0"],
            &["--deflate", "shared:5"],
            &["--slow-consumer", "wait"],
            &["--steering", "maybe"],
            &["--balance", "round-robin"],
            &["--accepts-per-second", "0"],
            &["--drain", "3601"],
            &["--tls-certificate", "chain.pem"],
            &["--tls-key", "key.pem"],
            &["serve", "now"],
        ] {
            assert!(settings(bad).is_err(), "{bad:?}");
        }
    }
}
