//! A request's path and query.

use std::fmt::Write as _;

/// A path below `/v1`, its segments and query values percent-encoded: an event's id is the sender's and may
/// hold a slash or a question mark.
#[derive(Clone, Debug)]
pub struct Path(String);

impl Path {
    pub fn new(segments: &[&str]) -> Self {
        let mut text = String::from("/v1");
        for segment in segments {
            text.push('/');
            encode(&mut text, segment);
        }
        Self(text)
    }

    /// Adds a parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        encode(&mut self.0, name);
        self.0.push('=');
        encode(&mut self.0, value);
        self
    }

    /// Adds a parameter if there is a value.
    #[must_use]
    pub fn maybe(self, name: &str, value: Option<&impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, &value.to_string()),
            None => self,
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Keeps the unreserved characters of RFC 3986. A segment of dots alone would be taken for a step upwards.
fn encode(out: &mut String, text: &str) {
    let dots = text == "." || text == "..";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) || (byte == b'.' && !dots) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_segment() {
        let path = Path::new(&["events", "../a/b?c#d", ".."])
            .query("type", "a.b&x=1")
            .maybe("n", Some(&3));
        assert_eq!(
            path.as_str(),
            "/v1/events/..%2Fa%2Fb%3Fc%23d/%2E%2E?type=a.b%26x%3D1&n=3"
        );
    }
}
