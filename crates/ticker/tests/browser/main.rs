//! The page in a real browser, served by the binary: prices that move, a list that is kept, a
//! connection that comes back.
//!
//! Each test has a server and a headless Chromium of its own. Where chromedriver or Chromium is not
//! installed they are skipped, saying so; with `TICKWIRE_REQUIRE_BROWSER=1` that is a failure.
//! Screenshots are written to the folder `TICKWIRE_SCREENSHOTS`, or to `screenshots` in Cargo's
//! folder for the files of tests.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

use rustix::process::Signal;
use serde::Deserialize;

mod relay;
mod server;

use relay::Relay;
use server::Server;
use tickwire_webdriver::Browser;

/// Prices that another moment showed differently.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Movement {
    since_load_ms: f64,
    /// How many.
    moved: u64,
    updates: u64,
}

#[test]
fn prices_move_within_two_seconds_of_the_load() {
    let Some(browser) = Browser::start(FOLDER) else { return };
    let server = Server::start();
    browser.open(&server.page());
    let mut movement: Movement = browser.run(WAIT_FOR_MOVEMENT);
    // A machine that is busy may be late, though not each time.
    for _ in 1..LOADS_MAX {
        if movement.since_load_ms < 2000.0 {
            break;
        }
        browser.reload();
        movement = browser.run(WAIT_FOR_MOVEMENT);
    }
    assert!(movement.since_load_ms < 2000.0, "{movement:?}");
    assert!(movement.updates >= movement.moved, "{movement:?}");
    // They came by the WebSocket: the server has one client, which holds what the page shows.
    server.wait_for_metric("tickwire_clients", 1);
    let rows: Vec<String> = browser.run(ROWS);
    assert_eq!(rows.len(), 12);
    server.wait_for_metric("tickwire_subscriptions", 12);
    assert_eq!(browser.run::<String>("return document.getElementById('gaps').textContent"), "0");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// What a screen shows.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Screen {
    overflow_px: f64,
    columns: Vec<String>,
    /// Figures that are wider than their cell.
    cut: Vec<String>,
    /// Of the ground, 0 (black) to 765.
    brightness: u32,
}

#[test]
fn every_screen_shows_its_columns_whole_in_both_themes() {
    let Some(browser) = Browser::start(FOLDER) else { return };
    let server = Server::start();
    browser.open(&server.page());
    // Enough for the charts to have something to show.
    browser.wait_until("document.documentElement.dataset.updates > 300");
    let wide = "Symbol Trend Last Change Chg% Bidsize Bid Ask Asksize Volume Remove";
    let middle = "Symbol Trend Last Chg% Bid Ask Volume Remove";
    let narrow = "Symbol Trend Last Chg% Remove";
    for (width, height, columns) in [(1440, 900, wide), (820, 1180, middle), (360, 740, narrow)] {
        for theme in ["dark", "light"] {
            browser.show((width, height), theme);
            let screen: Screen = browser.run(SCREEN);
            browser.screenshot(&format!("{theme}-{width}"));
            assert_eq!(screen.columns.join(" "), columns, "{width} {theme}");
            assert!(screen.overflow_px <= 0.0, "{width} {theme}: {screen:?}");
            assert!(screen.cut.is_empty(), "{width} {theme}: {screen:?}");
            assert_eq!(screen.brightness < 382, theme == "dark", "{width} {theme}: {screen:?}");
        }
    }
}

#[test]
fn the_chosen_theme_overrules_the_systems_and_is_kept() {
    let Some(browser) = Browser::start(FOLDER) else { return };
    let server = Server::start();
    browser.show((1440, 900), "light");
    browser.open(&server.page());
    let is_dark = || browser.run::<Screen>(SCREEN).brightness < 382;
    assert!(!is_dark());
    browser.click("#theme");
    assert!(is_dark());
    browser.reload();
    assert!(is_dark());
    browser.click("#theme");
    assert!(!is_dark());
}

#[test]
fn the_watch_list_is_changed_by_keyboard_and_kept() {
    let Some(browser) = Browser::start(FOLDER) else { return };
    let server = Server::start();
    browser.open(&server.page());
    browser.wait_until(IS_LIVE);
    browser.press("/");
    browser.wait_until("document.querySelector('#matches li')");
    let unwatched =
        "return document.querySelector('#matches li:not(:has(.watched))').dataset.symbol";
    let added: String = browser.run(unwatched);
    browser.press("no such thing");
    browser.wait_until("/No instrument matches/.test(document.body.innerText)");
    browser.press(ESCAPE);
    browser.press(&format!("{}{ENTER}", added.to_lowercase()));
    browser.wait_until(&format!(
        "/[0-9]/.test(document.querySelector('[data-symbol=\"{added}\"] [data-testid=last]').innerText)"
    ));
    let mut rows: Vec<String> = browser.run(ROWS);
    assert_eq!(rows.last(), Some(&added));
    browser.run::<()>("document.querySelector('[data-testid=remove]').focus()");
    browser.press(DELETE);
    rows.remove(0);
    assert_eq!(browser.run::<Vec<String>>(ROWS), rows);
    browser.reload();
    browser.wait_until(IS_LIVE);
    assert_eq!(browser.run::<Vec<String>>(ROWS), rows);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_page_comes_back_when_the_server_does() {
    let Some(browser) = Browser::start(FOLDER) else { return };
    let server = Server::start();
    browser.open(&server.page());
    browser.run::<Movement>(WAIT_FOR_MOVEMENT);
    let rows: Vec<String> = browser.run(ROWS);
    server.signal(Signal::TERM);
    browser.wait_until(&format!("{STATE} === 'reconnecting'"));
    browser.wait_until("/server is shutting down/.test(document.body.innerText)");
    let server = server.restart();
    browser.wait_until(IS_LIVE);
    browser.run::<Movement>(WAIT_FOR_MOVEMENT);
    assert_eq!(browser.run::<Vec<String>>(ROWS), rows);
    server.wait_for_metric("tickwire_subscriptions", 12);
    assert_eq!(browser.run::<String>("return document.getElementById('losses').textContent"), "1");
    // Another numbering: nothing was gone on from, and everything is right.
    assert_eq!(browser.run::<String>("return document.documentElement.dataset.recovered"), "0");
    assert_eq!(browser.run::<String>("return document.getElementById('gaps').textContent"), "0");
    assert_eq!(browser.run::<Vec<String>>(DIFFERENCES), Vec::<String>::new());
}

#[test]
fn a_cut_connection_goes_on_where_it_was() {
    let Some(browser) = Browser::start(FOLDER) else { return };
    let server = Server::start();
    let relay = Relay::start(server.address());
    browser.open(&format!("http://{}/", relay.address()));
    browser.run::<Movement>(WAIT_FOR_MOVEMENT);
    relay.cut();
    browser.wait_until(&format!("{STATE} !== 'live'"));
    browser.wait_until(IS_LIVE);
    browser.wait_until("document.documentElement.dataset.recovered === '12'");
    browser.run::<Movement>(WAIT_FOR_MOVEMENT);
    // Checksums are right after it as before it.
    let checked: u32 = browser.run("return Number(document.documentElement.dataset.checked)");
    browser.wait_until(&format!("document.documentElement.dataset.checked > {checked}"));
    assert_eq!(browser.run::<String>("return document.getElementById('gaps').textContent"), "0");
    assert_eq!(browser.run::<String>("return document.getElementById('losses').textContent"), "1");
    // The last trades on the page are those of the server.
    assert_eq!(browser.run::<Vec<String>>(DIFFERENCES), Vec::<String>::new());
    browser.screenshot("recovered");
}

#[test]
fn the_rate_is_changed_while_prices_move_and_kept() {
    let Some(browser) = Browser::start(FOLDER) else { return };
    let server = Server::start();
    browser.open(&server.page());
    browser.run::<Movement>(WAIT_FOR_MOVEMENT);
    let choose = |value: &str| {
        let choose = format!(
            "const select = document.getElementById('max-rate');
             select.value = '{value}';
             select.dispatchEvent(new Event('change'));"
        );
        browser.run::<Vec<Held>>(&LISTED_AFTER.replace("ACT", &choose))
    };
    let held = choose("2");
    assert!(held.iter().all(|held| held.max_rate == 2) && held.len() == 12, "{held:?}");
    browser.run::<Movement>(WAIT_FOR_MOVEMENT);
    browser.show((1440, 900), "dark");
    browser.screenshot("two-a-second");
    browser.reload();
    browser.run::<Movement>(WAIT_FOR_MOVEMENT);
    assert_eq!(browser.run::<String>("return document.getElementById('max-rate').value"), "2");
    let remove = "document.querySelector('[data-testid=remove]').click();";
    let held: Vec<Held> = browser.run(&LISTED_AFTER.replace("ACT", remove));
    assert!(held.iter().all(|held| held.max_rate == 2) && held.len() == 11, "{held:?}");
    let held = choose("0");
    assert!(held.iter().all(|held| held.max_rate == 0) && held.len() == 11, "{held:?}");
    assert_eq!(browser.run::<String>("return document.getElementById('gaps').textContent"), "0");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn silence_is_called_stale_until_it_ends() {
    let Some(browser) = Browser::start(FOLDER) else { return };
    let server = Server::start();
    browser.open(&server.page());
    browser.wait_until(IS_LIVE);
    server.signal(Signal::STOP);
    browser.wait_until(&format!("{STATE} === 'stale'"));
    browser.wait_until("/Prices are not live/.test(document.body.innerText)");
    server.signal(Signal::CONT);
    browser.wait_until(IS_LIVE);
    assert_eq!(browser.run::<String>("return document.getElementById('gaps').textContent"), "0");
}

/// Times that a page is loaded until one of them is fast.
const LOADS_MAX: u32 = 10;

/// Where Cargo wants what tests leave behind.
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

const STATE: &str = "document.querySelector('[data-testid=state]').dataset.state";

const IS_LIVE: &str = "document.querySelector('[data-testid=state]').dataset.state === 'live' \
                       && document.querySelectorAll('[data-testid=row]').length > 0";

const ROWS: &str =
    "return [...document.querySelectorAll('[data-testid=row]')].map((row) => row.dataset.symbol)";

/// Compares the texts of the prices with the first ones that were shown, until three differ.
const WAIT_FOR_MOVEMENT: &str = r#"
    const first = new Map();
    const moved = new Set();
    const look = (resolve) => {
      for (const row of document.querySelectorAll("[data-testid=row]")) {
        const { symbol } = row.dataset;
        const text = row.querySelector("[data-testid=last]").textContent;
        if (!/[0-9]/.test(text)) continue;
        if (!first.has(symbol)) first.set(symbol, text);
        if (first.get(symbol) !== text) moved.add(symbol);
      }
      if (moved.size < 3) {
        setTimeout(look, 10, resolve);
        return;
      }
      const { loadEventEnd } = performance.getEntriesByType("navigation")[0];
      resolve({
        sinceLoadMs: performance.now() - loadEventEnd,
        moved: moved.size,
        updates: Number(document.documentElement.dataset.updates),
      });
    };
    return new Promise(look);
"#;

/// A subscription, as the server lists it.
#[derive(Debug, Deserialize)]
struct Held {
    #[serde(default)]
    max_rate: u16,
}

/// Acts so that the page sends a request, and asks for the list of its subscriptions behind that.
const LISTED_AFTER: &str = r#"
    const { send } = WebSocket.prototype;
    return new Promise((resolve) => {
      WebSocket.prototype.send = function (text) {
        WebSocket.prototype.send = send;
        this.addEventListener("message", ({ data }) => {
          const message = JSON.parse(data);
          if (message.id === "list") resolve(message.results);
        });
        this.send(text);
        this.send(JSON.stringify({ id: "list", method: "list" }));
      };
      ACT
    });
"#;

/// Compares the last prices of the page with those of another subscriber, and returns when each has been
/// the same once: they move meanwhile, and not both at one moment.
const DIFFERENCES: &str = r#"
    const rows = [...document.querySelectorAll("[data-testid=row]")];
    const symbols = rows.map((row) => row.dataset.symbol);
    const last = new Map();
    const socket = new WebSocket(`ws://${location.host}/ticker`, "ticker.v1.json");
    const params = { channel: "ticker", symbols };
    socket.onopen = () => socket.send(JSON.stringify({ id: 1, method: "subscribe", params }));
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.data?.last !== undefined) last.set(message.symbol, Number(message.data.last));
    };
    const differs = (row) => {
      const text = row.querySelector("[data-testid=last]").textContent;
      return Number(text.replaceAll(",", "")) !== last.get(row.dataset.symbol);
    };
    return new Promise((resolve) => {
      let different = rows;
      const begun = performance.now();
      const look = () => {
        different = different.filter(differs);
        const isOver = different.length === 0 || performance.now() - begun > 20_000;
        if (!isOver) return setTimeout(look, 20);
        socket.close();
        resolve(different.map((row) => row.dataset.symbol));
      };
      look();
    });
"#;

/// Looks at what is visible; see [`Screen`].
const SCREEN: &str = r#"
    const isVisible = (element) => element.getClientRects().length > 0;
    const cells = [...document.querySelectorAll("td[data-testid]")].filter(isVisible);
    const isCut = (cell) => {
      const range = document.createRange();
      range.selectNodeContents(cell);
      const [text, box] = [range.getBoundingClientRect(), cell.getBoundingClientRect()];
      return text.left < box.left || text.right > box.right;
    };
    const ground = getComputedStyle(document.querySelector("main")).backgroundColor;
    const root = document.documentElement;
    return {
      overflowPx: root.scrollWidth - innerWidth,
      columns: [...document.querySelectorAll("thead th")].filter(isVisible)
        .map((heading) => heading.querySelector(":scope > *").textContent.replaceAll(" ", "")),
      cut: cells.filter(isCut).map((cell) => cell.textContent),
      brightness: ground.match(/[0-9]+/g).slice(0, 3).map(Number).reduce((sum, part) => sum + part),
    };
"#;

/// Keys as WebDriver writes them (section 17.4.2).
const ENTER: &str = "\u{E007}";
const ESCAPE: &str = "\u{E00C}";
const DELETE: &str = "\u{E017}";
