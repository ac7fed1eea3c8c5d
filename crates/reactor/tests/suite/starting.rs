//! Starting a server, and what can be wrong with it. Real sockets only.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tickwire_reactor::{BackendChoice, Server, ShardStart, StartError, Steering, Timestamp};

use crate::application::{Application, Journal};
use crate::wire;
use crate::world::PATIENCE;

fn application(shard: ShardStart) -> Application {
    Application::new(&shard, Journal::default())
}

/// Asks for a page, and gives the first line of the answer.
fn status_line(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream.write_all(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n").expect("the server listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and its end");
    answer.lines().next().expect("a line").to_owned()
}

/// The same sockets, with descriptors of their own.
fn copies(listeners: &[TcpListener]) -> Vec<TcpListener> {
    listeners.iter().map(|listener| listener.try_clone().expect("a descriptor")).collect()
}

/// Waits for what a shard tells after its turn.
fn until(mut done: impl FnMut() -> bool) {
    let start = Timestamp::read();
    while !done() {
        assert!(Timestamp::read().since(start) < PATIENCE, "waited in vain");
        std::thread::yield_now();
    }
}

#[test]
fn connections_wait_from_bind_to_start() {
    let bound = Server::builder().shards(2).fallback(application).bind();
    let bound = bound.expect("a port of this machine");
    assert_eq!(bound.shards(), 2);
    let early: Vec<TcpStream> =
        (0..10).map(|_| TcpStream::connect(bound.local_addr()).expect("it listens")).collect();
    let server = bound.start().expect("threads can be started");
    for stream in early {
        assert_eq!(status_line(stream), "HTTP/1.1 200 OK");
    }
    assert_eq!(server.metrics().shards.len(), 2);
}

#[test]
fn server_runs_pinned_on_each_core_and_on_both_addresses() {
    let builder = Server::builder().listen("[::]:0").pin(true).fallback(application);
    // Where there is no IPv6, there is nothing to see.
    let Ok(bound) = builder.bind() else { return };
    let port = bound.local_addr().port();
    let server = bound.start().expect("threads can be started");
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let stream = TcpStream::connect(address).expect("it listens on both");
        assert_eq!(status_line(stream), "HTTP/1.1 200 OK");
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    assert_eq!(server.metrics().shards.len(), cores);
}

#[test]
fn dropped_server_closes_its_connections_and_its_port() {
    let server = Server::builder().fallback(application).start();
    let server = server.expect("a port of this machine");
    let address = server.local_addr();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream.write_all(&wire::request("/echo", &[])).expect("it reads");
    let mut head = [0; 129];
    stream.read_exact(&mut head).expect("an answer");
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; "goodbye".len() + 2];
        stream.read_exact(&mut bytes).expect("last words");
        stream.write_all(&wire::close(1001, "")).expect("it reads");
        stream.read_to_end(&mut bytes).expect("the end");
        bytes
    });
    drop(server);
    let mut bytes = reader.join().expect("a reader");
    assert_eq!(wire::take_frame(&mut bytes).expect("last words").payload, b"goodbye");
    let close = wire::take_frame(&mut bytes).expect("a Close");
    assert_eq!((close.first, &close.payload[..2]), (wire::CLOSE, &1001_u16.to_be_bytes()[..]));
    assert!(TcpStream::connect(address).is_err(), "nobody listens");
}

#[test]
fn port_in_use_is_an_error_that_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port of this machine");
    let address = taken.local_addr().expect("it is bound");
    for shards in [1, 2] {
        let error = Server::builder().listen(address).shards(shards).bind();
        let error = error.expect_err("the port is taken");
        assert!(matches!(error, StartError::Listen { address: it, .. } if it == address));
        assert!(error.to_string().contains("another program has this port"), "{error}");
    }
}

#[test]
fn port_is_closed_when_a_shutdown_begins_and_not_when_it_is_over() {
    for choice in [BackendChoice::Epoll, BackendChoice::IoUring] {
        let server = Server::builder().backend(choice).shards(2).limits(|limits| {
            limits.shutdown_timeout = PATIENCE;
            limits.close_timeout = PATIENCE;
        });
        let server = match server.fallback(application).bind() {
            Ok(bound) => bound.start().expect("threads can be started"),
            Err(error) => {
                eprintln!("skipped: {error}");
                continue;
            }
        };
        let address = server.local_addr();
        let mut silent = TcpStream::connect(address).expect("it listens");
        silent.write_all(&wire::request("/echo", &[])).expect("it reads");
        until(|| server.metrics().total().upgraded == 1);
        server.handle().shutdown();
        until(|| TcpStream::connect(address).is_err());
        // Those that only looked whether it listens go; the silent one's Close is not answered.
        until(|| server.metrics().total().connections_now <= 1);
        assert_eq!(server.metrics().total().connections_now, 1, "{choice:?}");
        server.handle().shutdown_now();
        server.join().expect("it was asked to");
    }
}

#[test]
fn back_end_that_is_asked_for_runs_or_is_an_error_that_says_why() {
    for (choice, name) in [(BackendChoice::Epoll, "epoll"), (BackendChoice::IoUring, "io_uring")] {
        match Server::builder().backend(choice).fallback(application).bind() {
            Ok(bound) => {
                let server = bound.start().expect("threads can be started");
                assert_eq!(server.backend(), name);
                let stream = TcpStream::connect(server.local_addr()).expect("it listens");
                assert_eq!(status_line(stream), "HTTP/1.1 200 OK");
            }
            Err(StartError::Backend { name: told, reason }) => {
                assert_eq!((told, name), ("io_uring", "io_uring"));
                assert!(reason.contains("epoll"), "{reason}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn automatic_choice_is_one_that_runs() {
    let server = Server::builder().fallback(application).start();
    let server = server.expect("one of them runs everywhere");
    assert!(["epoll", "io_uring"].contains(&server.backend()), "{}", server.backend());
}

#[test]
fn handler_that_cannot_be_made_fails_its_shard_and_nobody_waits_for_it() {
    let server = Server::builder()
        .shards(1)
        .limits(|limits| limits.mailbox_letters_max = 1)
        .fallback(|shard| -> Application { panic!("no handler for {}", shard.index) })
        .start()
        .expect("a port of this machine, and a thread");
    let publisher = server.publisher();
    let handle = server.handle();
    let failed = server.join().expect_err("the shard failed");
    assert_eq!(failed.to_string(), "shard 0 failed: it panicked");
    for _ in 0..10 {
        publisher.close_lagging(0);
        handle.shutdown();
    }
}

#[test]
fn steering_that_cannot_be_had_is_an_error_that_says_why_only_if_it_was_asked_for() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for (pin, shards, reason) in [
        (false, 2, "the shards are not pinned to cores"),
        (true, 1, "there is one shard only"),
        (true, cores + 1, "there are more shards than cores"),
    ] {
        let builder = || Server::builder().pin(pin).shards(shards);
        builder().bind().expect("auto is content with less");
        match builder().steering(Steering::On).bind() {
            // With one core, one more than that are two.
            Err(StartError::Steering { reason: said }) => assert_eq!(said, reason),
            other => panic!("{shards} shards: {other:?}"),
        }
    }
}

#[test]
fn pinned_shards_have_the_connections_of_their_cores() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cores < 2 {
        eprintln!("skipped: there is one core only");
        return;
    }
    let builder = Server::builder().pin(true).steering(Steering::On).fallback(application);
    let server = match builder.start() {
        Ok(server) => server,
        Err(error @ StartError::Steering { .. }) => {
            eprintln!("skipped: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let allowed = sched_getaffinity(None).expect("a thread of its own");
    let allowed = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let mut before = 0;
    for (shard, core) in allowed.take(cores).enumerate() {
        let mut only = CpuSet::new();
        only.set(core);
        sched_setaffinity(None, &only).expect("a core that was allowed");
        for count in 1..=5 {
            let stream = TcpStream::connect(server.local_addr()).expect("it listens");
            assert_eq!(status_line(stream), "HTTP/1.1 200 OK");
            until(|| server.metrics().total().accepted > before);
            before += 1;
            assert_eq!(server.metrics().shards[shard].accepted, count, "of core {core}");
        }
    }
}

#[test]
fn who_inherits_the_listening_sockets_serves_what_waits_in_them() {
    let bound = Server::builder().shards(2).fallback(application).bind();
    let bound = bound.expect("a port of this machine");
    let (address, listeners) = (bound.local_addr(), bound.listeners().expect("descriptors"));
    let heir = |shards| Server::builder().shards(shards).inherit(copies(&listeners));
    let old = bound.start().expect("threads can be started");
    let connect = || TcpStream::connect(address).expect("it is never refused");
    assert_eq!(status_line(connect()), "HTTP/1.1 200 OK");
    old.handle().shutdown();
    old.join().expect("it was asked to");
    // Nobody accepts these.
    let waiting: Vec<TcpStream> = (0..20).map(|_| connect()).collect();
    for shards in [0, 2, 5] {
        let new = heir(shards).bind().expect("they listen");
        assert_eq!(new.local_addr(), address);
        assert!(new.shards() >= 2);
    }
    let new = heir(5).fallback(application).start();
    let new = new.expect("threads can be started");
    for stream in waiting {
        assert_eq!(status_line(stream), "HTTP/1.1 200 OK");
    }
    for _ in 0..20 {
        assert_eq!(status_line(connect()), "HTTP/1.1 200 OK");
    }
    until(|| new.metrics().total().answered == 40);
    drop((new, listeners));
    assert!(TcpStream::connect(address).is_err(), "nobody listens");
}

#[test]
fn listening_sockets_that_cannot_be_served_are_an_error_that_says_so() {
    let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let heir = |shards, listeners| Server::builder().shards(shards).inherit(copies(listeners));
    let said = heir(1, &listeners).bind().expect_err("one is too many").to_string();
    assert!(said.ends_with("2 listening sockets are given to 1 shards"), "{said}");
    let steered = heir(2, &listeners[..1]).steering(Steering::On);
    let said = steered.bind().expect_err("one is shared").to_string();
    assert!(said.ends_with("the shards share listening sockets"), "{said}");
}
