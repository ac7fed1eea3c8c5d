//! What does a publication cost who publishes, by the number of shards that want it?
//!
//! `alone`: the mailboxes are emptied between the measured publications, on the same core, so that
//! this is the work itself: the topic's lock, encoding, and a letter for each shard. `drained`:
//! another thread takes turns of all shards meanwhile, and each mailbox's cache lines go from core to
//! core and back. The shards are simulated ones, with a subscriber each, so there may be more of
//! them than cores; hub, mailboxes and turns are the real ones. What a wake-up costs is not in it:
//! simulated shards never sleep.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;
use std::{hint, thread};

use criterion::measurement::Measurement;
use criterion::{Bencher, BenchmarkId, Criterion, criterion_group, criterion_main};
use tickwire::sim::{Peer, Simulation};
use tickwire::{Answer, Connection, Handler, Kind, Limits, Message, Publisher, Request, Topic};
use tickwire_benches::CpuTime;

const SHARDS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Publications between two looks at the clock; a mailbox holds many more.
const BATCH: u64 = 256;

struct Subscriber(Topic);

impl Handler for Subscriber {
    type State = ();

    fn request(&mut self, _request: &Request<'_>) -> Answer<()> {
        Answer::upgrade(())
    }

    fn open(&mut self, connection: &mut Connection<'_>) {
        connection.subscribe(&self.0);
    }

    fn message(&mut self, _connection: &mut Connection<'_>, _message: Message<'_>) {}
}

/// Shards that all have a subscriber, whom nothing ever blocks.
struct Shards {
    simulation: Simulation<Subscriber>,
    peers: Vec<Peer>,
    count: usize,
}

impl Shards {
    fn new(count: usize) -> Self {
        let handler = |shard: tickwire::ShardStart| Subscriber(shard.publisher.topic("topic"));
        let mut simulation = Simulation::new(1, count, Limits::default(), handler);
        let mut peers = Vec::new();
        let wants = |simulation: &Simulation<Subscriber>| {
            simulation.metrics().shards.iter().any(|shard| shard.upgraded == 0)
        };
        while wants(&simulation) {
            let peer = simulation.connect();
            simulation.set_window(peer, usize::MAX);
            simulation.send(peer, HANDSHAKE);
            simulation.settle();
            peers.push(peer);
        }
        Self { simulation, peers, count }
    }

    fn topic(&self) -> (Publisher, Topic) {
        let publisher = self.simulation.publisher();
        let topic = publisher.topic("topic");
        (publisher, topic)
    }

    /// A turn of each shard; what came of it is forgotten.
    fn drain(&mut self) {
        (0..self.count).for_each(|shard| self.simulation.turn_of(shard));
        for peer in &self.peers {
            drop(self.simulation.receive(*peer));
        }
    }
}

fn publish(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("publish 125 B");
    for count in SHARDS {
        group.bench_function(BenchmarkId::new("alone", count), |bencher| alone(bencher, count));
        group.bench_function(BenchmarkId::new("drained", count), |bencher| {
            drained(bencher, count);
        });
    }
    group.finish();
}

fn alone(bencher: &mut Bencher<'_, CpuTime>, count: usize) {
    let mut shards = Shards::new(count);
    let (publisher, topic) = shards.topic();
    bencher.iter_custom(|iterations| {
        let mut spent = Duration::ZERO;
        let mut left = iterations;
        while left > 0 {
            spent += measure(&publisher, &topic, left.min(BATCH));
            left = left.saturating_sub(BATCH);
            shards.drain();
        }
        spent
    });
}

fn drained(bencher: &mut Bencher<'_, CpuTime>, count: usize) {
    let is_over = AtomicBool::new(false);
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut shards = Shards::new(count);
            sender.send(shards.topic()).expect("it is waited for");
            while !is_over.load(Ordering::Relaxed) {
                shards.drain();
            }
        });
        let (publisher, topic) = receiver.recv().expect("the shards are made");
        bencher.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            let mut left = iterations;
            while left > 0 {
                spent += measure(&publisher, &topic, left.min(BATCH));
                left = left.saturating_sub(BATCH);
                // What is measured is a publisher that does not have to wait for room.
                while publisher.outstanding() > 4 * BATCH {
                    hint::spin_loop();
                }
            }
            spent
        });
        is_over.store(true, Ordering::Relaxed);
    });
}

fn measure(publisher: &Publisher, topic: &Topic, count: u64) -> Duration {
    let start = CpuTime.start();
    for _ in 0..count {
        publisher.publish(topic, Kind::Binary, hint::black_box(&[b'.'; 125]));
    }
    CpuTime.end(start)
}

const HANDSHAKE: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

criterion_group! {
    name = benches;
    config = Criterion::default()
        .with_measurement(CpuTime)
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = publish
}
criterion_main!(benches);
