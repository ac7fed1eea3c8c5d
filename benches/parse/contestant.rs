//! What a library has to do to be measured, and the check that it does.
//!
//! Invariant: a pass takes the frames of one buffer, no more and no less, and shows the payload of
//! each, unmasked. How the bytes get in is each contestant's, but they are copied once.

use tickwire_benches::{Contents, Received};

/// A parser of frames, over and over the same buffer.
pub(crate) trait Contestant {
    /// What the results call it.
    const NAME: &'static str;

    /// Ready for the first pass over `received`.
    fn new(received: &Received) -> Self;

    /// Takes the buffer's `frames` frames and shows the payload of each.
    ///
    /// # Panics
    ///
    /// If it finds fault with a frame: they are all valid.
    fn pass(&mut self, frames: usize, show: &mut impl FnMut(&[u8]));
}

/// Holds a contestant to every payload of three passes.
///
/// # Panics
///
/// If one is wrong, missing or too many.
pub(crate) fn check<C: Contestant>(received: &Received) {
    let expected: Vec<_> =
        (0u32..).map(|number| received.payload(number)).take(received.frames()).collect();
    let mut contestant = C::new(received);
    for pass in 0..3 {
        let mut shown = 0;
        contestant.pass(received.frames(), &mut |payload| {
            // A contestant that works in place finds its own clear text in every second pass.
            if !C::NAME.ends_with("in place") || pass % 2 == 0 {
                assert!(payload == expected[shown], "{}: payload {shown} is wrong", C::NAME);
            }
            shown += 1;
        });
        assert_eq!(shown, expected.len(), "{}: payloads of pass {pass}", C::NAME);
    }
}

/// Whether the payloads of `received` are to be validated.
pub(crate) fn is_text(received: &Received) -> bool {
    received.contents != Contents::Binary
}
