//! One ticker after the other on the same sockets: nobody is refused in between.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use tempfile::TempDir;
use tickwire::{BackendChoice, Server};

use crate::client::Client;
use crate::http::{get, get_on};
use crate::process::Process;
use crate::server::{recording, trades};
use crate::visitors::Visitors;

/// Clients that come all along, one after the other: for the health of the ticker and for its welcome.
struct Newcomers {
    stop: Sender<()>,
    served: JoinHandle<usize>,
}

impl Newcomers {
    fn begin(address: SocketAddr) -> Self {
        let (stop, stopped) = channel();
        let come = move || {
            let mut served = 0;
            while stopped.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
                assert_eq!(get(address, "/healthz").status, 200);
                drop(Client::connect(address));
                served += 2;
            }
            served
        };
        Self { stop, served: thread::spawn(come) }
    }

    /// How many were served; all that came, or this panics.
    fn end(self) -> usize {
        drop(self.stop);
        self.served.join().unwrap()
    }
}

fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[test]
fn a_restart_under_load_refuses_nobody() {
    restart_under_load("epoll");
}

#[test]
fn a_restart_under_load_refuses_nobody_on_io_uring() {
    match Server::builder().backend(BackendChoice::IoUring).bind() {
        Ok(_) => restart_under_load("io_uring"),
        Err(error) => eprintln!("skipped: {error}"),
    }
}

/// With a thousand clients who come back at once, or as many as `TICKWIRE_VISITORS` says, and others who
/// come all along. Not with more, nor with more updates, unless asked: who has not read its Close within
/// 5 s is dropped, and all of them are one thread of what may be a busy machine.
fn restart_under_load(backend: &str) {
    let visitors = std::env::var("TICKWIRE_VISITORS").map_or(1_000, |count| count.parse().unwrap());
    raise_descriptor_limit();
    let options = ["--shards", "2", "--speed", "2", "--drain", "2", "--backend", backend];
    let (mut first, address) = Process::serve(&options);
    let mut visitors = Visitors::connect(address, visitors, &["ORVA", "KELT"]);
    visitors.run_until(|visitor| visitor.has_updates());
    let old = visitors.epochs();
    assert_eq!(old.len(), 1, "one numbering of events");
    let newcomers = Newcomers::begin(address);
    first.signal(Signal::USR2);
    visitors.run_until(|visitor| visitor.has_updates() && !old.contains(visitor.epoch()));
    assert_eq!(visitors.epochs().len(), 1, "all are at the successor");
    assert_eq!(first.code(), Some(0), "it ends when all have gone");
    let served = newcomers.end();
    assert!(served > 0, "nobody came in between");
    assert_eq!(get(address, "/healthz").status, 200);
    drop(visitors);
    first.signal_all(Signal::TERM);
    let (_, log) = first.end();
    assert!(log.contains("the successor serves"), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
    assert!(TcpStream::connect(address).is_err(), "nobody listens");
}

/// Asks when the restart has begun, on a connection that was accepted before; what it is answered.
fn answered_in_a_restart(backend: &str) -> String {
    // One event loop, which tells its clients in the turn that the end begins with.
    let options = ["--shards", "1", "--drain", "0", "--backend", backend];
    let (mut first, address) = Process::serve(&options);
    let mut client = Client::connect(address);
    let mut hesitant = TcpStream::connect(address).unwrap();
    hesitant.set_read_timeout(Some(PATIENCE)).unwrap();
    hesitant.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    // Who comes later is not accepted sooner.
    assert_eq!(get(address, "/healthz").status, 200);
    first.signal(Signal::USR2);
    while client.message()["code"] != "server_shutdown" {}
    assert_eq!(client.close_code(), 1012);
    drop(client);
    let mut answer = String::new();
    // It may be gone already.
    let _ = hesitant.write_all(b"Host: localhost\r\n\r\n");
    let _ = hesitant.read_to_string(&mut answer);
    drop(hesitant);
    assert_eq!(first.code(), Some(0));
    first.signal_all(Signal::TERM);
    first.end();
    answer
}

#[test]
fn who_was_accepted_before_a_restart_has_time_to_ask() {
    for (name, backend) in [("epoll", BackendChoice::Epoll), ("io_uring", BackendChoice::IoUring)] {
        if let Err(error) = Server::builder().backend(backend).bind() {
            eprintln!("skipped: {error}");
            continue;
        }
        // It is a second, which on a busy machine may pass between two lines, though not each time.
        let mut answers = (0..5).map(|_| answered_in_a_restart(name));
        let is_served = answers.any(|answer| answer.starts_with("HTTP/1.1 200 "));
        assert!(is_served, "on {name} nobody who hesitates is answered");
    }
}

#[test]
fn a_successor_has_a_successor() {
    // One event loop: when it has told a client, it accepts no more.
    let (mut first, address) = Process::serve(&["--shards", "1", "--drain", "0"]);
    let mut client = Client::connect(address);
    first.signal(Signal::USR2);
    while client.message()["code"] != "server_shutdown" {}
    assert_eq!(client.close_code(), 1012);
    drop(client);
    assert_eq!(first.code(), Some(0));
    let mut client = Client::connect(address);
    first.signal_all(Signal::USR2);
    assert_eq!(client.close_code(), 1012);
    drop(client);
    let mut client = Client::connect(address);
    first.signal_all(Signal::TERM);
    assert_eq!(client.close_code(), 1001);
    drop(client);
    let (_, log) = first.end();
    assert_eq!(log.matches("the successor serves").count(), 2, "{log}");
}

#[test]
fn without_a_successor_the_ticker_goes_on() {
    let file = recording(trades("AAA", 1_000));
    let feed = format!("replay:{}", file.path().display());
    let (mut process, address) = Process::serve(&["--feed", &feed]);
    let mut client = Client::connect(address);
    // The successor does not find it.
    drop(file);
    process.signal(Signal::USR2);
    process.wait_for_log("no successor, this ticker goes on");
    client.subscribe(1, &["AAA"]);
    client.reply(1);
    assert_eq!(get(address, "/healthz").status, 200);
    process.signal(Signal::TERM);
    assert_eq!(client.close_code(), 1001);
    drop(client);
    assert_eq!(process.end().0, Some(0));
}

/// A service manager that wants to be told.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, folder }
    }

    fn environment(&self) -> [(&'static str, String); 1] {
        [("NOTIFY_SOCKET", self.folder.path().join("notify").display().to_string())]
    }

    fn hear(&self) -> String {
        let mut said = [0; 256];
        let length = loop {
            match self.socket.recv(&mut said) {
                // The process was stopped and goes on.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.unwrap(),
            }
        };
        String::from_utf8(said[..length].to_vec()).unwrap()
    }
}

/// A ticker that is started as systemd does, with `listener` as file descriptor 3: by a shell, which
/// knows what its process will be.
fn activated(listener: &TcpListener, environment: &[(&str, String)]) -> Process {
    let script = r#"LISTEN_PID=${LISTEN_PID:-$$} exec "$0" --listen 127.0.0.1:0 --shards 2"#;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_tickwire")]).env("LISTEN_FDS", "1");
    command.env("LISTEN_FDNAMES", "tickwire.socket").env_remove("LISTEN_PID");
    command.envs(environment.iter().cloned());
    let parent_fd = OwnedFd::from(listener.try_clone().unwrap());
    command.fd_mappings(vec![FdMapping { parent_fd, child_fd: 3 }]).unwrap();
    Process::spawn(&mut command)
}

#[test]
fn an_activated_ticker_serves_the_socket_that_it_is_given_and_says_when() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let manager = Manager::new();
    // It waits for the first ticker, and the next one for the second.
    let mut waiting = TcpStream::connect(address).unwrap();
    for _ in 0..2 {
        let mut process = activated(&listener, &manager.environment());
        assert_eq!(process.address(), address);
        assert_eq!(manager.hear().trim_end(), "READY=1");
        assert_eq!(get_on(waiting, "/healthz").status, 200);
        process.signal(Signal::TERM);
        assert_eq!(manager.hear().trim_end(), "STOPPING=1");
        let (code, log) = process.end();
        assert_eq!(code, Some(0), "{log}");
        waiting = TcpStream::connect(address).unwrap();
    }
}

#[test]
fn a_service_manager_is_told_of_the_successor() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let manager = Manager::new();
    let mut process = activated(&listener, &manager.environment());
    assert_eq!(manager.hear().trim_end(), "READY=1");
    process.signal(Signal::USR2);
    assert!(manager.hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    let said = manager.hear();
    let pid = said.strip_prefix("MAINPID=").and_then(|rest| rest.strip_suffix("\nREADY=1\n"));
    let pid: u32 = pid.unwrap_or_else(|| panic!("said {said:?}")).parse().unwrap();
    assert!(std::fs::exists(format!("/proc/{pid}")).unwrap());
    assert_eq!(process.code(), Some(0));
    assert_eq!(get(listener.local_addr().unwrap(), "/healthz").status, 200);
    process.signal_all(Signal::TERM);
    assert_eq!(manager.hear().trim_end(), "STOPPING=1");
    process.end();
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut process = activated(&listener, &[("LISTEN_PID", "1".to_owned())]);
    assert_ne!(process.address(), listener.local_addr().unwrap());
    process.signal(Signal::TERM);
    assert_eq!(process.end().0, Some(0));
}

/// Only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(60);
