//! How the tables that are indexed by slot grow: of links, of what is received, of
//! deadlines, of the application's states.
//!
//! A vector that grows by itself doubles, so that just after it grew half of it is for nobody. What
//! an idle connection costs is what these tables cost, so they grow by an eighth. Large ones are
//! mappings of their own with every usual allocator, which the kernel extends without copying them.
//!
//! Slots are dense, and a table never shrinks: what it held once it may have to hold again.

/// Makes room for entry `index`.
pub(crate) fn make_room<T>(table: &mut Vec<T>, index: usize) {
    if index >= table.capacity() {
        let room = index + 1 + (index / 8).max(ENTRIES_MIN);
        table.reserve_exact(room - table.len());
    }
}

/// The least that a table grows by: a small server is done with few steps.
const ENTRIES_MIN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eighth_at_most_is_for_nobody() {
        let mut table: Vec<u64> = Vec::new();
        let mut steps = 0;
        for index in 0..200_000 {
            let before = table.capacity();
            make_room(&mut table, index);
            steps += usize::from(table.capacity() != before);
            table.push(0);
            assert!(table.capacity() <= index + 1 + (index / 8).max(ENTRIES_MIN));
        }
        assert!(steps < 60, "{steps} steps");
    }
}
