//! The bench programs measure what they say they do: each runs in its smallest form, from the sources that `cargo bench`
//! builds, with the server of the tests.

#[path = "../../benches/support/mod.rs"]
#[allow(dead_code, reason = "what another program needs")]
mod support;

#[path = "../../benches/backlog/program.rs"]
mod backlog;
#[path = "../../benches/isolation/program.rs"]
mod isolation;
#[path = "../../benches/restart/program.rs"]
mod restart;
#[path = "../../benches/soak/program.rs"]
mod soak;

use support::{Bench, Measuring, report::Report, settings::Settings};

fn run(seconds: f64, depth: u64, measure: for<'a> fn(&'a mut Bench) -> Measuring<'a>) -> Report {
    let settings = Settings {
        runs: 1,
        seconds: Some(seconds),
        depth: Some(depth),
        endpoints: 4,
        fan_out: 2,
        idle: 20,
        rate: 20.0,
        ..Settings::default()
    };
    let bench = support::run(settings, measure);
    let document = bench.report.document(&bench.settings);
    let figures = document["figures"].as_object().unwrap();
    for (name, figure) in figures {
        assert!(figure["median"].is_number(), "{name}: {figure}");
    }
    bench.report
}

#[test]
fn the_backlog_program_has_as_many_deliveries_waiting_as_it_was_told_to() {
    let report = run(1.0, 400, backlog::measure);
    assert_eq!(report.median("queue: deliveries that wait"), Some(400.0));
    let memory = report.median("queue: all of it: memory, its own").unwrap();
    assert!(memory > 0.0);
    let idle = "idle: memory of its own for each endpoint, after its first delivery (aim 200)";
    assert!(report.median(idle).is_some());
}

#[test]
fn the_isolation_program_measures_beside_deliveries_that_wait() {
    let report = run(1.0, 300, isolation::measure);
    // One endpoint refuses 300; those that hang and drip are given 100 each, of which a few may have failed for good.
    let waiting = report.median("beside the bad: deliveries that wait").unwrap();
    assert!(waiting > 400.0, "{waiting}");
    let ratio = report.median("beside / alone: p99 (aim 1.5)").unwrap();
    assert!(ratio > 0.0);
}

#[test]
fn the_restart_program_delivers_after_a_kill_a_stop_and_without_a_store() {
    let report = run(1.0, 400, restart::measure);
    for after in ["after a kill", "after a clean stop", "rebuilding"] {
        let delivered = report.median(&format!("{after}: until the first delivery (aim 2)"));
        assert!(delivered.unwrap() > 0.0, "{after}");
    }
    assert!(report.median("rebuilding (aim 200,000)").unwrap() > 0.0);
}

#[test]
fn the_soak_program_loses_nothing() {
    let report = run(7.0, 0, soak::measure);
    assert_eq!(report.median("events handed over"), Some(140.0));
    for receiver in ["well", "down at times", "slow", "paused at times"] {
        assert_eq!(
            report.median(&format!("{receiver}: lost")),
            Some(0.0),
            "{receiver}"
        );
    }
    assert!(
        report.median("answered with 503").unwrap() > 0.0,
        "nobody was down"
    );
}
