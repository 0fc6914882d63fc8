//! What the disk is given for each byte that was accepted: 1 KiB payloads, delivered at once.

use std::time::Duration;

use crate::{
    delivering::{Case, OUTSTANDING},
    support::{Bench, SETTLE, load, proc, server::Server},
};

const KIB: usize = 1024;

/// What was written until some moment, in bytes.
struct Written {
    process: f64,
    journal_thread: (f64, f64),
    store_threads: (f64, f64),
    appended: f64,
    journal_files: f64,
    store_files: f64,
}

impl Written {
    async fn by(server: &Server) -> Self {
        // The store hands its buffers on once a second.
        tokio::time::sleep(SETTLE + Duration::from_secs(1)).await;
        let pid = server.pid();
        Self {
            process: proc::io(pid, "write_bytes"),
            journal_thread: proc::io_of_threads(pid, is_journal),
            store_threads: proc::io_of_threads(pid, |name| !is_journal(name) && !is_sending(name)),
            appended: server.journal().await.bytes,
            journal_files: server.size("journal"),
            store_files: server.size("store"),
        }
    }
}

fn is_journal(thread: &str) -> bool {
    thread == "journal"
}

/// Those that talk to receivers and callers: what they write goes to sockets.
fn is_sending(thread: &str) -> bool {
    thread.starts_with("tokio") || thread.starts_with("posthaste")
}

pub async fn measure(bench: &mut Bench) {
    let case = Case::new(bench, 1, 8).await;
    for _ in 0..bench.settings.runs {
        bench.receiver.reset();
        let before = Written::by(&case.server).await;
        let (receiver, run) = (&bench.receiver, bench.run());
        let events = load::enqueue_as_delivered(&case.server, receiver, KIB, 1, OUTSTANDING, run).await;
        bench.receiver.wait(events).await;
        let after = Written::by(&case.server).await;
        let accepted = events as f64 * KIB as f64;
        let figures = [
            ("write_bytes (aim 1.8)", after.process - before.process),
            ("journal, appended", after.appended - before.appended),
            (
                "journal, growth of its files",
                after.journal_files - before.journal_files,
            ),
            ("journal, wchar", after.journal_thread.0 - before.journal_thread.0),
            (
                "journal, write_bytes",
                after.journal_thread.1 - before.journal_thread.1,
            ),
            (
                "store, growth of its files",
                after.store_files - before.store_files,
            ),
            ("store, wchar", after.store_threads.0 - before.store_threads.0),
            (
                "store, write_bytes",
                after.store_threads.1 - before.store_threads.1,
            ),
        ];
        for (name, bytes) in figures {
            bench.add(
                &format!("written / accepted, 1 KiB: {name}"),
                "ratio",
                bytes / accepted,
            );
        }
    }
}
