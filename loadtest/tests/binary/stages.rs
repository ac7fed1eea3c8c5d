//! Scenario files: stages, ramps of rate and of connections, warming up.

use crate::run::{Run, run, with_time};
use crate::server::answering;

/// The messages of each stage.
fn counts(run: &Run) -> Vec<u64> {
    let stages = run.report["result"]["stages"].as_array().unwrap();
    stages.iter().map(|stage| stage["messages"].as_u64().unwrap()).collect()
}

fn keeps_the_rates(run: &Run) -> bool {
    let is_kept = |(count, due): (u64, u64)| count.abs_diff(due) <= due / 5;
    counts(run).into_iter().zip([30, 500, 100]).all(is_kept)
}

fn follows_the_ramps(run: &Run) -> bool {
    let points = run.report["result"]["points"].as_array().unwrap();
    let open: Vec<u64> = points.iter().map(|point| point["open"].as_u64().unwrap()).collect();
    open[0] == 2 && open.contains(&12) && open[open.len() - 1] <= 4
}

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
    // The same time each time: a busy machine may disturb it, though not each time; unless it says so.
    let attempt = |_: &str| run(&["run", file.to_str().unwrap()]);
    let run = with_time(0, attempt, |run| keeps_the_rates(run) && follows_the_ramps(run));
    let shows = |is_so: bool| is_so || run.is_disturbed();
    std::fs::remove_file(file).unwrap();
    run.assert_flawless("stages");
    let (result, counts) = (&run.report["result"], counts(&run));
    assert!(shows(keeps_the_rates(&run)), "{counts:?}: {}", run.table);
    assert_eq!(run.result("messages"), counts[1] + counts[2], "the first stage warms up");
    assert_eq!(run.result("connections_opened"), 12);
    assert_eq!(run.result("connections_lost"), 0);
    assert!(shows(follows_the_ramps(&run)), "{:?}", result["points"]);
    assert!(run.table.contains("ramp: 1.0 s"), "{}", run.table);
    assert_eq!(run.report["checks"][0]["failed"], false);
}
