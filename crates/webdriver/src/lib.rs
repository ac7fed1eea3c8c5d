//! As much of WebDriver as the tests of pages need: a chromedriver of their own, and one browser of it.
//!
//! A session is a handful of HTTP requests with JSON bodies (W3C WebDriver; `goog/` and `se/` are
//! chromedriver's), so no client library stands between a test and what it asks. Waiting is done by
//! the page: a script returns a promise, and the driver answers when it is settled or its time is
//! up. Whatever was started ends with the value that started it, also when a test fails.
//!
//! Where chromedriver or Chromium is not installed, tests are skipped, saying so; with
//! `TICKWIRE_REQUIRE_BROWSER=1` that is a failure.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::http::Response;
use ureq::{Agent, Body};

/// A headless Chromium, ended with the value.
#[derive(Debug)]
pub struct Browser {
    session: String,
    agent: Agent,
    screenshots: PathBuf,
    _driver: Driver,
}

impl Browser {
    /// Starts a browser; `None`, saying so, where there is none to start. Screenshots go to `screenshots`
    /// in the folder `folder`, or to the one that the environment variable `TICKWIRE_SCREENSHOTS` names.
    ///
    /// # Panics
    /// If there must be a browser, or it does not do what it is told, as all methods here.
    #[must_use]
    pub fn start(folder: &str) -> Option<Self> {
        let named = env::var_os("TICKWIRE_SCREENSHOTS").map(PathBuf::from);
        let screenshots = named.unwrap_or_else(|| Path::new(folder).join("screenshots"));
        let browser = Driver::start().and_then(|driver| Self::open_session(driver, screenshots));
        if let Err(Missing(what)) = &browser {
            assert!(!is_required(), "{what}: {ADVICE}");
            eprintln!("skipped: {what}: {ADVICE}");
        }
        browser.ok()
    }

    /// Opens a page and waits until it is loaded.
    pub fn open(&self, address: &str) {
        self.post("url", &json!({ "url": address }));
    }

    /// Loads the page again.
    pub fn reload(&self) {
        self.post("refresh", &json!({}));
    }

    /// Runs the body of a function in the page; a promise that it returns is waited for.
    pub fn run<T: DeserializeOwned>(&self, body: &str) -> T {
        let value = self.post("execute/sync", &json!({ "script": body, "args": [] }));
        serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
    }

    /// Waits until an expression is true in the page, at most thirty seconds.
    pub fn wait_until(&self, expression: &str) {
        let body = format!(
            "return new Promise((resolve) => {{
               const look = () => ({expression}) ? resolve(true) : setTimeout(look, 20);
               look();
             }});"
        );
        assert!(self.run::<bool>(&body), "{expression}");
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub fn press(&self, keys: &str) {
        let press = |key: char| {
            let key = key.to_string();
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
        };
        let actions: Vec<Value> = keys.chars().flat_map(press).collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("actions", &json!({ "actions": [keyboard] }));
    }

    /// Holds a key of the keyboard down, by its `code` and in the page only, or lets it go.
    pub fn hold(&self, code: &str, is_down: bool) {
        let kind = if is_down { "keydown" } else { "keyup" };
        self.run::<()>(&format!(
            "dispatchEvent(new KeyboardEvent('{kind}', {{ code: '{code}', bubbles: true }}))"
        ));
    }

    /// Clicks the middle of the element that a CSS selector finds.
    pub fn click(&self, selector: &str) {
        let query = json!({ "using": "css selector", "value": selector });
        let element = self.post("element", &query);
        let element = element[ELEMENT].as_str().unwrap_or_else(|| panic!("no {selector}"));
        self.post(&format!("element/{element}/click"), &json!({}));
    }

    /// Shows the page on a screen of this size, in pixels, to a visitor who prefers `theme`.
    pub fn show(&self, (width, height): (u32, u32), theme: &str) {
        let screen = json!({ "width": width, "height": height, "mobile": false,
                             "deviceScaleFactor": if width < 500 { 2 } else { 1 } });
        self.devtools("Emulation.setDeviceMetricsOverride", &screen);
        let preference = json!({ "name": "prefers-color-scheme", "value": theme });
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": [preference] }));
    }

    /// Writes what the page looks like to the file `<name>.png`.
    pub fn screenshot(&self, name: &str) {
        let image = self.get("screenshot");
        let image = BASE64_STANDARD.decode(image.as_str().unwrap()).unwrap();
        fs::create_dir_all(&self.screenshots).unwrap();
        fs::write(self.screenshots.join(name).with_extension("png"), image).unwrap();
    }

    /// What the page has complained about in the console since this was last asked.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({ "type": "browser" }));
        entries.as_array().unwrap().iter().map(|entry| entry["message"].to_string()).collect()
    }

    fn open_session(driver: Driver, screenshots: PathBuf) -> Result<Self, Missing> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_millis(2 * SCRIPT_MS_MAX)))
            // What a proxy of the environment is for is not on this machine.
            .proxy(None);
        let agent: Agent = config.build().into();
        let sessions = format!("http://127.0.0.1:{}/session", driver.port);
        let capabilities = capabilities(driver.folder.path()).to_string();
        let session = value(agent.post(&sessions).send(capabilities));
        let Some(id) = session["sessionId"].as_str() else {
            let message = session["message"].to_string();
            assert!(message.contains("cannot find Chrome binary"), "no session: {message}");
            return Err(Missing("chromedriver finds no Chromium"));
        };
        Ok(Self { session: format!("{sessions}/{id}"), agent, screenshots, _driver: driver })
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    fn get(&self, command: &str) -> Value {
        done(command, value(self.agent.get(format!("{}/{command}", self.session)).call()))
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        let request = self.agent.post(format!("{}/{command}", self.session));
        done(command, value(request.send(body.to_string())))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser and waits for it; if that fails, the driver takes it along.
        let _ = self.agent.delete(&self.session).call();
    }
}

/// A chromedriver in a process group of its own, with every process that it starts.
#[derive(Debug)]
struct Driver {
    process: Child,
    port: u16,
    /// What it and its browser write; removed when they have ended.
    folder: TempDir,
    /// Kept open: the driver would end at the first line that it cannot write.
    _output: BufReader<ChildStdout>,
}

impl Driver {
    fn start() -> Result<Self, Missing> {
        let folder = TempDir::new().unwrap();
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env("TMPDIR", folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = match command.process_group(0).spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Missing("there is no chromedriver"));
            }
            process => process.unwrap(),
        };
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut driver = Self { process, port: 0, folder, _output: output };
        driver.port = driver.announced_port();
        Ok(driver)
    }

    /// Reads "ChromeDriver was started successfully on port 40123."
    fn announced_port(&mut self) -> u16 {
        let mut line = String::new();
        while self._output.read_line(&mut line).unwrap() > 0 {
            let port = line.split("successfully on port ").nth(1);
            if let Some(port) = port {
                return port.trim_end().trim_end_matches('.').parse().unwrap();
            }
            line.clear();
        }
        panic!("chromedriver ended before it told its port");
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        let _ = self.process.wait();
    }
}

/// What is not installed here.
struct Missing(&'static str);

/// Whether a missing browser is a failure rather than a reason to skip.
fn is_required() -> bool {
    env::var_os("TICKWIRE_REQUIRE_BROWSER").is_some_and(|value| value == "1")
}

fn capabilities(folder: &Path) -> Value {
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let arguments: Vec<&str> = CHROMIUM.iter().copied().chain([profile.as_str()]).collect();
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "timeouts": { "script": SCRIPT_MS_MAX, "pageLoad": SCRIPT_MS_MAX },
        "goog:chromeOptions": { "args": arguments },
        "goog:loggingPrefs": { "browser": "WARNING" },
    } } })
}

/// The `value` of a reply (section 6.3 of WebDriver): a result, or what went wrong.
fn value(reply: Result<Response<Body>, ureq::Error>) -> Value {
    let reply = reply.unwrap().body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_string();
    serde_json::from_str::<Value>(&reply.unwrap()).unwrap()["value"].take()
}

fn done(command: &str, value: Value) -> Value {
    let error = value.get("error").and_then(Value::as_str);
    assert!(error.is_none(), "{command}: {}: {}", value["error"], value["message"]);
    value
}

const ADVICE: &str = "install the Debian packages chromium and chromium-driver";

/// Longest time that a script takes: the second attempt to reconnect is due 15 s after a loss.
const SCRIPT_MS_MAX: u64 = 30_000;

/// Longest reply: a screenshot of the largest screen, in base64, is below 1 MB.
const REPLY_BYTES_MAX: u64 = 16 << 20;

/// The name under which WebDriver hands out elements (section 12.2).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

const CHROMIUM: &[&str] = &[
    "--headless=new",
    "--disable-gpu",
    // Containers run as root, where Chromium's sandbox does not start, and have a small /dev/shm.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    // A test talks to nobody but its server.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
];
