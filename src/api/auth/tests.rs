//! Keys, good and bad, and the gate before a trivial router.

use super::*;
use crate::domain::{id::KeyId, time::Timestamp};

const TOKEN: &str = "ph_0123456789abcdef";

fn key(role: Role, tenant: Option<&str>) -> Arc<KeyView> {
    Arc::new(KeyView {
        id: KeyId::new(Timestamp::EPOCH, 1),
        name: "ci".into(),
        role,
        tenant: tenant.map(|tenant| tenant.parse().unwrap()),
        created_at: Timestamp::EPOCH,
        expires_at: None,
        hash: Sha256::digest(TOKEN).into(),
    })
}

fn ask(authorization: &[&str], uri: &str, key: &Arc<KeyView>) -> Result<Principal, Problem> {
    let mut headers = HeaderMap::new();
    for value in authorization {
        headers.append(header::AUTHORIZATION, value.parse().unwrap());
    }
    let look_up = |hash: &[u8; 32]| (*hash == key.hash).then(|| Arc::clone(key));
    principal(Via::Tcp, &headers, &uri.parse().unwrap(), look_up)
}

#[test]
fn a_known_key_says_who_asks() {
    let wanted = Principal {
        role: Role::Manager,
        tenant: None,
        via: Via::Tcp,
        key: Some(KeyId::new(Timestamp::EPOCH, 1)),
    };
    let key = key(Role::Manager, None);
    assert_eq!(
        ask(&[&format!("Bearer {TOKEN}")], "/v1/events", &key).unwrap(),
        wanted
    );
    assert_eq!(
        ask(&[&format!("bearer  {TOKEN}")], "/v1/events", &key).unwrap(),
        wanted
    );
}

#[test]
fn anything_but_a_known_key_is_refused_alike() {
    let key = key(Role::Admin, None);
    let bearer = format!("Bearer {TOKEN}");
    let huge = format!("Bearer ph_{}", "a".repeat(1_000_000));
    let cut = &bearer[..bearer.len() - 1];
    let longer = format!("{bearer}0");
    for bad in [
        cut,
        &longer,
        "",
        "Bearer",
        "Bearer ",
        "Bearer ph_",
        TOKEN,
        "Basic cGg6cGg=",
        &huge,
    ] {
        assert_eq!(
            ask(&[bad], "/v1/events", &key).unwrap_err().kind(),
            Kind::Unauthorized,
            "{bad:.30}"
        );
    }
    assert!(ask(&[], "/v1/events", &key).is_err());
    assert!(ask(&[&bearer, &bearer], "/v1/events", &key).is_err());
}

#[test]
fn a_key_in_the_query_is_refused_even_beside_a_good_one() {
    let key = key(Role::Admin, None);
    for query in ["key=x", "a=b&access_token=x", "token=a&token=b"] {
        let asked = ask(
            &[&format!("Bearer {TOKEN}")],
            &format!("/v1/events?{query}"),
            &key,
        );
        assert_eq!(asked.unwrap_err().kind(), Kind::Unauthorized, "{query}");
    }
}

#[test]
fn a_key_of_one_tenant_says_which() {
    let asked = ask(
        &[&format!("Bearer {TOKEN}")],
        "/v1/events",
        &key(Role::Viewer, Some("t")),
    );
    assert_eq!(asked.unwrap().tenant, Some("t".parse().unwrap()));
}

#[test]
fn the_socket_needs_no_key() {
    let asked = principal(Via::Socket, &HeaderMap::new(), &"/".parse().unwrap(), |_| None).unwrap();
    assert_eq!((asked.role, asked.via), (Role::Admin, Via::Socket));
}

async fn status(router: &mut axum::Router, method: &str, path: &str, via: Via, token: Option<&str>) -> u16 {
    let mut request = Request::builder().method(method).uri(path).extension(via);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(axum::body::Body::empty()).unwrap();
    tower_service::Service::call(router, request)
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test(start_paused = true)]
async fn the_gate_stands_before_every_route_but_the_probes() {
    let key = key(Role::Viewer, None);
    let gate = Gate::new(move |hash: &[u8; 32]| (*hash == key.hash).then(|| Arc::clone(&key)));
    let mut router = axum::Router::new()
        .route("/healthz", axum::routing::get(|| async {}))
        .route("/v1/events", axum::routing::get(|| async {}).post(|| async {}))
        .layer(axum::middleware::from_fn_with_state(gate, check));
    assert_eq!(status(&mut router, "GET", "/healthz", Via::Tcp, None).await, 200);
    assert_eq!(
        status(&mut router, "GET", "/v1/events", Via::Tcp, None).await,
        401
    );
    assert_eq!(
        status(&mut router, "GET", "/v1/nothing", Via::Tcp, None).await,
        401
    );
    assert_eq!(
        status(&mut router, "GET", "/v1/events", Via::Tcp, Some("ph_wrong")).await,
        401
    );
    assert_eq!(
        status(&mut router, "GET", "/v1/events", Via::Tcp, Some(TOKEN)).await,
        200
    );
    assert_eq!(
        status(&mut router, "POST", "/v1/events", Via::Tcp, Some(TOKEN)).await,
        403
    );
    assert_eq!(
        status(&mut router, "GET", "/v1/nothing", Via::Tcp, Some(TOKEN)).await,
        404
    );
    assert_eq!(
        status(&mut router, "POST", "/v1/events", Via::Socket, None).await,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn refusals_past_the_bound_are_throttled() {
    let refusals = Semaphore::new(1);
    let refuse = || slowly(&refusals, unauthorized("no"));
    let (first, second) = tokio::join!(refuse(), refuse());
    assert_eq!(
        (first.kind(), second.kind()),
        (Kind::Unauthorized, Kind::Throttled)
    );
    assert_eq!(refuse().await.kind(), Kind::Unauthorized);
}
