//! Which requests are carried out in the work pool, and on whose account.
//!
//! All but a few: what lists, explains, previews, recovers or compiles takes CPU time and reads the disk, and must neither keep
//! the async threads nor other tenants waiting (see [`crate::runtime::work_pool`]).

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{audit, auth::Principal, problem::Problem};
use crate::{
    dispatch::{audit::asked_by, engine::Engine, error::EngineError},
    runtime::work_pool::Owner,
};

/// Carries out a request in its tenant's turns, or where it is; what it changes is noted as that of who asks.
pub async fn in_turns(State(engine): State<Engine>, request: Request, next: Next) -> Response {
    let principal = request.extensions().get::<Principal>();
    let owner = Owner::request(principal.and_then(|principal| principal.tenant.clone()));
    let asked = principal.map(|principal| audit::asked(principal, request.headers()));
    let asked = match asked.transpose() {
        Ok(asked) => asked,
        Err(problem) => return problem.into_response(),
    };
    let path = request.extensions().get::<MatchedPath>();
    let here = path.is_none_or(|path| is_done_here(request.method(), path.as_str()));
    let handled = async move {
        match asked {
            Some(asked) => asked_by(asked, next.run(request)).await,
            // A probe, of which nobody is asked who they are.
            None => next.run(request).await,
        }
    };
    if here {
        return handled.await;
    }
    let done = engine.work().run(owner, handled).await;
    done.unwrap_or_else(|refused| Problem::from(EngineError::from(refused)).into_response())
}

/// Probes, which must be answered whatever else there is to do; what waits for others rather than for the CPU; and the
/// acceptance of events, which hands the pool only what takes long.
fn is_done_here(method: &Method, path: &str) -> bool {
    match path {
        "/healthz" | "/readyz" | "/metrics" | "/v1/backup" => true,
        "/v1/endpoints/{id}/test" | "/v1/endpoints/{id}/verify" => true,
        "/v1/events" => method == Method::POST,
        _ => false,
    }
}
