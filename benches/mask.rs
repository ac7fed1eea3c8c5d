//! What does it cost to unmask a payload, and which kernel does it best?
//!
//! Every kernel of this CPU, and the one that the engine chooses, against a loop over bytes. The
//! payloads are those of consecutive masked frames in a receive buffer: one payload masked over and
//! over would measure how the CPU forwards its last stores. Masking twice is the identity, so the
//! same bytes serve every pass and stay in the cache, as they do in the engine.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use tickwire_benches::{PAYLOAD_LENS, Received};
use tickwire_frame::mask::{self, Kernel, Key};

fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for payload_len in PAYLOAD_LENS {
        let mut received = Received::new(payload_len);
        group.throughput(Throughput::Bytes(received.payload_bytes()));
        bench(&mut group, "byte loop", &mut received, byte_loop);
        for kernel in Kernel::available() {
            let name = format!("{kernel:?}");
            bench(&mut group, &name, &mut received, |key, payload| kernel.apply(key, payload));
        }
        bench(&mut group, "chosen", &mut received, mask::apply);
    }
    group.finish();
}

/// Measures one pass of `apply` over all payloads of the buffer.
fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    received: &mut Received,
    apply: impl Fn(Key, &mut [u8]) -> bool,
) {
    group.bench_function(BenchmarkId::new(name, received.payload_len), |bencher| {
        bencher.iter(|| {
            for (key, payload) in received.payloads() {
                black_box(apply(black_box(key), payload));
            }
        });
    });
}

/// RFC 6455 section 5.3 as it is written, with the same test for ASCII as the kernels have.
fn byte_loop(key: Key, payload: &mut [u8]) -> bool {
    let mut seen = 0;
    for (index, byte) in payload.iter_mut().enumerate() {
        // Or the compiler makes vectors of it, and it is no yardstick any more.
        *byte ^= black_box(key[index % 4]);
        seen |= *byte;
    }
    seen < 0x80
}

criterion_group!(benches, kernels);
criterion_main!(benches);
