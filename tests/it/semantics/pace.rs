//! How many attempts go out, how fast, and who waits for whom.

use super::*;

#[test]
fn after_five_transient_failures_only_probes_go_out_and_a_success_drains_the_backlog() {
    let (_dir, server) = started();
    let (sink, well) = failing(503);
    let endpoint = server.endpoint(&json!({
        "url": sink.url(), "concurrency": 1, "retry": {"retries": 100, "delay": "150ms"},
    }));
    let events: Vec<String> = (0..20)
        .map(|n| server.event(&json!({"type": "a", "data": n})))
        .collect();
    let path = format!("/v1/attempts?endpoint={endpoint}&order=asc");
    let is_probe = |attempt: &Value| attempt["trigger"] == "probe";
    wait_for("three probes", || {
        (server
            .list(&path)
            .iter()
            .filter(|attempt| is_probe(attempt))
            .count()
            >= 3)
            .then_some(())
    });
    well.store(true, Ordering::SeqCst);
    for event in &events {
        server.delivery_in(event, "delivered");
    }
    let attempts = server.list(&path);
    let failed: Vec<&Value> = attempts
        .iter()
        .filter(|attempt| attempt["outcome"] == "transient")
        .collect();
    assert!(failed.len() >= 8, "{failed:?}");
    let (before, after) = failed.split_at(5);
    assert!(!before.iter().any(|attempt| is_probe(attempt)), "{before:?}");
    assert!(after.iter().all(|attempt| is_probe(attempt)), "{after:?}");
    for pair in failed[4..].windows(2) {
        let gap = millis(&pair[1]["started_at"]) - millis(&pair[0]["started_at"]);
        assert!(gap >= 150, "a probe after {gap} ms");
    }
    let first_success = attempts
        .iter()
        .find(|attempt| attempt["outcome"] == "delivered")
        .unwrap();
    assert!(is_probe(first_success), "{first_success}");
    assert_eq!(attempts.len(), failed.len() + 20, "the others spent no attempts");
}

#[test]
fn an_endpoint_gets_no_more_attempts_in_a_second_than_its_rate() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let rate = json!({"per_second": 20, "burst": 3});
    let endpoint = server.endpoint(&json!({"url": sink.url(), "rate": rate, "enabled": false}));
    for n in 0..18 {
        server.event(&json!({"type": "a", "data": n}));
    }
    act(&server, &format!("/v1/endpoints/{endpoint}/enable"));
    let attempts = wait_for("all of them", || {
        Some(server.list("/v1/attempts?order=asc")).filter(|attempts| attempts.len() == 18)
    });
    let mut starts: Vec<i64> = attempts
        .iter()
        .map(|attempt| millis(&attempt["started_at"]))
        .collect();
    starts.sort_unstable();
    for from in 0..starts.len() {
        for to in from..starts.len() {
            // One token more for the rounding of times to milliseconds.
            let allowed = 3.0 + (starts[to] - starts[from] + 2) as f64 * 20.0 / 1000.0;
            assert!(
                (to - from + 1) as f64 <= allowed + 1e-9,
                "{from}..={to}: {starts:?}"
            );
        }
    }
}

#[test]
fn an_endpoint_gets_no_more_attempts_at_once_than_its_concurrency() {
    let (_dir, server) = started();
    let (out, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counter, peak) = (out.clone(), most.clone());
    let sink = Sink::deciding(move |_, _| {
        let now = counter.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(now, Ordering::SeqCst);
        // A slow receiver: long enough that others would overlap.
        std::thread::sleep(Duration::from_millis(20));
        counter.fetch_sub(1, Ordering::SeqCst);
        answer(200, "")
    });
    server.endpoint(&json!({"url": sink.url(), "concurrency": 3}));
    for n in 0..30 {
        server.event(&json!({"type": "a", "data": n}));
    }
    wait_for("all of them", || {
        (server.list("/v1/deliveries?state=delivered").len() == 30).then_some(())
    });
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(out.load(Ordering::SeqCst), 0);
}

#[test]
fn an_endpoint_that_hangs_holds_up_no_other() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    // Connections are made by the kernel; nobody ever answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", hanging.local_addr().unwrap());
    let stuck = server.endpoint(&json!({"url": url, "events": ["stuck"], "timeout": "300s"}));
    server.endpoint(&json!({"url": sink.url(), "events": ["well"]}));
    let lines: Vec<String> = (0..200)
        .map(|n| json!({"type": "stuck", "data": n}).to_string())
        .collect();
    let batch = lines.join("\n");
    let answer = server.request(
        "POST",
        "/v1/events",
        Some("application/x-ndjson"),
        batch.as_bytes(),
    );
    assert_eq!(answer.json()["accepted"], 200);
    let events: Vec<String> = (0..50)
        .map(|n| server.event(&json!({"type": "well", "data": n})))
        .collect();
    for event in &events {
        server.delivery_in(event, "delivered");
    }
    let own = format!("/v1/deliveries?endpoint={stuck}");
    let states = columns(&server.list(&own), &["state"]);
    let count = |wanted: &str| states.iter().filter(|row| row[0] == wanted).count();
    assert_eq!((count("in_flight"), count("scheduled")), (8, 192));
    assert_eq!(server.list(&format!("/v1/attempts?endpoint={stuck}")).len(), 0);
}
