//! The routes, and what surrounds every one of them.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use futures_util::FutureExt as _;

use super::{
    audit,
    auth::{self, Gate},
    backup, deliveries, endpoints, event_types, events, keys, meter, pooled,
    problem::{Kind, Problem},
    rollups, secrets, system,
};
use crate::dispatch::engine::Engine;

/// What handlers share.
#[derive(Clone)]
pub struct Api {
    pub engine: Engine,
    pub limits: ApiLimits,
    /// Writes all metrics in Prometheus' text format.
    pub render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// How much one request may be.
#[derive(Copy, Clone, Debug)]
pub struct ApiLimits {
    /// Bytes of one document: an event, a line of a batch, an endpoint.
    pub payload: usize,
    pub batch_lines: usize,
    pub batch_bytes: usize,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            payload: 256 * 1024,
            batch_lines: 10_000,
            batch_bytes: 64 * 1024 * 1024,
        }
    }
}

/// The whole API. Serve it with [`super::listen`], which says by what way a request came.
pub fn router(api: Api) -> Router {
    let engine = api.engine.clone();
    let keys = engine.clone();
    let memory = engine.memory().clone();
    let gate = Gate::new(move |hash: &[u8; 32]| keys.key_by_hash(hash));
    problems_for_the_rest(routes())
        .with_state(api)
        .layer(middleware::from_fn_with_state(memory, meter::count))
        .layer(middleware::from_fn_with_state(engine.clone(), auth::confine))
        .layer(middleware::from_fn_with_state(engine.clone(), pooled::in_turns))
        .layer(middleware::from_fn_with_state(gate, auth::check))
        .layer(middleware::from_fn_with_state(engine, observe))
}

fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/events", get(events::list).post(events::enqueue))
        .route("/v1/events/{id}", get(events::show))
        .route("/v1/events/{id}/deliveries", get(events::deliveries))
        .route("/v1/events/{id}/explain", get(events::explain))
        .route("/v1/events/{id}/replay", post(events::replay))
        .route(
            "/v1/events/{id}/payload",
            get(events::payload).delete(events::erase),
        )
        .route(
            "/v1/endpoints",
            get(endpoints::list).post(endpoints::create).put(endpoints::apply),
        )
        .route(
            "/v1/endpoints/{id}",
            get(endpoints::show)
                .patch(endpoints::patch)
                .delete(endpoints::delete),
        )
        .route("/v1/endpoints/{id}/enable", post(endpoints::enable))
        .route("/v1/endpoints/{id}/disable", post(endpoints::disable))
        .route("/v1/endpoints/{id}/pause", post(endpoints::pause))
        .route("/v1/endpoints/{id}/verify", post(endpoints::verify))
        .route("/v1/endpoints/{id}/test", post(endpoints::test))
        .route("/v1/endpoints/{id}/preview", post(endpoints::preview))
        .route("/v1/endpoints/{id}/recover", post(endpoints::recover))
        .route("/v1/endpoints/{id}/secret", get(secrets::show))
        .route("/v1/endpoints/{id}/secret/rotate", post(secrets::rotate))
        .route("/v1/endpoints/{id}/public-key", get(secrets::public_keys))
        .route("/v1/endpoints/{id}/stats", get(endpoints::stats))
        .route("/v1/deliveries", get(deliveries::list))
        .route("/v1/deliveries/{id}", get(deliveries::show))
        .route("/v1/deliveries/{id}/retry", post(deliveries::retry))
        .route("/v1/deliveries/{id}/cancel", post(deliveries::cancel))
        .route("/v1/attempts", get(deliveries::attempts))
        .route("/v1/attempts/{id}", get(deliveries::attempt))
        .route("/v1/event-types", get(event_types::list))
        .route("/v1/event-types/{type}", event_types::routes())
        .route(
            "/v1/event-types/import",
            event_types::routes().post(event_types::import),
        )
        .route("/v1/keys", get(keys::list).post(keys::create))
        .route("/v1/keys/{id}", delete(keys::revoke))
        .route("/v1/audit", get(audit::list))
        .route("/v1/rollups", get(rollups::list))
        .route("/v1/backup", post(backup::take))
        .route("/v1/status", get(system::status))
        .route("/metrics", get(system::metrics))
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
}

/// Unknown paths and methods are problems too.
fn problems_for_the_rest<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.fallback(no_route).method_not_allowed_fallback(no_method)
}

async fn no_route() -> Problem {
    Problem::new(Kind::NotFound, "there is no such route")
}

async fn no_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        Kind::MethodNotAllowed,
        format!("{} does not take {method}; see the allow header", uri.path()),
    )
}

/// Logs a line for each request: never a body, a token or a query. A handler that panics is an answer and an error
/// in the log.
async fn observe(State(engine): State<Engine>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map_or("(none)", MatchedPath::as_str);
    let began = engine.now();
    let response = guarded(next.run(request), &method, path).await;
    tracing::debug!(
        http.method = %method,
        http.route = path,
        http.status = response.status().as_u16(),
        duration_ms = engine.now().since(began).as_millis() as u64,
        "a request was answered"
    );
    hardened(response)
}

async fn guarded(answering: impl Future<Output = Response>, method: &Method, path: &str) -> Response {
    AssertUnwindSafe(answering)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            tracing::error!(http.method = %method, http.route = path, "a request handler panicked");
            Problem::new(Kind::Internal, "the request failed; the server's log says why")
                .closing()
                .into_response()
        })
}

/// Answers may hold secrets, and are not pages.
fn hardened(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tower_service::Service as _;

    use super::*;
    use crate::{
        api::{document::Id, params::NoParams},
        domain::id::EndpointId,
    };

    #[expect(clippy::disallowed_methods, reason = "our own answers, which are short")]
    async fn ask(method: &str, path: &str) -> (Response<()>, serde_json::Value) {
        let routes = Router::new()
            .route(
                "/v1/things/{id}",
                get(|Id(id): Id<EndpointId>, _: NoParams| async move { id.to_string() }),
            )
            .route(
                "/v1/broken",
                get(|| async {
                    if true {
                        panic!("broken")
                    }
                }),
            );
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        let answering = problems_for_the_rest(routes)
            .call(request)
            .map(|response| response.unwrap());
        let (parts, body) = guarded(answering, &Method::GET, path).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (
            Response::from_parts(parts, ()),
            serde_json::from_slice(&bytes).unwrap_or_default(),
        )
    }

    #[tokio::test]
    async fn unknown_paths_and_methods_are_problems() {
        for path in [
            "/",
            "/v1",
            "/v1/things",
            "/v1/things/a/b",
            "/v1/things/../../etc/passwd",
        ] {
            let (response, problem) = ask("GET", path).await;
            assert_eq!(response.status(), 404, "{path}");
            assert_eq!(problem["type"], "/problems/not-found");
        }
        let (response, problem) = ask("DELETE", "/v1/things/x").await;
        assert_eq!(
            (response.status().as_u16(), &problem["type"]),
            (405, &"/problems/method-not-allowed".into())
        );
        assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
    }

    #[tokio::test]
    async fn ids_of_another_form_are_problems() {
        for id in [
            "..%2f..%2fx",
            "%00",
            "%ff",
            "key_01h455vb4pex5vsknk084sn02q",
            "evt_x",
        ] {
            let (response, problem) = ask("GET", &format!("/v1/things/{id}")).await;
            assert_eq!(
                (response.status().as_u16(), &problem["type"]),
                (400, &"/problems/invalid-id".into()),
                "{id}"
            );
        }
        assert_eq!(
            ask("GET", "/v1/things/ep_01h455vb4pex5vsknk084sn02q")
                .await
                .0
                .status(),
            200
        );
        let (response, problem) = ask("GET", "/v1/things/ep_01h455vb4pex5vsknk084sn02q?lmit=1").await;
        assert_eq!(
            (response.status().as_u16(), &problem["errors"][0]["field"]),
            (400, &"lmit".into())
        );
    }

    #[tokio::test]
    async fn a_panic_in_a_handler_is_an_answer() {
        let (response, problem) = ask("GET", "/v1/broken").await;
        assert_eq!(
            (response.status().as_u16(), &problem["type"]),
            (500, &"/problems/internal".into())
        );
    }
}
