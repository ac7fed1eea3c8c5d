//! One server for each rival: `rivals LIBRARY echo` and `rivals LIBRARY broadcast`.
//!
//! All of them share the listener, the tokio runtime and the publisher, so that what differs between
//! two runs is the library and the way its users write with it (README.md says which, and why). Only
//! the floor, which stands for the kernel's cost alone, has nothing of that but the listener. The first
//! line of the output is `listening on ADDRESS`.
//!
//! A connection that fails ends alone and silently: suites break rules thousands of times.

mod axum;
mod connection;
mod fastwebsockets;
mod floor;
mod publisher;
mod sockudo_ws;
mod tokio_tungstenite;
mod tokio_websockets;
mod transport;
mod upgrade;
mod web_socket;
mod yawc;

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime;
use tokio_rustls::TlsAcceptor;

use crate::publisher::{Publisher, Subscription};
use crate::transport::Transport;

/// Whatever ended a connection.
type Failure = Box<dyn Error + Send + Sync>;

/// Echo and broadcast servers of other WebSocket libraries.
#[derive(Debug, Parser)]
struct Arguments {
    library: Library,
    #[command(subcommand)]
    task: Task,
    /// Certificates in PEM form, the server's own first: it then speaks wss://.
    #[arg(long, global = true, requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The private key of the certificate, in PEM form.
    #[arg(long, global = true, requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

/// Whose server to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Library {
    Axum,
    Fastwebsockets,
    /// No library: the smallest loop that sends the right bytes.
    Floor,
    SockudoWs,
    TokioTungstenite,
    TokioWebsockets,
    WebSocket,
    Yawc,
}

/// What the server does with its connections.
#[derive(Debug, Subcommand)]
enum Task {
    /// Sends every message back to its sender.
    Echo(Options),
    /// Publishes binary messages to everybody from the first text message `start` on, until the last
    /// connection has gone.
    Broadcast {
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        publication: Publication,
    },
}

/// How to listen, and how to use the library.
#[derive(Debug, Clone, Copy, Args)]
struct Options {
    /// Address and port to listen on; port 0 lets the system choose.
    #[arg(long, default_value = "127.0.0.1:9002")]
    listen: SocketAddr,
    /// Threads of the runtime; with one it is tokio's single-threaded one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// The longest message to accept, in bytes; without it the library's own default holds.
    #[arg(long)]
    max_message: Option<usize>,
    /// Negotiates permessage-deflate, with the library's own settings.
    #[arg(long)]
    deflate: bool,
    /// Bytes of the read buffer of a connection, where the library lets one choose; without it its
    /// own default holds.
    #[arg(long)]
    read_buffer: Option<usize>,
    /// Flushes after each message, as the first example in the library's documentation does, instead
    /// of after all that are ready.
    #[arg(long)]
    flush_each: bool,
}

/// What a broadcast server publishes.
#[derive(Debug, Clone, Copy, Args)]
struct Publication {
    /// Bytes of each message's payload, at least 16.
    #[arg(long, default_value_t = 125, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    size: u32,
    /// Messages published a second; 0: as fast as the slowest connection takes them.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// With rate 0, how many messages may be on their way at once.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    burst: u32,
}

/// What to do with one connection.
#[derive(Debug)]
enum Work {
    Echo,
    Broadcast(Subscription),
}

impl Library {
    /// Whether the library can compress.
    fn offers_deflate(self) -> bool {
        matches!(self, Self::SockudoWs | Self::Yawc)
    }

    async fn serve(
        self,
        stream: impl Transport,
        options: Options,
        work: Work,
    ) -> Result<(), Failure> {
        match self {
            Self::Axum => axum::serve(stream, options, work).await,
            Self::Fastwebsockets => fastwebsockets::serve(stream, options, work).await,
            Self::Floor => unreachable!("it serves without tokio"),
            Self::SockudoWs => sockudo_ws::serve(stream, options, work).await,
            Self::TokioTungstenite => tokio_tungstenite::serve(stream, options, work).await,
            Self::TokioWebsockets => tokio_websockets::serve(stream, options, work).await,
            Self::WebSocket => web_socket::serve(stream, options, work).await,
            Self::Yawc => yawc::serve(stream, options, work).await,
        }
    }
}

fn main() -> Result<(), Failure> {
    let Arguments { library, task, tls_certificate, tls_key } = Arguments::parse();
    let (options, publication) = match task {
        Task::Echo(options) => (options, None),
        Task::Broadcast { options, publication } => (options, Some(publication)),
    };
    if options.deflate && !library.offers_deflate() {
        return Err("this library has no permessage-deflate".into());
    }
    let acceptor = tls_certificate.zip(tls_key);
    let acceptor = acceptor.map(|(chain, key)| transport::acceptor(&chain, &key)).transpose()?;
    if library == Library::Floor {
        if acceptor.is_some() {
            return Err("the floor has no TLS".into());
        }
        return serve_floor(options, publication);
    }
    let mut runtime = match options.threads {
        1 => runtime::Builder::new_current_thread(),
        _ => runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.worker_threads(options.threads.into()).enable_all().build()?;
    runtime.block_on(accept(library, options, publication, acceptor))
}

/// Serves with nothing but epoll.
fn serve_floor(options: Options, publication: Option<Publication>) -> Result<(), Failure> {
    // A listener of tokio's wants a runtime to be made, though not to be used.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(async { listen(options.listen) })?;
    announce(&listener)?;
    floor::run(listener.into_std()?, options, publication)
}

/// Accepts connections for ever; each is served by a task of its own.
async fn accept(
    library: Library,
    options: Options,
    publication: Option<Publication>,
    acceptor: Option<TlsAcceptor>,
) -> Result<(), Failure> {
    let listener = listen(options.listen)?;
    let publisher = publication.map(Publisher::start);
    announce(&listener)?;
    loop {
        // Out of descriptors, or a connection that was gone before it was accepted: the next may do.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        stream.set_nodelay(true)?;
        let work = publisher
            .as_ref()
            .map_or(Work::Echo, |publisher| Work::Broadcast(publisher.subscription()));
        // What a peer did wrong is no news: suites do it all the time.
        match acceptor.clone() {
            None => drop(tokio::spawn(library.serve(stream, options, work))),
            Some(acceptor) => drop(tokio::spawn(async move {
                library.serve(acceptor.accept(stream).await?, options, work).await
            })),
        }
    }
}

fn announce(listener: &TcpListener) -> Result<(), Failure> {
    println!("listening on {}", listener.local_addr()?);
    Ok(std::io::stdout().flush()?)
}

/// What a broadcast server may gather before it writes, where the library lets one choose: four turns
/// of 128 small messages.
const WRITE_BUFFER_BYTES: usize = 64 * 1024;

/// Listens with room for a storm of handshakes, which tokio's default of 1,024 is not.
fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket.listen(4096)?)
}
