//! `/v1/endpoints/{id}/secret` and `/public-key`: what requests are signed with, and what verifies them.

use axum::{Json, extract::State};
use serde::Serialize;

use super::{
    document::{Answer, Id, OptionalDocument},
    json::Shape,
    params::NoParams,
    router::Api,
};
use crate::{
    dispatch::view::{PublicKeyView, RotatedView, Rotation, SecretsView},
    domain::id::EndpointId,
};

pub async fn show(State(api): State<Api>, Id(id): Id<EndpointId>, _: NoParams) -> Answer<Json<SecretsView>> {
    Ok(Json(api.engine.endpoint_secrets(id).await?))
}

impl Shape for Rotation {
    const REQUIRED: &'static [&'static str] = &[];
}

/// Answers with the new secret, which is shown this once.
pub async fn rotate(
    State(api): State<Api>,
    Id(id): Id<EndpointId>,
    _: NoParams,
    OptionalDocument(rotation): OptionalDocument<Rotation>,
) -> Answer<Json<RotatedView>> {
    Ok(Json(api.engine.rotate_secret(id, rotation).await?))
}

/// The public keys of an endpoint.
#[derive(Serialize)]
pub struct Keys {
    keys: Vec<PublicKeyView>,
}

pub async fn public_keys(State(api): State<Api>, Id(id): Id<EndpointId>, _: NoParams) -> Answer<Json<Keys>> {
    let keys = api.engine.endpoint_public_keys(id).await?;
    Ok(Json(Keys { keys }))
}
