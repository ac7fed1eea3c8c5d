//! What the answer to a refused request says, and what becomes of the connection.

use crate::case::{Case, Level, miss};

pub(super) fn version_named() -> Case {
    let sentence = "The refusal of another version names the one that is spoken, 13.";
    Case::new("handshake/version-named", "RFC 6455 4.4", Level::Must, sentence, |trial| {
        let mut peer = trial.connect()?;
        peer.send(&trial.subject.request().set("Sec-WebSocket-Version", "99").bytes());
        let answer = peer.answer()?;
        if !answer.has_token("Sec-WebSocket-Version", "13") {
            return miss("Sec-WebSocket-Version: 13", answer);
        }
        Ok(())
    })
}

pub(super) fn method_allowed() -> Case {
    let sentence = "A refusal with 405 names the methods that are allowed.";
    Case::new("handshake/method-allowed", "RFC 9110 15.5.6", Level::Must, sentence, |trial| {
        let mut peer = trial.connect()?;
        let first = trial.subject.request().first_line().replace("GET", "POST");
        peer.send(&trial.subject.request().first(first).bytes());
        let answer = peer.answer()?;
        if answer.status == 405 && !answer.has_token("Allow", "GET") {
            return miss("Allow: GET", answer);
        }
        Ok(())
    })
}

pub(super) fn upgrade_named() -> Case {
    let sentence = "A refusal with 426 names the protocol to upgrade to.";
    Case::new("handshake/upgrade-named", "RFC 9110 15.5.22", Level::Must, sentence, |trial| {
        for request in [
            trial.subject.request().remove("Upgrade").remove("Connection"),
            trial.subject.request().set("Upgrade", "h2c"),
        ] {
            let mut peer = trial.connect()?;
            peer.send(&request.bytes());
            let answer = peer.answer()?;
            if answer.status == 426 && !answer.has_token("Upgrade", "websocket") {
                return miss("Upgrade: websocket", answer);
            }
        }
        Ok(())
    })
}

pub(super) fn error_ends() -> Case {
    let sentence = "After a garbled request the server ends the connection.";
    Case::new("handshake/garbled-request-ends", "RFC 9112 9.6", Level::Should, sentence, |trial| {
        let mut peer = trial.connect()?;
        peer.send(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 noise\r\n\r\n");
        loop {
            if peer.is_ended() {
                return Ok(());
            }
            if !peer.take_chunk(trial.subject.timeout) && !peer.is_ended() {
                return miss("the end of the connection", "nothing, in the time allowed");
            }
        }
    })
}
