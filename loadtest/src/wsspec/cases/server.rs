//! Cases of what the server itself sends (RFC 6455 sections 5.1, 5.2, 5.5 and 7.4).
//!
//! Every frame that comes is checked in every case, by `reader`; these make the server send frames
//! of each kind, so that each obligation has a name of its own in the report.

use crate::case::{Case, Level, Need};
use crate::peer::{binary, pong, text};
use crate::wire;

pub(crate) fn cases() -> Vec<Case> {
    vec![messages(), controls(), lengths(), closes(), kinds(), interleaving(), stale_bytes()]
}

fn messages() -> Case {
    let sentence = "No message of the server is masked or has reserved bits set.";
    Case::new("server/messages-well-formed", "RFC 6455 5.1", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&[wire::text("a"), wire::binary("b")].concat());
        peer.expect(&[text("a"), binary("b")])
    })
    .needs(Need::Echo)
}

fn controls() -> Case {
    let sentence = "No Pong of the server is masked, fragmented or has reserved bits set.";
    Case::new("server/pongs-well-formed", "RFC 6455 5.1", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&wire::ping("p"));
        peer.expect(&[pong("p")])
    })
}

fn lengths() -> Case {
    let sentence = "The server writes each length in its shortest form.";
    Case::new("server/shortest-lengths", "RFC 6455 5.2", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        for size in [0, 125, 126, 127, 65_535, 65_536] {
            if trial.subject.message_max.is_some_and(|limit| limit < size) {
                break;
            }
            peer.send(&wire::binary(vec![1; size]));
            peer.expect(&[binary(vec![1; size])])?;
        }
        Ok(())
    })
    .needs(Need::Echo)
}

fn closes() -> Case {
    let sentence = "The server's Close has a code that may be sent, and a reason in UTF-8.";
    Case::new("server/close-well-formed", "RFC 6455 7.4", Level::Must, sentence, |trial| {
        for body in [wire::close_empty(), wire::close(1000, "bye"), wire::close(1005, "")] {
            let mut peer = trial.open()?;
            peer.send(&body);
            peer.expect_failure()?;
        }
        Ok(())
    })
}

fn kinds() -> Case {
    let sentence = "Text comes back as text and binary as binary.";
    Case::new("server/kinds-kept", "RFC 6455 5.6", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&[wire::binary("a"), wire::text("a"), wire::binary("")].concat());
        peer.expect(&[binary("a"), text("a"), binary("")])
    })
    .needs(Need::Echo)
}

/// More than a socket buffer takes at once, so that the server has to write in parts.
fn interleaving() -> Case {
    let sentence = "Long messages to a slow reader leave in order, none within another.";
    Case::new("server/no-interleaving", "RFC 6455 5.4", Level::Must, sentence, |trial| {
        let size = trial.subject.message_max.map_or(60_000, |limit| limit.min(60_000));
        let mut peer = trial.open()?;
        let payload = |number: u8| vec![number; size];
        for number in 0..40 {
            peer.send(&[wire::binary(payload(number)), wire::ping([number])].concat());
        }
        let (mut messages, mut pongs) =
            (0..40).fold((Vec::new(), Vec::new()), |mut all, number| {
                all.0.push(binary(payload(number)));
                all.1.push(pong([number]));
                all
            });
        messages.reverse();
        pongs.reverse();
        while !(messages.is_empty() && pongs.is_empty()) {
            let next: Vec<_> = messages.last().into_iter().chain(pongs.last()).cloned().collect();
            let index = peer.expect_one_of(&next)?;
            if index == 0 && !messages.is_empty() {
                messages.pop();
            } else {
                pongs.pop();
            }
        }
        Ok(())
    })
    .needs(Need::Echo)
}

fn stale_bytes() -> Case {
    let sentence = "Nothing of one connection comes to another.";
    Case::new("server/no-stale-bytes", "RFC 6455 6.1", Level::Must, sentence, |trial| {
        let size = trial.subject.message_max.map_or(100_000, |limit| limit.min(100_000));
        let mut peers = (b'a'..=b'd')
            .map(|letter| trial.open().map(|peer| (letter, peer)))
            .collect::<Result<Vec<_>, _>>()?;
        for _ in 0..3 {
            for (letter, peer) in &mut peers {
                peer.send(&wire::text(vec![*letter; size]));
            }
            for (letter, peer) in &mut peers {
                peer.expect(&[text(vec![*letter; size])])?;
                peer.send(&wire::text(vec![*letter; 10]));
                peer.expect(&[text(vec![*letter; 10])])?;
            }
        }
        Ok(())
    })
    .needs(Need::Echo)
}
