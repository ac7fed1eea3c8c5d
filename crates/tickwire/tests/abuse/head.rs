//! Request heads that are made to be expensive.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tickwire::protocol::{Limits, RequestReader};

use crate::server::Server;
use crate::wire;

/// CVE-2023-43669: a head in single bytes that was parsed from its start at every read.
///
/// The 431 comes behind 8 KB of it; the rest is not even looked at.
#[test]
fn a_megabyte_of_head_in_single_bytes_is_answered_431() {
    let server = Server::start(&[]);
    let mut attacker = server.connect();
    let mut beside = server.open("/");
    attacker.send(b"GET / HTTP/1.1\r\nHost: server.example.com\r\nX: ");
    let mut sent = 0;
    // It may hang up before all of it is sent; who goes on is not read for ever.
    while sent < 1024 * 1024 && attacker.try_send(b"x") {
        sent += 1;
        if sent % 1024 == 0 {
            beside.send(&wire::text(&sent.to_string()));
            assert_eq!(beside.frame().payload, sent.to_string().as_bytes());
        }
    }
    assert!(sent > 8 * 1024 - 100, "{sent} bytes are below the limit");
    let head = attacker.head();
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
}

/// The same from the inside, where work can be compared: processor time of this thread, the least
/// of many interleaved rounds, so that a busy machine does not change it.
///
/// Beside the reader of the engine stands the faulty one, to show that the comparison can tell.
#[test]
fn twice_the_head_in_single_bytes_takes_twice_the_work() {
    const LINEAR_MAX: f64 = 3.0;
    let ours = growth(512 * 1024, LINEAR_MAX, |head| {
        let mut limits = Limits::default();
        limits.request_bytes_max = usize::MAX;
        let mut reader = RequestReader::new();
        for byte in head.chunks_mut(1) {
            let mut input = byte;
            assert!(reader.push(&mut input, &limits).expect("a head").is_none());
        }
    });
    let faulty = growth(8 * 1024, 0.0, |head| {
        let mut arrived = Vec::new();
        for byte in head {
            arrived.push(*byte);
            assert!(!arrived.windows(4).any(|four| four == b"\r\n\r\n"));
        }
    });
    println!("twice the bytes take {ours:.2} of the work; parsed anew at every read, {faulty:.2}");
    assert!(ours < LINEAR_MAX, "{ours:.2} times the work for twice the bytes");
    assert!(faulty > LINEAR_MAX, "{faulty:.2} times the work: this cannot tell them apart");
}

/// How many times the work of a head of `len` bytes one of twice the length takes. Stops measuring
/// when that is below `enough`.
fn growth(len: usize, enough: f64, read: impl Fn(&mut [u8])) -> f64 {
    const ROUNDS: usize = 20;
    let begin = b"GET / HTTP/1.1\r\nX: ";
    let mut heads = [len, 2 * len].map(|len| [&begin[..], &vec![b'x'; len]].concat());
    let mut least = [Duration::MAX; 2];
    for round in 0..ROUNDS {
        for (head, least) in heads.iter_mut().zip(&mut least) {
            let before = processor_time();
            read(head);
            *least = (*least).min(processor_time() - before);
        }
        if round >= 3 && ratio(least) < enough {
            break;
        }
    }
    ratio(least)
}

fn ratio([once, twice]: [Duration; 2]) -> f64 {
    twice.as_secs_f64() / once.as_secs_f64()
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), 0)
        + Duration::from_nanos(time.tv_nsec.cast_unsigned())
}
