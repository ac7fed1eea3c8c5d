//! The echo: pages that see each other, messages that come back as they were sent, and coming back.

use clap::Parser;
use tickwire_webdriver::Browser;

use crate::{ENTER, ESCAPE, FOLDER, IS_HERE, look_at, two_browsers};

#[path = "../../examples/echo.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
#[expect(clippy::module_inception, reason = "it is the example of this name")]
mod echo;

fn start(arguments: &[&str]) -> tickwire::Server {
    let arguments = echo::Arguments::parse_from([&["echo"], arguments].concat());
    echo::start(arguments).expect("a port of this machine")
}

#[test]
fn two_pages_see_each_other_and_their_messages_come_back_as_they_were_sent() {
    let Some([ada, bob]) = two_browsers() else { return };
    let server = start(&["--listen", "127.0.0.1:0"]);
    let page = format!("http://{}/", server.local_addr());
    ada.open(&page);
    ada.wait_until(&here("1", "1 you"));
    bob.open(&page);
    // Each knows which of the two it is.
    ada.wait_until(&here("2", "1 you|2"));
    bob.wait_until(&here("2", "1|2 you"));
    bob.wait_until(IS_HERE);

    for (text, length, kind, bytes, content) in [
        ("hello", "", "text", "5", "hello"),
        ("Grüße, 世界 🦀", "", "text", "20", "Grüße, 世界 🦀"),
        ("hello", "", "binary", "5", "68 65 6c 6c 6f"),
        // A character of three bytes does not end within 125 of them: blanks do.
        ("世", "125", "text", "125", &"世".repeat(41)),
        ("ü", "1048576", "text", "1,048,576", &format!("{}…", "ü".repeat(200))),
        ("ab", "65536", "binary", "65,536", &format!("{} …", "61 62 ".repeat(16).trim_end())),
    ] {
        bob.run::<()>(&format!("document.querySelector('[value={kind}]').click()"));
        bob.run::<()>(&format!("document.getElementById('length').value = {length:?}"));
        let before: u32 = bob.run(BACK);
        bob.run::<()>(&format!(
            "const message = document.getElementById('message'); message.value = {text:?}; message.focus()"
        ));
        bob.press(ENTER);
        bob.wait_until(&format!("document.getElementById('back').textContent == {}", before + 1));
        let row: Row = bob.run(FIRST_ROW);
        let expected = ["same", kind, bytes, content].map(str::to_owned);
        assert_eq!(row, expected);
    }
    assert_eq!(ada.run::<u32>(BACK), 0, "an echo is for its sender alone");

    // What one sends the other sees as the server's work.
    bob.run::<()>("document.querySelector('[value=text]').click()");
    bob.run::<()>("document.getElementById('length').value = ''");
    bob.click("#repeat");
    ada.wait_until("Number(document.getElementById('rate').textContent) >= 2");
    bob.wait_until("document.querySelectorAll('#bars i:not(.none)').length > 40");
    look_at(&bob, "echo");
    bob.press(ESCAPE);
    ada.wait_until("document.getElementById('rate').textContent === '0'");

    drop(bob);
    ada.wait_until(&here("1", "1 you"));
    ada.wait_until("document.getElementById('others').textContent === 'no other connections'");
    assert_eq!(ada.complaints(), Vec::<String>::new());
}

#[test]
fn the_page_says_why_it_was_closed_and_comes_back_when_the_server_does() {
    let Some([ada, bob]) = two_browsers() else { return };
    let server = start(&["--listen", "127.0.0.1:0", "--max-message", "1000", "--shards", "2"]);
    let address = server.local_addr().to_string();
    for browser in [&ada, &bob] {
        browser.open(&format!("http://{address}/"));
        browser.wait_until(IS_HERE);
    }
    ada.wait_until("document.getElementById('here').textContent === '2'");
    let watch = "globalThis.words = []; new MutationObserver(() => words.push(
        document.getElementById('state').textContent)).observe(document.getElementById('state'), { childList: true })";
    ada.run::<()>(watch);
    ada.run::<()>("document.getElementById('length').value = '1024'");
    ada.click("#send");
    ada.wait_until("words.some((words) => words.startsWith('closed by the server: 1009'))");
    ada.wait_until(IS_HERE);
    assert_eq!(ada.run::<Row>(FIRST_ROW)[0], "lost");
    // It was the echo alone that was closed.
    assert_eq!(bob.run::<String>("return document.getElementById('here').textContent"), "2");

    server.handle().shutdown();
    server.join().expect("no shard fails");
    for browser in [&ada, &bob] {
        browser.wait_until("document.getElementById('state').dataset.state === 'away'");
        browser.wait_until("document.getElementById('here').textContent === '–'");
    }
    let server = start(&["--listen", &address]);
    for browser in [&ada, &bob] {
        browser.wait_until(IS_HERE);
        browser.wait_until("document.getElementById('here').textContent === '2'");
    }
    let before: u32 = ada.run(BACK);
    ada.click("#send");
    ada.wait_until(&format!("document.getElementById('back').textContent == {}", before + 1));
    drop(server);
}

#[test]
fn keys_are_enough() {
    let Some(browser) = Browser::start(FOLDER) else { return };
    let server = start(&["--listen", "127.0.0.1:0"]);
    browser.open(&format!("http://{}/", server.local_addr()));
    browser.wait_until(IS_HERE);
    // Where one types is where it begins.
    browser.press(&format!("keys{ENTER}"));
    browser.wait_until("document.getElementById('back').textContent === '1'");
    assert_eq!(browser.run::<Row>(FIRST_ROW)[3], "keys");
    // Text, Binary, and back to the line above.
    browser.press(&format!("{TAB}{TAB}{RIGHT}"));
    browser.run::<()>("document.getElementById('message').focus()");
    browser.press(ENTER);
    browser.wait_until("document.getElementById('back').textContent === '2'");
    assert_eq!(browser.run::<Row>(FIRST_ROW)[3], "6b 65 79 73");
    browser.press(&format!("{TAB}{TAB}{TAB}{TAB} "));
    browser.wait_until("Number(document.getElementById('back').textContent) > 4");
    browser.press(ESCAPE);
    browser.wait_until("document.getElementById('repeat').ariaPressed === 'false'");
}

/// How a message ended, its kind, length and content.
type Row = [String; 4];

/// How many pages are shown to be there, and which.
fn here(count: &str, numbers: &str) -> String {
    format!(
        "document.getElementById('here').textContent === {count:?} && [...document.querySelectorAll('#pages li')]
            .map((page) => page.textContent).join('|') === {numbers:?}"
    )
}

const BACK: &str = "return Number(document.getElementById('back').textContent)";

const FIRST_ROW: &str = "const row = document.querySelector('#log tr');
    const [, kind, bytes, , content] = [...row.cells].map((cell) => cell.textContent.trim());
    return [row.dataset.verdict, kind, bytes, content]";

/// As WebDriver writes them (section 17.4.2).
const TAB: &str = "\u{E004}";
const RIGHT: &str = "\u{E014}";
