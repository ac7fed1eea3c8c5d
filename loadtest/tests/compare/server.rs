//! The servers of these tests: this program, asked by its environment to be one.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;
use tungstenite::Message;

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Echoes.
    Echo,
    /// Echoes, over TLS.
    Secure,
    /// Says why it does not start, and ends.
    Absent,
    /// Never says where it listens.
    Speechless,
    /// Closes its connections with their first message, and ends after that: as the kernel does it
    /// with a process that ends, though not that slowly.
    Mortal,
    /// Echoes something else.
    Wrong,
}

/// Where servers note that they were there.
pub(crate) struct Notes(TempDir);

impl Notes {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Begins anew.
    pub(crate) fn forget(&self) {
        for entry in fs::read_dir(self.0.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }

    /// Each server's process and the cores that it found itself on.
    pub(crate) fn servers(&self) -> Vec<(u32, String)> {
        let note = |entry: fs::DirEntry| {
            let process = entry.file_name().to_str().unwrap().parse().unwrap();
            (process, fs::read_to_string(entry.path()).unwrap())
        };
        fs::read_dir(self.0.path()).unwrap().map(|entry| note(entry.unwrap())).collect()
    }

    #[track_caller]
    pub(crate) fn assert_all_stopped(&self) {
        let servers = self.servers();
        assert!(!servers.is_empty());
        for (process, _) in servers {
            let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
            assert!(test_kill_process(pid).is_err(), "the server {process} is still there");
        }
    }
}

impl Behaviour {
    const ALL: [(&str, Self); 6] = [
        ("echo", Self::Echo),
        ("secure", Self::Secure),
        ("absent", Self::Absent),
        ("speechless", Self::Speechless),
        ("mortal", Self::Mortal),
        ("wrong", Self::Wrong),
    ];

    /// The command of such a server.
    pub(crate) fn command(self, notes: &Notes) -> String {
        let (name, _) = Self::ALL.iter().find(|(_, behaviour)| *behaviour == self).unwrap();
        let program = std::env::current_exe().unwrap();
        format!(
            "env {BEHAVIOUR}={name} {NOTES}='{}' '{}' --exact server::serve --nocapture",
            notes.0.path().display(),
            program.display()
        )
    }
}

/// No test but a server, if the environment asks for one.
#[test]
fn serve() {
    let Ok(name) = std::env::var(BEHAVIOUR) else { return };
    let (_, behaviour) = *Behaviour::ALL.iter().find(|(other, _)| *other == name).unwrap();
    let notes = PathBuf::from(std::env::var_os(NOTES).unwrap());
    fs::write(notes.join(process::id().to_string()), cores()).unwrap();
    match behaviour {
        Behaviour::Absent => {
            eprintln!("there is no configuration");
            process::exit(3);
        }
        Behaviour::Speechless => {
            println!("getting ready");
            thread::park();
        }
        _ => {}
    }
    let given = std::env::args().next_back().unwrap_or_default();
    let given = if given.contains(':') && !given.contains("::") { &given } else { "127.0.0.1:0" };
    let listener = TcpListener::bind(given).unwrap();
    println!("listening on {}", listener.local_addr().unwrap());
    let identity = (behaviour == Behaviour::Secure).then(identity);
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        let tcp = stream.try_clone().unwrap();
        match identity.clone() {
            None => thread::spawn(move || answer(stream, &tcp, behaviour)),
            Some(config) => thread::spawn(move || {
                let connection = ServerConnection::new(config).unwrap();
                answer(StreamOwned::new(connection, stream), &tcp, behaviour);
            }),
        };
    }
}

/// TLS with a certificate that nobody vouches for.
fn identity() -> Arc<ServerConfig> {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![own.cert.der().clone()], key).unwrap())
}

/// Answers messages of a stream over `tcp` until the peer ends it.
fn answer(stream: impl Read + Write, tcp: &TcpStream, behaviour: Behaviour) {
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    while let Ok(message) = socket.read() {
        if !message.is_binary() {
            continue;
        }
        let answer = match behaviour {
            Behaviour::Mortal => {
                tcp.shutdown(Shutdown::Both).unwrap();
                thread::park_timeout(Duration::from_millis(300));
                eprintln!("cannot go on");
                process::exit(1);
            }
            Behaviour::Wrong => Message::binary(vec![0; message.len() + 1]),
            _ => message,
        };
        if socket.send(answer).is_err() {
            return;
        }
    }
}

/// The cores that this process may use, as the kernel lists them.
fn cores() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap().trim().to_owned()
}

/// The first of them.
pub(crate) fn first_core() -> String {
    cores().split(['-', ',']).next().unwrap().to_owned()
}

const BEHAVIOUR: &str = "COMPARE_TEST_BEHAVIOUR";
const NOTES: &str = "COMPARE_TEST_NOTES";
