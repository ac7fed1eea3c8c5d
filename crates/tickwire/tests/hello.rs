//! The smallest server stays small, and is what the README shows.

#[test]
fn the_smallest_server_has_at_most_fifteen_lines() {
    assert!(HELLO.lines().count() <= 15, "{HELLO}");
}

#[test]
fn the_readme_shows_the_smallest_server_as_it_is() {
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(&format!("```rust,no_run\n{HELLO}```")), "{HELLO}");
}

const HELLO: &str = include_str!("../examples/hello.rs");
