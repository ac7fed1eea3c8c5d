//! `wss://` targets: a server of another make, believed or not, under load and behind a gateway.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tickwire_load::{Gateway, Load, Outcome, Size, Trust, Work};
use tungstenite::Message;

/// An echo server with TLS whose threads end with their connections.
struct Server {
    address: SocketAddr,
    /// The file of the certificate that it has signed itself.
    certificate: tempfile::NamedTempFile,
}

impl Server {
    fn start() -> Self {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let own = rcgen::generate_simple_self_signed(names).expect("a server of this machine");
        let (pem, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        let chain =
            vec![CertificateDer::from_pem_slice(pem.as_bytes()).expect("a server of this machine")];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a server of this machine");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("a server of this machine")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a server of this machine");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a server of this machine");
        let address = listener.local_addr().expect("a server of this machine");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, config) =
                    (stream.expect("a server of this machine"), Arc::clone(&config));
                thread::spawn(move || echo(stream, config));
            }
        });
        let mut certificate = tempfile::NamedTempFile::new().expect("a server of this machine");
        certificate.write_all(pem.as_bytes()).expect("a server of this machine");
        Self { address, certificate }
    }

    fn path(&self) -> PathBuf {
        self.certificate.path().to_owned()
    }

    fn load(&self, trust: Trust) -> Outcome {
        let target = format!("wss://localhost:{}/", self.address.port())
            .parse()
            .expect("a server of this machine");
        let work = Work::Echo {
            size: "20:2,1000:1,70000:1".parse::<Size>().expect("a server of this machine"),
            depth: 2,
        };
        let mut load = Load::new(target, work, 10, Duration::from_millis(300));
        load.trust = trust;
        load.run(&AtomicBool::new(false), &mut |_| {}).expect("a server of this machine")
    }
}

fn echo(stream: TcpStream, config: Arc<ServerConfig>) {
    let connection = ServerConnection::new(config).expect("a server of this machine");
    let Ok(mut socket) = tungstenite::accept(StreamOwned::new(connection, stream)) else { return };
    while let Ok(message) = socket.read() {
        if (message.is_binary() || message.is_text()) && socket.send(message).is_err() {
            return;
        }
    }
    // It ends as a server should: announced, behind its Close.
    let stream = socket.get_mut();
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

#[test]
fn load_over_tls_is_flawless_where_the_certificate_is_believed() {
    let server = Server::start();
    for trust in [Trust::File(server.path()), Trust::Anybody] {
        let outcome = server.load(trust.clone());
        assert!(outcome.is_flawless(), "{trust:?}: {:?}", outcome.faults);
        assert_eq!(outcome.connections.opened, 10);
    }
}

#[test]
fn sessions_are_taken_up_again_only_if_that_is_asked_for() {
    let server = Server::start();
    for resumes in [false, true] {
        let target = format!("wss://localhost:{}/", server.address.port()).parse().unwrap();
        let mut load = Load::new(target, Work::Connect, 1, Duration::from_secs(1));
        (load.trust, load.resumes) = (Trust::Anybody, resumes);
        let outcome = load.run(&AtomicBool::new(false), &mut |_| {}).unwrap();
        assert_eq!(outcome.faults.total(), 0, "{:?}", outcome.faults);
        let opened = outcome.connections.opened;
        assert!(opened > 1, "one handshake follows another");
        // Only the first finds no ticket.
        let expected = if resumes { opened - 1 } else { 0 };
        assert_eq!(outcome.connections.resumed, expected, "of {opened}");
    }
}

#[test]
fn load_over_tls_says_why_a_certificate_is_not_believed() {
    let server = Server::start();
    let stranger = Server::start();
    let outcome = server.load(Trust::File(stranger.path()));
    assert_eq!((outcome.connections.opened, outcome.connections.failed), (0, 10));
    let told = format!("{:?}", outcome.faults);
    assert!(told.contains("certificate"), "{told}");
}

#[test]
fn gateway_is_as_the_server_behind_it() {
    let server = Server::start();
    let gateway = Gateway::open(server.address, "localhost", &Trust::File(server.path())).unwrap();
    let stream = TcpStream::connect(gateway.address()).unwrap();
    let (mut socket, _) = tungstenite::client("ws://localhost/", stream).unwrap();
    for size in [0, 1, 16_384, 100_000] {
        let sent = Message::binary(vec![7; size]);
        socket.send(sent.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), sent);
    }
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    // The announced end is an end here, too, and no reset.
    assert_eq!(socket.get_mut().read(&mut [0]).unwrap(), 0);
}

#[test]
fn gateway_resets_where_the_server_is_not_believed() {
    let server = Server::start();
    let stranger = Server::start();
    let trust = Trust::File(stranger.path());
    let gateway = Gateway::open(server.address, "localhost", &trust).unwrap();
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn what_cannot_be_believed_is_told_before_the_run() {
    let target = || "wss://localhost:1/".parse().unwrap();
    for (trust, words) in [
        (Trust::File(PathBuf::from("no-such-file.pem")), "no-such-file.pem"),
        (Trust::File(tempfile::NamedTempFile::new().unwrap().path().to_owned()), "trust"),
    ] {
        let mut load = Load::new(target(), Work::Idle, 1, Duration::from_millis(1));
        load.trust = trust;
        let error = load.run(&AtomicBool::new(false), &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
