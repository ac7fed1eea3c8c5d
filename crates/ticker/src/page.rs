//! The page: plain files of `web/`, embedded in the binary and served from memory.
//!
//! Nothing on it comes from another host and nothing is inline, which the content security policy
//! states. Files keep their names from version to version, so browsers ask each time whether theirs
//! is still the one, by its tag (RFC 9110 section 8.8.3).

use std::borrow::Cow;

use tickwire::{Request, Response};

/// An embedded file.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    body: &'static [u8],
}

macro_rules! assets {
    ($($path:literal $file:literal $content_type:ident;)*) => {
        &[$(Asset {
            path: $path,
            content_type: $content_type,
            body: include_bytes!(concat!("../web/", $file)),
        }),*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

const ASSETS: &[Asset] = assets! {
    "/"             "index.html"   HTML;
    "/app.js"       "app.js"       SCRIPT;
    "/decimal.js"   "decimal.js"   SCRIPT;
    "/feed.js"      "feed.js"      SCRIPT;
    "/flash.js"     "flash.js"     SCRIPT;
    "/history.js"   "history.js"   SCRIPT;
    "/icon.svg"     "icon.svg"     IMAGE;
    "/link.js"      "link.js"      SCRIPT;
    "/quote.js"     "quote.js"     SCRIPT;
    "/search.js"    "search.js"    SCRIPT;
    "/status.js"    "status.js"    SCRIPT;
    "/store.js"     "store.js"     SCRIPT;
    "/style.css"    "style.css"    STYLE;
    "/table.js"     "table.js"     SCRIPT;
    "/theme.js"     "theme.js"     SCRIPT;
    "/watchlist.js" "watchlist.js" SCRIPT;
};

/// The file at the path of `request`; `None` if there is none.
#[must_use]
pub fn find(request: &Request<'_>) -> Option<Response> {
    let asset = ASSETS.iter().find(|asset| asset.path == request.path())?;
    let tag = format!("\"{:08x}\"", crc32fast::hash(asset.body));
    let known = request.values("If-None-Match").any(|tags| names(tags, &tag));
    let (status, body) = if known { (304, &[][..]) } else { (200, asset.body) };
    let response = Response {
        status,
        content_type: asset.content_type,
        headers: Vec::new(),
        body: Cow::Borrowed(body),
    };
    let headers = [
        ("ETag", tag.as_str()),
        ("Cache-Control", "no-cache"),
        ("Content-Security-Policy", POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
    ];
    let with =
        |response: Response, (name, value): (_, &str)| response.with_header(name, value.to_owned());
    Some(headers.into_iter().fold(response, with))
}

/// Whether a list of entity tags names `tag`; weak ones count as well (RFC 9110 section 13.1.2).
fn names(tags: &[u8], tag: &str) -> bool {
    tags.split(|&byte| byte == b',').any(|element| {
        let element = element.trim_ascii();
        element == b"*" || element.strip_prefix(b"W/").unwrap_or(element) == tag.as_bytes()
    })
}

/// Only this server's own files, also for the WebSocket; in nobody's frame.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; object-src 'none'";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
        let on_disk: BTreeSet<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| format!("/{}", entry.unwrap().file_name().into_string().unwrap()))
            .map(|path| if path == "/index.html" { "/".to_owned() } else { path })
            .collect();
        let served: BTreeSet<String> = ASSETS.iter().map(|asset| asset.path.to_owned()).collect();
        assert_eq!(served, on_disk);
    }

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
