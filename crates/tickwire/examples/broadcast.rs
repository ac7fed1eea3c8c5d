//! Publishes binary messages to every connection, for fan-out benchmarks.
//!
//! It waits for a text message `start` from any connection. Bytes 0..8 of a message are the
//! nanoseconds of CLOCK_MONOTONIC at its publication, bytes 8..16 its number from 0, both
//! little-endian. When the last connection has gone it stops, and waits for the next `start`.
//!
//! With `--topics` there are so many, numbered from 0. A connection gets those that it names in a text
//! message such as `subscribe 3,17`, and is answered `subscribed distinct`, or `subscribed merge` if it
//! gets the newest values only (`--delivery`). Each publication is to one of them at random; its number
//! is the topic's own, and bytes 16..20 are the topic's.
//!
//! `cargo run --release --example broadcast -p tickwire -- --size 125 --rate 100`

#![expect(clippy::print_stdout, reason = "it prints its address")]

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use clap::Parser;
use tickwire::{
    Answer, BackendChoice, Batch, Connection, Deflate, Delivery, Handler, Kind, Lagged, Message,
    Publisher, Request, Server, Subscription, Timestamp, Tls, Topic,
};

/// A name of its own, because an `Option` among the options would be one that may be left out.
type Compression = Option<Deflate>;

/// Publishes binary messages to every WebSocket connection.
#[derive(Parser)]
struct Arguments {
    /// Address and port to listen on; port 0 lets the system choose.
    #[arg(long, default_value = "127.0.0.1:9003")]
    listen: SocketAddr,
    /// Event loops, each on a thread of its own; 0: one for each core.
    #[arg(long, default_value_t = 0)]
    shards: usize,
    /// What to wait for events with: auto, epoll or io_uring.
    #[arg(long, default_value = "auto")]
    backend: BackendChoice,
    /// Bytes of each message's payload, at least 16; with topics at least 20.
    #[arg(long, default_value_t = 125, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    size: u32,
    /// Messages published a second; 0: as fast as the slowest connection takes them that is waited for.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// With rate 0, how many messages may be on their way at once.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    burst: u32,
    /// Seconds for which a connection is waited for that takes nothing; then it is left behind, and gets
    /// what is still there when it reads again. Pings, which it would not answer, are not sent.
    /// 0: for ever, and if it is too far behind it is closed.
    #[arg(long, default_value_t = 0)]
    patience: u64,
    /// Topics, of which a connection gets those that it asks for; without it there is one for all.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    topics: Option<u32>,
    /// What a connection gets: distinct, every publication; merge, the newest value; or a number, that
    /// value at most so many times a second.
    #[arg(long, default_value = "distinct", value_parser = delivery)]
    delivery: Delivery,
    /// Compression to agree on: off, shared (each message is compressed once for all) or dedicated.
    #[arg(long, default_value = "off", value_parser = Deflate::parse)]
    deflate: Compression,
    /// Certificates in PEM form, the server's own first: it then speaks wss://.
    #[arg(long, requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The private key of the certificate, in PEM form.
    #[arg(long, requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

/// What there is to subscribe to.
#[derive(Clone)]
enum Topics {
    /// One topic, which every connection gets.
    One(Topic),
    /// Those that a connection asks for, by their numbers.
    Many(Vec<Topic>),
}

impl Topics {
    fn new(publisher: &Publisher, many: Option<u32>) -> Self {
        match many {
            None => Self::One(publisher.topic("broadcast")),
            Some(many) => {
                Self::Many((0..many).map(|number| publisher.topic(&number.to_string())).collect())
            }
        }
    }

    fn all(&self) -> &[Topic] {
        match self {
            Self::One(topic) => std::slice::from_ref(topic),
            Self::Many(topics) => topics,
        }
    }

    fn have_subscribers(&self) -> bool {
        self.all().iter().any(Topic::has_subscribers)
    }
}

struct Broadcast {
    topics: Topics,
    subscription: Subscription,
    start: Sender<()>,
}

impl Broadcast {
    /// Subscribes to the topics whose numbers stand in `names`; `None` if there is another.
    fn subscribe(&self, connection: &mut Connection<'_>, names: &str) -> Option<()> {
        for name in names.split(',') {
            let topic = self.topics.all().get(name.parse::<usize>().ok()?)?;
            connection.subscribe_with(topic, self.subscription);
        }
        Some(())
    }
}

impl Handler for Broadcast {
    type State = ();

    fn request(&mut self, _request: &Request<'_>) -> Answer<()> {
        Answer::upgrade(())
    }

    fn open(&mut self, connection: &mut Connection<'_>) {
        if let Topics::One(topic) = &self.topics {
            connection.subscribe_with(topic, self.subscription);
        }
    }

    fn message(&mut self, connection: &mut Connection<'_>, message: Message<'_>) {
        let text = str::from_utf8(message.payload).ok().filter(|_| message.kind == Kind::Text);
        let names = text.and_then(|text| text.strip_prefix("subscribe "));
        if text == Some("start") {
            // The publisher lives as long as the program.
            let _ = self.start.send(());
        } else if names.and_then(|names| self.subscribe(connection, names)).is_some() {
            connection.send_text(match self.subscription.delivery {
                Some(Delivery::Merge | Delivery::Sampled { .. }) => "subscribed merge",
                _ => "subscribed distinct",
            });
        } else {
            connection.send_text("send the text message start, or subscribe 3,17");
        }
    }
}

/// The thread that publishes.
struct Source {
    publisher: Publisher,
    topics: Topics,
    size: usize,
    rate: u32,
    burst: u64,
    /// For how long whoever takes nothing is waited for; zero: for ever.
    patience: Duration,
    start: Receiver<()>,
    /// How many topics there are.
    count: u32,
    /// By topic, the number of its next publication.
    numbers: Vec<u64>,
    /// What the choice of topics goes by, the same after each start.
    random: u32,
}

impl Source {
    fn run(mut self) {
        while self.start.recv().is_ok() {
            self.numbers.fill(0);
            self.random = SEED;
            let went_on = if self.rate == 0 { self.flood() } else { self.pace() };
            if !went_on {
                return;
            }
        }
    }

    /// Publishes as fast as the slowest connection takes it, while there is one.
    fn flood(&mut self) -> bool {
        let publisher = self.publisher.clone();
        while self.topics.have_subscribers() {
            let room = self.burst.saturating_sub(publisher.outstanding());
            let batch = publisher.batch();
            for _ in 0..room {
                self.publish(&batch);
            }
            drop(batch);
            let patience = if self.patience.is_zero() { LOOK } else { self.patience };
            let late = publisher.wait_outstanding(self.burst / 2, patience).is_err();
            if late && !self.patience.is_zero() {
                publisher.close_lagging(self.burst / 2);
            }
        }
        self.drain_starts()
    }

    /// Publishes at even intervals, while there is a connection.
    fn pace(&mut self) -> bool {
        let interval = Duration::from_secs(1) / self.rate;
        let publisher = self.publisher.clone();
        let mut due = Timestamp::read();
        while self.topics.have_subscribers() {
            let wait = due.since(Timestamp::read());
            match self.start.recv_timeout(wait) {
                Ok(()) => continue,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
            self.publish(&publisher.batch());
            due = due.after(interval);
        }
        self.drain_starts()
    }

    /// Publishes the next message, to one of the topics.
    fn publish(&mut self, batch: &Batch<'_>) {
        let (topic, topics, size) = (self.choose(), self.topics.all(), self.size);
        let is_one = matches!(self.topics, Topics::One(_));
        let number = &mut self.numbers[topic as usize];
        batch.publish_with(&topics[topic as usize], Kind::Binary, |_, message, _| {
            message.extend_from_slice(&Timestamp::read().monotonic_ns().to_le_bytes());
            message.extend_from_slice(&number.to_le_bytes());
            if !is_one {
                message.extend_from_slice(&topic.to_le_bytes());
            }
            message.resize(size.max(message.len()), b'.');
        });
        *number += 1;
    }

    /// The number of the topic that is next.
    fn choose(&mut self) -> u32 {
        // Xorshift, which is never 0.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random % self.count
    }

    /// Forgets the `start`s of connections that have gone; `false`: the server has ended.
    fn drain_starts(&self) -> bool {
        loop {
            match self.start.try_recv() {
                Ok(()) => {}
                Err(error) => return error == std::sync::mpsc::TryRecvError::Empty,
            }
        }
    }
}

fn delivery(text: &str) -> Result<Delivery, String> {
    match text {
        "distinct" => Ok(Delivery::Distinct),
        "merge" => Ok(Delivery::Merge),
        _ => match text.parse() {
            Ok(per_second @ 1..) => Ok(Delivery::sampled(per_second)),
            _ => Err("distinct, merge, or how many a second, at least 1".to_owned()),
        },
    }
}

/// Longer than anybody measures.
const DAY: Duration = Duration::from_secs(86_400);

/// How often to look whether anybody is left.
const LOOK: Duration = Duration::from_secs(1);

/// Where the choice of topics begins; anything but 0.
const SEED: u32 = 0x9e37_79b9;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let (start, started) = channel();
    let tls = arguments.tls_certificate.zip(arguments.tls_key);
    let tls = tls.map(|(certificate, key)| Tls::from_files(&certificate, &key)).transpose()?;
    let scheme = if tls.is_some() { "wss" } else { "ws" };
    let server = Server::builder()
        .listen(arguments.listen)
        .shards(arguments.shards)
        .backend(arguments.backend)
        .deflate(arguments.deflate)
        .limits(|limits| {
            if arguments.patience > 0 {
                limits.ping_after = DAY;
            }
        })
        .tls(tls)
        .route("/{*path}", move |shard| Broadcast {
            topics: Topics::new(&shard.publisher, arguments.topics),
            subscription: Subscription::of(arguments.delivery),
            start: start.clone(),
        })
        .start()?;
    let publisher = server.publisher();
    let topics = Topics::new(&publisher, arguments.topics);
    if arguments.patience > 0 {
        topics.all().iter().for_each(|topic| topic.set_lagged(Lagged::Skip));
    }
    let source = Source {
        publisher,
        count: arguments.topics.unwrap_or(1),
        numbers: vec![0; topics.all().len()],
        topics,
        size: arguments.size as usize,
        rate: arguments.rate,
        burst: arguments.burst.into(),
        patience: Duration::from_secs(arguments.patience),
        start: started,
        random: SEED,
    };
    server.handle().end_on_signals()?;
    println!("broadcast at {scheme}://{}/", server.local_addr());
    thread::Builder::new().name("source".to_owned()).spawn(move || source.run())?;
    server.join()?;
    Ok(())
}
