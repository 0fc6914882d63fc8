//! `posthaste attempt`: the requests that were made, and all that is kept of one.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::Subcommand;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ConnectArgs, Output, attempts,
    client::{Client, Path},
    table,
};
use crate::config::text::escaped;

/// Look at attempts
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List attempts, newest first
    List(attempts::Filter),
    /// Show one attempt: what was sent and answered, to whom, how long it took, and which rule made its outcome
    Show {
        #[arg(value_name = "ATTEMPT")]
        id: String,
    },
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?;
    match args.command {
        Command::List(filter) => attempts::print(&client, args.connect.output, &filter).await,
        Command::Show { id } => {
            let output = Output::new(args.connect.output);
            let document: Box<RawValue> = client.get(&Path::new(&["attempts", &id])).await?.read()?;
            if output.is_json() {
                output.one(&document)
            } else {
                output.text(&shown(&document)?)
            }
        }
    }
}

/// What is shown in a form of its own.
const PARTS: [&str; 4] = ["request", "response", "timing", "tls"];

#[derive(Deserialize)]
struct Parts {
    request: Option<Request>,
    response: Option<Response>,
    timing: Option<Timing>,
    tls: Option<Tls>,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    url: Option<String>,
    version: Option<String>,
    headers: Vec<(String, String)>,
    headers_cut: bool,
    body_bytes: u64,
    sent: bool,
}

#[derive(Deserialize)]
struct Response {
    status: u16,
    version: Option<String>,
    headers: Option<Vec<(String, String)>>,
    headers_cut: bool,
    body_bytes: Option<u64>,
    excerpt: String,
    excerpt_cut: bool,
}

#[derive(Deserialize)]
struct Timing {
    dns_ms: Option<u32>,
    connect_ms: Option<u32>,
    tls_ms: Option<u32>,
    first_byte_ms: Option<u32>,
    body_ms: Option<u32>,
    total_ms: u32,
    reused: Option<bool>,
}

#[derive(Deserialize)]
struct Tls {
    version: Option<String>,
    not_after: Option<String>,
}

/// An attempt for people: its members, then the exchange as it went over the wire, then its times.
fn shown(document: &RawValue) -> anyhow::Result<String> {
    let parts: Parts =
        serde_json::from_str(document.get()).context("the server's answer is not an attempt")?;
    let mut text = table::details_but(document, &PARTS);
    if let Some(request) = &parts.request {
        request.write(&mut text);
    }
    if let Some(response) = &parts.response {
        response.write(&mut text);
    }
    if let Some(tls) = &parts.tls {
        let version = tls.version.as_deref().unwrap_or("no handshake");
        let not_after = tls.not_after.as_deref().unwrap_or("unknown");
        line(
            &mut text,
            &format!("\ntls    {version}, certificate valid until {not_after}"),
        );
    }
    if let Some(timing) = &parts.timing {
        line(&mut text, &format!("\ntimes  {}", timing.sentence()));
    }
    Ok(text)
}

impl Request {
    fn write(&self, text: &mut String) {
        let url = self.url.as_deref().unwrap_or("(the url cannot be opened)");
        let version = self.version.as_deref().unwrap_or_default();
        let first = format!("{} {url} {version}", self.method);
        line(text, "");
        line(text, &format!("> {}", first.trim_end()));
        headers(text, '>', &self.headers, self.headers_cut);
        line(text, &format!("> ({} bytes of body)", self.body_bytes));
        if !self.sent {
            line(text, "(nothing of it was sent)");
        }
    }
}

impl Response {
    fn write(&self, text: &mut String) {
        let version = self.version.as_deref().unwrap_or("HTTP");
        line(text, &format!("\n< {version} {}", self.status));
        let lines = self.headers.as_deref().unwrap_or_default();
        headers(text, '<', lines, self.headers_cut);
        if let Some(bytes) = self.body_bytes {
            line(text, &format!("< ({bytes} bytes of body)"));
        }
        for part in self.excerpt.lines() {
            line(text, part);
        }
        if self.excerpt_cut {
            line(text, "(the rest of the body is not kept)");
        }
    }
}

impl Timing {
    fn sentence(&self) -> String {
        let steps = [
            ("dns", self.dns_ms),
            ("connect", self.connect_ms),
            ("tls", self.tls_ms),
            ("first byte", self.first_byte_ms),
            ("body", self.body_ms),
            ("total", Some(self.total_ms)),
        ];
        let steps = steps
            .iter()
            .filter_map(|(name, ms)| Some(format!("{name} {} ms", (*ms)?)));
        let mut sentence = steps.collect::<Vec<_>>().join(", ");
        if self.reused == Some(true) {
            sentence.push_str("; the connection had been open before");
        }
        sentence
    }
}

fn headers(text: &mut String, mark: char, lines: &[(String, String)], cut: bool) {
    for (name, value) in lines {
        line(text, &format!("{mark} {name}: {value}"));
    }
    if cut {
        line(
            text,
            &format!("{mark} (headers were cut; storage.attempt_detail_bytes)"),
        );
    }
}

/// A line, without what could repaint a terminal; it may begin with an empty one.
fn line(text: &mut String, shown: &str) {
    let (gap, shown) = shown.strip_prefix('\n').map_or(("", shown), |rest| ("\n", rest));
    // Text takes everything.
    _ = writeln!(text, "{gap}{}", escaped(shown));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = r#"{"id":"att_1","outcome":"transient","remote":"127.0.0.1:80","rule":"status 503 is transient",
        "request":{"method":"POST","url":"http://h.test/a?k=***","version":"HTTP/1.1",
            "headers":[["x-key","***"],["host","h.test"]],"headers_cut":true,"body_bytes":7,"sent":true},
        "response":{"status":503,"version":"HTTP/1.1","headers":[["server","\u001b[2J"]],"headers_cut":false,
            "body_bytes":9,"excerpt":"no\nroom","excerpt_cut":true},
        "timing":{"dns_ms":null,"connect_ms":null,"tls_ms":null,"first_byte_ms":3,"body_ms":0,"total_ms":4,"reused":true},
        "tls":{"version":"TLSv1.3","not_after":"2030-01-01T00:00:00.000Z"}}"#;

    #[test]
    fn an_attempt_is_shown_as_it_went_over_the_wire() {
        let document = RawValue::from_string(SHOWN.to_owned()).unwrap();
        let expected = "id       att_1
outcome  transient
remote   127.0.0.1:80
rule     status 503 is transient

> POST http://h.test/a?k=*** HTTP/1.1
> x-key: ***
> host: h.test
> (headers were cut; storage.attempt_detail_bytes)
> (7 bytes of body)

< HTTP/1.1 503
< server: \\u{1b}[2J
< (9 bytes of body)
no
room
(the rest of the body is not kept)

tls    TLSv1.3, certificate valid until 2030-01-01T00:00:00.000Z

times  first byte 3 ms, body 0 ms, total 4 ms; the connection had been open before
";
        assert_eq!(shown(&document).unwrap(), expected);
    }

    #[test]
    fn an_attempt_without_details_is_shown_with_what_there_is() {
        let text = r#"{"id":"att_1","request":null,"response":null,"timing":null,"tls":null,"details_missing":"why"}"#;
        let document = RawValue::from_string(text.to_owned()).unwrap();
        assert_eq!(
            shown(&document).unwrap(),
            "id               att_1\ndetails_missing  why\n"
        );
    }
}
