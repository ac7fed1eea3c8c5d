//! What both sides agree on, and what becomes of those who cannot agree.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};
use tickwire_reactor::{Server, ShardStart, Tls, TlsError};

use super::{Authority, TlsClient, Validity};
use crate::application::{Application, Journal};
use crate::session::Session;
use crate::wire;
use crate::world::{Peer, Place, Reading, Setup, World, in_each_bare_world, in_simulation};

in_each_bare_world!(
    versions_1_2_and_1_3_are_spoken,
    certificate_is_chosen_by_the_name_that_is_asked_for,
    alpn_is_http_1_1_or_none,
    session_is_taken_up_again,
    request_in_plain_text_is_told_that_this_is_tls,
    what_is_no_tls_is_refused_with_an_alert,
);

in_simulation!(
    hello_cut_at_every_byte_is_understood,
    handshake_that_stalls_is_dropped,
    who_is_turned_away_is_told_so_over_tls,
    peer_that_looks_whether_a_port_is_open_is_no_failure,
);

fn leaked(tls: Tls) -> &'static Tls {
    Box::leak(Box::new(tls))
}

pub(super) fn setup() -> Setup {
    Setup { tls: Some(leaked(Authority::usual().server())), ..Setup::default() }
}

fn usual() -> ClientConfig {
    Authority::usual().client(rustls::ALL_VERSIONS)
}

/// Lets both sides say what they have to, until the handshake is over one way or the other.
fn shake<W: World>(session: &mut Session<W>, peer: Peer, client: &mut TlsClient) {
    loop {
        let output = client.output();
        session.world.send(peer, &output);
        if !client.connection.is_handshaking() || client.error.is_some() {
            return;
        }
        match session.world.receive(peer) {
            Reading::Bytes(bytes) => client.input(&bytes),
            Reading::End | Reading::Reset => return,
        }
    }
}

/// Receives until the server has said `bytes` bytes or more.
pub(super) fn hear<W: World>(
    session: &mut Session<W>,
    peer: Peer,
    client: &mut TlsClient,
    is_enough: impl Fn(&TlsClient) -> bool,
) {
    while !is_enough(client) {
        match session.world.receive(peer) {
            Reading::Bytes(bytes) => client.input(&bytes),
            end => panic!("{end:?} before there is enough: {:?}", client.error),
        }
    }
}

/// A peer with an open WebSocket over TLS.
pub(super) fn open<W: World>(
    session: &mut Session<W>,
    config: &Arc<ClientConfig>,
    path: &str,
) -> (Peer, TlsClient) {
    let peer = session.connect();
    let mut client = TlsClient::new(config, "localhost");
    shake(session, peer, &mut client);
    let request = client.say(&wire::request(path, &[]));
    session.world.send(peer, &request);
    hear(session, peer, &mut client, |it| it.plain.ends_with(b"\r\n\r\n"));
    assert!(client.plain.starts_with(b"HTTP/1.1 101 "));
    client.plain.clear();
    (peer, client)
}

/// Echoes a word and closes, as both sides should.
fn converse<W: World>(session: &mut Session<W>, peer: Peer, client: &mut TlsClient) {
    let hello = client.say(&wire::text("hello"));
    session.world.send(peer, &hello);
    hear(session, peer, client, |it| it.plain.ends_with(b"\x81\x05hello"));
    client.plain.clear();
    let close = client.say(&wire::close(1000, ""));
    session.world.send(peer, &close);
    hear(session, peer, client, |it| it.is_over);
    assert_eq!(client.plain, b"\x88\x02\x03\xe8");
}

fn versions_1_2_and_1_3_are_spoken(place: &impl Place) {
    let mut session = Session::start(place, setup());
    for (count, (version, number)) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ]
    .into_iter()
    .enumerate()
    {
        let config = Arc::new(Authority::usual().client(&[version]));
        let (peer, mut client) = open(&mut session, &config, "/echo");
        assert_eq!(client.connection.protocol_version(), Some(number));
        converse(&mut session, peer, &mut client);
        session.counted("handshakes", count as u64 + 1, |counters| counters.tls_handshakes);
    }
    assert_eq!(session.world.counters().tls_failures, 0);
}

fn certificate_is_chosen_by_the_name_that_is_asked_for(place: &impl Place) {
    let authority = Authority::usual();
    let names: [&[&str]; 3] =
        [&["one.example.com"], &["two.example.com", "*.three.example.com"], &["192.0.2.7"]];
    let tls = Tls::new(names.iter().map(|names| authority.certificate(names)).collect());
    let setup = Setup { tls: Some(leaked(tls.expect("three"))), ..Setup::default() };
    let mut session = Session::start(place, setup);
    let config = Arc::new(usual());
    for (name, is_known) in [
        ("one.example.com", true),
        ("two.example.com", true),
        ("any.three.example.com", true),
        ("three.example.com", false),
        ("four.example.com", false),
        // An address is not asked for by name (RFC 6066 section 3): it gets the first.
        ("192.0.2.7", false),
    ] {
        let peer = session.connect();
        let mut client = TlsClient::new(&config, name);
        shake(&mut session, peer, &mut client);
        assert_eq!(client.error.is_none(), is_known, "{name}: {:?}", client.error);
        if is_known {
            assert!(!client.connection.is_handshaking());
        } else {
            // Of the first certificate, which all others are shown.
            let told = client.error.expect("another's").to_string();
            assert!(told.contains("one.example.com"), "{name}: {told}");
        }
    }
}

fn alpn_is_http_1_1_or_none(place: &impl Place) {
    let mut session = Session::start(place, setup());
    for (offered, agreed) in [
        (&[][..], Some(None)),
        (&["http/1.1"], Some(Some("http/1.1"))),
        (&["h2", "http/1.1"], Some(Some("http/1.1"))),
        (&["h2"], None),
    ] {
        let mut config = usual();
        config.alpn_protocols = offered.iter().map(|it: &&str| it.as_bytes().to_vec()).collect();
        let peer = session.connect();
        let mut client = TlsClient::new(&Arc::new(config), "localhost");
        shake(&mut session, peer, &mut client);
        let got = match client.connection.is_handshaking() {
            true => None,
            false => Some(client.connection.alpn_protocol()),
        };
        assert_eq!(got, agreed.map(|it: Option<&str>| it.map(str::as_bytes)), "{offered:?}");
    }
    session.counted("failures", 1, |counters| counters.tls_failures);
}

fn session_is_taken_up_again(place: &impl Place) {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut session = Session::start(place, setup());
        let config = Arc::new(Authority::usual().client(&[version]));
        for number in 0..3 {
            let (peer, mut client) = open(&mut session, &config, "/echo");
            let kind = client.connection.handshake_kind();
            let is_resumed = kind == Some(HandshakeKind::Resumed);
            assert_eq!(is_resumed, number > 0, "{version:?}: {kind:?}");
            converse(&mut session, peer, &mut client);
            session.counted("resumed", number, |counters| counters.tls_resumed);
        }
    }
}

fn request_in_plain_text_is_told_that_this_is_tls(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let peer = session.connect();
    session.world.send(peer, &wire::request("/echo", &[]));
    let (status, answer) = session.answer(peer);
    assert_eq!(status, 400, "{answer}");
    assert!(answer.contains("wss://"), "{answer}");
    session.counted("failures", 1, |counters| counters.tls_failures);
}

fn what_is_no_tls_is_refused_with_an_alert(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let hello = TlsClient::new(&Arc::new(usual()), "localhost").output();
    let mut wrong_type = hello.clone();
    wrong_type[0] = 0x17;
    let mut wrong_length = hello.clone();
    wrong_length[3] = 0xff;
    let mut garbled = hello;
    // The length of the session's name (RFC 8446 section 4.1.2), at most 32.
    garbled[43] = 0xff;
    for (what, bytes) in [
        ("application data ahead of a handshake", wrong_type),
        ("a record longer than any", wrong_length),
        ("a hello with a name that is too long", garbled),
        ("an SSLv2 hello", b"\x80\x2e\x01\x00\x02\x00\x15".repeat(8)),
    ] {
        let peer = session.connect();
        session.world.send(peer, &bytes);
        let mut heard = Vec::new();
        while let Reading::Bytes(bytes) = session.world.receive(peer) {
            heard.extend(bytes);
        }
        // Alert, of TLS 1.2 as all records say, of two bytes, fatal (RFC 8446 section 6).
        assert_eq!(heard.get(..1), Some(&[0x15][..]), "{what}: {heard:?}");
        assert_eq!(heard.get(3..6), Some(&[0, 2, 2][..]), "{what}: {heard:?}");
    }
    session.counted("failures", 4, |counters| counters.tls_failures);
}

fn hello_cut_at_every_byte_is_understood(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let config = Arc::new(usual());
    let length = TlsClient::new(&config, "localhost").output().len();
    // Of the simulation's seeds each has a part of them.
    for cut in (1..length).step_by(16) {
        let peer = session.connect();
        let mut client = TlsClient::new(&config, "localhost");
        let hello = client.output();
        for piece in [&hello[..cut], &hello[cut..]] {
            session.world.send(peer, piece);
            session.let_time_pass(std::time::Duration::ZERO);
        }
        shake(&mut session, peer, &mut client);
        assert!(!client.connection.is_handshaking(), "cut at {cut}: {:?}", client.error);
    }
}

fn handshake_that_stalls_is_dropped(seed: &crate::world::Seed) {
    let mut session = Session::start(seed, setup());
    let config = Arc::new(usual());
    let hello = TlsClient::new(&config, "localhost").output();
    for sent in [&[][..], &hello[..1], &hello[..hello.len() - 1], &hello[..]] {
        let peer = session.connect();
        session.world.send(peer, sent);
        let limits = tickwire_reactor::Limits::default();
        // There is nobody yet who could be told why; the word for it is waited with in vain.
        for timeout in [limits.handshake_timeout, limits.close_timeout] {
            session.let_time_pass(timeout + std::time::Duration::from_millis(100));
        }
        assert!(session.world.is_closed(peer), "after {} bytes", sent.len());
    }
}

fn who_is_turned_away_is_told_so_over_tls(place: &impl Place) {
    let mut setup = setup();
    setup.limits.connections_max = 0;
    let mut session = Session::start(place, setup);
    let peer = session.connect();
    let mut client = TlsClient::new(&Arc::new(usual()), "localhost");
    shake(&mut session, peer, &mut client);
    hear(&mut session, peer, &mut client, |it| it.is_over);
    assert!(client.plain.starts_with(b"HTTP/1.1 503 "), "{}", client.plain.escape_ascii());
}

fn peer_that_looks_whether_a_port_is_open_is_no_failure(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let peer = session.connect();
    session.world.end(peer);
    session.ended(peer);
    assert_eq!(session.world.counters().tls_failures, 0);
}

#[test]
fn what_no_server_can_show_is_refused_with_its_reason() {
    let authority = Authority::usual();
    let (chain, key) = authority.vouch(&["localhost"], Validity::Now);
    let (_, other) = authority.vouch(&["localhost"], Validity::Now);
    let told = |chain: &str, key: &str| {
        Tls::from_pem(chain.as_bytes(), key.as_bytes()).expect_err("of no use").to_string()
    };
    assert!(Tls::from_pem(chain.as_bytes(), key.as_bytes()).is_ok());
    for (chain, key, words) in [
        ("", &*key, "certificates"),
        (&key, &key, "certificates"),
        (&chain, "", "a private key"),
        (&chain, &chain, "a private key"),
        (&chain, &other, "cannot be used"),
    ] {
        let told = told(chain, key);
        assert!(told.contains(words), "{told}");
    }
    assert!(matches!(Tls::new(Vec::new()), Err(TlsError::Identity(_))));
    let missing = std::path::Path::new("no-such-file.pem");
    let told = Tls::from_files(missing, missing).expect_err("there is none").to_string();
    assert!(told.contains("no-such-file.pem"), "{told}");
}

/// Says `words` to a program that speaks TLS for us, and gives what it heard; `None`: this machine
/// has no such program.
fn run(program: &str, arguments: &[&str], words: &[u8]) -> Option<String> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: this machine has no {program}");
        return None;
    };
    child.stdin.as_mut().expect("piped").write_all(words).expect("it listens");
    let output = child.wait_with_output().expect("it ends");
    let heard = [output.stdout, b"\n".to_vec(), output.stderr].concat();
    Some(String::from_utf8_lossy(&heard).into_owned())
}

#[test]
fn programs_of_others_agree() {
    let server = Server::builder()
        .tls(Authority::usual().server())
        .fallback(|shard: ShardStart| Application::new(&shard, Journal::default()))
        .start()
        .expect("a port of this machine, and threads");
    let roots = std::env::temp_dir().join(format!("tickwire-roots-{}.pem", std::process::id()));
    std::fs::write(&roots, Authority::usual().pem()).expect("a file of this machine");
    let roots_path = roots.to_str().expect("a path");
    let address = format!("127.0.0.1:{}", server.local_addr().port());
    let request = b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = [
            "s_client",
            "-connect",
            &address,
            "-CAfile",
            roots_path,
            version,
            "-verify_hostname",
            "localhost",
            "-verify_return_error",
            "-alpn",
            "http/1.1",
            "-ign_eof",
        ];
        if let Some(heard) = run("openssl", &arguments, request) {
            assert!(heard.contains("Verify return code: 0 (ok)"), "{heard}");
            assert!(heard.contains("ALPN protocol: http/1.1"), "{heard}");
            assert!(heard.contains("a page"), "{heard}");
            // It complains where a stream is cut off.
            assert!(!heard.contains("unexpected eof"), "{heard}");
        }
    }
    let url = format!("https://localhost:{}/page", server.local_addr().port());
    let arguments = ["--silent", "--show-error", "--noproxy", "*", "--cacert", roots_path, &url];
    if let Some(heard) = run("curl", &arguments, b"") {
        assert!(heard.starts_with("a page"), "{heard}");
    }
    std::fs::remove_file(&roots).expect("it is there");
}
