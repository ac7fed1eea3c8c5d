//! What does it cost to validate text that arrives in parts?
//!
//! `tickwire-frame streaming` is the validator as the engine uses it for a message that does not lie
//! whole in a read: a part pushed, and the text ended. `tickwire-frame whole` is what it uses for one
//! that does. Beside them what they are built on: the standard library, which begins sooner, and
//! simdutf8, which goes on faster; both know only whole texts. Text that the unmasking has found to
//! be ASCII is never validated at all: `parse` measures that.

use std::hint::black_box;
use std::str;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use tickwire_benches::{Contents, CpuTime};
use tickwire_frame::utf8::{self, Validator};

/// A small message, the longest of a short header, one of a packet, and a long one.
const TEXT_LENS: [usize; 4] = [64, 125, 1024, 64 * 1024];

fn utf8(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("utf8");
    for contents in [Contents::Ascii, Contents::Mixed] {
        for text_len in TEXT_LENS {
            let text = contents.payload(text_len, 0);
            group.throughput(Throughput::Bytes(text_len as u64));
            let parameter = format!("{contents} {text_len}");
            measure(&mut group, "tickwire-frame streaming", &parameter, &text, streaming);
            measure(&mut group, "tickwire-frame whole", &parameter, &text, |text| {
                utf8::check(text).is_ok()
            });
            measure(&mut group, "std", &parameter, &text, |text| str::from_utf8(text).is_ok());
            measure(&mut group, "simdutf8", &parameter, &text, |text| {
                simdutf8::basic::from_utf8(text).is_ok()
            });
        }
    }
    group.finish();
}

/// Checks that `is_valid` tells this text from others, then measures it.
fn measure(
    group: &mut BenchmarkGroup<'_, CpuTime>,
    name: &str,
    parameter: &str,
    text: &[u8],
    is_valid: impl Fn(&[u8]) -> bool,
) {
    let cut = [text, b"\xe2\x82"].concat();
    assert!(is_valid(text) && !is_valid(&cut), "{name} takes valid text and no other");
    group.bench_function(BenchmarkId::new(name, parameter), |bencher| {
        bencher.iter(|| is_valid(black_box(text)));
    });
}

fn streaming(text: &[u8]) -> bool {
    let mut validator = Validator::new();
    validator.push(text).is_ok() && validator.finish().is_ok()
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = utf8
}
criterion_main!(benches);
