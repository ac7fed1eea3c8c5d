//! Who is served where tokens are asked for, and until when.

use super::*;

#[test]
fn without_a_token_only_ping_and_auth_are_served() {
    let mut fixture = Fixture::unknown();
    for method in ["list", "instruments"] {
        let error = fixture.reply(&json!({"id": 1, "method": method}).to_string());
        assert_eq!((&error["code"], &error["id"]), (&json!("unauthorized"), &json!(1)), "{method}");
    }
    let acts = fixture.subscribe(json!({"symbols": ["AAPL"]}));
    assert_eq!((acts.len(), &sent(&acts[0])["code"]), (1, &json!("unauthorized")));
    assert_eq!(fixture.reply(r#"{"id":1,"method":"ping"}"#)["type"], "pong");
    let wrong = fixture.reply(r#"{"id":2,"method":"auth","params":{"token":"open"}}"#);
    assert_eq!((&wrong["type"], &wrong["code"]), (&json!("error"), &json!("unauthorized")));
    let ack = fixture.reply(r#"{"id":3,"method":"auth","params":{"token":"sesame"}}"#);
    assert_eq!(ack["results"], json!([{"name": "desk-7", "expires": EXPIRES_NS.to_string()}]));
    assert_eq!(fixture.subscribe(json!({"symbols": ["AAPL"]})).len(), 3);
}

/// When the token of [`Fixture::unknown`] ends: 110 s after the beginning.
const EXPIRES_NS: u64 = UNIX_NS + 110_000_000_000;

#[test]
fn where_no_token_is_asked_for_any_will_do() {
    let ack = Fixture::new().reply(r#"{"id":3,"method":"auth","params":{"token":"open"}}"#);
    assert_eq!((&ack["type"], &ack["results"]), (&json!("ack"), &json!([])));
}

#[test]
fn a_connection_that_shows_no_token_for_30_s_is_closed_with_4401() {
    let mut fixture = Fixture::unknown();
    fixture.now_ns = START_NS + 30_000_000_000;
    let (next, acts) = fixture.timer();
    assert_eq!(next, None);
    assert!(matches!(acts[..], [Act::Closed(4401, _)]), "{acts:?}");
}

#[test]
fn a_token_that_ends_is_announced_and_another_one_takes_its_place() {
    let mut fixture = Fixture::unknown();
    let auth = r#"{"id":3,"method":"auth","params":{"token":"sesame"}}"#;
    fixture.reply(auth);
    fixture.subscribe(json!({"symbols": ["AAPL"]}));
    fixture.unix_ns = EXPIRES_NS - 30_000_000_001;
    assert_eq!(fixture.timer(), (Some(Duration::from_secs(1)), vec![]));
    fixture.unix_ns = EXPIRES_NS - 29_500_000_000;
    let notice = json!({"type": "notice", "code": "token_expires", "expires_ms": 29_500});
    assert_eq!(fixture.timer().1, [Act::Sent(notice.clone())]);
    assert_eq!(fixture.timer().1, [], "once");
    // The same again is another one as far as the session knows.
    fixture.reply(auth);
    assert_eq!(fixture.timer().1, [Act::Sent(notice)]);
    fixture.unix_ns = EXPIRES_NS;
    let (next, acts) = fixture.timer();
    assert!(matches!(acts[..], [Act::Closed(4401, _)]) && next.is_none(), "{acts:?}");
}
