//! The pattern of a path: literal segments, `{name}` for one segment, `{*name}` for all that follow.
//!
//! Matching walks pattern and path side by side, once per request; nothing is allocated. Segments are
//! compared as they stand in the request, undecoded, so `%2F` never separates two of them.
//!
//! Invariant: the names of a pattern are distinct, and `{*name}` is its last segment.

use std::borrow::Cow;

/// A pattern that was checked.
#[derive(Debug)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    /// This segment.
    Literal(Box<str>),
    /// One segment, not empty.
    One(Box<str>),
    /// Everything behind the last `/`, perhaps nothing.
    Rest(Box<str>),
}

impl Pattern {
    /// # Errors
    /// What is wrong with `path`, in words.
    pub(crate) fn parse(path: &str) -> Result<Self, &'static str> {
        let Some(path) = path.strip_prefix('/') else { return Err("a path begins with '/'") };
        let mut parts: Vec<Part> = Vec::new();
        for segment in path.split('/') {
            if matches!(parts.last(), Some(Part::Rest(_))) {
                return Err("nothing can follow {*name}, which takes the rest of the path");
            }
            let part = Part::parse(segment)?;
            let is_known = |name| parts.iter().any(|other| other.name() == Some(name));
            if part.name().is_some_and(is_known) {
                return Err("two segments have the same name");
            }
            parts.push(part);
        }
        Ok(Self { parts })
    }

    /// Whether it takes exactly the paths that `other` takes.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let is_like = |(one, other): (&Part, &Part)| match (one, other) {
            (Part::Literal(one), Part::Literal(other)) => one == other,
            (Part::One(_), Part::One(_)) | (Part::Rest(_), Part::Rest(_)) => true,
            _ => false,
        };
        self.parts.len() == other.parts.len() && self.parts.iter().zip(&other.parts).all(is_like)
    }

    /// Whether it takes a path, whose parameters are UTF-8.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let mut is_text = true;
        self.walk(path, |_, segment| is_text &= decode(segment).is_some()) && is_text
    }

    /// What a path that it takes has in place of `name`, as it stands there.
    pub(crate) fn parameter<'p>(&self, name: &str, path: &'p str) -> Option<&'p str> {
        let mut found = None;
        self.walk(path, |known, segment| {
            if known == name {
                found = Some(segment);
            }
        });
        found
    }

    /// Shows each parameter with its name; whether the path fits.
    fn walk<'p>(&self, path: &'p str, mut show: impl FnMut(&str, &'p str)) -> bool {
        let mut rest = path.strip_prefix('/');
        for part in &self.parts {
            let Some(path) = rest else { return false };
            let (segment, behind) = match path.split_once('/') {
                Some((segment, behind)) => (segment, Some(behind)),
                None => (path, None),
            };
            match part {
                Part::Literal(literal) if **literal == *segment => {}
                Part::One(name) if !segment.is_empty() => show(name, segment),
                Part::Rest(name) => {
                    show(name, path);
                    return true;
                }
                Part::Literal(_) | Part::One(_) => return false,
            }
            rest = behind;
        }
        rest.is_none()
    }
}

impl Part {
    fn parse(segment: &str) -> Result<Self, &'static str> {
        let Some(name) = segment.strip_prefix('{').and_then(|it| it.strip_suffix('}')) else {
            // Whatever else can be in a path (RFC 3986 section 3.3).
            let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"{}?#".contains(&byte);
            return match segment.bytes().all(is_plain) {
                true => Ok(Self::Literal(segment.into())),
                false => Err("a segment is plain ASCII, with other characters as %XX, or {name}"),
            };
        };
        let (rest, name) = match name.strip_prefix('*') {
            Some(name) => (true, name),
            None => (false, name),
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err("the name between the braces is letters, digits and '_'");
        }
        Ok(if rest { Self::Rest(name.into()) } else { Self::One(name.into()) })
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::One(name) | Self::Rest(name) => Some(name),
        }
    }
}

/// Text with each `%XX` decoded (RFC 3986 section 2.1); `None` if it is not UTF-8 then, or a `%` is
/// followed by something else.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    let Some(first) = text.find('%') else { return Some(Cow::Borrowed(text)) };
    let (plain, mut rest) = text.as_bytes().split_at(first);
    let mut decoded = plain.to_vec();
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let [high, low, behind @ ..] = rest else { return None };
        decoded.push(hexadecimal(*high)? << 4 | hexadecimal(*low)?);
        rest = behind;
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_these_paths_and_no_others() {
        for (pattern, takes, refuses) in [
            ("/", &["/"][..], &["", "//", "/a", "*"][..]),
            ("/chat", &["/chat"], &["/", "/chat/", "/chats", "/Chat", "/chat/a"]),
            ("/chat/", &["/chat/"], &["/chat", "/chat//"]),
            (
                "/chat/{room}",
                &["/chat/a", "/chat/%C3%A4", "/chat/a%2Fb"],
                &["/chat", "/chat/", "/chat/a/b"],
            ),
            ("/{a}/{b}", &["/1/2"], &["/1", "/1/", "//2", "/1/2/3"]),
            ("/{*all}", &["/", "/a", "/a/b/", "//"], &["*", ""]),
            ("/files/{*path}", &["/files/", "/files/a/b"], &["/files", "/file/a"]),
            // Bytes that are not UTF-8, and what is no %XX.
            (
                "/chat/{room}",
                &["/chat/%e2%82%ac"],
                &["/chat/%ff", "/chat/%4", "/chat/%zz", "/chat/%"],
            ),
        ] {
            let parsed = Pattern::parse(pattern).expect(pattern);
            for path in takes {
                assert!(parsed.matches(path), "{pattern} and {path}");
            }
            for path in refuses {
                assert!(!parsed.matches(path), "{pattern} and {path}");
            }
        }
    }

    #[test]
    fn parameters_are_found_by_their_names() {
        let pattern = Pattern::parse("/{room}/in/{*rest}").expect("a pattern");
        let path = "/a%20b/in/c/d";
        assert_eq!(pattern.parameter("room", path), Some("a%20b"));
        assert_eq!(pattern.parameter("rest", path), Some("c/d"));
        assert_eq!(pattern.parameter("in", path), None);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "",
            "chat",
            "/{*all}/x",
            "/{a}/{a}",
            "/{}",
            "/{*}",
            "/{a b}",
            "/a{b}",
            "/ä",
            "/a b",
            "/a?b",
            "/{a",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_are_alike_whatever_their_names() {
        let pattern = |text| Pattern::parse(text).expect("a pattern");
        for (one, other, alike) in [
            ("/a/{b}", "/a/{c}", true),
            ("/{*a}", "/{*b}", true),
            ("/a/{b}", "/a/{*b}", false),
            ("/a", "/b", false),
            ("/a", "/a/", false),
        ] {
            assert_eq!(pattern(one).is_like(&pattern(other)), alike, "{one} and {other}");
        }
    }

    #[test]
    fn percent_signs_are_decoded_once() {
        for (text, decoded) in [
            ("plain", Some("plain")),
            ("a%20b", Some("a b")),
            ("%2525", Some("%25")),
            ("%E2%82%AC", Some("€")),
            ("%e2%82", None),
            ("%", None),
            ("%1", None),
            ("%+1", None),
        ] {
            assert_eq!(decode(text).as_deref(), decoded, "{text}");
        }
    }
}
