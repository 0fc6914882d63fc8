//! Version 1 of the records that held rows of the index, read as what is written today.

use serde::Deserialize;

use crate::{
    domain::{
        id::{EndpointId, Lsn},
        reclaim::{Carried, FloorRaised, Home, RowCopy},
        record::Record,
        time::Timestamp,
    },
    runtime::codec::{CodecError, decode_body},
    storage::local::index,
};

#[derive(Deserialize)]
struct CarriedRows {
    rows: Vec<RowCopy>,
    home: Home,
    configuration: bool,
}

#[derive(Deserialize)]
struct FloorWithRows {
    floor: Lsn,
    accepted_at: Timestamp,
    /// Each has a row.
    #[serde(rename = "deleted")]
    _deleted: Vec<EndpointId>,
    rows: Vec<RowCopy>,
}

pub(super) fn carried(body: &[u8]) -> Result<Record, CodecError> {
    let CarriedRows {
        rows,
        home,
        configuration,
    } = decode_body(body)?;
    let rows = rows.into_iter();
    Ok(Record::Carried(Carried {
        state: rows.map(|row| index::state_of_row(row, &home)).collect(),
        home,
        configuration,
    }))
}

pub(super) fn floor_raised(body: &[u8]) -> Result<Record, CodecError> {
    let floor: FloorWithRows = decode_body(body)?;
    Ok(Record::FloorRaised(FloorRaised {
        floor: floor.floor,
        accepted_at: floor.accepted_at,
        deleted: floor.rows.iter().filter_map(index::endpoint_of_row).collect(),
    }))
}
