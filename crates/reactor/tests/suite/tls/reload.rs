//! Certificates that change while the server runs.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustls::ClientConfig;
use tickwire_reactor::{Server, ShardStart};

use super::{Authority, TlsClient};
use crate::application::{Application, Journal};
use crate::wire;
use crate::world::PATIENCE;

/// A blocking client whose handshake is over; `None`: what it was shown is not to be trusted.
fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Option<(TcpStream, TlsClient)> {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let mut client = TlsClient::new(config, "localhost");
    while client.connection.is_handshaking() {
        stream.write_all(&client.output()).expect("the server reads");
        if !receive(&mut stream, &mut client) || client.error.is_some() {
            return None;
        }
    }
    stream.write_all(&client.output()).expect("the server reads");
    Some((stream, client))
}

/// `false`: the stream has ended.
fn receive(stream: &mut TcpStream, client: &mut TlsClient) -> bool {
    let mut buffer = [0; 16 * 1024];
    let count = loop {
        match stream.read(&mut buffer) {
            // The process was stopped and goes on.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => break read.expect("the server answers"),
        }
    };
    client.input(&buffer[..count]);
    count > 0
}

fn say(stream: &mut TcpStream, client: &mut TlsClient, bytes: &[u8], answer: &[u8]) {
    stream.write_all(&client.say(bytes)).expect("the server reads");
    while !client.plain.ends_with(answer) {
        assert!(receive(stream, client), "it ends early: {:?}", client.error);
    }
    client.plain.clear();
}

/// A configuration of its own, so that no session is taken up again: then no certificate is shown.
fn believing(authority: &Authority) -> Arc<ClientConfig> {
    Arc::new(authority.client(rustls::ALL_VERSIONS))
}

#[test]
fn certificates_are_reloaded_under_load_and_nobody_is_lost() {
    let (old, new) = (Authority::new(), Authority::new());
    let tls = old.server();
    let server = Server::builder()
        .tls(tls.clone())
        .shards(2)
        .fallback(|shard: ShardStart| Application::new(&shard, Journal::default()))
        .start()
        .expect("a port of this machine, and threads");
    let address = server.local_addr();
    let (mut stream, mut client) = connect(address, &believing(&old)).expect("the old one");
    say(&mut stream, &mut client, &wire::request("/echo", &[]), b"\r\n\r\n");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // Whichever is shown, it is one of the two, and what follows works.
                while !stop.load(Ordering::Relaxed) {
                    let connected = connect(address, &believing(&old));
                    let connected = connected.or_else(|| connect(address, &believing(&new)));
                    let connected = connected.or_else(|| connect(address, &believing(&old)));
                    let Some((mut stream, mut client)) = connected else { continue };
                    say(&mut stream, &mut client, &wire::request("/echo", &[]), b"\r\n\r\n");
                    say(&mut stream, &mut client, &wire::text("hi"), b"\x81\x02hi");
                }
            });
        }
        for round in 0..20 {
            let now = if round % 2 == 0 { &new } else { &old };
            let shown = now.certificate(&["localhost", "127.0.0.1"]);
            tls.reload(vec![shown]).expect("there is one");
            assert!(connect(address, &believing(now)).is_some(), "what is new is shown at once");
            say(&mut stream, &mut client, &wire::text("still here"), b"still here");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(connect(address, &believing(&new)).is_none(), "the old one was loaded last");
    assert!(tls.reload(Vec::new()).is_err());
    assert!(connect(address, &believing(&old)).is_some(), "a reload that fails changes nothing");
}
