//! Publishes binary messages to every connection, for fan-out benchmarks.
//!
//! It waits for a text message `start` from any connection. Bytes 0..8 of a message are the
//! nanoseconds of CLOCK_MONOTONIC at its publication, bytes 8..16 its number from 0, both
//! little-endian. When the last connection has gone it stops, and waits for the next `start`.
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
    Answer, BackendChoice, Batch, Connection, Deflate, Handler, Kind, Message, Publisher, Request,
    Server, Timestamp, Tls, Topic,
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
    /// Bytes of each message's payload, at least 16.
    #[arg(long, default_value_t = 125, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    size: u32,
    /// Messages published a second; 0: as fast as the slowest connection takes them.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// With rate 0, how many messages may be on their way at once.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    burst: u32,
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

struct Broadcast {
    topic: Topic,
    start: Sender<()>,
}

impl Handler for Broadcast {
    type State = ();

    fn request(&mut self, _request: &Request<'_>) -> Answer<()> {
        Answer::upgrade(())
    }

    fn open(&mut self, connection: &mut Connection<'_>) {
        connection.subscribe(&self.topic);
    }

    fn message(&mut self, connection: &mut Connection<'_>, message: Message<'_>) {
        if message.kind == Kind::Text && message.payload == b"start" {
            // The publisher lives as long as the program.
            let _ = self.start.send(());
        } else {
            connection.send_text("send the text message start");
        }
    }
}

/// The thread that publishes.
struct Source {
    publisher: Publisher,
    topic: Topic,
    size: usize,
    rate: u32,
    burst: u64,
    start: Receiver<()>,
    number: u64,
}

impl Source {
    fn run(mut self) {
        while self.start.recv().is_ok() {
            self.number = 0;
            let went_on = if self.rate == 0 { self.flood() } else { self.pace() };
            if !went_on {
                return;
            }
        }
    }

    /// Publishes as fast as the slowest connection takes it, while there is one.
    fn flood(&mut self) -> bool {
        while self.topic.has_subscribers() {
            let room = self.burst.saturating_sub(self.publisher.outstanding());
            let batch = self.publisher.batch();
            for _ in 0..room {
                self.number = publish(&batch, &self.topic, self.size, self.number);
            }
            drop(batch);
            // A connection may take as long as it wants: nobody is skipped.
            let _ = self.publisher.wait_outstanding(self.burst / 2, Duration::from_secs(1));
        }
        self.drain_starts()
    }

    /// Publishes at even intervals, while there is a connection.
    fn pace(&mut self) -> bool {
        let interval = Duration::from_secs(1) / self.rate;
        let mut due = Timestamp::read();
        while self.topic.has_subscribers() {
            let wait = due.since(Timestamp::read());
            match self.start.recv_timeout(wait) {
                Ok(()) => continue,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
            self.number = publish(&self.publisher.batch(), &self.topic, self.size, self.number);
            due = due.after(interval);
        }
        self.drain_starts()
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

/// Publishes message `number`; gives the number of the next.
fn publish(batch: &Batch<'_>, topic: &Topic, size: usize, number: u64) -> u64 {
    batch.publish_with(topic, Kind::Binary, |_, message, _| {
        message.extend_from_slice(&Timestamp::read().monotonic_ns().to_le_bytes());
        message.extend_from_slice(&number.to_le_bytes());
        message.resize(size, b'.');
    });
    number + 1
}

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
        .tls(tls)
        .route("/{*path}", move |shard| Broadcast {
            topic: shard.publisher.topic("broadcast"),
            start: start.clone(),
        })
        .start()?;
    let publisher = server.publisher();
    let topic = publisher.topic("broadcast");
    let source = Source {
        publisher,
        topic,
        size: arguments.size as usize,
        rate: arguments.rate,
        burst: arguments.burst.into(),
        start: started,
        number: 0,
    };
    server.handle().end_on_signals()?;
    println!("broadcast at {scheme}://{}/", server.local_addr());
    thread::Builder::new().name("source".to_owned()).spawn(move || source.run())?;
    server.join()?;
    Ok(())
}
