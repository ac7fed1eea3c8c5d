//! `tickwire-load compare` from outside: servers by command, rounds, what is left of them.
//!
//! The servers are this very program: [`server::serve`] is a test that serves for ever when the
//! environment asks it to, so that what is started is a real process with a real socket. No test
//! here asserts a figure: how fast two servers are is not known on a machine that does other work.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

mod command_line;
mod run;
mod server;

use run::{Comparison, compare, server_named};
use serde_json::Value;
use server::{Behaviour, Notes};

#[test]
fn every_workload_meets_every_server_in_every_round_and_each_round_begins_with_another() {
    let notes = Notes::new();
    let servers: String =
        ["one", "two"].map(|name| server_named(name, &Behaviour::Echo.command(&notes))).concat();
    let text = format!(
        "rounds = 2\nduration = \"{{time}}\"\nwarm-up = \"20ms\"\n{servers}
         [[workload]]\nname = \"small\"\nscenario = \"echo\"\nsize = 20\nconnections = 3
         [[workload]]\nname = \"large\"\nscenario = \"echo\"\nsize = 4096\nconnections = 2\n"
    );
    let Comparison { code, result, table, page } = compare(&notes, &text, &[]);
    assert_eq!(code, Some(0), "{table}");
    assert_eq!((&result["schema"], &result["ok"]), (&1.into(), &true.into()));
    let mut order: Vec<(u64, String)> = Vec::new();
    for workload in result["workloads"].as_array().unwrap() {
        for row in workload["rows"].as_array().unwrap() {
            for run in row["runs"].as_array().unwrap() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let (round, names) = (&run["round"], [&workload["name"], &row["server"]].map(text));
                order
                    .push((run["place"].as_u64().unwrap(), format!("{round} {}", names.join(" "))));
                assert!(run["figures"]["messages"].as_u64().unwrap() > 0, "{run}");
                assert!(run["figures"]["cpu_us"].as_f64().unwrap() > 0.0, "{run}");
            }
            let summary = &row["summary"];
            assert_eq!(summary["rounds"], 2);
            let [median, min, max] =
                ["median", "min", "max"].map(|name| summary["ratio"][name].as_f64().unwrap());
            assert!(0.0 < min && min <= median && median <= max, "{summary}");
        }
    }
    order.sort();
    let order: Vec<&str> = order.iter().map(|(_, run)| run.as_str()).collect();
    let expected = [
        ["1 small one", "1 small two", "1 large one", "1 large two"],
        ["2 small two", "2 small one", "2 large two", "2 large one"],
    ];
    assert_eq!(order, expected.concat());
    for (name, text) in [("table", &table), ("page", &page)] {
        for words in ["small", "large", "one", "two", "p99"] {
            assert!(text.contains(words), "{name} without {words}: {text}");
        }
    }
    assert_eq!(notes.servers().len(), 8, "each run has a server of its own");
    notes.assert_all_stopped();
}

#[test]
fn a_server_that_fails_is_named_with_its_output_and_the_others_go_on() {
    let notes = Notes::new();
    for (behaviour, words, output) in [
        (Behaviour::Absent, "the server ended at once", "there is no configuration"),
        (Behaviour::Speechless, "prints no address", "getting ready"),
        (Behaviour::Mortal, "the server ended during the run", "cannot go on"),
        (Behaviour::Wrong, "errors, the first", "listening on"),
    ] {
        let servers = [("good", Behaviour::Echo), ("bad", behaviour)];
        let servers = servers.map(|(name, it)| server_named(name, &it.command(&notes))).concat();
        let text = format!(
            "rounds = 1\nduration = \"{{time}}\"\nwarm-up = \"0s\"\n{servers}
             [[workload]]\nname = \"w\"\nscenario = \"echo\"\nconnections = 2\n"
        );
        let Comparison { code, result, table, page } = compare(&notes, &text, &[]);
        assert_eq!((code, &result["ok"]), (Some(1), &false.into()), "{table}");
        let rows = &result["workloads"][0]["rows"];
        assert!(rows[0]["summary"]["cpu_us"].is_object(), "{behaviour:?}: {table}");
        assert!(rows[1]["summary"].is_null(), "{behaviour:?}: {table}");
        let failure = &rows[1]["runs"][0]["failure"];
        assert!(failure["words"].as_str().unwrap().contains(words), "{behaviour:?}: {failure}");
        assert!(failure["output"].as_str().unwrap().contains(output), "{behaviour:?}: {failure}");
        for text in [&table, &page] {
            assert!(text.contains("bad, w, round 1") && text.contains(output), "{text}");
        }
        notes.assert_all_stopped();
    }
}

#[test]
fn a_server_with_tls_is_beside_one_without_and_is_not_taken_for_it() {
    let notes = Notes::new();
    let secure = |name, behaviour: Behaviour| {
        server_named(name, &behaviour.command(&notes)) + "tls = true\n"
    };
    let servers = [
        secure("tls", Behaviour::Secure),
        server_named("plain", &Behaviour::Echo.command(&notes)),
        secure("pretender", Behaviour::Echo),
    ];
    let text = format!(
        "rounds = 1\nduration = \"1s\"\nwarm-up = \"0s\"\n{}
         [[workload]]\nname = \"w\"\nscenario = \"echo\"\nconnections = 2\n",
        servers.concat()
    );
    let Comparison { code, result, table, .. } = compare(&notes, &text, &[]);
    assert_eq!(code, Some(1), "{table}");
    let rows = result["workloads"][0]["rows"].as_array().unwrap();
    let has_figures: Vec<bool> = rows.iter().map(|row| row["summary"].is_object()).collect();
    assert_eq!(has_figures, [true, true, false], "{table}");
    notes.assert_all_stopped();
}

#[test]
fn a_server_is_pinned_from_its_first_moment_and_gets_the_address_that_it_wants() {
    let notes = Notes::new();
    let core = server::first_core();
    let command = format!("{} {{address}}", Behaviour::Echo.command(&notes));
    let text = format!(
        "rounds = 1\nduration = \"20ms\"\nwarm-up = \"0s\"\nserver-cpus = \"{core}\"\n{}
         [[workload]]\nname = \"w\"\nscenario = \"echo\"\nconnections = 1
         [[workload]]\nname = \"v\"\nscenario = \"idle\"\n",
        [server_named("pinned", &command), server_named("left-out", "true")].concat()
    );
    let Comparison { code, result, table, .. } = compare(
        &notes,
        &text,
        &["--rounds", "2", "--workload", "w", "--only", "pinned", "--duration", "{time}"],
    );
    assert_eq!(code, Some(0), "{table}");
    assert!(result["workloads"][0]["seconds"].as_f64() > Some(0.05), "{table}");
    assert_eq!(result["workloads"][0]["rows"][0]["runs"].as_array().unwrap().len(), 2);
    let servers = notes.servers();
    assert_eq!(servers.len(), 2);
    assert!(servers.iter().all(|(_, cores)| *cores == core), "{servers:?}, not {core}");
    notes.assert_all_stopped();
}
