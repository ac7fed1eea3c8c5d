//! A small file from memory: the same answer for everybody, sent again only when it has changed.
//!
//! Browsers are asked to check each time whether what they have is still the one, by its tag (RFC 9110
//! section 8.8.3), so a new version is seen at once and an old one costs 304 and no body.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::handler::{Request, Response};

/// A fixed answer with its tag.
pub(crate) struct File {
    response: Response,
    tag: String,
}

impl File {
    pub(crate) fn new(response: Response) -> Self {
        let mut hasher = DefaultHasher::new();
        (&response.content_type, &response.body).hash(&mut hasher);
        let tag = format!("\"{:016x}\"", hasher.finish());
        let response = response
            .with_header("ETag", tag.clone())
            .with_header("Cache-Control", "no-cache")
            .with_header("X-Content-Type-Options", "nosniff");
        Self { response, tag }
    }

    pub(crate) fn answer(&self, request: &Request<'_>) -> Response {
        let mut response = self.response.clone();
        if request.values("If-None-Match").any(|tags| names(tags, &self.tag)) {
            response.status = 304;
            response.body = (&[][..]).into();
        }
        response
    }
}

/// Whether a list of entity tags names `tag`; weak ones count as well (RFC 9110 section 13.1.2).
fn names(tags: &[u8], tag: &str) -> bool {
    tags.split(|&byte| byte == b',').any(|element| {
        let element = element.trim_ascii();
        element == b"*" || element.strip_prefix(b"W/").unwrap_or(element) == tag.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_whole_in_lists_and_weakly() {
        for (tags, named) in [
            (&b"\"0a\""[..], true),
            (b"\"1b\" , \"0a\"", true),
            (b"W/\"0a\"", true),
            (b"*", true),
            (b"\"0ab\"", false),
            (b"0a", false),
            (b"", false),
        ] {
            assert_eq!(names(tags, "\"0a\""), named, "{}", tags.escape_ascii());
        }
    }
}
