//! How the server itself stands: for people, for probes and for Prometheus.

use axum::{
    Json,
    extract::State,
    http::{HeaderName, header},
};
use serde_json::{Value, json};

use super::{
    document::Answer,
    params::NoParams,
    problem::{Kind, Problem},
    router::Api,
};
use crate::dispatch::view::StatusView;

pub async fn status(State(api): State<Api>, _: NoParams) -> Json<StatusView> {
    Json(api.engine.status().await)
}

pub async fn metrics(State(api): State<Api>) -> ([(HeaderName, &'static str); 1], String) {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        (api.render_metrics)(),
    )
}

/// Whether the process runs.
pub async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Whether requests should be sent here.
pub async fn readyz(State(api): State<Api>) -> Answer<Json<Value>> {
    readiness(api.engine.not_ready())
}

fn readiness(reasons: Vec<String>) -> Answer<Json<Value>> {
    if reasons.is_empty() {
        return Ok(Json(json!({ "status": "ready" })));
    }
    let problem = Problem::new(Kind::NotReady, reasons.join("; "));
    Err(problem.with("reasons", reasons.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_in_the_way_of_being_ready() {
        assert!(readiness(Vec::new()).is_ok());
        let problem = readiness(vec!["the store is being rebuilt".into()]).unwrap_err();
        assert_eq!(problem.status().as_u16(), 503);
        assert_eq!(
            problem.to_value()["reasons"],
            json!(["the store is being rebuilt"])
        );
    }
}
