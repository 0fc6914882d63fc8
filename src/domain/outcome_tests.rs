use super::*;

fn answer(status: u16) -> Observation {
    Observation::Response {
        status,
        directive: None,
        retry_after: None,
        body_broken: false,
    }
}

fn class_of(status: u16) -> (Class, bool) {
    let outcome = classify(answer(status), &BTreeMap::new());
    (outcome.class, outcome.suspect)
}

#[test]
fn every_status_of_the_contract_has_its_class() {
    let table: [(&[u16], (Class, bool)); 7] = [
        (&[200, 201, 202, 204, 206, 299], (Class::Delivered, false)),
        (
            &[
                408, 409, 421, 423, 424, 425, 429, 500, 502, 503, 504, 507, 511, 599,
            ],
            (Class::Transient, false),
        ),
        (&[302, 303, 307], (Class::Transient, true)),
        (
            &[410, 401, 403, 404, 405, 407, 426, 451, 501, 505, 506, 508, 510],
            (Class::EndpointError, false),
        ),
        (&[300, 301, 304, 305, 308], (Class::EndpointError, false)),
        (&[0, 99, 100, 101, 199, 600, 999], (Class::Transient, true)),
        (
            &[
                400, 402, 406, 411, 412, 413, 414, 415, 416, 417, 418, 422, 428, 431, 419, 499,
            ],
            (Class::EventError, false),
        ),
    ];
    for (statuses, class) in table {
        for &status in statuses {
            assert_eq!(class_of(status), class, "{status}");
        }
    }
}

#[test]
fn an_endpoint_may_treat_a_status_otherwise() {
    let treat_as = BTreeMap::from([(404, Treatment::Transient), (500, Treatment::Delivered)]);
    assert_eq!(classify(answer(404), &treat_as).class, Class::Transient);
    assert_eq!(classify(answer(500), &treat_as).class, Class::Delivered);
    assert_eq!(classify(answer(410), &treat_as).class, Class::EndpointError);
}

#[test]
fn a_status_that_is_not_final_is_a_protocol_fault_unless_the_endpoint_says_otherwise() {
    for status in [101, 199, 600, 999] {
        let outcome = classify(answer(status), &BTreeMap::new());
        let protocol = Reason::Fault(Fault::Protocol);
        assert_eq!((outcome.reason, outcome.status), (protocol, Some(status)));
        let treat_as = BTreeMap::from([(status, Treatment::EventError)]);
        let outcome = classify(answer(status), &treat_as);
        assert_eq!(
            (outcome.class, outcome.reason),
            (Class::EventError, Reason::Status)
        );
    }
    assert_eq!(classify(answer(200), &BTreeMap::new()).reason, Reason::Status);
    assert_eq!(classify(answer(599), &BTreeMap::new()).reason, Reason::Status);
}

#[test]
fn a_receiver_may_ask_to_be_disabled_or_to_be_spared_this_event() {
    for (directive, class) in [
        (Directive::Disable, Class::EndpointError),
        (Directive::AbortMessage, Class::EventError),
    ] {
        let seen = Observation::Response {
            status: 200,
            directive: Some(directive),
            retry_after: None,
            body_broken: false,
        };
        assert_eq!(classify(seen, &BTreeMap::new()).class, class);
    }
}

#[test]
fn faults_are_listed_by_the_ordinals_that_are_persisted() {
    for (place, fault) in Fault::ALL.into_iter().enumerate() {
        assert_eq!(fault as usize, place, "{fault:?}");
    }
    // A few by number: an ordinal never changes.
    assert_eq!(
        (Fault::TlsNoRoots as usize, Fault::OurProxyRefused as usize),
        (25, 34)
    );
}

#[test]
fn fault_names_are_distinct_and_match_their_serialised_form() {
    for fault in Fault::ALL {
        assert_eq!(serde_json::to_value(fault).unwrap(), fault.as_str());
    }
    let names: std::collections::BTreeSet<_> = Fault::ALL.iter().map(|fault| fault.as_str()).collect();
    assert_eq!(names.len(), Fault::ALL.len());
}
