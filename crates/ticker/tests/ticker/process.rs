//! The binary: what it prints, how it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::Client;
use crate::http::get;
use crate::server::recording;

/// A process that is killed when the test is over, and its successors with it.
pub(crate) struct Process {
    child: Child,
    log: Option<BufReader<ChildStderr>>,
}

impl Process {
    /// Starts `tickwire` on a free port, and returns it with the address that it prints.
    pub(crate) fn serve(arguments: &[&str]) -> (Self, SocketAddr) {
        let mut process = Self::run(&[arguments, &["--listen", "127.0.0.1:0"]].concat());
        let address = process.address();
        (process, address)
    }

    fn run(arguments: &[&str]) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_tickwire")).args(arguments))
    }

    /// Starts a command that becomes a `tickwire`.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        command.env_remove("RUST_LOG").stdin(Stdio::null()).process_group(0);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = child.stderr.take().map(BufReader::new);
        Self { child, log }
    }

    /// The address that it prints when it serves.
    pub(crate) fn address(&mut self) -> SocketAddr {
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("://").nth(1).unwrap_or_else(|| panic!("printed {line:?}"));
        address.trim_end().trim_end_matches('/').parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    /// Sends a signal to it, if it has not ended, and to its successors.
    pub(crate) fn signal_all(&self, signal: Signal) {
        kill_process_group(self.id(), signal).unwrap();
    }

    /// Reads its log up to a line that has `words`.
    pub(crate) fn wait_for_log(&mut self, words: &str) {
        let log = self.log.as_mut().unwrap();
        let found = log.lines().any(|line| line.unwrap().contains(words));
        assert!(found, "{words:?} is not in the log");
    }

    /// Waits for its exit code; successors go on.
    pub(crate) fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for its end and that of its successors, and returns its exit code and what all wrote to
    /// the log.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.log.take().unwrap().read_to_string(&mut log).unwrap();
        (self.code(), log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // All may have ended already.
        let _ = kill_process_group(self.id(), Signal::KILL);
        let _ = self.child.wait();
    }
}

#[test]
fn it_serves_with_and_without_the_subcommand_and_ends_when_asked() {
    for (arguments, signal) in [(&["--shards", "1"][..], Signal::TERM), (&["serve"], Signal::INT)] {
        let (process, address) = Process::serve(arguments);
        assert_eq!(get(address, "/healthz").status, 200);
        let mut client = Client::connect(address);
        client.subscribe(1, &["ORVA"]);
        client.reply(1);
        process.signal(signal);
        while client.message()["code"] != "server_shutdown" {}
        assert_eq!(client.close_code(), 1001);
        let (code, log) = process.end();
        assert_eq!(code, Some(0), "{log}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (mut process, address) = Process::serve(&[]);
    // This client reads nothing more, so the first shutdown waits for its answer to the Close.
    let _client = Client::connect(address);
    process.signal(Signal::TERM);
    process.wait_for_log("shutting down");
    process.signal(Signal::TERM);
    assert_eq!(process.end().0, Some(128 + 15));
}

/// Whether `address` shows a certificate that is vouched for by `pem`, and then answers over TLS.
fn is_shown(address: SocketAddr, pem: &str) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    if stream.write_all(request).is_err() {
        return false;
    }
    let mut answer = String::new();
    // It fails where the end is not announced.
    stream.read_to_string(&mut answer).unwrap();
    answer.starts_with("HTTP/1.1 200 ") && answer.trim_end().ends_with("ok")
}

#[test]
fn certificates_are_shown_and_read_again_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["chain.pem", "key.pem"].map(|name| folder.path().join(name));
    let renew = || {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(&files[0], own.cert.pem()).unwrap();
        fs::write(&files[1], own.signing_key.serialize_pem()).unwrap();
        own.cert.pem()
    };
    let [chain, key] = files.each_ref().map(|file| file.to_str().unwrap());
    let old = renew();
    let options = ["--tls-certificate", chain, "--tls-key", key];
    let (mut process, address) = Process::serve(&options);
    assert!(is_shown(address, &old));
    assert!(get(address, "/healthz").body.contains("wss://"), "a plain request is told");
    let new = renew();
    process.signal(Signal::HUP);
    process.wait_for_log("read again");
    assert!(is_shown(address, &new) && !is_shown(address, &old));
    fs::write(&files[0], "no certificate").unwrap();
    process.signal(Signal::HUP);
    process.wait_for_log("stay as they are");
    assert!(is_shown(address, &new));
    process.signal(Signal::TERM);
    assert_eq!(process.end().0, Some(0));
}

#[test]
fn certificates_that_cannot_be_used_are_a_clear_error_and_exit_code_2() {
    for (arguments, said) in [
        (
            &["--tls-certificate", "/nonexistent/a", "--tls-key", "/nonexistent/b"][..],
            "cannot read",
        ),
        (&["--tls-certificate", "a", "--tls-certificate", "b", "--tls-key", "c"], "2 certificates"),
        (&["--tls-certificate", "a"], "--tls-key"),
    ] {
        let (code, log) = Process::run(arguments).end();
        assert_eq!(code, Some(2), "{arguments:?}: {log}");
        assert!(log.contains(said), "{arguments:?}: {log}");
    }
}

#[test]
fn a_feed_that_cannot_be_read_is_a_clear_error_and_exit_code_2() {
    let empty = recording(["no event", "{}"]);
    let empty = format!("replay:{}", empty.path().display());
    for (arguments, said) in [
        (&["--feed", "replay:/nonexistent/x.gz"][..], "/nonexistent/x.gz cannot be opened"),
        (&["--feed", &empty], "holds no event: 2 lines are out of shape"),
        (&["--feed", "tape"], "choose synthetic or replay:FILE"),
        (&["--listen", "203.0.113.1:9"], "203.0.113.1:9"),
    ] {
        let (code, log) = Process::run(arguments).end();
        assert_eq!(code, Some(2), "{arguments:?}: {log}");
        assert!(log.contains(said), "{arguments:?}: {log}");
    }
}

#[test]
fn lines_out_of_shape_are_named_in_the_log() {
    let mut lines = crate::server::trades("AAA", 2);
    lines.insert(1, "no event".to_owned());
    let file = recording(lines);
    let path = file.path().display().to_string();
    let (process, address) = Process::serve(&["--feed", &format!("replay:{path}")]);
    assert_eq!(get(address, "/healthz").status, 200);
    process.signal(Signal::TERM);
    let (code, log) = process.end();
    assert_eq!(code, Some(0));
    assert!(log.contains(&format!("{path}:2: skipped, it is not JSON")), "{log}");
}
