//! What does it cost to unmask a payload, and is there anything faster?
//!
//! Up to 1000 bytes the payloads are those of consecutive masked frames in a hot receive buffer.
//! Beside the frame crate's choice and each of its kernels stand loops from the obvious to the best
//! that is known ([`yardstick`]). Ours also tell whether the result is ASCII; the others do not.
//!
//! From 64 KB up it is one payload, beside a plain pass that reads, modifies and writes the same
//! bytes: what the memory allows.
//!
//! Masking twice is the identity, so the same bytes serve every pass, and the headers stay as they
//! are.

mod yardstick;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use tickwire_benches::{Contents, CpuTime, Received};
use tickwire_frame::mask::{self, Kernel, Key};

use crate::yardstick::Column;

/// From less than a vector to a packet.
const SMALL_LENS: [usize; 6] = [8, 20, 60, 125, 300, 1000];

/// In the second-level cache, in the third, and beyond what a core has for itself.
const LARGE_LENS: [usize; 3] = [64 << 10, 1 << 20, 16 << 20];

fn unmask(criterion: &mut Criterion<CpuTime>) {
    Column::small().for_each(|column| column.check());
    let mut group = criterion.benchmark_group("unmask");
    for payload_len in SMALL_LENS {
        let mut received = Received::new(Contents::Binary, payload_len);
        group.throughput(Throughput::Elements(received.frames() as u64));
        measure_ours(&mut group, &mut received);
        for column in Column::small() {
            measure(&mut group, column.name, &mut received, column.pass);
        }
    }
    for payload_len in LARGE_LENS {
        let mut received = Received::new(Contents::Binary, payload_len);
        group.throughput(Throughput::Bytes(payload_len as u64));
        measure_ours(&mut group, &mut received);
        for column in Column::large() {
            measure(&mut group, column.name, &mut received, column.pass);
        }
    }
    group.finish();
}

fn measure_ours(group: &mut BenchmarkGroup<'_, CpuTime>, received: &mut Received) {
    measure(group, "tickwire-frame", received, |received| pass(received, mask::apply));
    for kernel in Kernel::available() {
        let name = format!("tickwire-frame {kernel:?}");
        measure(group, &name, received, |received| {
            pass(received, |key, payload| kernel.apply(key, payload))
        });
    }
}

/// Unmasks all payloads; gives whether all were ASCII.
#[inline(always)]
fn pass(received: &mut Received, apply: impl Fn(Key, &mut [u8]) -> bool) -> bool {
    received.payloads().fold(true, |ascii, (key, payload)| ascii & apply(key, payload))
}

/// Measures one pass over all payloads of the buffer.
fn measure(
    group: &mut BenchmarkGroup<'_, CpuTime>,
    name: &str,
    received: &mut Received,
    pass: impl Fn(&mut Received) -> bool,
) {
    let id = BenchmarkId::new(name, received.payload_len);
    group.bench_function(id, |bencher| bencher.iter(|| pass(received)));
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = unmask
}
criterion_main!(benches);
