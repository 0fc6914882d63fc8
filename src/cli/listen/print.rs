//! A line for each call: for people, or as JSON for programs.
//!
//! A thread prints, so that a reader of stdout that stalls holds up nobody but those who wait to be printed. When
//! stdout takes no more, [`Printer::ended`] says so.

use std::{fmt::Write as _, thread::JoinHandle};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    content::Kind,
    limits::{EXCERPT, GRACE, LINES},
};
use crate::{
    cli::output::Output,
    config::text::{escaped, json_line},
    domain::time::Timestamp,
};

/// What is said of a call. Members that do not apply are absent.
#[derive(Debug, Default, Serialize)]
pub struct Line {
    pub at: Timestamp,
    pub method: String,
    pub path: String,
    /// What it is answered with.
    pub status: u16,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The validation request that it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<&'static str>,
    /// Whether its signature fits; absent when that was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// Whether the event has come before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<bool>,
    /// Whether the event is in the database now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<bool>,
    /// Why it was not believed, not taken or not stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(skip)]
    pub body: Option<(Kind, Bytes)>,
}

/// A line as JSON. The body is a JSON value, or text, or base64.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    line: &'a Line,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// Prints lines in the order in which they are handed over.
pub struct Printer {
    lines: mpsc::Sender<Line>,
    ended: CancellationToken,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Printer {
    pub fn start(output: Output) -> Self {
        let (lines, mut queue) = mpsc::channel::<Line>(LINES);
        let ended = CancellationToken::new();
        let end = ended.clone();
        let thread = std::thread::spawn(move || {
            let _end = end.drop_guard();
            while let Some(line) = queue.blocking_recv() {
                output.text(&line.render(output.is_json())?)?;
            }
            Ok(())
        });
        Self { lines, ended, thread }
    }

    /// Where lines are handed over. They get lost once stdout takes no more.
    pub fn lines(&self) -> mpsc::Sender<Line> {
        self.lines.clone()
    }

    /// Ends when nothing more can be printed.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Waits a while for what is still to be printed; the other senders have to be gone.
    ///
    /// # Errors
    /// Why stdout took no more.
    pub async fn finish(self) -> anyhow::Result<()> {
        drop(self.lines);
        if tokio::time::timeout(GRACE, self.ended.cancelled()).await.is_err() {
            // Nobody reads stdout; the thread ends with the process.
            return Ok(());
        }
        match self.thread.join() {
            Ok(printed) => printed,
            Err(_) => Err(anyhow::anyhow!("the printing thread panicked")),
        }
    }
}

impl Line {
    fn render(&self, json: bool) -> anyhow::Result<String> {
        if json {
            let document = serde_json::to_string(&self.document()).context("cannot write a line")?;
            return Ok(json_line(&document));
        }
        Ok(self.people())
    }

    fn document(&self) -> Document<'_> {
        let (mut body, mut body_text, mut body_base64) = (None, None, None);
        match &self.body {
            None => {}
            Some((Kind::Json, bytes)) => body = serde_json::from_slice(bytes).ok(),
            Some((Kind::Text, bytes)) => body_text = std::str::from_utf8(bytes).ok(),
            Some((Kind::Bytes, bytes)) => body_base64 = Some(STANDARD.encode(bytes)),
        }
        Document {
            line: self,
            body,
            body_text,
            body_base64,
        }
    }

    fn people(&self) -> String {
        let name = match (self.handshake, &self.event_type) {
            (Some(handshake), _) => format!("{handshake} validation"),
            (None, Some(event_type)) => escaped(event_type).into_owned(),
            // Some systems say by the path what happened.
            (None, None) => format!("{} {}", self.method, escaped(&self.path)),
        };
        let id = escaped(self.id.as_deref().unwrap_or("-"));
        let mut text = format!("{}  {}  {name:<20}  {id:<24}  ", self.at, self.status);
        text.push_str(&self.remarks());
        if let Some(excerpt) = self.excerpt() {
            let _ = write!(text, "\n    {excerpt}");
        }
        text
    }

    fn remarks(&self) -> String {
        let mut remarks = Vec::new();
        let mut say = |flag: Option<bool>, yes: &'static str, no: &'static str| {
            remarks.extend(flag.map(|flag| if flag { yes } else { no }.to_owned()));
        };
        say(self.verified, "verified", "not verified");
        say(self.repeat, "repeat", "new");
        say(self.stored, "stored", "not stored");
        let told = remarks.join(", ");
        match &self.why {
            Some(why) if told.is_empty() => escaped(why).into_owned(),
            Some(why) => format!("{told}: {}", escaped(why)),
            None => told,
        }
    }

    /// The beginning of the body.
    fn excerpt(&self) -> Option<String> {
        let (kind, bytes) = self.body.as_ref().filter(|(_, bytes)| !bytes.is_empty())?;
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Some(format!("{} bytes", bytes.len()));
        };
        let cut = text.char_indices().nth(EXCERPT).map(|(at, _)| at);
        let excerpt = match (kind, cut) {
            (Kind::Json, None) => json_line(text),
            (_, cut) => escaped(&text[..cut.unwrap_or(text.len())]).into_owned(),
        };
        let more = cut.map(|_| format!("… ({} bytes)", bytes.len()));
        Some(excerpt + &more.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: Kind, body: &'static str) -> Line {
        Line {
            at: Timestamp::from_millis(1_614_265_330_120),
            method: "POST".to_owned(),
            path: "/in".to_owned(),
            status: 200,
            event_type: Some("user.created".to_owned()),
            id: Some("user-7".to_owned()),
            verified: Some(true),
            repeat: Some(false),
            stored: Some(true),
            body: Some((kind, Bytes::from_static(body.as_bytes()))),
            ..Line::default()
        }
    }

    #[test]
    fn people_read_time_status_type_id_and_what_became_of_it() {
        let text = line(Kind::Json, "{\n\"a\": 1.0}").render(false).unwrap();
        let expected = "2021-02-25T15:02:10.120Z  200  user.created          user-7                    \
                        verified, new, stored\n    { \"a\": 1.0}";
        assert_eq!(text, expected);
    }

    #[test]
    fn programs_read_one_object_a_line_with_the_body_as_it_came() {
        let text = line(Kind::Json, "{\n\"a\": 1.0}").render(true).unwrap();
        let expected = r#"{"at":"2021-02-25T15:02:10.120Z","method":"POST","path":"/in","status":200,"type":"user.created","id":"user-7","verified":true,"repeat":false,"stored":true,"body":{ "a": 1.0}}"#;
        assert_eq!(text, expected);
        let text = line(Kind::Text, "a=1\n").render(true).unwrap();
        assert!(text.ends_with(r#""body_text":"a=1\n"}"#), "{text}");
    }

    #[test]
    fn nothing_that_came_repaints_a_terminal() {
        let told = Line {
            event_type: Some("\u{202e}x".to_owned()),
            why: Some("a\u{1b}[2J".to_owned()),
            ..line(Kind::Text, "\u{1b}]0;x\u{7}")
        };
        for json in [false, true] {
            let text = told.render(json).unwrap();
            assert!(
                !text.contains(|letter| letter != '\n' && crate::config::text::is_unsafe(letter)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_long_body_is_cut_for_people() {
        let text = line(Kind::Text, Box::leak("é".repeat(1000).into_boxed_str())).people();
        assert!(
            text.ends_with("é… (2000 bytes)") && text.len() < 2 * EXCERPT + 200,
            "{text}"
        );
    }
}
