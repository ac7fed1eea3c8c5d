//! What fuzzing has found worth keeping, replayed: one file an input, in `fuzz/corpus`.

mod reference;

use std::fs;
use std::path::Path;

/// Hands each input of a fuzz target to its check.
fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&corpus).expect("the corpus is in the repository") {
        let path = entry.expect("readable").path();
        let input = fs::read(&path).expect("readable");
        eprintln!("{}", path.display());
        check(&input);
        inputs += 1;
    }
    assert!(inputs >= 10, "{} holds {inputs} inputs", corpus.display());
}

#[test]
fn corpus_of_the_inflater_gives_what_the_reference_gives() {
    replay("inflate", reference::inflate::check);
}

#[test]
fn corpus_of_the_negotiation_gives_what_the_reference_gives() {
    replay("offer", reference::offers::check);
}
