//! Connections of ours to `wss://` servers: whom we believe, and what is told when we do not.

use std::sync::mpsc::{Receiver, channel};

use tickwire_protocol::{CloseCode, Message};
use tickwire_reactor::{
    Certificate, Client, Config, ConnectError, Connection, Connector, Destination, Ended, Handler,
    Server, ShardStart, Tls, TlsError, Trust, Unconnected,
};

use super::{Authority, Validity};
use crate::application::{Application, Journal};
use crate::world::PATIENCE;

/// Tells the test everything that happens.
struct Teller(std::sync::mpsc::Sender<Told>);

#[derive(Debug)]
enum Told {
    Opened,
    Heard(usize),
    Closed(Ended),
    Failed(ConnectError),
}

impl Teller {
    fn tell(&self, told: Told) {
        // At the end nobody listens any more.
        let _ = self.0.send(told);
    }
}

impl Handler for Teller {
    type State = ();

    fn open(&mut self, connection: &mut Connection<'_, ()>) {
        self.tell(Told::Opened);
        connection.send_text(&"hello ".repeat(20_000));
    }

    fn message(&mut self, connection: &mut Connection<'_, ()>, message: Message<'_>) {
        assert_eq!(message.payload, "hello ".repeat(20_000).as_bytes());
        self.tell(Told::Heard(message.payload.len()));
        connection.close(CloseCode::NORMAL, "");
    }

    fn connect_failed(&mut self, _: &mut Connector<'_, ()>, unconnected: Unconnected<()>) {
        self.tell(Told::Failed(unconnected.error));
    }

    fn close(&mut self, _: &mut Connection<'_, ()>, ended: Ended) {
        self.tell(Told::Closed(ended));
    }
}

fn next(told: &Receiver<Told>) -> Told {
    told.recv_timeout(PATIENCE).expect("something happens")
}

fn server(tls: Option<Tls>) -> Server {
    let application = |shard: ShardStart| Application::new(&shard, Journal::default());
    let server = Server::builder().tls(tls).fallback(application).start();
    server.expect("a port of this machine, and threads")
}

fn client(trust: Option<Trust>) -> (Client<()>, Receiver<Told>) {
    let (sender, told) = channel();
    let mut config = Config::default();
    config.trust = trust;
    let client = Client::start(&config, move |_| Teller(sender.clone()));
    (client.expect("threads can be started"), told)
}

fn destination(server: &Server, scheme: &str) -> Destination {
    let port = server.local_addr().port();
    Destination::resolve(&format!("{scheme}://127.0.0.1:{port}/echo")).expect("an address")
}

/// Why there is no connection to `destination`.
fn failure(trust: Option<Trust>, destination: Destination) -> ConnectError {
    let (client, told) = client(trust);
    client.connect(destination, ());
    match next(&told) {
        Told::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

fn expired() -> Tls {
    let (chain, key) = Authority::usual().vouch(&["127.0.0.1"], Validity::UntilLastYear);
    let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes());
    Tls::new(vec![certificate.expect("they are of each other")]).expect("there is one")
}

#[test]
fn client_talks_to_a_server_of_ours_over_tls() {
    let server = server(Some(Authority::usual().server()));
    let (client, told) = client(Some(Authority::usual().trust()));
    for number in 0..3 {
        client.connect(destination(&server, "wss"), ());
        assert!(matches!(next(&told), Told::Opened));
        assert!(matches!(next(&told), Told::Heard(120_000)));
        assert!(matches!(next(&told), Told::Closed(Ended::ByUs(CloseCode::NORMAL))));
        let counters = client.handle().metrics().total();
        assert!(counters.tls_handshakes >= number, "{counters:?}");
    }
    drop(client);
    let counters = server.metrics().total();
    assert_eq!((counters.lost, counters.failed, counters.tls_failures), (0, 0, 0), "{counters:?}");
}

#[test]
fn what_is_wrong_with_a_certificate_is_told() {
    let authority = Authority::usual();
    let usual = server(Some(authority.server()));
    let trust = || Some(authority.trust());
    type Is = fn(&TlsError) -> bool;
    let cases: [(&str, ConnectError, Is, &str); 6] = [
        (
            "of an authority that nobody knows",
            failure(Some(Authority::new().trust()), destination(&usual, "wss")),
            |it| matches!(it, TlsError::Certificate(_)),
            "UnknownIssuer",
        ),
        (
            "for another name",
            failure(trust(), destination(&usual, "wss").with_tls("other.example.com")),
            |it| matches!(it, TlsError::Certificate(_)),
            "other.example.com",
        ),
        (
            "expired",
            failure(trust(), destination(&server(Some(expired())), "wss")),
            |it| matches!(it, TlsError::Certificate(_)),
            "expired",
        ),
        (
            "none: it speaks no TLS",
            failure(trust(), destination(&server(None), "wss")),
            |it| matches!(it, TlsError::NotTls),
            "does not speak TLS",
        ),
        (
            "nobody is trusted",
            failure(None, destination(&usual, "wss")),
            |it| matches!(it, TlsError::NoTrust),
            "Config::trust",
        ),
        (
            "a name that none can have",
            failure(trust(), destination(&usual, "wss").with_tls("a b")),
            |it| matches!(it, TlsError::Name(_)),
            "a b",
        ),
    ];
    for (what, error, is_expected, words) in cases {
        let told = error.to_string();
        assert!(told.contains(words), "{what}: {told}");
        assert!(matches!(&error, ConnectError::Tls(tls) if is_expected(tls)), "{what}: {error:?}");
    }
}

#[test]
fn plain_destination_does_not_reach_a_server_with_tls() {
    let server = server(Some(Authority::usual().server()));
    let error = failure(None, destination(&server, "ws"));
    assert!(matches!(error, ConnectError::Answer(_)), "{error:?}");
    assert!(error.to_string().contains("400"), "{error}");
}

/// A server that ends the stream at a point of the handshake.
#[test]
fn handshake_that_is_cut_off_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port of this machine");
    let address = listener.local_addr().expect("it is bound");
    let ends = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client connects");
        // All of its hello, so that what follows is an end and no reset.
        let mut hello = [0; 16 * 1024];
        let _ = std::io::Read::read(&mut stream, &mut hello).expect("it says hello");
    });
    let destination = Destination::new(address, "/").with_tls("localhost");
    let error = failure(Some(Authority::usual().trust()), destination);
    assert!(matches!(error, ConnectError::Tls(TlsError::Unfinished)), "{error:?}");
    ends.join().expect("it has accepted");
}

#[test]
fn what_cannot_be_trusted_is_refused_with_its_reason() {
    let told = |pem: &str| Trust::from_pem(pem.as_bytes()).expect_err("of no use").to_string();
    assert!(told("").contains("no certificate"));
    let (_, key) = Authority::usual().vouch(&["localhost"], Validity::Now);
    assert!(told(&key).contains("no certificate"));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(told(broken).contains("no certificates to trust"));
    let missing = Trust::from_file(std::path::Path::new("no-such-file.pem"));
    assert!(missing.expect_err("there is none").to_string().contains("no-such-file.pem"));
}
