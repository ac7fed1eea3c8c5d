//! Echoes every message to its sender: what echo benchmarks and conformance suites run against. In a
//! browser it is a page that does so by hand, and that shows who else looks on.
//!
//! `cargo run --release --example echo -p tickwire`, then open <http://127.0.0.1:9002/> twice.
//!
//! A page has two WebSockets. One echoes, at `/`, as for everybody; the other, at `/live`, is told of the
//! other pages, and every second how busy the server is. A connection's state says whether it is one of
//! those, and is looked at when it opens and when it closes: a message costs what it would cost
//! without any page.

#![expect(clippy::print_stdout, reason = "it prints its address")]

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use clap::Parser;
use serde_json::json;
use tickwire::{
    Answer, BackendChoice, Connection, ConnectionId, Deflate, Ended, Handle, Handler, Kind, Lagged,
    Message, Origins, Publisher, Request, Response, Server, Timestamp, Tls, Topic,
};

/// A name of its own, because an `Option` among the options would be one that may be left out.
type Compression = Option<Deflate>;

/// Echoes every WebSocket message to its sender; a browser gets a page to do so by hand.
#[derive(Parser)]
pub(crate) struct Arguments {
    /// Address and port to listen on; port 0 lets the system choose.
    #[arg(long, default_value = "127.0.0.1:9002")]
    listen: SocketAddr,
    /// Event loops, each on a thread of its own; 0: one for each core.
    #[arg(long, default_value_t = 0)]
    shards: usize,
    /// What to wait for events with: auto, epoll or io_uring.
    #[arg(long, default_value = "auto")]
    backend: BackendChoice,
    /// The longest message to accept, in bytes.
    #[arg(long, default_value_t = 1024 * 1024)]
    max_message: u64,
    /// Compression to agree on: off, shared (one compressor for all), dedicated or dedicated:N (one
    /// for each of up to N connections of an event loop).
    #[arg(long, default_value = "off", value_parser = Deflate::parse)]
    deflate: Compression,
    /// Whose web pages may connect: any, same-origin, or a list of origins.
    #[arg(long, default_value = "any")]
    origins: Origins,
    /// A subprotocol that is known; may be given several times, the most preferred first.
    #[arg(long = "protocol")]
    protocols: Vec<String>,
    /// Certificates in PEM form, the server's own first: it then speaks wss://.
    #[arg(long, requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The private key of the certificate, in PEM form.
    #[arg(long, requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

struct Echo {
    protocols: Vec<&'static str>,
    live: Topic,
    visits: Sender<Visit>,
    /// Connections that echo, of all shards.
    echoes: Arc<AtomicU64>,
}

impl Echo {
    /// Kept out of the engine's loop, into which a handler is compiled.
    #[cold]
    #[inline(never)]
    fn announce(&self, visit: Visit) {
        // It fails only if nobody is there to tell any more.
        let _ = self.visits.send(visit);
    }
}

/// A page begins or ends to look on.
enum Visit {
    Begins(ConnectionId),
    Ends(ConnectionId),
}

impl Handler for Echo {
    /// Whether it is a page that looks on.
    type State = bool;

    fn request(&mut self, request: &Request<'_>) -> Answer<bool> {
        let protocol = request.choose_protocol(&self.protocols);
        Answer::upgrade(request.path() == "/live").with_protocol(protocol)
    }

    fn open(&mut self, connection: &mut Connection<'_, bool>) {
        if *connection.state {
            connection.subscribe(&self.live);
            self.announce(Visit::Begins(connection.id()));
        } else {
            self.echoes.fetch_add(1, Relaxed);
        }
    }

    fn message(&mut self, connection: &mut Connection<'_, bool>, message: Message<'_>) {
        connection.send(message.kind, message.payload);
    }

    fn close(&mut self, connection: &mut Connection<'_, bool>, _ended: Ended) {
        if *connection.state {
            self.announce(Visit::Ends(connection.id()));
        } else {
            self.echoes.fetch_sub(1, Relaxed);
        }
    }
}

/// What the pages are told, on a thread that sleeps while there is none.
struct News {
    server: Handle,
    publisher: Publisher,
    live: Topic,
    /// The pages, each with its number, in the order of coming.
    pages: Vec<(ConnectionId, u64)>,
    /// How many there have been.
    count: u64,
    /// Messages received, as of `since`.
    messages: u64,
    since: Timestamp,
    /// Of the last second; `None` until there was one with somebody to see it.
    per_second: Option<f64>,
    echoes: Arc<AtomicU64>,
    /// Of them those that no page has.
    others: u64,
}

impl News {
    fn new(server: &Server, echoes: Arc<AtomicU64>) -> Self {
        let live = server.publisher().topic("live");
        // For a page that is too slow the next news has everything in it.
        live.set_lagged(Lagged::Skip);
        Self {
            server: server.handle(),
            publisher: server.publisher(),
            live,
            pages: Vec::new(),
            count: 0,
            messages: 0,
            since: Timestamp::read(),
            per_second: None,
            echoes,
            others: 0,
        }
    }

    /// Until no handler is left.
    fn run(mut self, visits: &Receiver<Visit>) {
        loop {
            let visit = if self.pages.is_empty() {
                visits.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                visits.recv_timeout(SECOND.saturating_sub(Timestamp::read().since(self.since)))
            };
            match visit {
                Ok(Visit::Begins(page)) => self.begin(page),
                Ok(Visit::Ends(page)) => self.pages.retain(|(other, _)| *other != page),
                Err(RecvTimeoutError::Timeout) => self.measure(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.tell();
        }
    }

    fn begin(&mut self, page: ConnectionId) {
        self.count += 1;
        self.pages.push((page, self.count));
        if self.pages.len() == 1 {
            // What was before is no second that anybody has seen.
            self.measure();
            self.per_second = None;
        }
        let you = json!({ "you": self.count });
        self.publisher.send(page, Kind::Text, you.to_string().as_bytes());
    }

    /// The engine counts messages anyway: this reads what it has counted.
    fn measure(&mut self) {
        let (now, messages) = (Timestamp::read(), self.server.metrics().total().received_messages);
        let elapsed_s = now.since(self.since).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 messages")]
        let per_second = (messages - self.messages) as f64 / elapsed_s.max(0.001);
        (self.since, self.messages, self.per_second) = (now, messages, Some(per_second));
        self.others = self.echoes.load(Relaxed).saturating_sub(self.pages.len() as u64);
    }

    fn tell(&self) {
        let first = self.pages.iter().take(PAGES_NAMED).map(|(_, number)| number);
        let news = json!({
            "pages": self.pages.len(),
            "first": first.collect::<Vec<_>>(),
            "others": self.others,
            "perSecond": self.per_second,
        });
        self.publisher.publish(&self.live, Kind::Text, news.to_string().as_bytes());
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Pages whose numbers are told, which keeps the news short: the others are only counted.
const PAGES_NAMED: usize = 24;

/// The page's own script and style, and nothing from anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The page. Isolated from all others it is given the browser's finer clock.
fn page() -> Response {
    Response::html(include_str!("echo.html"))
        .with_header("Content-Security-Policy", POLICY)
        .with_header("Cross-Origin-Opener-Policy", "same-origin")
        .with_header("Cross-Origin-Embedder-Policy", "require-corp")
}

/// Starts the server, and the thread that tells its pages the news.
pub(crate) fn start(arguments: Arguments) -> Result<Server, Box<dyn Error>> {
    // Subprotocols live as long as the program.
    let protocols: Vec<&'static str> =
        arguments.protocols.into_iter().map(|name| &*name.leak()).collect();
    let tls = arguments.tls_certificate.zip(arguments.tls_key);
    let tls = tls.map(|(certificate, key)| Tls::from_files(&certificate, &key)).transpose()?;
    // Each connection is in it twice at most, and it is emptied at once.
    let (sender, visits) = channel();
    let echoes = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&echoes);
    let server = Server::builder()
        .listen(arguments.listen)
        .shards(arguments.shards)
        .backend(arguments.backend)
        .limits(|limits| limits.protocol.message_bytes_max = arguments.max_message)
        .deflate(arguments.deflate)
        .tls(tls)
        .origins(arguments.origins)
        .file("/", page())
        .route("/{*path}", move |shard| Echo {
            protocols: protocols.clone(),
            live: shard.publisher.topic("live"),
            visits: sender.clone(),
            echoes: Arc::clone(&counted),
        })
        .start()?;
    let news = News::new(&server, echoes);
    thread::Builder::new().name("news".to_owned()).spawn(move || news.run(&visits))?;
    Ok(server)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let tls = if arguments.tls_certificate.is_some() { "s" } else { "" };
    let server = start(arguments)?;
    server.handle().end_on_signals()?;
    println!("echo at http{tls}://{}/, for browsers and for ws{tls}://", server.local_addr());
    server.join()?;
    Ok(())
}
