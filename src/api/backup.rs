//! `/v1/backup`: the data, as far as the client lacks it.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};

use super::{
    body,
    document::Answer,
    json::{self, Shape},
    media,
    meter::Meter,
    params::NoParams,
    router::Api,
};
use crate::domain::{
    backup::{MEDIA_TYPE, Request},
    limits::BACKUP_HEAD_BYTES,
};

impl Shape for Request {
    const REQUIRED: &'static [&'static str] = &[];
}

pub async fn take(
    State(api): State<Api>,
    _: NoParams,
    meter: Meter,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    media::json(&headers)?;
    let bytes = body::read_whole(&meter, &headers, body, BACKUP_HEAD_BYTES).await?;
    let (request, _) = json::read_strictly::<Request>(&bytes)?;
    let backup = api.engine.backup(request).await?;
    let length = HeaderValue::from(backup.bytes);
    let mut response = Response::new(Body::from_stream(backup.pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CONTENT_LENGTH, length);
    Ok(response)
}
