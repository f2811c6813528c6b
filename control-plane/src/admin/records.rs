//! Records as their edges wrote them, from this voter's store alone, for whoever checks the chains. Clause A-13.
//!
//! A list of decisions is this voter's reading of records, and leaves out what belongs to no tenant. Whether nothing
//! is missing and nothing was changed shows only in the bytes, all of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use remit_common::text;
use serde::Deserialize;

use super::App;
use super::model::StoredRecords;
use super::problem::Failure;
use super::read::{Asked, asked};
use crate::collect::Arrivals;

/// Records of one answer: 16 KiB each at most.
const LIMIT_MAX: u32 = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    after: Option<u64>,
    limit: Option<u32>,
}

pub(super) async fn list(State(app): State<Arc<App>>, query: Asked<Ask>) -> Result<Json<StoredRecords>, Failure> {
    let Ask { after, limit } = asked(query)?;
    let limit = limit.unwrap_or(LIMIT_MAX);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let detail = format_args!("limit is 1 to {LIMIT_MAX}");
        return Err(Failure::new(StatusCode::BAD_REQUEST, "malformed", detail));
    }
    let Arrivals { last, records } = app.collector.since(Some(after.unwrap_or(0)), limit).await?;
    let records = records.iter().map(|record| text::base64(&record.bytes)).collect();
    Ok(Json(StoredRecords { voter: app.cluster.id, last, records }))
}
