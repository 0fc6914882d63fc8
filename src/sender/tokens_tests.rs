use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::time::{advance, sleep};

use super::*;
use crate::domain::auth::Auth;

fn credentials(extra: &str) -> ClientCredentials {
    let text = format!(
        r#"{{"type":"oauth2","token_url":"https://id.test/","client_id":"a","client_secret":"b"{extra}}}"#
    );
    let auth: Auth = serde_json::from_str(&text).unwrap();
    auth.oauth2().unwrap().clone()
}

fn key() -> Key {
    Key::of(&credentials(""), RouteId::default())
}

fn grant(seconds: u64) -> Grant {
    Grant {
        authorization: HeaderValue::from_static("Bearer t"),
        lifetime: Duration::from_secs(seconds),
    }
}

const FAILED: NotGranted = NotGranted {
    fault: Fault::TokenUnavailable,
    remote: None,
    error: None,
    unreached: None,
    is_late: false,
};

fn later() -> Instant {
    Instant::now() + Duration::from_secs(15)
}

/// A token endpoint that counts, and takes a second for each answer.
#[derive(Default)]
struct Endpoint(AtomicUsize);

impl Endpoint {
    async fn answer(&self, answer: Result<Grant, NotGranted>) -> Result<Grant, NotGranted> {
        sleep(Duration::from_secs(1)).await;
        self.0.fetch_add(1, Ordering::SeqCst);
        answer
    }

    fn asked(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_once_for_all_who_wait_and_kept_until_shortly_before_its_end() {
    let (tokens, endpoint) = (Tokens::default(), Endpoint::default());
    let get = || tokens.get(key(), None, later(), || endpoint.answer(Ok(grant(3600))));
    for token in join_all((0..50).map(|_| get())).await {
        assert_eq!(token.unwrap().serial, 1);
    }
    assert_eq!(endpoint.asked(), 1);
    advance(Duration::from_secs(3600 - 60 - 2)).await;
    assert_eq!(get().await.unwrap().serial, 1);
    advance(Duration::from_secs(2)).await;
    assert_eq!(get().await.unwrap().serial, 2, "a minute before its end");
}

#[tokio::test(start_paused = true)]
async fn a_short_life_is_shortened_by_a_tenth_and_none_at_all_serves_those_who_waited() {
    let (tokens, endpoint) = (Tokens::default(), Endpoint::default());
    let get = |seconds| tokens.get(key(), None, later(), move || async move { Ok(grant(seconds)) });
    assert_eq!(get(100).await.unwrap().serial, 1);
    advance(Duration::from_secs(89)).await;
    assert_eq!(get(100).await.unwrap().serial, 1);
    advance(Duration::from_secs(1)).await;
    assert_eq!(get(100).await.unwrap().serial, 2);

    let tokens = Tokens::default();
    let get = || tokens.get(key(), None, later(), || endpoint.answer(Ok(grant(0))));
    for token in join_all((0..9).map(|_| get())).await {
        assert_eq!(token.unwrap().serial, 1);
    }
    assert_eq!(get().await.unwrap().serial, 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_fetched_anew_once_however_many_were_refused() {
    let (tokens, endpoint) = (Tokens::default(), Endpoint::default());
    let get = |refused| tokens.get(key(), refused, later(), || endpoint.answer(Ok(grant(3600))));
    let first = get(None).await.unwrap().serial;
    for token in join_all((0..9).map(|_| get(Some(first)))).await {
        assert_eq!(token.unwrap().serial, 2);
    }
    assert_eq!(endpoint.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_all_who_waited_for_it_and_to_nobody_after() {
    let (tokens, endpoint) = (Tokens::default(), Endpoint::default());
    let get = |answer| tokens.get(key(), None, later(), || endpoint.answer(answer));
    for token in join_all((0..9).map(|_| get(Err(FAILED)))).await {
        assert!(token.is_err());
    }
    assert_eq!(endpoint.asked(), 1);
    assert!(get(Ok(grant(60))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_token_near_its_end_is_used_while_no_other_can_be_had_but_not_a_refused_one() {
    let (tokens, endpoint) = (Tokens::default(), Endpoint::default());
    let get = |refused, answer| tokens.get(key(), refused, later(), || endpoint.answer(answer));
    assert_eq!(get(None, Ok(grant(3600))).await.unwrap().serial, 1);
    advance(Duration::from_secs(3570)).await;
    assert_eq!(get(None, Err(FAILED)).await.unwrap().serial, 1);
    assert!(get(Some(1), Err(FAILED)).await.is_err());
    assert!(get(None, Err(FAILED)).await.is_err(), "it is gone");
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_late_and_who_gives_up_leaves_the_fetching_to_the_next() {
    let tokens = Tokens::default();
    let forever = || async { std::future::pending().await };
    let soon = Instant::now() + Duration::from_secs(1);
    let fetching = timeout_at(soon, tokens.get(key(), None, soon, forever));
    let waiting = tokens.get(key(), None, soon, forever);
    let (gave_up, waited) = tokio::join!(fetching, waiting);
    assert!(gave_up.is_err());
    assert!(waited.is_err_and(|failed| failed.is_late));
    assert!(
        tokens
            .get(key(), None, later(), || async { Ok(grant(60)) })
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn tokens_are_kept_apart_by_all_that_they_were_asked_for_with() {
    let variants = [
        "",
        r#","scopes":["x"]"#,
        r#","scopes":["x","y"]"#,
        r#","audience":"x""#,
        r#","client_auth":"body""#,
    ];
    let mut keys: Vec<Key> = variants
        .iter()
        .map(|extra| Key::of(&credentials(extra), RouteId::default()))
        .collect();
    keys.push(Key::of(&credentials(""), RouteId([1; 32])));
    let tokens = Tokens::default();
    for key in keys {
        let token = tokens.get(key, None, later(), || async { Ok(grant(60)) }).await;
        assert_eq!(token.unwrap().serial, 1);
    }
    assert_eq!(tokens.0.lock().unwrap().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_are_kept_and_the_one_used_longest_ago_goes_first() {
    let tokens = Tokens::default();
    let key = |number: usize| Key(digest([Some(&number.to_le_bytes()[..])]));
    for number in 0..=KEPT {
        tokens.place(key(number), Instant::now());
        tokens.place(key(0), Instant::now());
        advance(Duration::from_millis(1)).await;
    }
    let kept = tokens.0.lock().unwrap();
    assert_eq!(kept.len(), KEPT);
    assert!(kept.contains_key(&key(0)) && !kept.contains_key(&key(1)));
}
