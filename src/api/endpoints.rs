//! `/v1/endpoints`: who is delivered to, and how they stand.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, header},
};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value, value::RawValue};

use super::{
    auth::Scope,
    body,
    document::{Answer, Document, Id, OptionalDocument},
    event_document,
    json::{self, Shape},
    media,
    meter::Meter,
    params::{NoParams, Params},
    problem::{Kind, Problem},
    router::Api,
};
use crate::{
    dispatch::{
        apply::Applied,
        preview::PreviewView,
        recover::{RecoverRequest, Recovered, What},
        view::{AttemptView, EndpointView, Listed, StatsView, TestRequest},
    },
    domain::{
        endpoint::{DisableWhy, DisabledReason, EndpointSpec, EndpointState, StateChange},
        event::{EventType, Label},
        id::EndpointId,
        number,
        time::Timestamp,
    },
};

/// Answers with the secrets, which are shown this once.
pub async fn create(
    State(api): State<Api>,
    scope: Scope,
    _: NoParams,
    Document(EndpointSpec { mut tenant, .. }, mut document): Document<EndpointSpec>,
) -> Answer<(StatusCode, [(HeaderName, String); 1], Json<EndpointView>)> {
    scope.claim(&mut tenant)?;
    if let Some(tenant) = tenant {
        document.insert("tenant".to_owned(), String::from(tenant).into());
    }
    let (mut endpoint, signatures) = api.engine.create_endpoint(document).await?;
    let location = format!("/v1/endpoints/{}", endpoint.id);
    endpoint
        .settings
        .insert("signatures".to_owned(), signatures.into());
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(endpoint),
    ))
}

pub async fn list(State(api): State<Api>, mut params: Params) -> Answer<Json<Listed<EndpointView>>> {
    let page = params.take_page()?;
    let tenant: Option<Label> = params.take("tenant")?;
    let state = params.take_word("state", &EndpointState::ALL.map(|state| (state.as_str(), state)))?;
    params.finish()?;
    Ok(Json(
        api.engine
            .endpoints(tenant.as_ref().map(Label::as_str), state, &page)
            .await?,
    ))
}

pub async fn show(State(api): State<Api>, Id(id): Id<EndpointId>, _: NoParams) -> Answer<Json<EndpointView>> {
    Ok(Json(api.engine.endpoint(id).await?))
}

impl Shape for EndpointSpec {
    const REQUIRED: &'static [&'static str] = &["url"];
}

/// Any object: which members it may have is checked when it has been merged.
#[derive(Deserialize)]
pub struct Patch {}

impl Shape for Patch {
    const REQUIRED: &'static [&'static str] = &[];
}

/// A JSON merge patch (RFC 7396).
pub async fn patch(
    State(api): State<Api>,
    Id(id): Id<EndpointId>,
    _: NoParams,
    Document(_, patch): Document<Patch>,
) -> Answer<Json<EndpointView>> {
    Ok(Json(api.engine.patch_endpoint(id, patch.into()).await?))
}

pub async fn delete(State(api): State<Api>, Id(id): Id<EndpointId>, _: NoParams) -> Answer<StatusCode> {
    api.engine.delete_endpoint(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn enable(
    State(api): State<Api>,
    Id(id): Id<EndpointId>,
    mut params: Params,
) -> Answer<Json<EndpointView>> {
    let discard = params
        .take_word("discard", &[("true", true), ("false", false)])?
        .unwrap_or(false);
    params.finish()?;
    change(&api, id, StateChange::Enable { discard }).await
}

pub async fn disable(
    State(api): State<Api>,
    Id(id): Id<EndpointId>,
    _: NoParams,
) -> Answer<Json<EndpointView>> {
    let by_hand = DisabledReason {
        why: DisableWhy::Manual,
        reason: None,
        status: None,
    };
    change(&api, id, StateChange::Disable(by_hand)).await
}

pub async fn pause(
    State(api): State<Api>,
    Id(id): Id<EndpointId>,
    _: NoParams,
) -> Answer<Json<EndpointView>> {
    change(&api, id, StateChange::Pause).await
}

async fn change(api: &Api, id: EndpointId, change: StateChange) -> Answer<Json<EndpointView>> {
    Ok(Json(api.engine.change_endpoint(id, change).await?))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyDocument {
    #[serde(default, deserialize_with = "code")]
    code: Option<String>,
}

impl Shape for VerifyDocument {
    const REQUIRED: &'static [&'static str] = &[];
}

/// A code as text, or as the number that receivers are sent.
fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) => Ok(Some(number.to_string())),
        _ => Err(D::Error::custom("is six digits, as text or as a number")),
    }
}

/// Has an endpoint prove itself by its handshake, or takes the code that it was sent.
pub async fn verify(
    State(api): State<Api>,
    Id(id): Id<EndpointId>,
    _: NoParams,
    OptionalDocument(document): OptionalDocument<VerifyDocument>,
) -> Answer<Json<EndpointView>> {
    Ok(Json(api.engine.verify_endpoint(id, document.code).await?))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestDocument {
    #[serde(rename = "type")]
    event_type: Option<EventType>,
    data: Option<Box<RawValue>>,
}

impl Shape for TestDocument {
    const REQUIRED: &'static [&'static str] = &[];
}

impl TestDocument {
    fn into_request(self) -> Answer<TestRequest> {
        let event_type = match self.event_type {
            Some(event_type) => event_type,
            None => "endpoint.test"
                .parse()
                .map_err(|_| Problem::new(Kind::Internal, "no type for a test"))?,
        };
        let data = self.data.map_or(Bytes::from_static(br#"{"test":true}"#), |data| {
            Bytes::from(Box::<str>::from(data).into_string())
        });
        Ok(TestRequest { event_type, data })
    }
}

pub async fn test(
    State(api): State<Api>,
    Id(id): Id<EndpointId>,
    _: NoParams,
    OptionalDocument(document): OptionalDocument<TestDocument>,
) -> Answer<Json<AttemptView>> {
    Ok(Json(
        api.engine.test_endpoint(id, document.into_request()?).await?,
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    endpoints: Vec<Map<String, Value>>,
    #[serde(default)]
    prune: bool,
    #[serde(default)]
    dry_run: bool,
}

impl Shape for Apply {
    const REQUIRED: &'static [&'static str] = &["endpoints"];
}

/// Makes the endpoints be what a document says.
pub async fn apply(
    State(api): State<Api>,
    _: NoParams,
    meter: Meter,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Applied>> {
    media::json(&headers)?;
    // As much as a batch of events: a document of all endpoints is no single event. But it is held whole.
    let most = api.limits.batch_bytes.min(api.engine.memory().largest());
    let bytes = body::read_whole(&meter, &headers, body, most).await?;
    let (
        Apply {
            endpoints,
            prune,
            dry_run,
        },
        _,
    ) = json::read_strictly(&bytes)?;
    Ok(Json(api.engine.apply_endpoints(endpoints, prune, dry_run).await?))
}

/// The request that an event, given as for enqueueing, would become.
pub async fn preview(
    State(api): State<Api>,
    Id(id): Id<EndpointId>,
    _: NoParams,
    meter: Meter,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<PreviewView>> {
    media::json(&headers)?;
    let bytes = body::read_whole(&meter, &headers, body, api.limits.payload).await?;
    let event = event_document::read(&bytes)?;
    Ok(Json(api.engine.preview(id, event).await?))
}

/// More than any count of deliveries: the largest whole number that every JSON reader keeps.
const MOST: u64 = 1 << 53;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recover {
    since: Timestamp,
    until: Option<Timestamp>,
    #[serde(default, deserialize_with = "number::whole_or_none::<100, 999, _, _>")]
    status: Option<u16>,
    #[serde(default)]
    what: What,
    #[serde(default)]
    dry_run: bool,
    #[serde(default, deserialize_with = "number::whole_or_none::<0, MOST, _, _>")]
    limit: Option<usize>,
    cursor: Option<String>,
}

impl Shape for Recover {
    const REQUIRED: &'static [&'static str] = &["since"];
}

pub async fn recover(
    State(api): State<Api>,
    Id(id): Id<EndpointId>,
    _: NoParams,
    Document(recover, _): Document<Recover>,
) -> Answer<Json<Recovered>> {
    let request = RecoverRequest {
        since: recover.since,
        until: recover.until,
        status: recover.status,
        what: recover.what,
        dry_run: recover.dry_run,
        limit: recover.limit,
        cursor: recover.cursor,
    };
    Ok(Json(api.engine.recover_endpoint(id, &request).await?))
}

pub async fn stats(State(api): State<Api>, Id(id): Id<EndpointId>, _: NoParams) -> Answer<Json<StatsView>> {
    Ok(Json(api.engine.endpoint_stats(id).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_has_a_type_and_data_of_its_own() {
        let plain = TestDocument::default().into_request().unwrap();
        assert_eq!(
            (plain.event_type.as_str(), &plain.data[..]),
            ("endpoint.test", &br#"{"test":true}"#[..])
        );
        // Its data is any that an event may have.
        for data in [r#"{"x": 1.0}"#, r#"{"n":1e400,"n":"\ud83d"}"#] {
            let document = format!(r#"{{"type":"a.b","data":{data}}}"#);
            let own = json::read_alone::<TestDocument>(document.as_bytes()).unwrap();
            let own = own.into_request().unwrap();
            assert_eq!((own.event_type.as_str(), &own.data[..]), ("a.b", data.as_bytes()));
        }
        let refused = |text: &str| {
            let problem = json::read_alone::<TestDocument>(text.as_bytes()).err().unwrap();
            let field = problem.errors().first().map(|error| error.field.clone());
            (problem.kind(), field)
        };
        assert_eq!(refused("[]"), (Kind::Invalid, None));
        assert_eq!(refused("{\"data\":nope}"), (Kind::MalformedDocument, None));
        assert_eq!(refused(r#"{"dta":1}"#), (Kind::Invalid, Some("dta".to_owned())));
        assert_eq!(
            refused(r#"{"data":1,"data":2}"#),
            (Kind::Invalid, Some("data".to_owned()))
        );
    }

    #[test]
    fn a_recovery_names_its_start() {
        let read = |text: &str| json::read_strictly::<Recover>(text.as_bytes());
        assert!(read(r#"{"since":"2026-11-21T00:00:00Z","status":500}"#).is_ok());
        assert_eq!(read("{}").err().unwrap().errors()[0].field, "since");
        assert_eq!(read(r#"{"since":5}"#).err().unwrap().errors()[0].field, "since");
    }
}
