//! Patterns for names of cases: `*` stands for any run of characters, `?` for one.
//!
//! Small because names hold nothing but letters, digits, dashes, dots and a slash.

/// Whether `name` as a whole is what `pattern` says.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return name.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    let after = |name: &str| name.chars().next().map(|c| (c, name[c.len_utf8()..].to_owned()));
    match (first, after(name)) {
        ('*', None) => matches(rest, name),
        ('*', Some((_, shorter))) => matches(rest, name) || matches(pattern, &shorter),
        ('?', Some((_, shorter))) => matches(rest, &shorter),
        (wanted, Some((found, shorter))) => wanted == found && matches(rest, &shorter),
        (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_what_they_should() {
        for (pattern, name, expected) in [
            ("frames/rsv2", "frames/rsv2", true),
            ("frames/rsv2", "frames/rsv2.code", false),
            ("frames/*", "frames/rsv2.code", true),
            ("*.code", "frames/rsv2.code", true),
            ("*", "", true),
            ("*rsv*", "frames/rsv2", true),
            ("frames/rsv?", "frames/rsv2", true),
            ("frames/rsv?", "frames/rsv", false),
            ("", "x", false),
            ("**b", "ab", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} for {name}");
        }
    }
}
