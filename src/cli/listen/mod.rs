//! `posthaste listen`: the receiving half.
//!
//! # The cast
//!
//! [`crate::cli::receiver`] takes requests. [`desk`] judges them: it verifies ([`args::Trust`]), answers validation requests
//! ([`handshake`]), reads what the [`content`] says of the [`event`], answers by the script, and has the event
//! stored ([`store`]). [`mod@print`] says what came.
//!
//! # What it guarantees
//!
//! With secrets, what does not verify is answered 401 and neither stored nor taken for an event. With a store, 2xx means that
//! the event's row is committed; when it cannot be, the answer is 503, and the sender's next try finds a store that was
//! opened again. An event is stored once, however often it comes. Everything that waits is bounded.
//!
//! # What it does not
//!
//! It acts on no event. It does not keep the order of events, and without a store it remembers the last ids alone.

mod args;
mod content;
mod desk;
mod event;
mod handshake;
mod limits;
mod print;
mod store;
mod xml;

use std::sync::Arc;

use anyhow::Context as _;

pub use args::Args;

use self::{
    args::{Settings, Trust},
    desk::Desk,
    limits::GRACE,
    print::Printer,
    store::Store,
};
use super::{
    output::note,
    receiver::Receiver,
    signals::{first, signals},
};
use crate::runtime::clock::SystemClock;

/// Receives until it is told to end, or stdout takes no more.
///
/// # Errors
/// Arguments that make no sense; an address or a database that cannot be had; a stdout that cannot be written to.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let Settings {
        address,
        trust,
        script,
        body_bytes,
        store,
        output,
    } = args.settings()?;
    let mut signals = signals()?;
    let (store, place) = match store {
        None => (None, None),
        Some((location, table)) => {
            let place = format!("the table {table} of {location}");
            let store = Store::open(location, table)
                .await
                .with_context(|| format!("cannot store in {place}"))?;
            (Some(store), Some(place))
        }
    };
    let believes = believed(&trust);
    let printer = Printer::start(output);
    let desk = Arc::new(Desk::new(trust, script, store, printer.lines()));
    let judge = desk.clone();
    let decide = move |call| {
        let desk = judge.clone();
        async move { desk.take(call).await }
    };
    let receiver = Receiver::start(address, body_bytes, Arc::new(SystemClock), decide)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    note(&format!("listening on http://{}, {believes}", receiver.address()));
    if let Some(place) = &place {
        note(&format!("storing in {place}"));
    }
    tokio::select! {
        () = first(&mut signals) => {}
        () = printer.ended() => {}
    }
    // What does not end in time is closed unanswered, and comes again.
    receiver.finish(GRACE).await;
    end(desk, printer).await
}

async fn end(desk: Arc<Desk>, printer: Printer) -> anyhow::Result<()> {
    // The receiver, and with it every other hold on the desk, is gone.
    let desk = Arc::into_inner(desk).context("a call is still being judged")?;
    let (tally, store) = desk.finish();
    let printed = printer.finish().await;
    if let Some(store) = store {
        store.close().await;
    }
    note(&tally.to_string());
    printed
}

fn believed(trust: &Trust) -> String {
    match trust.scheme {
        Some(scheme) if trust.verifies() => format!("taking what is signed as {}", scheme.as_str()),
        _ => "taking everything: nothing is verified without --secret".to_owned(),
    }
}
