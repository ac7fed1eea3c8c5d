//! Scenario files: stages, ramps of rate and of connections, warming up.

use crate::run::run;
use crate::server::answering;

#[test]
fn a_file_runs_its_stages_one_after_the_other() {
    let address = answering(|socket, _, message| socket.send(message));
    let file = std::env::temp_dir().join(format!("tickwire-load-{}.toml", address.port()));
    let text = format!(
        r#"
        scenario = "echo"
        url = "ws://{address}/"
        size = "20..200"
        fail-if = ["errors>0"]
        [[stage]]
        name = "warm-up"
        duration = "300ms"
        rate = 100
        connections = 2
        warm-up = true
        [[stage]]
        name = "ramp"
        duration = "1s"
        rate = {{ from = 100, to = 900 }}
        connections = {{ from = 2, to = 12 }}
        [[stage]]
        name = "down"
        duration = "500ms"
        rate = 200
        connections = {{ from = 12, to = 2 }}
        "#
    );
    std::fs::write(&file, text).unwrap();
    let run = run(&["run", file.to_str().unwrap()]);
    std::fs::remove_file(file).unwrap();
    run.assert_flawless("stages");
    let result = &run.report["result"];
    let counts: Vec<u64> = result["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["messages"].as_u64().unwrap())
        .collect();
    for (count, expected) in counts.iter().zip([30, 500, 100]) {
        assert!(count.abs_diff(expected) <= expected / 5, "{counts:?}");
    }
    assert_eq!(run.result("messages"), counts[1] + counts[2], "the first stage warms up");
    assert_eq!(run.result("connections_opened"), 12);
    assert_eq!(run.result("connections_lost"), 0);
    let open: Vec<u64> = result["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point["open"].as_u64().unwrap())
        .collect();
    assert!(open[0] == 2 && open.contains(&12) && open[open.len() - 1] <= 4, "{open:?}");
    assert!(run.table.contains("ramp: 1.0 s"), "{}", run.table);
    assert_eq!(run.report["checks"][0]["failed"], false);
}
