//! The request, judged (RFC 6455 section 4.2.1), and its answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use crate::deflate::{self, Agreed};
use crate::fault::Fault;
use crate::server::{Connection, HANDSHAKE, HEAD_MAX, ORIGIN, PATH, SUBPROTOCOL};

/// How a handshake ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Upgraded(Option<Agreed>),
    Refused,
    Gone,
}

/// Reads the request and answers it.
pub(crate) fn handshake(connection: &mut Connection) -> Outcome {
    if !connection.has(Fault::NoHandshakeDeadline) && !connection.has(Fault::QuadraticHead) {
        connection.limit_reading(Some(HANDSHAKE));
    }
    let head = match read(connection) {
        Ok(head) => head,
        Err(0) => {
            connection.end();
            return Outcome::Gone;
        }
        Err(status) => return refuse(connection, status, ""),
    };
    if head.starts_with(b"PRI ") && connection.has(Fault::HangsAtHttp2) {
        connection.wait_out();
        return Outcome::Gone;
    }
    if connection.has(Fault::HangsAtNoise) && head.len() > 4096 {
        connection.wait_out();
        return Outcome::Gone;
    }
    connection.limit_reading(None);
    if connection.has(Fault::DropsEarlyFrames) {
        connection.take_all();
    }
    match judge(connection, &head) {
        Ok((answer, agreed)) => {
            connection.send(answer.as_bytes());
            Outcome::Upgraded(agreed)
        }
        Err((status, more)) => refuse(connection, status, &more),
    }
}

fn refuse(connection: &mut Connection, status: u16, more: &str) -> Outcome {
    let status = if connection.has(Fault::Status500) { 500 } else { status };
    let more = format!("{more}Content-Length: 0\r\nConnection: close\r\n");
    connection.send(format!("HTTP/1.1 {status} Refused\r\n{more}\r\n").as_bytes());
    Outcome::Refused
}

/// The head up to its empty line; an error is the status to refuse with, or 0 to end.
fn read(connection: &mut Connection) -> Result<Vec<u8>, u16> {
    let mut seen = 0;
    loop {
        let input = connection.input();
        let is_limitless =
            connection.has(Fault::NoHeadLimit) || connection.has(Fault::QuadraticHead);
        if input.len() > HEAD_MAX && !is_limitless {
            return Err(431);
        }
        if connection.has(Fault::QuadraticHead) {
            Connection::labour(input.len(), input.len() - seen);
            seen = input.len();
        }
        // Lines that end with LF alone are told from others below.
        let end = input.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        let bare = input.windows(2).position(|window| window == b"\n\n").map(|at| at + 2);
        if let Some(end) = end.or(bare) {
            let head = input[..end].to_vec();
            connection.take(end);
            let is_431 =
                head.len() > HEAD_MAX || head.iter().filter(|byte| **byte == b'\n').count() > 66;
            return if is_431 && !is_limitless { Err(431) } else { Ok(head) };
        }
        if connection.has(Fault::RequestInOneRead) && !input.is_empty() {
            return Err(400);
        }
        if !connection.fill() {
            return Err(if connection.input().is_empty() { 0 } else { 408 });
        }
    }
}

type Refusal = (u16, String);

fn refusal<T>(status: u16) -> Result<T, Refusal> {
    Err((status, String::new()))
}

/// The answer to a right request, or the status of the refusal and its headers.
fn judge(connection: &Connection, head: &[u8]) -> Result<(String, Option<Agreed>), Refusal> {
    let request = Request::parse(connection, head)?;
    check_headers(connection, &request)?;
    check_key(connection, &request)?;
    check_version(connection, &request)?;
    check_origin(connection, &request)?;
    check_body(connection, &request)?;
    if connection.settings.refuses {
        return refusal(503);
    }
    if connection.has(Fault::RefusesUnknownHeaders) && request.has("X-Unknown") {
        return refusal(400);
    }
    let key = if connection.has(Fault::FixedAccept) {
        "dGhlIHNhbXBsZSBub25jZQ==".to_owned()
    } else {
        request.all("Sec-WebSocket-Key").first().cloned().unwrap_or_default()
    };
    let hash = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = STANDARD.encode(hash.finalize());
    let protocol = subprotocol(connection, &request)?;
    let (extension, agreed) =
        deflate::negotiate(connection, &request.all("Sec-WebSocket-Extensions"))
            .map_err(|()| (400, String::new()))?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{protocol}{extension}\r\n"
    );
    Ok((answer, agreed))
}

/// A request head taken apart.
struct Request {
    lines: Vec<(String, String)>,
}

impl Request {
    fn parse(connection: &Connection, head: &[u8]) -> Result<Self, Refusal> {
        let takes_any = connection.has(Fault::TakesAnyLine);
        let judged = if connection.has(Fault::TakesAnyFirstLine) {
            // What the first line holds is not looked at.
            &head[head.iter().position(|byte| *byte == b'\n').unwrap() - 1..]
        } else {
            head
        };
        let mut bytes = judged.iter().enumerate();
        if !takes_any && bytes.any(|(at, byte)| is_stray(judged, at, *byte)) {
            return refusal(400);
        }
        // Bytes above 0x7f become characters, one each.
        let text: String = head.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
        let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        check_first(connection, &first)?;
        let mut parsed = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(':') else {
                if takes_any {
                    continue;
                }
                return refusal(400);
            };
            let is_token = !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic());
            if !is_token && !takes_any {
                return refusal(400);
            }
            let spaces: &[char] =
                if connection.has(Fault::KeepsSpaces) { &[] } else { &[' ', '\t'] };
            let value = value.strip_prefix(' ').unwrap_or(value).trim_matches(spaces);
            parsed.push((name.to_owned(), value.to_owned()));
        }
        if connection.has(Fault::NamesHaveCase) {
            parsed.retain(|(name, _)| name.chars().next().is_some_and(char::is_uppercase));
            parsed.retain(|(name, _)| !name.starts_with("SEC"));
        }
        Ok(Self { lines: parsed })
    }

    fn all(&self, name: &str) -> Vec<String> {
        let named = self.lines.iter().filter(|(its, _)| its.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.clone()).collect()
    }

    fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    fn tokens(&self, name: &str) -> Vec<String> {
        let values = self.all(name);
        values.iter().flat_map(|value| value.split(',')).map(|its| its.trim().to_owned()).collect()
    }
}

/// NUL, a CR or LF that ends no line, or the beginning of a folded line.
fn is_stray(head: &[u8], at: usize, byte: u8) -> bool {
    let next = head.get(at + 1).copied();
    match byte {
        0 => true,
        b'\r' => next != Some(b'\n'),
        b'\n' => at == 0 || head[at - 1] != b'\r' || matches!(next, Some(b' ' | b'\t')),
        _ => false,
    }
}

fn check_first(connection: &Connection, first: &[&str]) -> Result<(), Refusal> {
    let [method, path, version] = first else {
        return if connection.has(Fault::TakesAnyFirstLine) { Ok(()) } else { refusal(400) };
    };
    if path.contains('\0') {
        // Only a server that takes any line comes here.
        return if connection.has(Fault::TakesAnyFirstLine) { Ok(()) } else { refusal(400) };
    }
    if *version != "HTTP/1.1" && !connection.has(Fault::TakesAnyHttpVersion) {
        return refusal(if *version == "HTTP/1.0" { 400 } else { 505 });
    }
    if *method != "GET" && !connection.has(Fault::TakesAnyMethod) {
        let allow = if connection.has(Fault::AllowNotNamed) { "" } else { "Allow: GET\r\n" };
        return Err((405, allow.to_owned()));
    }
    if *path != PATH && !connection.has(Fault::TakesAnyPath) {
        return refusal(404);
    }
    Ok(())
}

fn check_headers(connection: &Connection, request: &Request) -> Result<(), Refusal> {
    if request.all("Host").len() != 1 && !connection.has(Fault::TakesAnyHost) {
        return refusal(400);
    }
    let same = |its: &str, wanted: &str| {
        if connection.has(Fault::TokensHaveCase) {
            its == wanted
        } else {
            its.eq_ignore_ascii_case(wanted)
        }
    };
    let upgrade = request.all("Upgrade").join(",");
    let is_upgrade = if connection.has(Fault::UpgradeIsOneToken) {
        same(&upgrade, "websocket")
    } else if connection.has(Fault::UpgradeSubstring) {
        upgrade.to_ascii_lowercase().contains("websocket")
    } else {
        request.tokens("Upgrade").iter().any(|token| same(token, "websocket"))
    };
    if !is_upgrade && !connection.has(Fault::TakesAnyUpgrade) {
        let named =
            if connection.has(Fault::UpgradeNotNamed) { "" } else { "Upgrade: websocket\r\n" };
        return Err((426, named.to_owned()));
    }
    let values = request.all("Connection");
    let is_connection = if connection.has(Fault::ConnectionIsOneToken) {
        same(&values.join(","), "Upgrade")
    } else if connection.has(Fault::ConnectionOfFirstLine) {
        values.first().is_some_and(|value| value.split(',').any(|its| same(its.trim(), "Upgrade")))
    } else if connection.has(Fault::ConnectionSubstring) {
        values.join(",").to_ascii_lowercase().contains("upgrade")
    } else {
        request.tokens("Connection").iter().any(|token| same(token, "Upgrade"))
    };
    let is_right = is_connection || connection.has(Fault::TakesAnyConnection);
    if is_right { Ok(()) } else { refusal(400) }
}

fn check_key(connection: &Connection, request: &Request) -> Result<(), Refusal> {
    let keys = request.all("Sec-WebSocket-Key");
    let is_right = keys.len() == 1 && STANDARD.decode(&keys[0]).is_ok_and(|key| key.len() == 16);
    if is_right || connection.has(Fault::TakesAnyKey) { Ok(()) } else { refusal(400) }
}

fn check_version(connection: &Connection, request: &Request) -> Result<(), Refusal> {
    let is_right = request.all("Sec-WebSocket-Version") == ["13"];
    if is_right || connection.has(Fault::TakesAnyVersion) {
        return Ok(());
    }
    let is_silent = connection.has(Fault::VersionNotNamed);
    Err((
        426,
        if is_silent { "" } else { "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n" }
            .to_owned(),
    ))
}

fn check_origin(connection: &Connection, request: &Request) -> Result<(), Refusal> {
    let is_right = match request.all("Origin").first() {
        None => !connection.has(Fault::NeedsOrigin),
        Some(origin) if connection.has(Fault::OriginPrefix) => origin.starts_with(ORIGIN),
        Some(origin) => origin == ORIGIN || connection.has(Fault::TakesAnyOrigin),
    };
    if is_right { Ok(()) } else { refusal(403) }
}

fn check_body(connection: &Connection, request: &Request) -> Result<(), Refusal> {
    let lengths = request.all("Content-Length");
    let has_body = request.has("Transfer-Encoding") || lengths.iter().any(|length| length != "0");
    let refuses_0 = connection.has(Fault::RefusesContentLength0) && !lengths.is_empty();
    if (has_body && !connection.has(Fault::TakesBodies)) || refuses_0 {
        refusal(400)
    } else {
        Ok(())
    }
}

/// The line of the answer that names a subprotocol, or nothing.
fn subprotocol(connection: &Connection, request: &Request) -> Result<String, Refusal> {
    const NAME: &str = "Sec-WebSocket-Protocol";
    let mut offered = request.tokens(NAME);
    let is_token = |name: &String| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-._~!#$%&'*+^`|".contains(c);
        !name.is_empty() && name.chars().all(is_part)
    };
    if !offered.iter().all(is_token) && !connection.has(Fault::TakesAnySubprotocolGrammar) {
        return refusal(400);
    }
    if connection.has(Fault::SubprotocolsOfFirstLine) {
        let first = request.all(NAME).first().cloned().unwrap_or_default();
        offered.retain(|name| first.contains(name.as_str()));
    }
    let same = |its: &String| {
        if connection.has(Fault::SubprotocolAnyCase) {
            its.eq_ignore_ascii_case(SUBPROTOCOL)
        } else {
            its == SUBPROTOCOL
        }
    };
    let chosen = if connection.has(Fault::NamesFirstSubprotocol) {
        offered.first().cloned()
    } else if connection.has(Fault::NamesSubprotocolUnasked) {
        Some(SUBPROTOCOL.to_owned())
    } else if connection.has(Fault::NamesNoSubprotocol) {
        None
    } else {
        offered.iter().any(same).then(|| SUBPROTOCOL.to_owned())
    };
    Ok(chosen.map_or_else(String::new, |name| format!("{NAME}: {name}\r\n")))
}
