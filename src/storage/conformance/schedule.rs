//! What the scheduler reads: due deliveries and entries, in pages.

use super::{
    Bench, Subject,
    bench::whole,
    parts::{FAR, at, attempt, endpoint, event, label},
    rules,
};
use crate::{
    domain::{
        delivery::Stage, health::Health, id::DeliveryKey, ordering::Strand, record::EventAccepted,
        time::Timestamp,
    },
    storage::schedule::{DuePage, FRONT, Portion, Position, ScheduleRead, behind},
};

rules!(
    due_deliveries_come_earliest_first_and_then_in_their_order,
    a_page_ends_at_its_limit_and_says_where_the_next_one_begins,
    a_delivery_that_is_due_later_is_named_and_not_answered,
    a_page_begins_at_its_position,
    entries_come_whether_they_are_due_or_not,
    an_entry_says_what_its_order_needs,
    a_single_delivery_is_answered_where_it_stands,
    answers_come_in_the_order_of_the_questions,
    an_endpoint_without_anything_has_an_empty_schedule,
    endpoints_with_work_come_in_pages_by_their_ids,
    attempts_are_answered_in_the_order_of_the_deliveries,
);

impl<S: Subject> Bench<S> {
    async fn accept_due(&self, name: &str, to: &[u8], seconds: u64) -> Position {
        let event = EventAccepted {
            due: at(seconds),
            ..event(name, to)
        };
        (at(seconds), DeliveryKey::new(self.accept(event).await, 0))
    }

    async fn page(&self, from: Position, now: Timestamp, limit: usize) -> (Vec<Position>, Option<Position>) {
        let portion = Portion {
            from,
            limit,
            ..whole(1)
        };
        let read = ScheduleRead {
            due: vec![portion],
            now,
            ..ScheduleRead::default()
        };
        let DuePage { deliveries, next } = self.read(read).await.due.remove(0);
        let places = deliveries.iter().map(|row| (row.due, row.delivery.key));
        (places.collect(), next)
    }
}

async fn due_deliveries_come_earliest_first_and_then_in_their_order<S: Subject>(bench: Bench<S>) {
    let mut places = Vec::new();
    for (name, seconds) in [("a", 50), ("b", 20), ("c", 50), ("d", 30), ("e", 20)] {
        places.push(bench.accept_due(name, &[1], seconds).await);
    }
    places.sort_unstable();
    assert_eq!(bench.page(FRONT, FAR, 9).await, (places, None));
}

async fn a_page_ends_at_its_limit_and_says_where_the_next_one_begins<S: Subject>(bench: Bench<S>) {
    let mut places = Vec::new();
    for (name, seconds) in [("a", 1), ("b", 1), ("c", 1), ("d", 2), ("e", 3)] {
        places.push(bench.accept_due(name, &[1], seconds).await);
    }
    let (mut found, mut from) = (Vec::new(), Some(FRONT));
    while let Some(position) = from {
        let (page, next) = bench.page(position, FAR, 2).await;
        assert_eq!(page.len(), if next.is_some() { 2 } else { 1 });
        found.extend(page);
        from = next;
    }
    assert_eq!(found, places);
    // A page that the last delivery fills is the last.
    assert_eq!(bench.page(places[3], FAR, 2).await, (places[3..].to_vec(), None));
}

async fn a_delivery_that_is_due_later_is_named_and_not_answered<S: Subject>(bench: Bench<S>) {
    let now = bench.accept_due("a", &[1], 1).await;
    let later = bench.accept_due("b", &[1], 60).await;
    assert_eq!(bench.page(FRONT, at(59), 9).await, (vec![now], Some(later)));
    assert_eq!(bench.page(FRONT, at(60), 9).await, (vec![now, later], None));
    assert_eq!(bench.page(FRONT, at(0), 9).await, (vec![], Some(now)));
}

async fn a_page_begins_at_its_position<S: Subject>(bench: Bench<S>) {
    let mut places = Vec::new();
    for name in ["a", "b", "c"] {
        places.push(bench.accept_due(name, &[1], 5).await);
    }
    assert_eq!(bench.page(places[1], FAR, 9).await, (places[1..].to_vec(), None));
    assert_eq!(
        bench.page(behind(places[1]), FAR, 9).await,
        (places[2..].to_vec(), None)
    );
    assert_eq!(bench.page(behind(places[2]), FAR, 9).await, (vec![], None));
    assert_eq!(
        bench.page((at(6), DeliveryKey::MIN), FAR, 9).await,
        (vec![], None)
    );
}

async fn entries_come_whether_they_are_due_or_not<S: Subject>(bench: Bench<S>) {
    let mut places = Vec::new();
    for (name, seconds) in [("a", 1), ("b", 600), ("c", 60_000)] {
        places.push(bench.accept_due(name, &[1], seconds).await);
    }
    let page = async |from, limit| {
        let portion = Portion {
            from,
            limit,
            ..whole(1)
        };
        let read = ScheduleRead {
            entries: vec![portion],
            ..ScheduleRead::default()
        };
        let page = bench.read(read).await.entries.remove(0);
        let found: Vec<Position> = page.entries.iter().map(|entry| entry.at).collect();
        (found, page.next)
    };
    assert_eq!(page(FRONT, 9).await, (places.clone(), None));
    assert_eq!(page(FRONT, 2).await, (places[..2].to_vec(), Some(places[2])));
    assert_eq!(page(places[2], 2).await, (places[2..].to_vec(), None));
}

async fn an_entry_says_what_its_order_needs<S: Subject>(bench: Bench<S>) {
    let ordered = EventAccepted {
        ordering_key: Some(label("order-7")),
        expires_at: Some(at(900)),
        ..event("a", &[1])
    };
    bench.accept(ordered).await;
    bench.accept(event("b", &[2])).await;
    let entry = bench.entries(1).await.remove(0);
    assert_eq!(entry.strand, Some(Strand::of_key(&label("order-7"))));
    assert_eq!((entry.since, entry.expires_at), (None, Some(at(900))));
    let plain = bench.entries(2).await.remove(0);
    assert_eq!((plain.strand, plain.since, plain.expires_at), (None, None, None));
    // So it does after an attempt.
    let delivery = bench.only(1).await;
    bench
        .settle(&[attempt(&delivery, Stage::Scheduled { due: at(30) })])
        .await;
    let tried = bench.entries(1).await.remove(0);
    assert_eq!((tried.strand, tried.expires_at), (entry.strand, entry.expires_at));
}

async fn a_single_delivery_is_answered_where_it_stands<S: Subject>(bench: Bench<S>) {
    let place = bench.accept_due("a", &[1], 5).await;
    let stands = async |number: u8, at: Position| {
        let read = ScheduleRead {
            at: vec![(endpoint(number), at)],
            ..ScheduleRead::default()
        };
        bench.read(read).await.at.remove(0).map(|row| row.delivery.key)
    };
    assert_eq!(stands(1, place).await, Some(place.1));
    for (number, elsewhere) in [(2, place), (1, (at(6), place.1)), (1, (at(5), DeliveryKey::MIN))] {
        assert_eq!(stands(number, elsewhere).await, None);
    }
    let delivery = bench.only(1).await;
    bench
        .settle(&[attempt(&delivery, Stage::Scheduled { due: at(30) })])
        .await;
    assert_eq!(stands(1, place).await, None);
    assert_eq!(stands(1, (at(30), place.1)).await, Some(place.1));
}

async fn answers_come_in_the_order_of_the_questions<S: Subject>(bench: Bench<S>) {
    for (name, to) in [("a", 1), ("b", 2), ("c", 3)] {
        bench.accept(event(name, &[to])).await;
        let delivery = bench.only(to).await;
        let mut failed = attempt(&delivery, Stage::Scheduled { due: at(30) });
        failed.health.failures = to.into();
        bench.settle(&[failed]).await;
    }
    let asked = [3, 1, 9, 2];
    let read = ScheduleRead {
        due: asked.map(whole).into(),
        entries: asked.map(whole).into(),
        health: asked.map(endpoint).into(),
        now: FAR,
        ..ScheduleRead::default()
    };
    let answer = bench.read(read).await;
    let due = answer
        .due
        .iter()
        .map(|page| page.deliveries.first().map(|row| row.delivery.endpoint));
    let wanted = [Some(endpoint(3)), Some(endpoint(1)), None, Some(endpoint(2))];
    assert_eq!(due.collect::<Vec<_>>(), wanted);
    let entries: Vec<usize> = answer.entries.iter().map(|page| page.entries.len()).collect();
    assert_eq!(entries, [1, 1, 0, 1]);
    let failures: Vec<u32> = answer.health.iter().map(|health| health.failures).collect();
    assert_eq!(failures, [3, 1, 0, 2]);
}

async fn an_endpoint_without_anything_has_an_empty_schedule<S: Subject>(bench: Bench<S>) {
    assert_eq!(bench.page(FRONT, FAR, 9).await, (vec![], None));
    assert_eq!(bench.entries(1).await, []);
    assert_eq!(bench.health(1).await, Health::default());
}

async fn endpoints_with_work_come_in_pages_by_their_ids<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[5, 2, 9, 4])).await;
    bench.accept(event("b", &[2])).await;
    let page = async |after: Option<u8>, limit| {
        let found = bench.storage.endpoints_with_work(after.map(endpoint), limit);
        let found = found.await.unwrap().into_iter();
        found.map(|id| id.as_bytes()[0]).collect::<Vec<u8>>()
    };
    assert_eq!(page(None, 9).await, [2, 4, 5, 9]);
    assert_eq!(page(None, 3).await, [2, 4, 5]);
    assert_eq!(page(Some(4), 3).await, [5, 9]);
    assert_eq!(page(Some(3), 1).await, [4]);
    assert_eq!(page(Some(9), 3).await, Vec::<u8>::new());
}

async fn attempts_are_answered_in_the_order_of_the_deliveries<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1, 2])).await;
    let (tried, untried) = (bench.only(1).await, bench.only(2).await);
    bench.settle(&[attempt(&tried, Stage::Delivered)]).await;
    let asked = vec![DeliveryKey::new(77, 7), tried.key, untried.key];
    let found = bench.storage.attempts_recorded(asked).await.unwrap();
    assert_eq!(found, [None, Some(1), Some(0)]);
}
