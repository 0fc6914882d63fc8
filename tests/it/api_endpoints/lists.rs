//! Lists: pages, query parameters, and ids.

use super::*;

/// Every page of a list, by the rows' ids; something is added before each further page when `add` does so.
fn pages(server: &Server, path: &str, limit: usize, mut add: impl FnMut()) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let joint = if path.contains('?') { '&' } else { '?' };
        let page = server.get(&format!("{path}{joint}limit={limit}{cursor}"));
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= limit);
        ids.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            None => return ids,
            Some(next) => cursor = format!("&cursor={next}"),
        }
        add();
    }
}

#[test]
fn pages_have_no_gaps_and_no_repeats_in_either_order() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let endpoints: Vec<String> = (0..7)
        .map(|_| server.endpoint(&json!({"url": sink.url(), "events": ["a"]})))
        .collect();
    let events: Vec<String> = (0..5)
        .map(|count| server.event(&json!({"type": "a", "data": count})))
        .collect();
    wait_for("all attempts", || {
        (server.list("/v1/attempts").len() == 35).then_some(())
    });
    let reversed = |ids: &[String]| ids.iter().rev().cloned().collect::<Vec<_>>();
    for limit in [1, 3, 7, 500] {
        assert_eq!(pages(&server, "/v1/endpoints?order=asc", limit, || ()), endpoints);
        assert_eq!(
            pages(&server, "/v1/endpoints", limit, || ()),
            reversed(&endpoints)
        );
        assert_eq!(pages(&server, "/v1/events?order=asc", limit, || ()), events);
        assert_eq!(
            pages(&server, "/v1/events?order=desc", limit, || ()),
            reversed(&events)
        );
    }
    let one = format!("/v1/events/{}/deliveries", events[2]);
    let filtered = format!("/v1/deliveries?endpoint={}", endpoints[3]);
    let made_for_one = format!("/v1/attempts?event={}", events[1]);
    for (path, count) in [
        ("/v1/deliveries", 35),
        ("/v1/attempts", 35),
        (&one, 7),
        (&filtered, 5),
        (&made_for_one, 7),
    ] {
        let joint = if path.contains('?') { '&' } else { '?' };
        for limit in [2, 5, 500] {
            let rising = pages(&server, &format!("{path}{joint}order=asc"), limit, || ());
            assert_eq!(rising.iter().collect::<BTreeSet<_>>().len(), count, "{path}");
            assert_eq!(
                (rising.len(), pages(&server, path, limit, || ())),
                (count, reversed(&rising)),
                "{path}"
            );
        }
    }
    // What is added while someone turns the pages neither hides nor repeats what was there.
    let add = || _ = server.event(&json!({"type": "other", "data": 0}));
    assert_eq!(pages(&server, "/v1/events", 2, add), reversed(&events));
}

#[test]
fn query_parameters_that_are_wrong_or_unknown_are_refused_by_name() {
    let (_dir, server) = started();
    for (path, field) in [
        ("/v1/events?lmit=5", "lmit"),
        ("/v1/events?limit=0", "limit"),
        ("/v1/events?limit=501", "limit"),
        ("/v1/events?limit=1&limit=2", "limit"),
        ("/v1/events?order=up", "order"),
        ("/v1/events?since=yesterday", "since"),
        ("/v1/events?type=a%3Fb", "type"),
        ("/v1/endpoints?state=gone", "state"),
        ("/v1/deliveries?state=lost", "state"),
        (
            "/v1/deliveries?endpoint=evt_01h455vb4pex5vsknk084sn02q",
            "endpoint",
        ),
        ("/v1/deliveries?event=a.b", "event"),
        ("/v1/attempts?outcome=bad", "outcome"),
        ("/v1/attempts?status=99", "status"),
        ("/v1/attempts?format=csv", "format"),
        ("/v1/status?verbose=1", "verbose"),
    ] {
        let (status, fields) = ask(&server, "GET", path).problem();
        assert_eq!((status, fields), (400, vec![field.to_owned()]), "{path}");
    }
    for path in ["/v1/events", "/v1/endpoints", "/v1/deliveries", "/v1/attempts"] {
        for cursor in ["x", "00", "-1", "%00", "evt_01h455vb4pex5vsknk084sn02q"] {
            let (status, fields) = ask(&server, "GET", &format!("{path}?cursor={cursor}")).problem();
            assert!(matches!(status, 400 | 422), "{path} {cursor}: {status}");
            assert_eq!(fields, ["cursor"], "{path} {cursor}");
        }
    }
}

#[test]
fn ids_that_are_none_unknown_or_of_another_kind_are_told_apart() {
    let (_dir, server) = started();
    let endpoint = server.endpoint(&json!({"url": "http://127.0.0.1:9/"}));
    for id in [
        "..%2f..%2fx",
        "%00",
        "%ff",
        "evt_01h455vb4pex5vsknk084sn02q",
        "ep_x",
        "ep_",
    ] {
        for path in [format!("/v1/endpoints/{id}"), format!("/v1/deliveries/{id}")] {
            assert_eq!(ask(&server, "GET", &path).problem().0, 400, "{path}");
        }
    }
    assert_eq!(
        ask(&server, "GET", &format!("/v1/deliveries/{endpoint}"))
            .problem()
            .0,
        400
    );
    for path in [
        "/v1/endpoints/ep_01h455vb4pex5vsknk084sn02q",
        "/v1/deliveries/dlv_01h455vb4pex5vsknk084sn02q",
        "/v1/events/evt_01h455vb4pex5vsknk084sn02q",
        "/v1/events/nobody/deliveries",
        "/v1/attempts?event=nobody",
        "/v1/endpoints/../../x",
        "/v2/events",
    ] {
        assert_eq!(ask(&server, "GET", path).problem().0, 404, "{path}");
    }
    let answer = ask(&server, "PUT", "/v1/events");
    assert_eq!(answer.problem().0, 405);
    assert!(answer.head.contains("allow: "), "{}", answer.head);
}
