//! Configuration that is changed under load, and what is known of it.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Mutex, atomic::Ordering},
    thread,
    time::Duration,
};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::{
    crash::Load,
    support::server::{Answer, Server, raw},
};

/// A value that was acknowledged, and those that may have come after it.
#[derive(Clone, Debug)]
struct Known {
    acknowledged: Value,
    perhaps: Vec<Value>,
}

impl Known {
    fn new(value: impl Into<Value>) -> Self {
        Self {
            acknowledged: value.into(),
            perhaps: Vec::new(),
        }
    }

    /// Answers what is strange about the answer.
    fn asked(&mut self, value: Value, answer: &std::io::Result<Answer>) -> Option<String> {
        match answer {
            Ok(answer) if answer.status == 200 => *self = Self::new(value),
            Ok(answer) if answer.status == 503 => {}
            Ok(answer) => return Some(answer.text()),
            Err(_) => self.perhaps.push(value),
        }
        None
    }

    /// What is found is what holds from now on.
    fn settle(&mut self, found: &Value) -> bool {
        let fits = *found == self.acknowledged || self.perhaps.contains(found);
        *self = Self::new(found.clone());
        fits
    }
}

#[derive(Debug)]
struct Facts {
    description: Known,
    state: Known,
    /// Keys that were made and not revoked; those that were revoked; those about which nothing is known.
    kept: BTreeSet<String>,
    revoked: BTreeSet<String>,
    open: BTreeSet<String>,
    /// Answers that nobody should get.
    strange: Vec<String>,
}

/// One endpoint, that nothing matches, and some API keys.
pub struct Ledger {
    socket: PathBuf,
    endpoint: String,
    known: Mutex<Facts>,
}

impl Ledger {
    pub fn new(server: &Server) -> Self {
        let endpoint = server.endpoint(&json!({
            "url": "http://127.0.0.1:9/", "events": ["nobody.sends.this"], "description": "0",
        }));
        Self {
            socket: server.socket(),
            endpoint,
            known: Mutex::new(Facts {
                description: Known::new("0"),
                state: Known::new("active"),
                kept: BTreeSet::new(),
                revoked: BTreeSet::new(),
                open: BTreeSet::new(),
                strange: Vec::new(),
            }),
        }
    }

    /// Changes something again and again.
    pub fn change(&self, load: &Load, mut rng: Rng) {
        let path = format!("/v1/endpoints/{}", self.endpoint);
        let mut number = 0;
        while !load.over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(rng.u64(1..20)));
            // Held while it is asked, so that what is found in a new boot is compared with the state of things.
            let mut known = self.known.lock().unwrap();
            number += 1;
            match rng.u8(0..4) {
                0 | 1 => {
                    let value = json!(number.to_string());
                    let answer = self.ask("PATCH", &path, &json!({"description": value}).to_string());
                    let strange = known.description.asked(value, &answer);
                    known.strange.extend(strange);
                }
                2 => {
                    let (action, state) = *rng.choice(&[("pause", "paused"), ("enable", "active")]).unwrap();
                    let answer = self.ask("POST", &format!("{path}/{action}"), "");
                    let strange = known.state.asked(json!(state), &answer);
                    known.strange.extend(strange);
                }
                _ => self.change_keys(&mut known, number),
            }
        }
    }

    fn change_keys(&self, known: &mut Facts, number: u64) {
        if number.is_multiple_of(2)
            && let Some(id) = known.kept.pop_first()
        {
            let to = match self.ask("DELETE", &format!("/v1/keys/{id}"), "") {
                Ok(answer) if answer.status == 204 => &mut known.revoked,
                Ok(answer) if answer.status == 503 => &mut known.kept,
                Ok(answer) => return known.strange.push(answer.text()),
                Err(_) => &mut known.open,
            };
            to.insert(id);
            return;
        }
        let body = json!({"role": "viewer", "name": number.to_string()}).to_string();
        if let Ok(answer) = self.ask("POST", "/v1/keys", &body)
            && answer.status == 201
        {
            known
                .kept
                .insert(answer.json()["id"].as_str().unwrap().to_owned());
        }
    }

    /// Compares what a server that is ready says with what is known; answers what differs.
    pub fn compare(&self, server: &Server) -> Vec<String> {
        let mut known = self.known.lock().unwrap();
        let mut wrong = std::mem::take(&mut known.strange);
        let answer = server.request("GET", &format!("/v1/endpoints/{}", self.endpoint), None, b"");
        if answer.status != 200 {
            return vec![format!("the endpoint: {}", answer.text())];
        }
        let document = answer.json();
        let before = format!("{known:?}");
        for (member, value) in [("description", 0), ("state", 1)] {
            let known = if value == 0 {
                &mut known.description
            } else {
                &mut known.state
            };
            if !known.settle(&document[member]) {
                wrong.push(format!("{member} is {}; known: {before}", document[member]));
            }
        }
        let found = server.get("/v1/keys");
        let found: BTreeSet<String> = found["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["id"].as_str().unwrap().to_owned())
            .collect();
        wrong.extend(
            known
                .kept
                .difference(&found)
                .map(|id| format!("key {id} is gone")),
        );
        wrong.extend(
            known
                .revoked
                .intersection(&found)
                .map(|id| format!("key {id} is back")),
        );
        let open = std::mem::take(&mut known.open);
        let (kept, gone): (BTreeSet<_>, BTreeSet<_>) = open.into_iter().partition(|id| found.contains(id));
        known.kept.extend(kept);
        known.revoked.extend(gone);
        wrong
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        raw(&self.socket, [&head, body].concat().as_bytes())
    }
}
