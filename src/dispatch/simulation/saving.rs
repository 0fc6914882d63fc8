//! Saving configuration: clients that go away meanwhile, and changes that are too large.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use super::{
    driver::engine,
    life::{Life, scratch},
    log::Log,
    new_world,
    profile::Profile,
    stage::Stage,
};
use crate::{
    domain::{
        configuration::ConfigChange,
        endpoint::{EndpointState, StateChange},
        id::EndpointId,
        record::EventTypePut,
    },
    storage::StorageError,
};

/// Runs it in a life whose disk and store take their time.
fn slowly<F: Future<Output = ()>>(play: impl FnOnce(Arc<Life>) -> F) {
    let scratch = scratch();
    let mut profile = Profile::of(1);
    (profile.sync_millis, profile.apply_millis) = (20, 20);
    let mut world = new_world(&scratch, Arc::new(Stage::new(1, Log::default())));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let life = Arc::new(world.boot(&profile));
        life.shared.storage.until_ready().await;
        play(life).await;
    });
}

fn document(name: &str) -> Map<String, Value> {
    let document = json!({"url": "https://e.test/hook", "name": name});
    document.as_object().unwrap().clone()
}

fn stands(life: &Life, id: EndpointId) -> (String, EndpointState) {
    let endpoint = life.shared.registry.get(id).unwrap();
    (endpoint.spec.name.clone().unwrap(), endpoint.standing.state)
}

/// Whenever the client goes, also when the next one comes at once.
#[test]
fn a_patch_whose_client_has_gone_is_made_whole_or_not_at_all() {
    slowly(|life| async move {
        let engine = engine(&life);
        let id = engine.create_endpoint(document("before")).await.unwrap().0.id;
        let mut made = 0;
        for millis in 0..150 {
            let before = stands(&life, id);
            let paused = before.1 == EndpointState::Active;
            let state = if paused {
                EndpointState::Paused
            } else {
                EndpointState::Active
            };
            let after = (format!("after {millis}"), state);
            let patch = engine.patch_endpoint(id, json!({"name": after.0, "enabled": !paused}));
            _ = timeout(Duration::from_millis(millis), patch).await;
            let next = json!({"description": format!("by the next, {millis}")});
            engine.patch_endpoint(id, next).await.unwrap();
            sleep(Duration::from_secs(1)).await;
            let found = stands(&life, id);
            assert!(
                found == before || found == after,
                "{before:?} became {found:?}, not {after:?}"
            );
            made += u32::from(found == after);
        }
        assert!(made > 50, "{made} made");
    });
}

#[test]
fn a_document_whose_client_has_gone_is_applied_whole_or_not_at_all() {
    slowly(|life| async move {
        let engine = engine(&life);
        let names = ["one", "two", "three"];
        for name in names {
            engine.create_endpoint(document(name)).await.unwrap();
        }
        let paused = || {
            let all = life.shared.registry.all().into_iter();
            all.map(|endpoint| endpoint.standing.state == EndpointState::Paused)
                .collect::<Vec<_>>()
        };
        for millis in 0..100 {
            let enabled = millis % 2 == 0;
            let entry = |name| {
                let mut entry = document(name);
                entry.insert("enabled".to_owned(), json!(!enabled));
                entry
            };
            let entries = names.map(entry).into();
            _ = timeout(
                Duration::from_millis(millis),
                engine.apply_endpoints(entries, false, false),
            )
            .await;
            sleep(Duration::from_secs(1)).await;
            let found = paused();
            assert!(
                found.iter().all(|paused| *paused == found[0]),
                "{millis}: {found:?}"
            );
        }
    });
}

#[test]
fn an_enabling_that_discards_is_made_whole_or_not_at_all_when_its_client_has_gone() {
    slowly(|life| async move {
        let engine = engine(&life);
        let id = engine.create_endpoint(document("e")).await.unwrap().0.id;
        for millis in 0..100 {
            engine.change_endpoint(id, StateChange::Pause).await.unwrap();
            let event = super::deeds::plain_event(&format!("e{millis}"));
            engine.accept(event, None).await.unwrap();
            let enable = engine.change_endpoint(id, StateChange::Enable { discard: true });
            // Nothing that is sent would be told from what is cancelled.
            life.stage.lock().receivers.partition = true;
            _ = timeout(Duration::from_millis(millis), enable).await;
            sleep(Duration::from_secs(1)).await;
            let store = life.shared.storage.get().unwrap();
            let held = store.tally(id).unwrap().deliveries.scheduled > 0;
            let (_, state) = stands(&life, id);
            assert_eq!(
                held,
                state == EndpointState::Paused,
                "{millis}: held {held}, {state:?}"
            );
            if held {
                engine
                    .change_endpoint(id, StateChange::Enable { discard: true })
                    .await
                    .unwrap();
            }
        }
    });
}

#[test]
fn changes_that_do_not_fit_into_one_record_are_refused_before_anything_is_written() {
    slowly(|life| async move {
        let written = life.shared.journal.last_lsn();
        let declare = |n: usize| {
            ConfigChange::EventTypePut(EventTypePut {
                event_type: format!("type.{n}").parse().unwrap(),
                at: life.shared.clock.now(),
                description: None,
                schema: Some(format!("{{\"description\": {:?}}}", "x".repeat(60_000))),
                example: None,
                deprecated: false,
            })
        };
        for (count, fits) in [(250, true), (300, false), (3000, false)] {
            let saved = life
                .shared
                .data
                .save_configuration((0..count).map(declare).collect())
                .await;
            match saved {
                Ok(()) => assert!(fits, "{count}"),
                Err(StorageError::TooLarge { .. }) => assert!(!fits, "{count}"),
                Err(error) => panic!("{count}: {error}"),
            }
            assert_eq!(life.shared.event_types.len(), 250);
            assert_eq!(life.shared.journal.last_lsn(), written + 1);
        }
    });
}
