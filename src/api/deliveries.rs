//! `/v1/deliveries` and `/v1/attempts`: what became of events.

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{
    document::{Answer, Id},
    params::{NoParams, Params},
    problem::{Kind, Problem},
    router::Api,
};
use crate::{
    dispatch::{
        detail::AttemptDetails,
        view::{AttemptFilter, AttemptView, DeliveryFilter, DeliveryView, Listed},
    },
    domain::{
        id::{AttemptId, DeliveryId},
        outcome::Class,
    },
};

/// The states a delivery may be asked for by.
pub const STATES: [(&str, &str); 7] = [
    ("scheduled", "scheduled"),
    ("in_flight", "in_flight"),
    ("held", "held"),
    ("delivered", "delivered"),
    ("failed", "failed"),
    ("expired", "expired"),
    ("cancelled", "cancelled"),
];

pub async fn list(State(api): State<Api>, mut params: Params) -> Answer<Json<Listed<DeliveryView>>> {
    let page = params.take_page()?;
    let filter = DeliveryFilter {
        event: params.take("event")?,
        endpoint: params.take("endpoint")?,
        tenant: params.take("tenant")?,
        state: params.take_word("state", &STATES)?,
        since: params.take("since")?,
        until: params.take("until")?,
    };
    params.finish()?;
    Ok(Json(api.engine.deliveries(&filter, &page).await?))
}

pub async fn show(State(api): State<Api>, Id(id): Id<DeliveryId>, _: NoParams) -> Answer<Json<DeliveryView>> {
    Ok(Json(api.engine.delivery(&id).await?))
}

pub async fn retry(
    State(api): State<Api>,
    Id(id): Id<DeliveryId>,
    _: NoParams,
) -> Answer<Json<DeliveryView>> {
    Ok(Json(api.engine.retry_delivery(&id).await?))
}

pub async fn cancel(
    State(api): State<Api>,
    Id(id): Id<DeliveryId>,
    _: NoParams,
) -> Answer<Json<DeliveryView>> {
    Ok(Json(api.engine.cancel_delivery(&id).await?))
}

/// How attempts are written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Format {
    Json,
    /// One attempt a line; where the next page starts is a header.
    Lines,
}

const FORMATS: [(&str, Format); 2] = [("json", Format::Json), ("ndjson", Format::Lines)];

/// Where the next page of a list of lines starts.
const NEXT_CURSOR: HeaderName = HeaderName::from_static("next-cursor");
/// Where the page before it starts.
const PREVIOUS_CURSOR: HeaderName = HeaderName::from_static("previous-cursor");

pub async fn attempts(State(api): State<Api>, mut params: Params) -> Answer<Response> {
    let page = params.take_page()?;
    let format = params.take_word("format", &FORMATS)?.unwrap_or(Format::Json);
    let filter = attempt_filter(&mut params)?;
    params.finish()?;
    let listed = api.engine.attempts(&filter, &page).await?;
    Ok(match format {
        Format::Json => Json(listed).into_response(),
        Format::Lines => lines(&listed)?,
    })
}

pub async fn attempt(
    State(api): State<Api>,
    Id(id): Id<AttemptId>,
    _: NoParams,
) -> Answer<Json<AttemptDetails>> {
    Ok(Json(api.engine.attempt(&id).await?))
}

fn attempt_filter(params: &mut Params) -> Answer<AttemptFilter> {
    let outcomes = Class::ALL.map(|class| (class.as_str(), class));
    Ok(AttemptFilter {
        event: params.take("event")?,
        delivery: params.take("delivery")?,
        endpoint: params.take("endpoint")?,
        event_type: params.take("type")?,
        tenant: params.take("tenant")?,
        outcome: params.take_word("outcome", &outcomes)?,
        status: params.take_whole("status", 100..=999)?,
        since: params.take("since")?,
        until: params.take("until")?,
    })
}

fn lines(listed: &Listed<AttemptView>) -> Answer<Response> {
    let mut body = Vec::new();
    for attempt in &listed.data {
        serde_json::to_writer(&mut body, attempt)
            .map_err(|_| Problem::new(Kind::Internal, "an attempt could not be written as JSON"))?;
        body.push(b'\n');
    }
    let mut response = ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response();
    let previous = listed.previous.as_ref().and_then(Option::as_ref);
    let cursors = [(NEXT_CURSOR, listed.next.as_ref()), (PREVIOUS_CURSOR, previous)];
    for (name, cursor) in cursors {
        if let Some(cursor) = cursor.and_then(|cursor| HeaderValue::from_str(cursor).ok()) {
            response.headers_mut().insert(name, cursor);
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(query: &str) -> Answer<AttemptFilter> {
        let mut params = Params::of(&format!("/v1/attempts?{query}").parse().unwrap());
        let filter = attempt_filter(&mut params)?;
        params.finish()?;
        Ok(filter)
    }

    #[test]
    fn attempts_are_asked_for_by_what_they_are() {
        let read =
            filter("outcome=endpoint_error&status=410&type=user.created&since=2026-11-21T00:00:00Z").unwrap();
        assert_eq!(
            (read.outcome, read.status),
            (Some(Class::EndpointError), Some(410))
        );
        assert_eq!(read.event_type.unwrap().to_string(), "user.created");
        assert_eq!(
            filter("type=user.*").unwrap().event_type.unwrap().to_string(),
            "user.*"
        );
        for bad in [
            "outcome=bad",
            "status=99",
            "status=1000",
            "status=-1",
            "type=%20a",
            "delivery=evt_1",
            "x=1",
        ] {
            assert_eq!(filter(bad).unwrap_err().kind(), Kind::InvalidQuery, "{bad}");
        }
    }

    #[test]
    fn other_formats_are_refused_with_those_there_are() {
        for format in ["csv", "pdf", "JSON", ""] {
            let mut params = Params::of(&format!("/v1/attempts?format={format}").parse().unwrap());
            let problem = params.take_word("format", &FORMATS).unwrap_err();
            assert_eq!(problem.errors()[0].rule, "use one of json, ndjson");
        }
    }
}
