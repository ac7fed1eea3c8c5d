//! One comparison by the binary, and what it left behind.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::server::Notes;

/// What a comparison left behind.
pub(crate) struct Comparison {
    pub(crate) code: Option<i32>,
    pub(crate) result: Value,
    pub(crate) table: String,
    pub(crate) page: String,
}

/// The binary, yet without arguments.
pub(crate) fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tickwire-load"))
}

/// Compares as the file's `text` and further arguments say, where `{time}` is how long a run takes. A busy
/// machine may leave none of it to a server, so that nothing comes: then there is more of it.
pub(crate) fn compare(notes: &Notes, text: &str, arguments: &[&str]) -> Comparison {
    let attempt = |time: &str| {
        notes.forget();
        let arguments: Vec<String> =
            arguments.iter().map(|argument| argument.replace("{time}", time)).collect();
        compare_once(&text.replace("{time}", time), &arguments)
    };
    let mut times = ["60ms", "500ms", "5s"].into_iter();
    loop {
        let comparison = attempt(times.next().unwrap());
        if times.len() == 0 || !comparison.table.contains("nothing came") {
            return comparison;
        }
    }
}

fn compare_once(text: &str, arguments: &[String]) -> Comparison {
    let folder = tempfile::tempdir().unwrap();
    let [file, json, page] =
        ["file.toml", "result.json", "page.html"].map(|it| folder.path().join(it));
    fs::write(&file, text).unwrap();
    let output = binary()
        .arg("compare")
        .arg(file)
        .arg("--json")
        .arg(&json)
        .arg("--html")
        .arg(&page)
        .arg("--quiet")
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let result = fs::read(&json).unwrap();
    let result = serde_json::from_slice(&result)
        .unwrap_or_else(|error| panic!("no JSON ({error}), but: {errors}"));
    let table = String::from_utf8(output.stdout).unwrap();
    Comparison {
        code: output.status.code(),
        result,
        table,
        page: fs::read_to_string(page).unwrap(),
    }
}

/// A server of a file.
pub(crate) fn server_named(name: &str, command: &str) -> String {
    format!("[[server]]\nname = \"{name}\"\ncommand = \"\"\"{command}\"\"\"\n")
}
