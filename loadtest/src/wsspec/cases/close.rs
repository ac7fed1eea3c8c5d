//! Cases of the closing handshake and its codes (RFC 6455 sections 5.5.1, 7.1 and 7.4).

use crate::case::{Case, Level, Need, miss};
use crate::cases::{Violation, closes};
use crate::peer::{Seen, Trial, seen_words, text};
use crate::reader::Event;
use crate::wire::{self, CLOSE, Frame};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = bodies().into_iter().flat_map(Violation::cases).collect();
    for code in REFUSED {
        cases.extend(refused(code));
    }
    for code in ACCEPTED {
        cases.extend(accepted(code));
    }
    cases.extend([empty(), reason(), longest_reason(), bytewise()]);
    cases.extend([after_close(), within_message(), echo_before_close(), ends_tcp(), fin_alone()]);
    cases
}

fn bodies() -> Vec<Violation> {
    let of = |id, codes, bytes: Vec<u8>, sentence| {
        Violation::new(id, "RFC 6455 5.5.1", codes, bytes, sentence)
    };
    vec![
        of(
            "close/body-of-1-byte",
            &[1002],
            Frame::new(CLOSE, [3]).bytes(),
            "A Close with a body of one byte fails the connection.",
        ),
        of(
            "close/reason-not-utf8",
            &[1007, 1002],
            wire::close(1000, [b'a', 0xff]),
            "A Close whose reason is not UTF-8 fails the connection.",
        )
        .code_level(Level::Advice),
        of(
            "close/reason-surrogate",
            &[1007, 1002],
            wire::close(1000, [0xed, 0xa0, 0x80]),
            "A Close whose reason has a surrogate fails the connection.",
        )
        .code_level(Level::Advice),
        of(
            "close/reason-cut-character",
            &[1007, 1002],
            wire::close(1000, [0xe2, 0x82]),
            "A Close whose reason ends within a character fails the connection.",
        )
        .code_level(Level::Advice),
    ]
}

/// Codes that no Close may carry, or that nobody has given a meaning (section 7.4).
const REFUSED: [u16; 16] =
    [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 5001, 10_000, 32_768, 65_535];

/// Registered codes, and those for libraries and applications.
const ACCEPTED: [u16; 16] = [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
];

fn refused(code: u16) -> [Case; 2] {
    let level = match code {
        0..=999 | 1004..=1006 | 1015 => Level::Must,
        _ => Level::Should,
    };
    let sentence = format!("Close {code} is not echoed: it fails the connection.");
    let why = format!("After Close {code}, which must not be sent, Close 1002 comes.");
    [
        Case::new(
            format!("close/code-{code}-refused"),
            "RFC 6455 7.4.2",
            level,
            sentence,
            move |trial| {
                let mut peer = trial.open()?;
                peer.send(&wire::close(code, ""));
                match peer.expect_failure()?.close {
                    None | Some(Some(1002 | 1007 | 1008)) => Ok(()),
                    Some(Some(other)) => miss("Close 1002, or the end", format!("Close {other}")),
                    Some(None) => miss("Close 1002, or the end", "Close without a code"),
                }
            },
        ),
        Case::new(
            format!("close/code-{code}-refused.code"),
            "RFC 6455 7.1.7",
            Level::Should,
            why,
            move |trial| closes(trial, &wire::close(code, ""), &[1002]),
        ),
    ]
}

fn accepted(code: u16) -> Vec<Case> {
    // Registered since RFC 6455, which leaves what it does not define to the registry.
    let level = if matches!(code, 1012..=1014) { Level::Should } else { Level::Must };
    let sentence = format!("Close {code} is answered by a Close that does not call it an error.");
    let echo = format!("The answer to Close {code} has the same code.");
    let answer = move |trial: &Trial<'_>| {
        let mut peer = trial.open()?;
        peer.send(&wire::close(code, "bye"));
        peer.expect_close()
    };
    let mut cases = vec![
        Case::new(format!("close/code-{code}"), "RFC 6455 7.4", level, sentence, move |trial| {
            match answer(trial)? {
                Some(other @ (1002 | 1007)) if other != code => {
                    miss(format!("Close {code} or 1000"), format!("Close {other}"))
                }
                _ => Ok(()),
            }
        }),
        Case::new(
            format!("close/code-{code}.echo"),
            "RFC 6455 5.5.1",
            Level::Should,
            echo,
            move |trial| match answer(trial)? {
                Some(its) if its == code => Ok(()),
                Some(its) => miss(format!("Close {code}"), format!("Close {its}")),
                None => miss(format!("Close {code}"), "Close without a code"),
            },
        ),
    ];
    if code == 1010 {
        cases.truncate(1);
        cases.push(other_than_1010());
    }
    cases
}

fn other_than_1010() -> Case {
    let sentence = "The answer to Close 1010 has another code: servers do not use that one.";
    Case::new("close/code-1010.other", "RFC 6455 7.4.1", Level::Advice, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&wire::close(1010, ""));
        match peer.expect_close()? {
            Some(1010) => miss("Close 1000", "Close 1010"),
            _ => Ok(()),
        }
    })
}

fn empty() -> Case {
    let sentence = "An empty Close is answered by an empty Close, or by 1000.";
    Case::new("close/empty", "RFC 6455 5.5.1", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&wire::close_empty());
        match peer.expect_close()? {
            None | Some(1000) => Ok(()),
            Some(code) => miss("an empty Close, or 1000", format!("Close {code}")),
        }
    })
}

fn reason() -> Case {
    let sentence = "A Close with a reason in UTF-8 of several bytes a character is answered.";
    Case::new("close/reason-utf8", "RFC 6455 5.5.1", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&wire::close(1000, "grüße, κόσμε, 😀"));
        match peer.expect_close()? {
            Some(code @ 1002..) => miss("Close 1000", format!("Close {code}")),
            _ => Ok(()),
        }
    })
}

fn longest_reason() -> Case {
    let sentence = "A Close with a reason of 123 bytes, the longest, is answered.";
    Case::new("close/reason-of-123-bytes", "RFC 6455 5.5", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&wire::close(1000, [b'x'; 123]));
        match peer.expect_close()? {
            Some(code @ 1002..) => miss("Close 1000", format!("Close {code}")),
            _ => Ok(()),
        }
    })
}

fn bytewise() -> Case {
    let sentence = "A Close that comes byte by byte is answered like a whole one.";
    Case::new("close/code-1000.bytewise", "RFC 6455 5.5.1", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send_bytewise(&wire::close(1000, "bye"));
        match peer.expect_close()? {
            Some(code @ 1002..) => miss("Close 1000", format!("Close {code}")),
            _ => Ok(()),
        }
    })
}

fn after_close() -> Case {
    let sentence = "Exactly one Close comes, and what is sent behind a Close is ignored.";
    Case::new("close/nothing-after", "RFC 6455 5.5.1", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        let behind = [wire::text("x"), wire::ping("y"), wire::close(1001, "")].concat();
        peer.send(&[wire::close(1000, ""), behind].concat());
        peer.expect_close()?;
        match peer.see(trial.subject.timeout) {
            Seen::End(_) | Seen::Silence => Ok(()),
            seen => miss("nothing after the Close", seen_words(&seen)),
        }
    })
}

fn within_message() -> Case {
    let sentence = "A Close within a fragmented message is answered; the message is dropped.";
    Case::new("close/within-message", "RFC 6455 5.4", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&[wire::text_begin("half"), wire::close(1000, "")].concat());
        match peer.expect_close()? {
            Some(1000) | None => Ok(()),
            Some(code) => miss("Close 1000", format!("Close {code}")),
        }
    })
}

fn echo_before_close() -> Case {
    let sentence = "A message that came before the Close is still answered before it.";
    Case::new("close/after-message", "RFC 6455 5.5.1", Level::Should, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&[wire::text("last words"), wire::close(1000, "")].concat());
        peer.expect(&[text("last words"), Event::Close(Some(1000), String::new())])
    })
    .needs(Need::Echo)
}

fn ends_tcp() -> Case {
    let sentence = "After the closing handshake the server ends TCP, while the client does not.";
    Case::new("close/server-ends-tcp", "RFC 6455 7.1.1", Level::Should, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&wire::close(1000, ""));
        peer.expect_close()?;
        peer.expect_end(trial.subject.timeout).map(|_| ())
    })
}

fn fin_alone() -> Case {
    let sentence = "A client that ends TCP without a Close gets TCP ended too.";
    Case::new("close/fin-without-close", "RFC 6455 7.1.5", Level::Advice, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.finish();
        loop {
            match peer.see(trial.subject.timeout) {
                Seen::End(_) => return Ok(()),
                Seen::Event(Event::Close(..)) => {}
                seen => return miss("the end of the connection", seen_words(&seen)),
            }
        }
    })
}
