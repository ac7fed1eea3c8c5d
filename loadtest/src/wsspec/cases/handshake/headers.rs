//! Headers: those that an upgrade must have, what their values may be, and lines that are none.

use super::Refusal;
use crate::case::Level;
use crate::request::Request;

pub(super) fn needed() -> Vec<Refusal> {
    let of = |id, statuses, sentence, edit: fn(Request) -> Request| {
        Refusal::new(id, "RFC 6455 4.2.1", statuses, sentence, edit)
    };
    vec![
        of("handshake/host-missing", &[400], "A request without Host is refused.", |request| {
            request.remove("Host")
        }),
        of(
            "handshake/host-twice",
            &[400],
            "A request with two Host lines is refused.",
            |request| request.add("Host", "other.example"),
        ),
        of(
            "handshake/upgrade-missing",
            &[400, 426],
            "A request without Upgrade is refused.",
            |request| request.remove("Upgrade"),
        ),
        of(
            "handshake/upgrade-token-substring",
            &[400, 426],
            "`Upgrade: notwebsocketx` is refused: tokens are compared whole.",
            |request| request.set("Upgrade", "notwebsocketx"),
        ),
        of("handshake/upgrade-other", &[400, 426], "`Upgrade: h2c` is refused.", |request| {
            request.set("Upgrade", "h2c")
        }),
        of(
            "handshake/connection-missing",
            &[400, 426],
            "A request without Connection is refused.",
            |request| request.remove("Connection"),
        ),
        of(
            "handshake/connection-token-substring",
            &[400, 426],
            "`Connection: upgraded` is refused: tokens are compared whole.",
            |request| request.set("Connection", "upgraded"),
        ),
        of(
            "handshake/connection-other",
            &[400, 426],
            "`Connection: keep-alive` is refused.",
            |request| request.set("Connection", "keep-alive"),
        ),
    ]
}

pub(super) fn keys() -> Vec<Refusal> {
    let of = |id, sentence, edit: fn(Request) -> Request| {
        Refusal::new(id, "RFC 6455 4.2.1", &[400], sentence, edit)
    };
    vec![
        of("handshake/key-missing", "A request without Sec-WebSocket-Key is refused.", |request| {
            request.remove("Sec-WebSocket-Key")
        }),
        of("handshake/key-twice", "A request with two keys is refused.", |request| {
            request.add("Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhXDw==")
        }),
        of("handshake/key-empty", "An empty key is refused.", |request| {
            request.set("Sec-WebSocket-Key", "")
        }),
        of("handshake/key-of-15-bytes", "A key of 15 bytes is refused.", |request| {
            request.set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAA")
        }),
        of("handshake/key-of-17-bytes", "A key of 17 bytes is refused.", |request| {
            request.set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAAA=")
        }),
        of(
            "handshake/key-not-base64",
            "A key of 24 characters that are no base64 is refused.",
            |request| request.set("Sec-WebSocket-Key", "!!!!!!!!!!!!!!!!!!!!!!!!"),
        ),
        of("handshake/key-without-padding", "A key without its padding is refused.", |request| {
            request.set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA")
        }),
    ]
}

pub(super) fn versions() -> Vec<Refusal> {
    let of = |id, sentence, edit: fn(Request) -> Request| {
        Refusal::new(id, "RFC 6455 4.4", &[426, 400], sentence, edit)
    };
    vec![
        of(
            "handshake/version-missing",
            "A request without Sec-WebSocket-Version is refused.",
            |request| request.remove("Sec-WebSocket-Version"),
        ),
        of("handshake/version-7", "Version 7 is refused.", |request| {
            request.set("Sec-WebSocket-Version", "7")
        }),
        of("handshake/version-14", "Version 14 is refused.", |request| {
            request.set("Sec-WebSocket-Version", "14")
        }),
        of("handshake/version-013", "`013` is not 13.", |request| {
            request.set("Sec-WebSocket-Version", "013")
        })
        .level(Level::Should),
        of("handshake/version-131", "`131` is not 13.", |request| {
            request.set("Sec-WebSocket-Version", "131")
        }),
        of("handshake/version-words", "A version that is no number is refused.", |request| {
            request.set("Sec-WebSocket-Version", "thirteen")
        }),
        of("handshake/version-twice", "Two different versions are refused.", |request| {
            request.add("Sec-WebSocket-Version", "8")
        }),
    ]
}

pub(super) fn lists() -> Vec<Refusal> {
    let extension = |id, sentence, value: &'static str| {
        Refusal::new(id, "RFC 6455 9.1", &[400], sentence, move |request| {
            request.add("Sec-WebSocket-Extensions", value)
        })
    };
    let protocol = |id, sentence, value: &'static [u8]| {
        Refusal::new(id, "RFC 6455 4.1", &[400], sentence, move |request| {
            request.add("Sec-WebSocket-Protocol", value)
        })
        .level(Level::Should)
    };
    vec![
        extension(
            "handshake/extension-empty-parameter",
            "An offer `a;;b` breaks the grammar and is refused.",
            "a;;b",
        ),
        extension(
            "handshake/extension-unclosed-quote",
            "An offer with an unclosed quote is refused.",
            "a; b=\"c",
        ),
        extension(
            "handshake/extension-no-name",
            "An offer that begins with `;` is refused.",
            "; b=1",
        ),
        extension(
            "handshake/extension-empty-value",
            "An offer with a parameter `b=` without value is refused.",
            "a; b=",
        ),
        extension(
            "handshake/extension-quoted-space",
            "A quoted value must be a token once it is unquoted.",
            "a; b=\"c d\"",
        ),
        protocol(
            "handshake/subprotocol-non-ascii",
            "A subprotocol of bytes above 0x7f is refused.",
            b"caf\xc3\xa9",
        ),
        protocol(
            "handshake/subprotocol-space",
            "A subprotocol with a space in it is refused.",
            b"two words",
        ),
        protocol(
            "handshake/subprotocol-separator",
            "A subprotocol with a separator in it is refused.",
            b"a/b",
        ),
        // A list may have empty elements in HTTP, but not this one's ABNF (`1#token`).
        protocol(
            "handshake/subprotocol-empty",
            "An offer of no subprotocol at all is refused.",
            b"",
        )
        .level(Level::Advice),
        protocol(
            "handshake/subprotocol-empty-element",
            "An empty element in the offer is refused.",
            b"chat,,superchat",
        )
        .level(Level::Advice),
    ]
}

pub(super) fn lines() -> Vec<Refusal> {
    let raw = |id, section, sentence, line: &'static [u8]| {
        Refusal::raw(id, section, &[400], sentence, move |request| {
            [&request.open_bytes()[..], line, b"\r\n\r\n"].concat()
        })
    };
    vec![
        raw("handshake/line-nul", "RFC 9110 5.5", "A NUL in a value is refused.", b"X-A: a\0b"),
        raw(
            "handshake/line-nul-in-name",
            "RFC 9110 5.1",
            "A NUL in a name is refused.",
            b"X-\0A: b",
        ),
        raw(
            "handshake/line-bare-cr",
            "RFC 9112 2.2",
            "A CR that ends no line is refused.",
            b"X-A: a\rb",
        )
        .level(Level::Should),
        raw(
            "handshake/line-without-colon",
            "RFC 9112 5",
            "A line without a colon is refused.",
            b"nonsense",
        ),
        raw(
            "handshake/line-space-before-colon",
            "RFC 9112 5.1",
            "A space before the colon is refused.",
            b"X-A : b",
        ),
        raw(
            "handshake/line-empty-name",
            "RFC 9110 5.1",
            "A line that begins with a colon is refused.",
            b": b",
        ),
        raw("handshake/line-folded", "RFC 9112 5.2", "A folded line is refused.", b"X-A: a\r\n b")
            .level(Level::Advice),
        raw(
            "handshake/line-non-ascii-name",
            "RFC 9110 5.1",
            "A byte above 0x7f in a name is refused.",
            b"X-\xe9: b",
        ),
    ]
}
