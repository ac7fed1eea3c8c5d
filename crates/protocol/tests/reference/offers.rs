//! `Sec-WebSocket-Extensions` and the negotiation, taken apart without regard for speed.

use tickwire_protocol::{DeflateParams, DeflatePolicy, Limits, Refusal, RequestReader, upgrade};

/// A parameter: its name, and its value if it has one.
type Parameter = (Vec<u8>, Option<Vec<u8>>);

/// What a header line offers: names and parameters in order; `None` if it is malformed (RFC 6455
/// section 9.1). The empty quoted string counts as a value.
pub(crate) fn offers(line: &[u8]) -> Option<Vec<(Vec<u8>, Vec<Parameter>)>> {
    let elements = split(line, b',')?.into_iter().map(trimmed);
    elements.filter(|element| !element.is_empty()).map(|element| offer(&element)).collect()
}

fn offer(element: &[u8]) -> Option<(Vec<u8>, Vec<Parameter>)> {
    let mut parts = split(element, b';')?.into_iter().map(trimmed);
    let name = token(parts.next()?)?;
    let mut parameters = Vec::new();
    for part in parts {
        let mut sides = split(&part, b'=')?.into_iter().map(trimmed);
        let name = token(sides.next()?)?;
        let value = sides.next();
        if sides.next().is_some() {
            return None;
        }
        let value = match value {
            None => None,
            Some(value) => Some(plain(value)?),
        };
        parameters.push((name, value));
    }
    Some((name, parameters))
}

/// Cuts at each `separator` that is not quoted.
fn split(bytes: &[u8], separator: u8) -> Option<Vec<Vec<u8>>> {
    let mut parts = vec![Vec::new()];
    let (mut quoted, mut escaped) = (false, false);
    for &byte in bytes {
        if byte == separator && !quoted {
            parts.push(Vec::new());
            continue;
        }
        quoted ^= byte == b'"' && !escaped;
        escaped = quoted && byte == b'\\' && !escaped;
        parts.last_mut()?.push(byte);
    }
    (!quoted).then_some(parts)
}

fn trimmed(bytes: Vec<u8>) -> Vec<u8> {
    let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    let text = text.trim_matches([' ', '\t']);
    text.chars().map(|char| u8::try_from(char).expect("it was a byte")).collect()
}

fn token(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let legal = |byte: &u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte);
    (!bytes.is_empty() && bytes.iter().all(legal)).then_some(bytes)
}

/// A token, or a quoted one without its quotes and escapes.
fn plain(value: Vec<u8>) -> Option<Vec<u8>> {
    let Some(inner) = value.strip_prefix(b"\"") else { return token(value) };
    let inner = inner.strip_suffix(b"\"")?;
    let mut plain = Vec::new();
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(if byte == b'\\' { *bytes.next()? } else { byte });
    }
    if plain.is_empty() { Some(plain) } else { token(plain) }
}

/// What a server that follows `policy` makes of a well-formed line: the parameters and the answer.
pub(crate) fn negotiate(line: &[u8], policy: &DeflatePolicy) -> Option<(DeflateParams, String)> {
    let known = |(name, _): &(Vec<u8>, Vec<Parameter>)| name == b"permessage-deflate";
    let offers = offers(line)?.into_iter().filter(known);
    offers.filter_map(|(_, parameters)| accept(&parameters, policy)).next()
}

fn accept(parameters: &[Parameter], policy: &DeflatePolicy) -> Option<(DeflateParams, String)> {
    let all = |name: &str| {
        parameters.iter().filter(|one| one.0 == name.as_bytes()).map(|one| &one.1).collect()
    };
    let server_flag: Vec<_> = all("server_no_context_takeover");
    let client_flag: Vec<_> = all("client_no_context_takeover");
    let server_bits: Vec<_> = all("server_max_window_bits");
    let client_bits: Vec<_> = all("client_max_window_bits");
    let known = [&server_flag, &client_flag, &server_bits, &client_bits];
    if known.iter().map(|list| list.len()).sum::<usize>() < parameters.len()
        || known.iter().any(|list| list.len() > 1)
        || server_flag.iter().chain(&client_flag).any(|value| value.is_some())
    {
        return None;
    }
    let mut params = DeflateParams {
        server_no_context_takeover: !policy.server_context || !server_flag.is_empty(),
        client_no_context_takeover: !policy.client_context || !client_flag.is_empty(),
        server_max_window_bits: policy.server_window_bits,
        client_max_window_bits: 15,
    };
    if let Some(value) = server_bits.first() {
        let most = number(value.as_ref()?).filter(|&most| most > 8)?;
        params.server_max_window_bits = most.min(policy.server_window_bits);
    }
    if let Some(value) = client_bits.first() {
        let most = value.as_ref().map_or(Some(15), |value| number(value))?;
        params.client_max_window_bits = most.min(policy.client_window_bits);
    }
    let (server, client) = (params.server_max_window_bits, params.client_max_window_bits);
    let words = [
        (params.server_no_context_takeover, "; server_no_context_takeover".to_owned()),
        (params.client_no_context_takeover, "; client_no_context_takeover".to_owned()),
        (!server_bits.is_empty() || server < 15, format!("; server_max_window_bits={server}")),
        (client < 15, format!("; client_max_window_bits={client}")),
    ];
    let said: String = words.into_iter().filter(|word| word.0).map(|word| word.1).collect();
    Some((params, format!("permessage-deflate{said}")))
}

fn number(value: &[u8]) -> Option<u8> {
    (8..=15).find(|number: &u8| number.to_string().as_bytes() == value)
}

/// The line that answers a handshake which offers `line`, with what was agreed on.
pub(crate) fn answered(
    line: &[u8],
    policy: &DeflatePolicy,
) -> Result<Option<(DeflateParams, String)>, Refusal> {
    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: ";
    let mut bytes = [HEAD, line, b"\r\n\r\n"].concat();
    let (mut input, mut reader) = (&mut bytes[..], RequestReader::new());
    let request = reader.push(&mut input, &Limits::default())?.expect("the head is whole");
    let upgrade = upgrade(&request)?;
    let Some(params) = upgrade.deflate(policy) else { return Ok(None) };
    let mut out = Vec::new();
    upgrade.accept_with(None, Some(&params), &[], &mut out).expect("it was offered");
    let answer = String::from_utf8(out).expect("an answer is ASCII");
    let said = answer.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
    Ok(Some((params, said.expect("it was accepted").to_owned())))
}

/// Takes `bytes` as a policy, in the first two, and a header line.
pub(crate) fn check(bytes: &[u8]) {
    let [contexts, window_bits, line @ ..] = bytes else { return };
    if line.len() > 4000 || line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return;
    }
    let mut policy = DeflatePolicy::default();
    policy.server_context = contexts & 1 != 0;
    policy.client_context = contexts & 2 != 0;
    policy.server_window_bits = 9 + window_bits % 7;
    policy.client_window_bits = 9 + window_bits / 7 % 7;
    match answered(line, &policy) {
        Ok(agreed) => {
            assert!(offers(line).is_some(), "a malformed line passes: {}", line.escape_ascii());
            assert_eq!(agreed, negotiate(line, &policy), "{}", line.escape_ascii());
        }
        Err(refusal) => {
            assert_eq!(refusal.status, 400);
            assert!(offers(line).is_none(), "a legal line is refused: {}", line.escape_ascii());
        }
    }
}
