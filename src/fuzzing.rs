//! What is fuzzed: each function takes any bytes, lets the code that meets bytes from outside make what it can of them, and
//! fails if that breaks a rule.
//!
//! `fuzz/` has a libFuzzer target for each, by the same name. The tests below give each a few thousand inputs, made
//! from samples by small changes, so that they are tried where no fuzzer can be built as well.

use std::{collections::BTreeMap, ffi::OsString, fmt, fs, os::unix::ffi::OsStrExt, str::FromStr};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};

use crate::{
    api, config,
    dispatch::{decode_record, encode_record},
    domain::{
        condition::{Condition, Subject, Verdict},
        delivery::Delivery,
        duration::Span,
        event::{EventType, NewEvent},
        facts::Facts,
        id::{DeliveryId, EventId},
        record::{EventAccepted, KeyPut, Record},
        rollup::Rollup,
        subscription::Pattern,
        time::Timestamp,
    },
    runtime::codec::encode_row,
    sender,
    storage::local::index::{self, rows},
    storage::local::journal::{Entry, Location},
    wire::transform,
};

/// Takes any bytes; fails if a rule breaks.
pub type Fuzzed = fn(&[u8]);

/// What can be fuzzed, by name.
pub const ALL: [(&str, Fuzzed); 9] = [
    ("journal_record", journal_record),
    ("store_row", store_row),
    ("event_document", event_document),
    ("cloud_event", cloud_event),
    ("pattern", pattern),
    ("condition", condition),
    ("template", template),
    ("answer_header", answer_header),
    ("configuration", configuration),
];

/// A record's body: kind, version, and the rest. What decodes must survive being written and read again.
pub fn journal_record(input: &[u8]) {
    let [kind, version, body @ ..] = input else { return };
    let location = Location {
        segment: 1,
        offset: 64,
        len: 0,
    };
    let entry = Entry {
        lsn: 1,
        kind: *kind,
        version: *version,
        flags: 0,
        body: Bytes::copy_from_slice(body),
        location,
    };
    let Ok(record) = decode_record(&entry) else { return };
    // Of what is read of earlier versions not everything can be written.
    if entry.version != Record::version_of(entry.kind) {
        return;
    }
    let Ok(draft) = encode_record(&record) else {
        panic!("a record that was read cannot be written: {record:?}");
    };
    let again = Entry {
        kind: draft.kind,
        version: draft.version,
        flags: draft.flags,
        body: draft.body,
        ..entry
    };
    assert_eq!(decode_record(&again).ok(), Some(record));
}

/// A row of the store: which, and its bytes.
pub fn store_row(input: &[u8]) {
    let [which, row @ ..] = input else { return };
    match which % 11 {
        0 => same_again::<rows::EventRow>(row),
        1 => same_again::<rows::Totals>(row),
        2 => same_again::<rows::StoredEndpoint>(row),
        3 => same_again::<rows::Tally>(row),
        4 => same_again::<rows::AttemptRow>(row),
        5 => same_again::<rows::EventTypeRow>(row),
        6 => same_again::<rows::IdempotencyRow>(row),
        7 => same_again::<rows::Applied>(row),
        8 => same_again::<Delivery>(row),
        9 => same_again::<KeyPut>(row),
        _ => same_again::<Rollup>(row),
    }
}

fn same_again<T: rows::Row + PartialEq + std::fmt::Debug>(row: &[u8]) {
    let Ok(read) = index::decode_row::<T>(b"", row) else {
        return;
    };
    let written = encode_row(T::VERSION, &read).ok();
    let again = written.and_then(|row| index::decode_row::<T>(b"", &row).ok());
    assert_eq!(again, Some(read));
}

/// The document of one event. Its payload has to be a part of it, byte for byte.
pub fn event_document(input: &[u8]) {
    let body = Bytes::copy_from_slice(input);
    match api::read_event(&body) {
        Ok(event) => accepted(&event, &body),
        Err(problem) => assert!(
            !problem.to_value()["detail"]
                .as_str()
                .unwrap_or_default()
                .is_empty()
        ),
    }
}

/// A CloudEvent in its structured form.
pub fn cloud_event(input: &[u8]) {
    let body = Bytes::copy_from_slice(input);
    match api::read_cloud_event(&body) {
        Ok(event) => accepted(&event, &body),
        Err(problem) => assert!(
            !problem.to_value()["detail"]
                .as_str()
                .unwrap_or_default()
                .is_empty()
        ),
    }
}

fn accepted(event: &NewEvent, body: &Bytes) {
    let payload = &event.payload;
    if payload.content_type.is_none() {
        let whole = serde_json::from_slice::<&serde_json::value::RawValue>(&payload.bytes);
        assert!(whole.is_ok(), "a payload that is no JSON");
        // A CloudEvent without data has null for it.
        let part = payload.bytes == b"null"[..]
            || body
                .windows(payload.bytes.len().max(1))
                .any(|part| part == payload.bytes);
        assert!(part, "a payload that the document does not have");
    }
    reads_as(event.event_type.as_str(), &event.event_type);
    assert_eq!(event.content_hash(), event.content_hash());
}

fn reads_as<T: FromStr + PartialEq + fmt::Debug>(text: &str, value: &T) {
    assert_eq!(text.parse().ok().as_ref(), Some(value));
}

/// Lines: a pattern, a type, and other texts of the API.
pub fn pattern(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (pattern, event_type) = (line().parse::<Pattern>(), line().parse::<EventType>());
    if let (Ok(pattern), Ok(event_type)) = (&pattern, &event_type) {
        let matches = pattern.matches(event_type);
        let again: Pattern = pattern.to_string().parse().expect("a pattern's own text");
        assert_eq!((&again, again.matches(event_type)), (pattern, matches));
    }
    if let Ok(event_type) = event_type {
        let exact: Pattern = event_type.as_str().parse().expect("a type is a pattern");
        assert!(exact.matches(&event_type));
        for all in ["*", "**"] {
            assert!(all.parse::<Pattern>().expect("everything").matches(&event_type));
        }
    }
    if let Ok(time) = line().parse::<Timestamp>() {
        reads_as(&time.to_string(), &time);
    }
    if let Ok(span) = line().parse::<Span>() {
        reads_as(&span.to_string(), &span);
    }
    if let Ok(id) = line().parse::<EventId>() {
        reads_as(id.as_str(), &id);
    }
    if let Ok(id) = line().parse::<DeliveryId>() {
        reads_as(&id.to_string(), &id);
    }
}

/// A condition, a line break, and an event's data.
pub fn condition(input: &[u8]) {
    let Some((source, data)) = expression(input) else {
        return;
    };
    let Ok(condition) = Condition::compile(source) else {
        return;
    };
    _ = condition.check();
    let attributes = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let verdict = condition.judge(&Subject::new(facts(&attributes, &data)));
    let again = condition.judge(&Subject::new(facts(&attributes, &data)));
    assert_eq!(
        matches!(verdict, Verdict::Matched),
        matches!(again, Verdict::Matched)
    );
}

/// A template, a line break, and an event's data.
pub fn template(input: &[u8]) {
    let Some((source, data)) = expression(input) else {
        return;
    };
    let attributes = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    if transform::check(source).is_ok() {
        _ = transform::render(source, &facts(&attributes, &data));
    }
}

fn expression(input: &[u8]) -> Option<(&str, Bytes)> {
    let text = std::str::from_utf8(input).ok()?;
    let (source, data) = text.split_once('\n').unwrap_or((text, "null"));
    Some((source, Bytes::copy_from_slice(data.as_bytes())))
}

fn facts<'a>(attributes: &'a BTreeMap<String, String>, data: &'a Bytes) -> Facts<'a> {
    Facts {
        id: "evt-1",
        event_type: "user.created",
        tenant: Some("acme"),
        channel: None,
        attributes,
        occurred_at: Timestamp::EPOCH,
        data: Some(data),
    }
}

/// `Retry-After`, as a receiver may send it.
pub fn answer_header(input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else {
        return;
    };
    let headers = HeaderMap::from_iter([(RETRY_AFTER, value)]);
    _ = sender::retry_after(&headers);
}

/// A configuration file, and a variable of the environment with its first line.
pub fn configuration(input: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), input).expect("a temporary file");
    let first = input.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let value = OsString::from(std::ffi::OsStr::from_bytes(first));
    let request = config::Request {
        file: Some(file.path().to_owned()),
        environment: vec![("POSTHASTE_STORAGE__SEGMENT_BYTES".into(), value)],
        flags: Vec::new(),
        dev: false,
    };
    if let Err(problems) = config::load(&request) {
        assert!(!problems.to_string().is_empty());
    }
}

/// An event as it would be accepted, for samples.
#[cfg(test)]
fn sample_record() -> EventAccepted {
    let event = api::read_event(&Bytes::from_static(br#"{"type":"user.created","data":{"a":1}}"#)).unwrap();
    EventAccepted {
        id: "evt-1".parse().unwrap(),
        event_type: event.event_type.clone(),
        tenant: None,
        channel: None,
        ordering_key: None,
        accepted_at: Timestamp::EPOCH,
        occurred_at: Timestamp::EPOCH,
        due: Timestamp::EPOCH,
        expires_at: None,
        attributes: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        content_hash: event.content_hash(),
        idempotency_key: Some("key".to_owned()),
        idempotency_until: Timestamp::EPOCH,
        fan_out: vec![crate::domain::id::EndpointId::from_bytes([7; 16])],
        notice_for: None,
        payload: event.payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples by name: what each function makes something of.
    fn samples(name: &str) -> Vec<Vec<u8>> {
        let texts: &[&str] = match name {
            "event_document" => &[
                r#"{"type":"user.created","data":{"a":[1,2.5e3,"\u00e9\ud83d\ude00"]},"id":"e1","tenant":"t","deliver_at":"2026-01-01T00:00:00Z","attributes":{"k":"v"}}"#,
                r#"{"type":"a.b","data_base64":"aGk=","content_type":"text/plain"}"#,
            ],
            "cloud_event" => &[
                r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b","time":"2026-01-01T00:00:00Z","data":{"x":null},"ext":true}"#,
                r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b","datacontenttype":"text/plain","data_base64":"aGk="}"#,
            ],
            "pattern" => &[
                "user.*\nuser.created\n2026-01-01T00:00:00.123Z\n1h30m\nevt-1\n",
                "**\na\n1970-01-01T00:00:00Z\n5s\ne\n",
            ],
            "condition" => &[
                "data.a > 3 && \"news\" in data.tags || type.startsWith('user')\n{\"a\":4,\"tags\":[\"news\"]}",
                "data.list.all(x, x.matches('^a+$')) ? has(data.y) : size(attributes) == 1\n{\"list\":[\"aa\"]}",
            ],
            "template" => &[
                "{% for x in data.l %}{{ x|upper }}{% if loop.last %}.{% endif %}{% endfor %}\n{\"l\":[\"a\",\"b\"]}",
                "{{ {'id': id, 'n': data.n + 1}|tojson }}\n{\"n\":1}",
            ],
            "answer_header" => &["120", "Wed, 21 Oct 2015 07:28:00 GMT", "99999999999999999999"],
            "configuration" => &[
                "[storage]\nsegment_bytes = \"1MiB\"\n[delivery]\nallow_networks = [\"10.0.0.0/8\"]\n",
                "64KiB\n[profiles.own]\nenvelope = \"standard\"\n",
            ],
            _ => &[],
        };
        let mut samples: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let record = sample_record();
        if name == "journal_record" {
            let draft = encode_record(&crate::domain::record::Record::EventAccepted(record)).unwrap();
            samples.push([&[draft.kind, draft.version][..], &draft.body].concat());
            samples.extend((0..20).map(|kind| [&[kind, 1][..], &[0; 90]].concat()));
        } else if name == "store_row" {
            samples.push([&[1][..], &encode_row(2, &rows::Totals::default()).unwrap()].concat());
            samples.push([&[3][..], &encode_row(1, &rows::Tally::default()).unwrap()].concat());
            samples.push([&[7][..], &encode_row(1, &rows::Applied::default()).unwrap()].concat());
            samples.extend((0..11).map(|which| [&[which, 1][..], &[0; 120]].concat()));
        }
        samples
    }

    /// One to four small changes: a byte, a piece removed, repeated or taken from another sample.
    fn change(rng: &mut fastrand::Rng, samples: &[Vec<u8>]) -> Vec<u8> {
        let mut input = samples[rng.usize(0..samples.len())].clone();
        for _ in 0..rng.usize(1..5) {
            let at = rng.usize(0..=input.len());
            let end = (at + rng.usize(0..12)).min(input.len());
            match rng.u8(0..5) {
                0 if at < input.len() => input[at] ^= 1 << rng.u8(0..8),
                1 => drop(input.drain(at..end)),
                2 => {
                    let piece = input[at..end].to_vec();
                    (0..rng.usize(1..40)).for_each(|_| drop(input.splice(at..at, piece.iter().copied())));
                }
                3 => {
                    let other = &samples[rng.usize(0..samples.len())];
                    let from = rng.usize(0..=other.len());
                    input.splice(at..end, other[from..].iter().copied());
                }
                _ => input.insert(at, rng.u8(..)),
            }
        }
        input.truncate(4096);
        input
    }

    fn rounds() -> u64 {
        let asked = std::env::var("POSTHASTE_FUZZ_ROUNDS").ok();
        let soak = crate::runtime::seed::is_soak();
        asked.map_or(if soak { 100_000 } else { 1500 }, |rounds| {
            rounds.parse().unwrap()
        })
    }

    #[test]
    fn no_input_breaks_what_reads_it() {
        for (name, function) in ALL {
            let samples = samples(name);
            assert!(!samples.is_empty(), "{name} has no samples");
            samples.iter().for_each(|sample| function(sample));
            for seed in 0..rounds() {
                let input = change(&mut fastrand::Rng::with_seed(seed), &samples);
                let outcome = std::panic::catch_unwind(|| function(&input));
                assert!(
                    outcome.is_ok(),
                    "{name}, seed {seed}: {:?}",
                    String::from_utf8_lossy(&input)
                );
            }
        }
    }

    /// The samples are no dead letters: changes of them are read, and written again.
    #[test]
    fn samples_are_what_is_read() {
        let read = |name: &str, reads: fn(&[u8]) -> bool| {
            let count = samples(name).iter().filter(|sample| reads(sample)).count();
            assert!(count > 0, "{name}");
        };
        read("event_document", |sample| {
            api::read_event(&Bytes::copy_from_slice(sample)).is_ok()
        });
        read("cloud_event", |sample| {
            api::read_cloud_event(&Bytes::copy_from_slice(sample)).is_ok()
        });
        read("condition", |sample| {
            Condition::compile(expression(sample).unwrap().0).is_ok()
        });
        read("template", |sample| {
            transform::check(expression(sample).unwrap().0).is_ok()
        });
        read("store_row", |sample| {
            index::decode_row::<rows::Totals>(b"", &sample[1..]).is_ok()
        });
    }
}
