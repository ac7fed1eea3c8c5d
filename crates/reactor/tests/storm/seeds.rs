//! The seeds that every run of the tests begins with. A seed that found an error stays here for good.

/// Each with what it is for.
pub(crate) const FIXED: [(u64, &str); 8] = [
    (1, "the first"),
    (2, "the second"),
    (3, "the third"),
    (4, "found that last words, and topics that are gone, were lost behind many publications"),
    (5, "the fifth"),
    (6, "the sixth"),
    (7, "the seventh"),
    (8, "the eighth"),
];
