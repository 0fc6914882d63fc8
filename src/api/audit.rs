//! `/v1/audit`: who has changed what.

use axum::{Json, extract::State, http::HeaderMap};

use super::{
    auth::{Principal, Via},
    document::Answer,
    params::Params,
    problem::{Kind, Problem},
    router::Api,
};
use crate::{
    dispatch::{
        audit::{Asked, AuditView},
        view::Listed,
    },
    domain::{audit::AuditFilter, event::is_unsafe, limits},
};

/// Where a request says why it is made.
pub const REASON: &str = "posthaste-reason";

pub async fn list(State(api): State<Api>, mut params: Params) -> Answer<Json<Listed<AuditView>>> {
    let page = params.take_page()?;
    let filter = AuditFilter {
        actor: params.take("actor")?,
        action: params.take("action")?,
        target: params.take("target")?,
        since: params.take("since")?,
        until: params.take("until")?,
    };
    params.finish()?;
    Ok(Json(api.engine.audit(&filter, &page).await?))
}

/// Who asks, as the audit log names them.
///
/// # Errors
/// `Invalid` when the reason that they give is none.
pub fn asked(principal: &Principal, headers: &HeaderMap) -> Result<Asked, Problem> {
    Ok(Asked {
        actor: principal.name(),
        from: match principal.via {
            Via::Socket => "unix socket".to_owned(),
            Via::Tcp => "tcp".to_owned(),
        },
        reason: reason(headers)?,
    })
}

fn reason(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(REASON) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value.as_bytes()).unwrap_or_default().trim();
    if (1..=limits::AUDIT_REASON_BYTES).contains(&text.len()) && !text.chars().any(is_unsafe) {
        return Ok(Some(text.to_owned()));
    }
    let rule = "use 1 to 1024 bytes of UTF-8 without control characters";
    Err(Problem::of_field(Kind::Invalid, REASON, rule))
}
