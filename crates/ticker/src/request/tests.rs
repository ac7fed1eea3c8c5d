//! Requests of every shape, and of none.

use super::*;

fn read<'a>(text: &'a mut [u8]) -> Result<Option<Request<'a>>, Refused<'a>> {
    Reader::new().read(text)
}

fn method(json: &str) -> Method<'static> {
    let text = json.as_bytes().to_vec().leak();
    Reader::new().read(text).unwrap().unwrap().method
}

fn refused(json: &str) -> (Option<Id<'static>>, ErrorCode, String) {
    let text = json.as_bytes().to_vec().leak();
    let refused = Reader::new().read(text).unwrap_err();
    (refused.id, refused.code, refused.message.into_owned())
}

#[test]
fn methods_are_read() {
    let cases = [
        (r#"{"id":1,"method":"ping"}"#, Method::Ping),
        (r#"{"method":"list","id":"a","later":{"x":[1]}}"#, Method::List),
        (r#"{"id":1,"method":"instruments","params":7}"#, Method::Instruments),
        (
            r#"{"id":1,"method":"unsubscribe","params":{"channel":"ticker","symbols":["A","B"]}}"#,
            Method::Unsubscribe(vec!["A", "B"]),
        ),
        (
            r#"{"id":1,"method":"set","params":{"channel":"ticker","symbols":["A"],"max_rate":2}}"#,
            Method::Set(Set {
                symbols: vec!["A"],
                wanted: Wanted { max_rate: Some(2), ..Wanted::default() },
            }),
        ),
        (r#"{"id":1,"method":"auth","params":{"token":"sesame"}}"#, Method::Auth("sesame")),
    ];
    for (json, expected) in cases {
        assert_eq!(method(json), expected, "{json}");
    }
}

#[test]
fn a_subscription_has_its_defaults_and_says_what_it_asks_for() {
    let subscribe = |params: &str| {
        let params = format!(r#""channel":"ticker","symbols":["AAPL"]{params}"#);
        method(&format!(r#"{{"id":1,"method":"subscribe","params":{{{params}}}}}"#))
    };
    let plain = Subscribe {
        symbols: vec!["AAPL"],
        snapshot: true,
        wanted: Wanted::default(),
        resume: None,
    };
    let wants = |wanted| Subscribe { wanted, ..plain.clone() };
    let nothing = Wanted::default();
    let bid_last = Some([Field::Last, Field::Bid].into_iter().collect());
    let resume = Resume { epoch: "x", seqs: [("AAPL", 1), ("B", 0)].into_iter().collect() };
    let cases = [
        ("", plain.clone()),
        (r#","mode":null,"max_rate":null,"later":1"#, plain.clone()),
        (r#","snapshot":false"#, Subscribe { snapshot: false, ..plain.clone() }),
        (r#","mode":"merge""#, wants(Wanted { mode: Some(Mode::Merge), ..nothing })),
        (r#","mode":"distinct""#, wants(Wanted { mode: Some(Mode::Distinct), ..nothing })),
        (r#","max_rate":10"#, wants(Wanted { max_rate: Some(10), ..nothing })),
        (r#","max_rate":70000"#, wants(Wanted { max_rate: Some(u16::MAX), ..nothing })),
        (r#","fields":["last","bid","bid"]"#, wants(Wanted { fields: bid_last, ..nothing })),
        (
            r#","resume":{"epoch":"x","seq":{"AAPL":1,"B":0},"later":[]}"#,
            Subscribe { resume: Some(resume), ..plain.clone() },
        ),
    ];
    for (params, expected) in cases {
        assert_eq!(subscribe(params), Method::Subscribe(expected), "{params}");
    }
}

#[test]
fn ids_are_integers_or_short_strings() {
    let text36 = "x".repeat(36);
    let cases = [
        ("-9223372036854775808".to_owned(), Id::Number(i64::MIN)),
        ("9223372036854775807".to_owned(), Id::Number(i64::MAX)),
        (r#""""#.to_owned(), Id::Text("".into())),
        (format!("\"{text36}\""), Id::Text(text36.as_str().into())),
        (format!("\"{}\"", "é".repeat(36)), Id::Text("é".repeat(36).into())),
        (r#""\u00e9\n""#.to_owned(), Id::Text("é\n".into())),
    ];
    for (written, expected) in cases {
        let mut text = format!(r#"{{"id":{written},"method":"ping"}}"#).into_bytes();
        assert_eq!(read(&mut text).unwrap().unwrap().id, expected);
    }
    let long = format!("\"{}\"", "x".repeat(37));
    for written in ["1.5", "null", "true", "[1]", "{}", "9223372036854775808", &long] {
        let (id, code, message) = refused(&format!(r#"{{"id":{written},"method":"ping"}}"#));
        assert_eq!((id, code), (None, ErrorCode::BadRequest), "{written}");
        assert!(message.starts_with("`id` must be"), "{message}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_the_id_if_there_is_one() {
    let one = Some(Id::Number(1));
    let cases = [
        ("", None, "not JSON at byte 0"),
        ("nothing", None, "not JSON"),
        (r#"{"id":1,"method":"ping""#, None, "not JSON"),
        (r#"{"id":1,"method":"ping"} {}"#, None, "not JSON"),
        ("[]", None, "one JSON object"),
        ("7", None, "one JSON object"),
        ("{}", None, "`method`"),
        (r#"{"id":1}"#, one.clone(), "`method`"),
        (r#"{"method":"ping"}"#, None, "needs an `id`"),
        (r#"{"id":1,"method":7}"#, one.clone(), "`method`"),
        (r#"{"id":1,"method":"subscribe"}"#, one.clone(), "`params`"),
        (r#"{"id":1,"method":"subscribe","params":[]}"#, one.clone(), "`params`"),
        (r#"{"id":1,"method":"subscribe","params":{}}"#, one.clone(), "`channel`"),
    ];
    for (json, id, message) in cases {
        let (given_id, code, given) = refused(json);
        assert_eq!((given_id, code), (id, ErrorCode::BadRequest), "{json}");
        assert!(given.contains(message), "{json}: {given}");
    }
}

#[test]
fn parameters_of_the_wrong_shape_are_refused() {
    let symbols = r#""symbols":["A"]"#;
    let cases = [
        (r#""channel":"ticker""#.to_owned(), "`symbols`"),
        (r#""channel":"ticker","symbols":"A""#.to_owned(), "`symbols`"),
        (r#""channel":"ticker","symbols":[]"#.to_owned(), "`symbols`"),
        (r#""channel":"ticker","symbols":["A",1]"#.to_owned(), "`symbols`"),
        (format!(r#""channel":7,{symbols}"#), "`channel`"),
        (format!(r#""channel":"ticker",{symbols},"snapshot":1"#), "`snapshot`"),
        (format!(r#""channel":"ticker",{symbols},"mode":1"#), "`mode`"),
        (format!(r#""channel":"ticker",{symbols},"mode":"sampled""#), "`mode`"),
        (format!(r#""channel":"ticker",{symbols},"max_rate":"1""#), "`max_rate`"),
        (format!(r#""channel":"ticker",{symbols},"max_rate":0.5"#), "`max_rate`"),
        (format!(r#""channel":"ticker",{symbols},"max_rate":-1"#), "`max_rate`"),
        (format!(r#""channel":"ticker",{symbols},"fields":[]"#), "`fields`"),
        (format!(r#""channel":"ticker",{symbols},"fields":["bid",1]"#), "`fields`"),
        (format!(r#""channel":"ticker",{symbols},"fields":["price"]"#), "`fields`"),
        (format!(r#""channel":"ticker",{symbols},"resume":{{"epoch":"x"}}"#), "`resume`"),
        (format!(r#""channel":"ticker",{symbols},"resume":{{"seq":{{}}}}"#), "`resume`"),
        (
            format!(r#""channel":"ticker",{symbols},"resume":{{"epoch":"x","seq":{{"A":-1}}}}"#),
            "`resume`",
        ),
        (format!(r#""channel":"ticker",{symbols},"fields":"bid""#), "`fields`"),
        (format!(r#""channel":"ticker",{symbols},"resume":1"#), "`resume`"),
    ];
    for (params, message) in cases {
        let json = format!(r#"{{"id":"q","method":"subscribe","params":{{{params}}}}}"#);
        let (id, code, given) = refused(&json);
        assert_eq!((id, code), (Some(Id::Text("q".into())), ErrorCode::BadRequest), "{json}");
        assert!(given.contains(message), "{json}: {given}");
    }
}

#[test]
fn a_change_of_nothing_and_a_token_that_is_none_are_refused() {
    for (json, message) in [
        (r#"{"id":1,"method":"set","params":{"channel":"ticker","symbols":["A"]}}"#, "`set`"),
        (r#"{"id":1,"method":"auth","params":{"token":7}}"#, "`token`"),
        (r#"{"id":1,"method":"auth","params":{}}"#, "`token`"),
        (r#"{"id":1,"method":"auth"}"#, "`params`"),
    ] {
        let (_, code, given) = refused(json);
        assert_eq!(code, ErrorCode::BadRequest, "{json}");
        assert!(given.contains(message), "{json}: {given}");
    }
}

#[test]
fn other_channels_and_methods_have_errors_of_their_own() {
    for channel in ["trades", "book", ""] {
        let params = format!(r#"{{"channel":"{channel}","symbols":["A"]}}"#);
        let json = format!(r#"{{"id":1,"method":"subscribe","params":{params}}}"#);
        assert_eq!(refused(&json).1, ErrorCode::UnknownChannel, "{channel}");
    }
    for method in ["book", "PING", ""] {
        let json = format!(r#"{{"id":1,"method":"{method}"}}"#);
        assert_eq!(refused(&json).1, ErrorCode::UnknownMethod, "{method}");
    }
}

#[test]
fn a_type_without_a_method_is_ignored() {
    let mut text = br#"{"type":"hello","id":1}"#.to_vec();
    assert_eq!(read(&mut text), Ok(None));
}

#[test]
fn nesting_up_to_32_is_read_and_one_more_is_not() {
    let nested = |depth: usize| {
        let inner = depth - 1;
        let value = "[".repeat(inner) + &"]".repeat(inner);
        format!(r#"{{"id":1,"method":"ping","params":{value}}}"#)
    };
    assert_eq!(method(&nested(32)), Method::Ping);
    let (_, code, message) = refused(&nested(33));
    assert_eq!((code, message.as_str()), (ErrorCode::BadRequest, "nested deeper than 32"));
    assert_eq!(refused(&"[".repeat(60_000)).2, "nested deeper than 32");
}

#[test]
fn a_request_names_at_most_4096_symbols() {
    let request = |count: usize| {
        let symbols = vec!["\"A\""; count].join(",");
        let params = format!(r#"{{"channel":"ticker","symbols":[{symbols}]}}"#);
        format!(r#"{{"id":1,"method":"unsubscribe","params":{params}}}"#)
    };
    assert_eq!(method(&request(4096)), Method::Unsubscribe(vec!["A"; 4096]));
    assert!(refused(&request(4097)).2.contains("4096"));
}

#[test]
fn a_reader_reads_on_after_what_it_could_not_read() {
    let mut reader = Reader::new();
    for _ in 0..3 {
        assert!(reader.read(&mut br#"{"id":1,"met"#.to_vec()).is_err());
        let mut text = br#"{"id":1,"method":"ping"}"#.to_vec();
        assert!(reader.read(&mut text).is_ok_and(|request| request.is_some()));
    }
}
