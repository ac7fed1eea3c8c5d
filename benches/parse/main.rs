//! What does a received frame cost before the application sees it, here and elsewhere?
//!
//! A 16 KB buffer of masked frames is decoded, unmasked and, if it is text, validated, again and
//! again, by this engine's parser and connection and by other libraries. Each contestant is shown
//! the same bytes as a socket would show them: one copy into the buffer that it works in is part of
//! every pass, of ours too. Only `tickwire-frame in place` goes without: it unmasks where the bytes
//! lie, and since masking twice is the identity, every second pass finds them as they were received
//! (binary only: what an odd pass finds is no text).
//!
//! Before it is measured, each contestant shows in three passes that it yields every payload, byte
//! for byte and in order.

mod contestant;
mod ours;
mod rivals;
mod stream;

use std::hint::black_box;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use tickwire_benches::{Contents, CpuTime, PAYLOAD_LENS, Received};

use crate::contestant::Contestant;

/// Stamps the measurement for each contestant, in the order given.
macro_rules! measure {
    ($group:expr, $received:expr, [$($contestant:ty),+ $(,)?]) => {
        $(measure_one::<$contestant>($group, $received);)+
    };
}

fn parse(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("parse");
    for contents in [Contents::Binary, Contents::Ascii, Contents::Mixed] {
        for payload_len in PAYLOAD_LENS {
            let received = Received::new(contents, payload_len);
            group.throughput(Throughput::Elements(received.frames() as u64));
            if contents == Contents::Binary {
                measure!(&mut group, &received, [ours::InPlace]);
            }
            measure!(
                &mut group,
                &received,
                [
                    ours::Frames,
                    ours::Messages,
                    rivals::Fastwebsockets,
                    rivals::TokioWebsockets,
                    rivals::SockudoFrames,
                    rivals::SockudoMessages,
                    rivals::WebSocket,
                    rivals::YawcFrames,
                    rivals::YawcMessages,
                    rivals::Tungstenite,
                ]
            );
        }
    }
    group.finish();
}

/// Checks one contestant, then measures its passes.
fn measure_one<C: Contestant>(group: &mut BenchmarkGroup<'_, CpuTime>, received: &Received) {
    let parameter = format!("{} {}", received.contents, received.payload_len);
    group.bench_function(BenchmarkId::new(C::NAME, parameter), |bencher| {
        contestant::check::<C>(received);
        let mut contestant = C::new(received);
        let mut bytes = 0;
        bencher.iter(|| {
            contestant.pass(received.frames(), &mut |payload| {
                // Address and length apart: read at once, they wait until the stores of both are
                // done, which cost those 5 ns a frame that give a message through memory.
                black_box(payload.as_ptr());
                bytes += payload.len();
            });
        });
        assert!(bytes > 0, "{} has seen no payload", C::NAME);
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = parse
}
criterion_main!(benches);
