//! What each route asks for, and which role meets it.

use axum::http::Method;

use crate::domain::record::Role;

/// What a route asks of who uses it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    Read,
    Enqueue,
    Manage,
    Admin,
}

impl Need {
    /// What the route of this method and path pattern asks for; an unknown path has to be asked for with a key.
    pub fn of(method: &Method, path: Option<&str>) -> Self {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match path {
            Some("/healthz" | "/readyz") => Self::Nothing,
            None => Self::Read,
            Some(path) if shows_secrets(path) || path.starts_with("/v1/keys") => Self::Admin,
            // It names keys and what they did.
            Some("/v1/audit") => Self::Admin,
            // It holds everything, the sealing key included.
            Some("/v1/backup") => Self::Admin,
            Some("/v1/events") if method == Method::POST => Self::Enqueue,
            Some(_) if reads => Self::Read,
            Some(_) => Self::Manage,
        }
    }

    pub const fn is_met_by(self, role: Role) -> bool {
        match self {
            Self::Nothing => true,
            Self::Read => matches!(role, Role::Viewer | Role::Manager | Role::Admin),
            Self::Enqueue => matches!(role, Role::Sender | Role::Admin),
            Self::Manage => matches!(role, Role::Manager | Role::Admin),
            Self::Admin => matches!(role, Role::Admin),
        }
    }
}

/// A preview is the request as it is, credentials and all.
fn shows_secrets(path: &str) -> bool {
    path.ends_with("/secret") || path.ends_with("/preview")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_meet_what_routes_need() {
        let roles = [Role::Viewer, Role::Sender, Role::Manager, Role::Admin];
        let met =
            |method: Method, path: &str| roles.map(|role| Need::of(&method, Some(path)).is_met_by(role));
        assert_eq!(met(Method::POST, "/v1/events"), [false, true, false, true]);
        assert_eq!(met(Method::GET, "/v1/events"), [true, false, true, true]);
        assert_eq!(
            met(Method::POST, "/v1/events/{id}/replay"),
            [false, false, true, true]
        );
        assert_eq!(
            met(Method::PATCH, "/v1/endpoints/{id}"),
            [false, false, true, true]
        );
        assert_eq!(met(Method::HEAD, "/metrics"), [true, false, true, true]);
        assert_eq!(
            met(Method::GET, "/v1/endpoints/{id}/secret"),
            [false, false, false, true]
        );
        assert_eq!(
            met(Method::POST, "/v1/endpoints/{id}/preview"),
            [false, false, false, true]
        );
        assert_eq!(
            met(Method::POST, "/v1/endpoints/{id}/secret/rotate"),
            [false, false, true, true]
        );
        assert_eq!(
            met(Method::GET, "/v1/endpoints/{id}/public-key"),
            [true, false, true, true]
        );
        assert_eq!(met(Method::GET, "/v1/keys"), [false, false, false, true]);
        assert_eq!(met(Method::DELETE, "/v1/keys/{id}"), [false, false, false, true]);
        assert_eq!(
            met(Method::PUT, "/v1/event-types/{type}"),
            [false, false, true, true]
        );
        assert_eq!(
            met(Method::POST, "/v1/event-types/import"),
            [false, false, true, true]
        );
        assert_eq!(met(Method::POST, "/v1/backup"), [false, false, false, true]);
        assert_eq!(met(Method::GET, "/healthz"), [true; 4]);
    }
}
