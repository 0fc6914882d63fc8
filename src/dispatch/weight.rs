//! What things take of the memory that is shared out ([`crate::runtime::memory`]), estimated before they are made.

use std::io;

use serde::Serialize;

use crate::domain::{endpoint::EndpointSpec, format::Encoding, limits};

/// What an envelope adds to an event's bytes, and a request's headers.
const ENVELOPE: usize = 8 * 1024;

/// An attempt whose event has so many bytes: the event, the body while it is made, and the answer.
pub(super) fn of_attempt(spec: &EndpointSpec, event: usize, encoded_limit: usize) -> usize {
    // What is not JSON becomes Base64 in a CloudEvent.
    let enveloped = event.saturating_add(event / 2);
    let document = match &spec.transform {
        None => enveloped,
        Some(_) => enveloped.saturating_add(limits::TRANSFORM_OUTPUT_BYTES),
    };
    let encoded = match spec.encoding {
        Encoding::Json => 0,
        // Each value of a document, of which there are at most as many as it has bytes, repeats names that are no longer
        // than the document. A text grows by doubling.
        Encoding::Form | Encoding::Xml => document.saturating_mul(document).min(encoded_limit * 2),
    };
    limits::ATTEMPT_BYTES + ENVELOPE + event + document + encoded
}

/// An endpoint that is kept in memory: the texts of its document, and some again for patterns, which the index has too,
/// and for what is between them.
pub(super) fn of_endpoint(spec: &EndpointSpec) -> usize {
    let document = of_json(spec);
    // A condition is kept as it was compiled, too.
    let condition = spec.condition.as_ref().map_or(0, String::len);
    document + document / 2 + 8 * condition
}

/// The bytes of a value as JSON.
pub(super) fn of_json(value: &impl Serialize) -> usize {
    let mut counted = Counted(0);
    // What cannot be written, which nothing of ours is, counts as far as it was written.
    _ = serde_json::to_writer(&mut counted, value);
    counted.0
}

struct Counted(usize);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(more: &str) -> EndpointSpec {
        serde_json::from_str(&format!(r#"{{"url":"https://h.test/"{more}}}"#)).unwrap()
    }

    #[test]
    fn an_attempt_weighs_what_it_may_take_at_the_most() {
        const LIMIT: usize = 4 * 1024 * 1024;
        let of = |more: &str, event| of_attempt(&spec(more), event, LIMIT);
        assert!(of("", 1000) < 80 * 1024);
        assert!(of(r#","encoding":"form""#, 250_000) >= 2 * LIMIT);
        assert!(of(r#","encoding":"xml""#, 100) < 128 * 1024);
        assert!(of(r#","transform":"{}""#, 100) > limits::TRANSFORM_OUTPUT_BYTES);
    }

    #[test]
    fn a_value_weighs_its_json() {
        assert_eq!(
            of_json(&serde_json::json!({"a": [1, "é"]})),
            r#"{"a":[1,"é"]}"#.len()
        );
        let headers = format!(r#","headers":{{"x-large":"{}"}}"#, "x".repeat(4000));
        assert!(of_endpoint(&spec(&headers)) > of_endpoint(&spec("")) + 6000);
    }
}
