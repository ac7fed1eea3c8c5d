//! Echoes every message to its sender: what echo benchmarks and conformance suites run against.
//!
//! `cargo run --release --example echo -p tickwire -- --listen 127.0.0.1:9002`

#![expect(clippy::print_stdout, reason = "it prints its address")]

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tickwire::{
    Answer, BackendChoice, Connection, Deflate, Handle, Handler, Message, Origins, Request, Server,
    Tls,
};

/// A name of its own, because an `Option` among the options would be one that may be left out.
type Compression = Option<Deflate>;

/// Echoes every WebSocket message to its sender.
#[derive(Parser)]
struct Arguments {
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
}

impl Handler for Echo {
    type State = ();

    fn request(&mut self, request: &Request<'_>) -> Answer<()> {
        let protocol = request.choose_protocol(&self.protocols);
        Answer::upgrade(()).with_protocol(protocol)
    }

    fn message(&mut self, connection: &mut Connection<'_>, message: Message<'_>) {
        connection.send(message.kind, message.payload);
    }
}

/// The first SIGINT or SIGTERM begins a shutdown, the second ends it.
fn end_on_signals(server: Handle) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        let mut signals = signals.forever();
        signals.next();
        server.shutdown();
        signals.next();
        server.shutdown_now();
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    // Subprotocols live as long as the program.
    let protocols: Vec<&'static str> =
        arguments.protocols.into_iter().map(|name| &*name.leak()).collect();
    let tls = arguments.tls_certificate.zip(arguments.tls_key);
    let tls = tls.map(|(certificate, key)| Tls::from_files(&certificate, &key)).transpose()?;
    let scheme = if tls.is_some() { "wss" } else { "ws" };
    let server = Server::builder()
        .listen(arguments.listen)
        .shards(arguments.shards)
        .backend(arguments.backend)
        .limits(|limits| limits.protocol.message_bytes_max = arguments.max_message)
        .deflate(arguments.deflate)
        .tls(tls)
        .origins(arguments.origins)
        .route("/{*path}", move |_| Echo { protocols: protocols.clone() })
        .start()?;
    end_on_signals(server.handle())?;
    println!("echo at {scheme}://{}/", server.local_addr());
    server.join()?;
    Ok(())
}
