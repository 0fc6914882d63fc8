//! `/v1/rollups`: how much happened, minute by minute or hour by hour.

use axum::{Json, extract::State};

use super::{document::Answer, params::Params, router::Api};
use crate::{
    dispatch::rollups::{RollupFilter, RollupsView},
    domain::rollup::Interval,
};

const INTERVALS: [(&str, Interval); 2] = [("minute", Interval::Minute), ("hour", Interval::Hour)];

pub async fn list(State(api): State<Api>, mut params: Params) -> Answer<Json<RollupsView>> {
    let filter = RollupFilter {
        interval: params
            .take_word("interval", &INTERVALS)?
            .unwrap_or(Interval::Minute),
        endpoint: params.take("endpoint")?,
        tenant: params.take("tenant")?,
        since: params.take("since")?,
        until: params.take("until")?,
    };
    params.finish()?;
    Ok(Json(api.engine.rollups(&filter).await?))
}
