//! What a key of one tenant reaches: its tenant's things, and nothing else.
//!
//! Deny by default, in one place. [`confine`] stands between the gate and every route. To a key of one tenant a route is
//! shut unless it has a row in [`ROUTES`]. The row says what the path's `{id}` names, which is looked up first: what is
//! another tenant's, or nobody's, is answered as if it had never been. It also says whether the route is a list, or finds
//! an event by its id, which is the tenant's own: then the parameter `tenant` is put into its query, so that a route that
//! does not know the parameter refuses the request rather than show too much, and what its parameters `event` and
//! `delivery` name is looked up too. (`endpoint` needs no look: beside a tenant it can only narrow.)
//!
//! What a body says is its handler's to check, by the [`Scope`] that it takes: new events and endpoints become the
//! tenant's, and ids in it are looked up. A route whose body names something gets a row only with that.

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{Method, Uri, request},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::Principal;
use crate::{
    api::{
        document::Id,
        params::Params,
        problem::{Kind, Problem},
    },
    dispatch::{engine::Engine, tenants::Thing},
    domain::{
        event::{Label, NewEvent},
        id::{AttemptId, DeliveryId, EndpointId, EventId},
    },
};

/// What the `{id}` of a path names.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Named {
    /// There is none.
    Nothing,
    Endpoint,
    Event,
    Delivery,
    Attempt,
}

/// What becomes of a query.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Query {
    /// It is left as it is.
    Plain,
    /// It selects from a list, or among events of one id, and is made to select the tenant's.
    OfTenant,
}

use self::{
    Named::{Attempt, Delivery, Endpoint, Event, Nothing},
    Query::{OfTenant, Plain},
};

/// The routes that are open to a key of one tenant, beside its role. `GET` stands for `HEAD` as well.
const ROUTES: [(&[&str], &str, Named, Query); 31] = [
    (&["GET"], "/v1/events", Nothing, OfTenant),
    (&["POST"], "/v1/events", Nothing, Plain),
    (&["GET"], "/v1/events/{id}", Event, OfTenant),
    (&["GET"], "/v1/events/{id}/deliveries", Event, OfTenant),
    (&["GET"], "/v1/events/{id}/explain", Event, OfTenant),
    (&["POST"], "/v1/events/{id}/replay", Event, OfTenant),
    (&["GET", "DELETE"], "/v1/events/{id}/payload", Event, OfTenant),
    (&["GET"], "/v1/endpoints", Nothing, OfTenant),
    (&["POST"], "/v1/endpoints", Nothing, Plain),
    (&["GET", "PATCH", "DELETE"], "/v1/endpoints/{id}", Endpoint, Plain),
    (&["POST"], "/v1/endpoints/{id}/enable", Endpoint, Plain),
    (&["POST"], "/v1/endpoints/{id}/disable", Endpoint, Plain),
    (&["POST"], "/v1/endpoints/{id}/pause", Endpoint, Plain),
    (&["POST"], "/v1/endpoints/{id}/test", Endpoint, Plain),
    (&["POST"], "/v1/endpoints/{id}/verify", Endpoint, Plain),
    (&["POST"], "/v1/endpoints/{id}/preview", Endpoint, Plain),
    (&["POST"], "/v1/endpoints/{id}/recover", Endpoint, Plain),
    (&["GET"], "/v1/endpoints/{id}/secret", Endpoint, Plain),
    (&["POST"], "/v1/endpoints/{id}/secret/rotate", Endpoint, Plain),
    (&["GET"], "/v1/endpoints/{id}/public-key", Endpoint, Plain),
    (&["GET"], "/v1/endpoints/{id}/stats", Endpoint, Plain),
    (&["GET"], "/v1/deliveries", Nothing, OfTenant),
    (&["GET"], "/v1/deliveries/{id}", Delivery, Plain),
    (&["POST"], "/v1/deliveries/{id}/retry", Delivery, Plain),
    (&["POST"], "/v1/deliveries/{id}/cancel", Delivery, Plain),
    (&["GET"], "/v1/attempts", Nothing, OfTenant),
    (&["GET"], "/v1/attempts/{id}", Attempt, Plain),
    (&["GET"], "/v1/rollups", Nothing, OfTenant),
    (&["GET"], "/v1/event-types", Nothing, Plain),
    (&["GET"], "/v1/event-types/{type}", Nothing, Plain),
    // The type of this name, whose path is another route's as well.
    (&["GET"], "/v1/event-types/import", Nothing, Plain),
];

/// Lets a request pass that its key's tenant may make, if it has one, or answers it.
pub async fn confine(State(engine): State<Engine>, request: Request, next: Next) -> Response {
    let principal = request.extensions().get::<Principal>();
    let Some(tenant) = principal.and_then(|principal| principal.tenant.clone()) else {
        return next.run(request).await;
    };
    match confined(&engine, &tenant, request).await {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn confined(engine: &Engine, tenant: &Label, request: Request) -> Result<Request, Problem> {
    let (mut parts, body) = request.into_parts();
    let path = parts.extensions.get::<MatchedPath>().cloned();
    let path = path.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such route"))?;
    let (named, query) = row(&parts.method, path.as_str()).ok_or_else(shut)?;
    if let Some(thing) = named.read(&mut parts).await? {
        engine.belongs(&thing, tenant).await?;
    }
    if query == OfTenant {
        for thing in selected(&parts.uri)? {
            engine.belongs(&thing, tenant).await?;
        }
        parts.uri = of_tenant(&parts.uri, tenant)?;
    }
    Ok(Request::from_parts(parts, body))
}

fn row(method: &Method, path: &str) -> Option<(Named, Query)> {
    let method = match method.as_str() {
        "HEAD" => "GET",
        other => other,
    };
    let mut rows = ROUTES.iter();
    let found = rows.find(|(methods, pattern, _, _)| *pattern == path && methods.contains(&method));
    found.map(|&(_, _, named, query)| (named, query))
}

fn shut() -> Problem {
    Problem::new(
        Kind::Forbidden,
        "a key of one tenant cannot do this; use one without a tenant",
    )
}

fn other_tenant() -> Problem {
    Problem::of_field(
        Kind::Forbidden,
        "tenant",
        "is another one than the key's; leave it out",
    )
}

impl Named {
    /// What a path names.
    ///
    /// # Errors
    /// [`Kind::InvalidId`], as the handler would answer.
    async fn read(self, parts: &mut request::Parts) -> Result<Option<Thing>, Problem> {
        Ok(match self {
            Nothing => None,
            Endpoint => {
                let Id(id) = Id::<EndpointId>::from_request_parts(parts, &()).await?;
                Some(Thing::Endpoint(id))
            }
            Event => {
                let Id(id) = Id::<EventId>::from_request_parts(parts, &()).await?;
                Some(Thing::Event(id))
            }
            Delivery => {
                let Id(id) = Id::<DeliveryId>::from_request_parts(parts, &()).await?;
                Some(Thing::Delivery(id))
            }
            Attempt => {
                let Id(id) = Id::<AttemptId>::from_request_parts(parts, &()).await?;
                Some(Thing::Attempt(id))
            }
        })
    }
}

/// What the query of a list names.
fn selected(uri: &Uri) -> Result<Vec<Thing>, Problem> {
    let mut params = Params::of(uri);
    let event = params.take("event")?.map(Thing::Event);
    let delivery = params.take("delivery")?.map(Thing::Delivery);
    Ok(event.into_iter().chain(delivery).collect())
}

/// The same address with the tenant in its query.
fn of_tenant(uri: &Uri, tenant: &Label) -> Result<Uri, Problem> {
    match Params::of(uri).take::<Label>("tenant")? {
        Some(asked) if asked == *tenant => return Ok(uri.clone()),
        Some(_) => return Err(other_tenant()),
        None => {}
    }
    let pair = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("tenant", tenant.as_str())
        .finish();
    let query = match uri.query() {
        None | Some("") => pair,
        Some(query) => format!("{query}&{pair}"),
    };
    let too_long = || Problem::new(Kind::InvalidQuery, "the query is too long; shorten it");
    let mut parts = uri.clone().into_parts();
    let whole = format!("{}?{query}", uri.path());
    parts.path_and_query = Some(whole.parse().map_err(|_| too_long())?);
    Uri::from_parts(parts).map_err(|_| too_long())
}

/// The tenant that a request is confined to, for handlers whose bodies name things or make them.
#[derive(Clone, Debug)]
pub struct Scope(Option<Label>);

impl<S: Sync> FromRequestParts<S> for Scope {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Principal>() {
            Some(principal) => Ok(Self(principal.tenant.clone())),
            // Nothing is known of who asks, least of all that they may see everything.
            None => Err(Problem::new(Kind::Internal, "nothing is known of who asks")),
        }
    }
}

impl Scope {
    /// `None` when every tenant's things may be reached.
    pub const fn tenant(&self) -> Option<&Label> {
        self.0.as_ref()
    }

    /// Makes something new the tenant's.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] naming `tenant`, when it is said to be another one's.
    pub fn claim(&self, tenant: &mut Option<Label>) -> Result<(), Problem> {
        match (&self.0, &*tenant) {
            (None, _) => Ok(()),
            (Some(own), Some(said)) if said != own => Err(other_tenant()),
            (Some(own), _) => {
                *tenant = Some(own.clone());
                Ok(())
            }
        }
    }

    /// The event as the tenant's.
    ///
    /// # Errors
    /// As [`Self::claim`].
    pub fn claim_event(&self, mut event: NewEvent) -> Result<NewEvent, Problem> {
        self.claim(&mut event.tenant)?;
        Ok(event)
    }

    /// Looks up an endpoint that a body names.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it is not the tenant's.
    pub async fn check_endpoint(&self, engine: &Engine, id: EndpointId) -> Result<(), Problem> {
        match &self.0 {
            None => Ok(()),
            Some(tenant) => Ok(engine.belongs(&Thing::Endpoint(id), tenant).await?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(text: &str) -> Label {
        text.parse().unwrap()
    }

    #[test]
    fn a_route_without_a_row_is_shut() {
        for (method, path) in [
            (Method::GET, "/v1/keys"),
            (Method::POST, "/v1/keys"),
            (Method::DELETE, "/v1/keys/{id}"),
            (Method::PUT, "/v1/endpoints"),
            (Method::GET, "/v1/status"),
            (Method::GET, "/metrics"),
            (Method::DELETE, "/v1/events"),
            (Method::GET, "/v1/events/"),
            (Method::GET, "/v1/things-to-come"),
        ] {
            assert_eq!(row(&method, path), None, "{method} {path}");
        }
        assert_eq!(row(&Method::HEAD, "/v1/events"), Some((Nothing, OfTenant)));
        assert_eq!(
            row(&Method::DELETE, "/v1/endpoints/{id}"),
            Some((Endpoint, Plain))
        );
    }

    #[test]
    fn every_row_names_what_its_path_says_and_lists_are_of_the_tenant() {
        for (methods, path, named, query) in ROUTES {
            let says = match path.trim_start_matches("/v1/").split_once("/{id}") {
                None => Nothing,
                Some(("endpoints", _)) => Endpoint,
                Some(("events", _)) => Event,
                Some(("deliveries", _)) => Delivery,
                Some(("attempts", _)) => Attempt,
                Some(_) => panic!("{path} is of another kind"),
            };
            assert_eq!(named, says, "{path}");
            // Whatever shows many things without naming one shows the tenant's; event types are everyone's.
            let shows_many = named == Nothing && methods.contains(&"GET");
            assert!(
                !shows_many || query == OfTenant || path.starts_with("/v1/event-types"),
                "{path}"
            );
        }
    }

    #[test]
    fn a_list_is_made_to_be_of_the_tenant() {
        let of = |uri: &str| of_tenant(&uri.parse().unwrap(), &tenant("a&b=é"));
        let query = |uri: &str| of(uri).unwrap().query().unwrap().to_owned();
        assert_eq!(query("/v1/events"), "tenant=a%26b%3D%C3%A9");
        assert_eq!(query("/v1/events?"), "tenant=a%26b%3D%C3%A9");
        assert_eq!(
            query("/v1/events?limit=5&type=x.y"),
            "limit=5&type=x.y&tenant=a%26b%3D%C3%A9"
        );
        let own = "/v1/events?tenant=a%26b=%C3%A9";
        assert_eq!(of(own).unwrap(), *own);
        for other in ["tenant=b", "%74enant=b", "tenant=A%26b%3D%C3%A9"] {
            let problem = of(&format!("/v1/events?{other}")).unwrap_err();
            assert_eq!(
                (problem.kind(), problem.errors()[0].field.as_str()),
                (Kind::Forbidden, "tenant"),
                "{other}"
            );
        }
        for bad in ["tenant=", "tenant=a&tenant=a", "tenant=%0a"] {
            let problem = of(&format!("/v1/events?{bad}")).unwrap_err();
            assert_eq!(problem.kind(), Kind::InvalidQuery, "{bad}");
        }
        let long = format!("/v1/events?type={}", "a".repeat(65_000));
        assert!(of_tenant(&long.parse().unwrap(), &tenant(&"t".repeat(256))).is_ok());
        let longest = format!("/v1/events?type={}", "a".repeat(65_500));
        let problem = of_tenant(&longest.parse().unwrap(), &tenant(&"t".repeat(256))).unwrap_err();
        assert_eq!(problem.kind(), Kind::InvalidQuery);
    }

    #[test]
    fn what_is_new_becomes_the_tenants() {
        let scope = Scope(Some(tenant("a")));
        let claimed = |said: Option<&str>| {
            let mut said = said.map(tenant);
            scope.claim(&mut said).map(|()| said)
        };
        assert_eq!(claimed(None).unwrap(), Some(tenant("a")));
        assert_eq!(claimed(Some("a")).unwrap(), Some(tenant("a")));
        assert_eq!(claimed(Some("b")).unwrap_err().errors()[0].field, "tenant");
        let mut free = Some(tenant("b"));
        Scope(None).claim(&mut free).unwrap();
        assert_eq!(free, Some(tenant("b")));
    }
}
