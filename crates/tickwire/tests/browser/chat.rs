//! The chat: who is there, what is said, what was said before, and coming back.

use tickwire_webdriver::Browser;

use crate::{ENTER, ESCAPE, FOLDER, IS_HERE, enter, look_at, two_browsers};

#[path = "../../examples/chat.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
#[expect(clippy::module_inception, reason = "it is the example of this name")]
mod chat;

#[test]
fn two_people_in_a_room_see_each_other_and_what_was_said() {
    let Some([ada, bob]) = two_browsers() else { return };
    let server = chat::start("127.0.0.1:0").expect("a port of this machine");
    let page = format!("http://{}/", server.local_addr());
    enter(&ada, &page, "Ada");
    ada.press("is anybody here?");
    ada.press(ENTER);
    ada.wait_until(&says("is anybody here?"));

    // Who comes later is shown what was said, and is seen.
    enter(&bob, &page, "Bob");
    bob.wait_until(&says("is anybody here?"));
    ada.wait_until(&says("Bob has come"));
    for browser in [&ada, &bob] {
        let people: Vec<String> = browser.run(PEOPLE);
        assert_eq!(people, ["Ada", "Bob"]);
    }
    bob.press("I am <b>here</b>");
    bob.press(ENTER);
    // Text of others is only ever text.
    ada.wait_until(&says("I am <b>here</b>"));
    look_at(&ada, "chat");

    // Another room is another conversation.
    bob.open("about:blank");
    ada.wait_until(&says("Bob has gone"));
    enter(&bob, &format!("{page}#elsewhere"), "Ada");
    assert_eq!(bob.run::<Vec<String>>(PEOPLE), ["Ada"]);
    assert_eq!(bob.run::<u32>("return document.querySelectorAll('#log li').length"), 0);
    for browser in [ada, bob] {
        assert_eq!(browser.complaints(), Vec::<String>::new());
    }
}

#[test]
fn who_talks_too_fast_is_told_and_the_page_comes_back_when_the_server_does() {
    let Some([ada, bob]) = two_browsers() else { return };
    let server = chat::start("127.0.0.1:0").expect("a port of this machine");
    let address = server.local_addr().to_string();
    enter(&ada, &format!("http://{address}/"), "Ada");
    enter(&bob, &format!("http://{address}/"), "Ada");
    assert_eq!(bob.run::<Vec<String>>(PEOPLE), ["Ada", "Ada 2"]);
    // In one go, which takes no time: typed, it may be slow enough to be allowed.
    ada.run::<()>(
        "for (let number = 0; number < 7; number += 1) {
           document.getElementById('text').value = `word ${number}`;
           document.getElementById('say').requestSubmit();
         }",
    );
    ada.wait_until(&says("not so fast"));
    // What was refused is there to be sent again.
    ada.wait_until("/word/.test(document.getElementById('text').value)");
    bob.wait_until(&says("word 0"));

    server.handle().shutdown();
    server.join().expect("no shard fails");
    bob.wait_until("document.getElementById('state').dataset.state === 'away'");
    let server = chat::start(&address).expect("the same port");
    for browser in [&ada, &bob] {
        browser.wait_until(IS_HERE);
    }
    bob.wait_until("document.querySelectorAll('#people li').length === 2");
    drop(server);
}

#[test]
fn the_door_leads_to_another_room_and_back_to_the_same_one() {
    let Some(browser) = Browser::start(FOLDER) else { return };
    let server = chat::start("127.0.0.1:0").expect("a port of this machine");
    // An address that somebody has mistyped leads somewhere too.
    enter(&browser, &format!("http://{}/#%", server.local_addr()), "Ada");
    let room = |name: &str| format!("document.getElementById('room').textContent === {name:?}");
    browser.wait_until(&room("lobby"));
    browser.press(&format!("first{ENTER}"));
    browser.wait_until(&says("first"));

    browser.click("#change");
    browser.press(ESCAPE);
    browser.wait_until("document.activeElement.id === 'text'");
    browser.press(&format!("still here{ENTER}"));
    browser.wait_until(&says("still here"));

    browser.run::<()>("location.hash = 'else where'");
    browser.wait_until("document.getElementById('wanted').value === 'else where'");
    browser.click("#name");
    browser.press(ENTER);
    browser.wait_until(&room("else where"));
    browser.wait_until(IS_HERE);
    browser.wait_until("document.querySelectorAll('#log li').length === 0");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Whether the log has a line with this text.
fn says(text: &str) -> String {
    format!(
        "[...document.querySelectorAll('#log li')].some((line) => line.textContent.includes({text:?}))"
    )
}

const PEOPLE: &str =
    "return [...document.querySelectorAll('#people li')].map((person) => person.textContent)";
