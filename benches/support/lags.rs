//! What arrived when: events of a steady load carry when they were due to be handed over, and a number.

use std::{sync::Mutex, time::Duration};

/// Where a receiver notes what came of a steady load.
#[derive(Default)]
pub struct Lags(Mutex<Vec<Arrival>>);

/// An event that came.
#[derive(Clone, Copy)]
pub struct Arrival {
    /// The event's number.
    pub number: u64,
    /// Since the receiver began, when the event was due to be handed over, and when it came.
    pub due: Duration,
    pub came: Duration,
}

impl Arrival {
    pub fn lag_millis(&self) -> f64 {
        self.came.saturating_sub(self.due).as_secs_f64() * 1e3
    }
}

/// The members of an event's data by which it is known again.
pub fn marks(number: u64, due: Duration) -> String {
    format!(r#""number":{number},"due":{},"#, due.as_nanos())
}

impl Lags {
    /// Notes an event by its marks; others are passed over.
    pub fn note(&self, body: &[u8], came: Duration) {
        let (Some(number), Some(due)) = (member(body, b"\"number\":"), member(body, b"\"due\":")) else {
            return;
        };
        self.0.lock().unwrap().push(Arrival {
            number,
            due: Duration::from_nanos(due),
            came,
        });
    }

    /// What has come since the last call.
    pub fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn member(body: &[u8], name: &[u8]) -> Option<u64> {
    let at = body.windows(name.len()).position(|part| part == name)?;
    let digits: &[u8] = body[at + name.len()..]
        .split(|byte| !byte.is_ascii_digit())
        .next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
