//! The pages of the examples in real browsers, two of which see each other.
//!
//! The examples run within the test, on a port of their own; see `tickwire-webdriver` for what happens
//! where there is no browser. Screenshots are looked at by people; that nothing is cut off or wider than
//! the screen is asserted here.

mod chat;
mod echo;
mod game;

use tickwire_webdriver::Browser;

/// Where Cargo wants what tests leave behind.
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// Two browsers, if there are any.
fn two_browsers() -> Option<[Browser; 2]> {
    Some([Browser::start(FOLDER)?, Browser::start(FOLDER)?])
}

/// Writes down what a page looks like on three screens, none of which it is wider than.
fn look_at(browser: &Browser, name: &str) {
    for (width, height) in [(1440, 900), (820, 1180), (360, 740)] {
        for theme in ["dark", "light"] {
            browser.show((width, height), theme);
            // Some frames later everything is drawn in its place.
            browser.run::<()>("return new Promise((done) => setTimeout(() => requestAnimationFrame(() => done(null)), 100))");
            browser.screenshot(&format!("{name}-{theme}-{width}"));
            let overflow: f64 =
                browser.run("return document.documentElement.scrollWidth - innerWidth");
            assert!(overflow <= 0.0, "{name} {width} {theme}: {overflow} px too wide");
        }
    }
}

/// Answers the question at the door with a name.
fn enter(browser: &Browser, page: &str, name: &str) {
    browser.open(page);
    browser.run::<()>("document.getElementById('name').value = ''");
    browser.click("#name");
    browser.press(name);
    browser.press(ENTER);
    browser.wait_until(IS_HERE);
}

const IS_HERE: &str = "document.getElementById('state').dataset.state === 'here'";

/// As WebDriver writes them (section 17.4.2).
const ENTER: &str = "\u{E007}";
const ESCAPE: &str = "\u{E00C}";
