//! The page: plain files of `web/`, embedded in the binary and served from memory.
//!
//! Nothing on it comes from another host and nothing is inline, which the content security policy
//! states. Files keep their names from version to version; browsers ask each time whether theirs is
//! still the one, which is the engine's business.

use tickwire::{Builder, Handler, Response};

/// An embedded file.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    body: &'static str,
}

macro_rules! assets {
    ($($path:literal $file:literal $content_type:ident;)*) => {
        &[$(Asset {
            path: $path,
            content_type: $content_type,
            body: include_str!(concat!("../web/", $file)),
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
    "/crc.js"       "crc.js"       SCRIPT;
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

/// The same server with the page.
pub fn serve<H: Handler>(builder: Builder<H>) -> Builder<H> {
    ASSETS.iter().fold(builder, |builder, asset| {
        let file = Response::new(asset.content_type, asset.body)
            .with_header("Content-Security-Policy", POLICY)
            .with_header("Referrer-Policy", "no-referrer");
        builder.file(asset.path, file)
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
}
