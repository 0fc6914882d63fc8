//! Backups of a server at work.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::*;
use crate::support::seed::is_soak;

/// Backups taken while events come, in an ordinary run.
const ROUNDS: usize = 4;

/// Events that come, at the most, while one backup is taken and looked at.
const AHEAD: usize = 80;

/// Accepts events one by one until told to stop, as many in all as `allowed` says; whatever was acknowledged is noted
/// at once.
fn load(
    server: &Server,
    name: usize,
    acknowledged: &Mutex<Vec<String>>,
    (allowed, stop): (&AtomicUsize, &AtomicBool),
) {
    for number in 0.. {
        while acknowledged.lock().unwrap().len() >= allowed.load(Ordering::SeqCst) {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let id = format!("load-{name}-{number}");
        let data = "x".repeat(1_000 + number % 7 * 1_000);
        server.event(&json!({"id": id, "type": format!("load.{}", number % 2), "data": data}));
        acknowledged.lock().unwrap().push(id);
    }
}

#[test]
fn a_backup_under_load_loses_nothing_that_was_acknowledged_before_it_began() {
    let soak = is_soak();
    let rounds = if soak { 40 } else { ROUNDS };
    let scene = Scene::new();
    let (active, held) = (Sink::accepting(), Sink::accepting());
    scene
        .server
        .endpoint(&json!({"url": active.url(), "events": ["load.0"]}));
    let paused = scene
        .server
        .endpoint(&json!({"url": held.url(), "events": ["load.1"], "enabled": false}));
    let (acknowledged, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let (taken, allowed) = (AtomicUsize::new(0), AtomicUsize::new(AHEAD));
    thread::scope(|scope| {
        for name in 0..3 {
            let (server, acknowledged, bounds) = (&scene.server, &acknowledged, (&allowed, &stop));
            scope.spawn(move || load(server, name, acknowledged, bounds));
        }
        let run = || {
            for round in 1..=rounds {
                wait_for("more events", || {
                    (acknowledged.lock().unwrap().len() >= round * 40).then_some(())
                });
                let before = acknowledged.lock().unwrap().clone();
                allowed.store(before.len() + AHEAD, Ordering::SeqCst);
                let said = scene.backup("backup", &[]);
                let name = format!("restored-{round}");
                scene.restore("backup", &name);
                let restored = scene.restored(&name);
                let there: HashSet<String> = ids(&restored).into_iter().collect();
                let lost: Vec<_> = before.iter().filter(|id| !there.contains(*id)).collect();
                assert!(lost.is_empty(), "round {round}: {said}: {lost:?}");
                println!(
                    "round {round}: {} acknowledged before, {} there; {said}",
                    before.len(),
                    there.len()
                );
                drop(restored);
                if round < rounds {
                    fs::remove_dir_all(scene.path(&name)).unwrap();
                }
                taken.fetch_add(1, Ordering::SeqCst);
            }
        };
        // Whatever comes of it, the threads must end.
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        stop.store(true, Ordering::SeqCst);
        if let Err(panic) = ran {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(taken.load(Ordering::SeqCst), rounds);

    // The last one is delivered from: every event that is in it arrives, those that had not yet as those that are held.
    let mut restored = scene.restored(&format!("restored-{rounds}"));
    let all = ids(&restored);
    let path = format!("/v1/endpoints/{paused}/enable");
    assert_eq!(restored.post(&path, &json!({})).status, 200);
    wait_for("every event", || {
        let received = [active.received(), held.received()].concat();
        let arrived: HashSet<&str> = received.iter().map(|got| got.event_id()).collect();
        all.iter().all(|id| arrived.contains(id.as_str())).then_some(())
    });
    assert_eq!(restored.stop().code(), Some(0), "{}", restored.log());
    restored.assert_whole();
}

#[test]
fn a_backup_of_a_server_that_reclaims_has_what_still_waits_and_gives_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        SMALL[0],
        SMALL[1],
        ("POSTHASTE_STORAGE__MIN_FREE_BYTES", "1MiB"),
        ("POSTHASTE_STORAGE__RETENTION", "2s"),
    ];
    let server = Server::start_with(&dir.path().join("data"), &["--no-listen"], &settings);
    let mut scene = Scene { dir, server };
    let tired = Sink::deciding(|_, _| crate::support::sink::answer(503, ""));
    let wait = json!({"url": tired.url(), "events": ["wait.*"], "retry": {"delays": ["1d"]}});
    let endpoint = scene.server.endpoint(&wait);
    let waiting: Vec<String> = (0..5)
        .map(|number| scene.server.event(&json!({"type": "wait.long", "data": number})))
        .collect();
    wait_for("their first attempts", || {
        let stats = scene.server.get(&format!("/v1/endpoints/{endpoint}/stats"));
        (stats["deliveries"]["attempts"] == 5).then_some(())
    });
    let journal = |scene: &Scene, member: &str| {
        scene.server.get("/v1/status")["journal"][member]
            .as_u64()
            .unwrap()
    };
    scene.backup("backup", &[]);
    for round in 0..3 {
        let before = journal(&scene, "last_lsn");
        let mut filled = 0;
        wait_for("the journal to begin behind it", || {
            filled += 1;
            scene.events(&format!("filler-{round}-{filled}"), 15);
            // Some of them are taken while segments go.
            scene.backup("backup", &[]);
            (journal(&scene, "first_lsn") > before).then_some(())
        });
        let taken = scene.backup("backup", &[]);
        let files = fs::read_dir(scene.path("backup/journal")).unwrap().count();
        assert_eq!(taken["segments"], files, "{taken}");
        assert!(!scene.path("backup/journal/0000000000000001.seg").exists());
        scene.backup("backup", &["--verify"]);
        let name = format!("restored-{round}");
        let done = scene.restore("backup", &name);
        assert_eq!(done["whole"], true, "{done}");
        let mut restored = scene.restored(&name);
        for event in &waiting {
            let deliveries = restored.list(&format!("/v1/events/{event}/deliveries"));
            assert_eq!(
                (
                    deliveries.len(),
                    &deliveries[0]["state"],
                    &deliveries[0]["attempts"]
                ),
                (1, &json!("scheduled"), &json!(1)),
                "{deliveries:?}"
            );
        }
        assert_eq!(restored.stop().code(), Some(0), "{}", restored.log());
        restored.assert_whole();
    }
    assert_eq!(scene.server.stop().code(), Some(0), "{}", scene.server.log());
}
