//! A wall clock that is set, told step by step: when things go out, and which times people see.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;
use tokio::time::sleep;

use super::{
    super::view::{DeliveryFilter, DeliveryView, Page},
    driver::engine,
    life::{Life, scratch},
    log::Log,
    new_world,
    profile::Profile,
    receivers::Manner,
    stage::Stage,
};
use crate::{
    domain::{
        event::{NewEvent, Payload},
        id::{EndpointId, EventId},
        time::Timestamp,
    },
    runtime::clock::Clock,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// More than it takes until a wall clock is believed.
const CONFIRMED: Duration = Duration::from_secs(660);

/// Lives one life with a receiver that fails until it is told otherwise, and is tried again an hour later.
fn live(play: impl AsyncFnOnce(&Life, EndpointId)) {
    let scratch = scratch();
    let stage = Arc::new(Stage::new(1, Log::default()));
    let mut world = new_world(&scratch, stage.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let life = world.boot(&Profile::of(1));
        pass(&life, MINUTE).await;
        let document = json!({
            "url": "https://e.test/", "events": ["**"], "retry": {"delays": ["1h", "1h"]}, "concurrency": 8,
        });
        let document = document.as_object().cloned().unwrap();
        let (view, _) = engine(&life).create_endpoint(document).await.unwrap();
        stage.set_manner(view.id, Manner::Status(503));
        play(&life, view.id).await;
        life.stop(&mut world).await;
    });
}

/// Time passes. Every rule of the simulation holds meanwhile.
async fn pass(life: &Life, mut time: Duration) {
    while !time.is_zero() {
        let piece = time.min(10 * Duration::from_secs(1));
        sleep(piece).await;
        time -= piece;
        life.tick();
        let wrong = &life.stage.lock().wrong;
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

fn set_wall(life: &Life, to: Timestamp) {
    life.wall.set(to.as_millis());
    life.stage.wall_is_set();
}

async fn accept(life: &Life, deliver_at: Option<Timestamp>, expires_at: Option<Timestamp>) -> EventId {
    let event = NewEvent {
        id: None,
        event_type: "a".parse().unwrap(),
        tenant: None,
        channel: None,
        ordering_key: None,
        occurred_at: None,
        deliver_at,
        expires_at,
        attributes: Default::default(),
        payload: Payload {
            content_type: None,
            bytes: Bytes::from_static(b"{}"),
        },
    };
    engine(life).accept(event, None).await.unwrap().id
}

async fn delivery(life: &Life, event: &EventId) -> DeliveryView {
    let filter = DeliveryFilter {
        event: Some(event.clone()),
        ..DeliveryFilter::default()
    };
    let page = Page {
        limit: 10,
        cursor: None,
        ascending: true,
    };
    let mut found = engine(life).deliveries(&filter, &page).await.unwrap().data;
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// How long until a delivery is due, by the wall clock that everyone sees.
async fn left(life: &Life, event: &EventId) -> Duration {
    delivery(life, event).await.due.unwrap().since(life.wall.now())
}

fn about(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) < MINUTE
}

#[test]
fn a_wall_clock_that_is_set_back_leaves_every_delay_what_was_left_of_it() {
    live(async |life, endpoint| {
        let failed = accept(life, None, None).await;
        let delayed = accept(life, Some(life.wall.now().plus(2 * HOUR)), None).await;
        pass(life, MINUTE).await;
        assert_eq!(delivery(life, &failed).await.attempts, 1);
        let (before, of_delayed) = (left(life, &failed).await, left(life, &delayed).await);
        assert!(before > 40 * MINUTE, "{before:?}");

        set_wall(life, life.wall.now().minus(DAY));
        pass(life, CONFIRMED).await;
        assert!(about(left(life, &failed).await, before - CONFIRMED));
        assert!(about(left(life, &delayed).await, of_delayed - CONFIRMED));

        // What is new goes by the wall clock, in what is judged and in what is shown.
        let wall = life.wall.now();
        let new = accept(life, Some(wall.plus(HOUR)), Some(wall.plus(2 * HOUR))).await;
        assert!(about(left(life, &new).await, HOUR));
        let view = engine(life).event(&new, None).await.unwrap();
        assert_eq!(view.deliver_at, Some(wall.plus(HOUR)));
        assert_eq!(view.expires_at, Some(wall.plus(2 * HOUR)));
        for time in [view.accepted_at, view.occurred_at] {
            assert!(about(time.since(wall.minus(MINUTE)), MINUTE), "{time}, {wall}");
        }

        // All of it arrives, none of it early: the simulation's own rules see to that.
        life.stage.set_manner(endpoint, Manner::Well);
        pass(life, 3 * HOUR).await;
        for event in [failed, delayed, new] {
            assert_eq!(delivery(life, &event).await.state, "delivered");
        }
    });
}

#[test]
fn a_wall_clock_that_is_set_forward_makes_due_what_is_due_by_then_once_it_is_confirmed() {
    live(async |life, endpoint| {
        life.stage.set_manner(endpoint, Manner::Well);
        let delayed = accept(life, Some(life.wall.now().plus(20 * DAY)), None).await;
        let (truth, ahead) = (life.wall.now(), 30 * DAY);
        // For a moment first.
        set_wall(life, truth.plus(ahead));
        pass(life, 5 * MINUTE).await;
        assert_eq!(delivery(life, &delayed).await.state, "scheduled");
        set_wall(life, truth.plus(5 * MINUTE));
        pass(life, MINUTE).await;
        let brief = accept(life, None, Some(life.wall.now().plus(HOUR))).await;
        pass(life, MINUTE).await;
        assert_eq!(delivery(life, &brief).await.state, "delivered");
        // Then for good.
        set_wall(life, life.wall.now().plus(ahead));
        pass(life, CONFIRMED + MINUTE).await;
        assert_eq!(delivery(life, &delayed).await.state, "delivered");
        let (_, shown) = life.shared.clock.now_and_shown();
        assert!(about(shown.since(life.wall.now()), Duration::ZERO));
    });
}
