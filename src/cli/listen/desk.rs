//! Where calls are judged: believed or not, answered, remembered, stored.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use http::{HeaderValue, Method, StatusCode, header};
use tokio::sync::mpsc;

use super::{
    args::{Script, Trust},
    content::{Content, Kind},
    event::Event,
    handshake::Handshake,
    limits::SEEN,
    print::Line,
    store::{Put, Row, Store},
};
use crate::cli::receiver::{Call, Reply, Unread};

/// Judges calls.
pub struct Desk {
    trust: Trust,
    script: Script,
    /// Events answered so far, which says whose turn it is in the script.
    turn: AtomicUsize,
    seen: Mutex<Seen>,
    store: Option<Store>,
    lines: mpsc::Sender<Line>,
    tally: Tally,
}

/// The ids that have come, the newest [`SEEN`] of them.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

/// What has come.
#[derive(Debug, Default)]
pub struct Tally {
    calls: AtomicU64,
    new: AtomicU64,
    repeats: AtomicU64,
    stored: AtomicU64,
    not_stored: AtomicU64,
    not_verified: AtomicU64,
    handshakes: AtomicU64,
    refused: AtomicU64,
}

impl Desk {
    pub fn new(trust: Trust, script: Script, store: Option<Store>, lines: mpsc::Sender<Line>) -> Self {
        Self {
            trust,
            script,
            turn: AtomicUsize::new(0),
            seen: Mutex::default(),
            store,
            lines,
            tally: Tally::default(),
        }
    }

    /// Judges a call, and says so.
    pub async fn take(&self, call: Result<Call, Unread>) -> Reply {
        let mut line = Line::default();
        let reply = match call {
            Err(unread) => {
                (line.at, line.path) = (unread.at, unread.path);
                line.method = unread.method.to_string();
                self.refuse(
                    &mut line,
                    unread.status,
                    "the body did not come whole, in time and within --max-body",
                )
            }
            Ok(call) => {
                (line.at, line.path) = (call.at, call.path.clone());
                line.method = call.method.to_string();
                self.judge(&call, &mut line).await
            }
        };
        line.status = reply.status.as_u16();
        add(&self.tally.calls);
        // Nobody is left to tell when stdout is closed.
        let _ = self.lines.send(line).await;
        reply
    }

    /// What came, and the store, which is to be closed.
    pub fn finish(self) -> (Tally, Option<Store>) {
        (self.tally, self.store)
    }

    async fn judge(&self, call: &Call, line: &mut Line) -> Reply {
        if let Some(handshake) = Handshake::unsigned(call) {
            return self.shake(handshake, line);
        }
        if call.method != Method::POST {
            let mut reply = self.refuse(line, StatusCode::METHOD_NOT_ALLOWED, "events come by POST");
            let allowed = HeaderValue::from_static("POST, OPTIONS");
            reply.headers.insert(header::ALLOW, allowed);
            return reply;
        }
        let content = Content::of(call);
        line.body = Some((content.kind, call.body.clone()));
        if let (Some(scheme), true) = (self.trust.scheme, self.trust.verifies()) {
            let verified = call.verify(scheme, &self.trust.secrets);
            line.verified = Some(verified.is_ok());
            if let Err(why) = verified {
                add(&self.tally.not_verified);
                let why = format!("{}: {why}", scheme.as_str());
                line.why = Some(why.clone());
                return said(StatusCode::UNAUTHORIZED, why);
            }
        }
        if let Some(handshake) = Handshake::verified(call, &content, &self.trust) {
            line.body = None;
            return self.shake(handshake, line);
        }
        let event = Event::of(call, &content, &self.trust);
        (line.id, line.event_type) = (Some(event.id.clone()), event.event_type.clone());
        self.answer(call, content.kind, event, line).await
    }

    /// Answers an event by the script; 2xx only when it is stored.
    async fn answer(&self, call: &Call, kind: Kind, event: Event, line: &mut Line) -> Reply {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let last = self.script.statuses.len() - 1;
        let status = self.script.statuses[turn.min(last)];
        let mut repeat = self.remember(&event.id);
        if let Some(store) = &self.store
            && status.is_success()
        {
            let verified = line.verified == Some(true);
            match store.put(Row::of(call, kind, event, verified)).await {
                Ok(put) => {
                    repeat |= put == Put::Known;
                    if put == Put::New {
                        add(&self.tally.stored);
                    }
                    line.stored = Some(true);
                }
                Err(error) => {
                    add(&self.tally.not_stored);
                    line.repeat = Some(repeat);
                    line.stored = Some(false);
                    line.why = Some(format!("{:#}", anyhow::Error::new(error)));
                    return said(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "not stored; send it again".to_owned(),
                    );
                }
            }
        }
        line.repeat = Some(repeat);
        add(if repeat {
            &self.tally.repeats
        } else {
            &self.tally.new
        });
        self.scripted(status)
    }

    fn scripted(&self, status: StatusCode) -> Reply {
        let body = &self.script.body;
        let bodiless = matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
        );
        let mut reply = Reply::new(status);
        if !body.is_empty() && !bodiless {
            let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
            let media = if is_json { "application/json" } else { TEXT };
            reply = reply.saying(media, body.clone());
        }
        reply.delay = self.script.delay;
        reply
    }

    fn shake(&self, handshake: Handshake, line: &mut Line) -> Reply {
        add(&self.tally.handshakes);
        line.handshake = Some(handshake.name);
        line.why = handshake.why.map(str::to_owned);
        handshake.reply
    }

    fn refuse(&self, line: &mut Line, status: StatusCode, why: &str) -> Reply {
        add(&self.tally.refused);
        line.why = Some(why.to_owned());
        said(status, why.to_owned())
    }

    /// Whether the id has come before.
    fn remember(&self, id: &str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.ids.insert(id.to_owned()) {
            return true;
        }
        seen.order.push_back(id.to_owned());
        if seen.order.len() > SEEN
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.ids.remove(&oldest);
        }
        false
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

fn said(status: StatusCode, text: String) -> Reply {
    Reply::new(status).saying(TEXT, text)
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl fmt::Display for Tally {
    /// One line, without what there was none of.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (&self.calls, "calls"),
            (&self.new, "new"),
            (&self.repeats, "repeats"),
            (&self.stored, "stored"),
            (&self.not_stored, "not stored"),
            (&self.not_verified, "not verified"),
            (&self.handshakes, "validations"),
            (&self.refused, "refused"),
        ];
        let told = counts
            .iter()
            .map(|(count, name)| (count.load(Ordering::Relaxed), name))
            .filter(|(count, name)| *count > 0 || **name == "calls")
            .map(|(count, name)| format!("{count} {name}"));
        f.write_str(&told.collect::<Vec<_>>().join(", "))
    }
}
