//! Compressed messages (RFC 7692) in both directions, with the engine as server: the one here that
//! compresses. What it is given plain, and what it declines, is told.

use std::net::SocketAddr;

use tickwire::{Answer, Connection, Deflate, Handler, Kind, Message, Request, Server, Topic};

use crate::run::{Run, flawless, load, with_time};
use crate::server::answering;

/// Echoes; and publishes on `start` what the fan-out scenario wants.
struct Both {
    topic: Topic,
}

impl Handler for Both {
    type State = ();

    fn request(&mut self, _request: &Request<'_>) -> Answer<()> {
        Answer::upgrade(())
    }

    fn open(&mut self, connection: &mut Connection<'_>) {
        connection.subscribe(&self.topic);
    }

    fn message(&mut self, connection: &mut Connection<'_>, message: Message<'_>) {
        if message.kind == Kind::Binary {
            return connection.send(message.kind, message.payload);
        }
        for number in 0..PUBLISHED {
            let mut payload = tickwire_load::clock::now().to_le_bytes().to_vec();
            payload.extend_from_slice(&number.to_le_bytes());
            payload.resize(1_000, b'.');
            connection.publish(&self.topic, Kind::Binary, &payload).unwrap();
        }
    }
}

/// Messages of a fan-out.
const PUBLISHED: u64 = 40;

/// The engine on a free port, until it is dropped.
fn engine(deflate: &str) -> (Server, SocketAddr) {
    engine_for(deflate, 1 << 20)
}

/// The same for messages of so many bytes.
fn engine_for(deflate: &str, message_bytes_max: u64) -> (Server, SocketAddr) {
    let server = Server::builder()
        .shards(1)
        .limits(|limits| limits.protocol.message_bytes_max = message_bytes_max)
        .deflate(Deflate::parse(deflate).unwrap())
        .route("/{*path}", |shard| Both { topic: shard.publisher.topic("everything") })
        .start()
        .unwrap();
    let address = server.local_addr();
    (server, address)
}

#[test]
fn echoes_are_checked_whether_they_come_and_go_compressed_or_not() {
    for deflate in ["shared", "dedicated"] {
        let (_server, address) = engine(deflate);
        for arguments in [
            "--deflate",
            "--deflate --compress",
            "--deflate --compress --depth 8 --processes 2",
            "--deflate --compress --rate 500",
        ] {
            let attempt = |duration: &str| {
                let size = "--size 0:1,1:1,20:1,1000:20,70000:1 -c 6 --duration";
                load("echo", address, &format!("{size} {duration} {arguments}"))
            };
            // Of few messages all may be small, and those do not get smaller.
            let is_less = |run: &Run| run.result("wire_bytes") < run.result("payload_bytes") / 2;
            let run = with_time(100, attempt, is_less);
            run.assert_flawless(arguments);
            assert_eq!(run.result("connections_deflated"), 6, "{arguments}: {}", run.table);
            assert!(is_less(&run), "{arguments}: {}", run.table);
            assert!(run.table.contains("agreed on by 6 of 6"), "{}", run.table);
        }
    }
}

#[test]
fn compressed_publications_are_checked_like_others() {
    let (_server, address) = engine("shared");
    let run = load("fanout", address, "-c 5 --duration 300ms --deflate");
    run.assert_flawless("fan-out");
    assert_eq!(run.result("messages"), 5 * PUBLISHED);
    assert_eq!(run.result("connections_deflated"), 5);
    assert!(run.result("wire_bytes") < run.result("payload_bytes") / 4, "{}", run.table);
}

#[test]
fn a_server_that_declines_is_told_and_gets_plain_messages() {
    let address = answering(|socket, _, message| socket.send(message));
    let run = flawless("echo", address, "-c 2 --deflate --compress --size 500");
    assert_eq!(run.result("connections_deflated"), 0);
    assert!(run.table.contains("declined permessage-deflate"), "{}", run.table);
    assert!(run.result("wire_bytes") > run.result("payload_bytes"), "{}", run.table);
}

#[test]
fn a_bomb_is_judged_by_what_a_server_that_inflates_does() {
    for (deflate, message_bytes_max, what) in [
        ("shared", 1 << 20, "closed 1009"),
        ("shared", 100 << 20, "inflated all and echoed it"),
        ("off", 1 << 20, "declined deflate"),
    ] {
        let bomb = |duration: &str| {
            // A new one each time: the one before may still be busy with its bombs.
            let (_server, address) = engine_for(deflate, message_bytes_max);
            let arguments = "--attacks bomb --attackers 2 --duration";
            load("abuse", address, &format!("{arguments} {duration}"))
        };
        let endings = |run: &Run| run.report["attacks"][0]["endings"].clone();
        let is_judged = |run: &Run| {
            let all = endings(run);
            let only = all.as_array().is_some_and(|all| all.len() == 1);
            only && (&all[0]["what"], &all[0]["count"]) == (&what.into(), &2.into())
        };
        let run = with_time(700, bomb, is_judged);
        run.assert_flawless("polite");
        assert!(is_judged(&run), "not {what}: {}", endings(&run));
    }
}
