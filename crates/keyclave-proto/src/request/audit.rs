//! Requests of `AuditService`.

use std::num::NonZeroU32;

use keyclave_types::name::KeyName;
use keyclave_types::request::{Write, WriteKind};
use keyclave_types::time::UnixMillis;

use super::field::{self, At};
use super::{Asked, Cause, Invalid};
use crate::page::{self, AuditCursor};
use crate::v1;

/// Bytes of a principal or an operation to look for.
const MATCH_BYTES_MAX: usize = 512;

/// Bytes of the reason for a hold.
const REASON_BYTES_MAX: usize = 512;
/// The shortest time for which records are kept, in milliseconds: a segment lasts a day.
const KEEP_MS_MIN: u64 = 24 * 3_600_000;

/// What to look for in the trail; what is absent matches everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditSearch {
    /// Not before.
    pub since: Option<UnixMillis>,
    /// Before.
    pub until: Option<UnixMillis>,
    /// About this key.
    pub key: Option<KeyName>,
    /// About this caller.
    pub principal: Option<String>,
    /// Of this operation.
    pub operation: Option<String>,
    /// After this record.
    pub after: Option<AuditCursor>,
    /// How many at most.
    pub page_items: NonZeroU32,
}

impl TryFrom<v1::HoldTrailRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::HoldTrailRequest) -> Result<Self, Invalid> {
        let reason = field::text(request.reason, REASON_BYTES_MAX).at("reason")?;
        let reason = reason.ok_or(Cause::Missing).at("reason")?;
        field::write(WriteKind::HoldTrail { reason }, &request.request_id, None)
    }
}

impl TryFrom<v1::ReleaseTrailRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::ReleaseTrailRequest) -> Result<Self, Invalid> {
        field::write(WriteKind::ReleaseTrail, &request.request_id, None)
    }
}

impl TryFrom<v1::RetainTrailRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::RetainTrailRequest) -> Result<Self, Invalid> {
        let keep_ms = request.keep_ms.map(|ms| field::range(ms, KEEP_MS_MIN, u64::MAX));
        let keep_ms = keep_ms.transpose().at("keep_ms")?;
        field::write(WriteKind::RetainTrail { keep_ms }, &request.request_id, None)
    }
}

impl TryFrom<v1::AcknowledgeTrailRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::AcknowledgeTrailRequest) -> Result<Self, Invalid> {
        let node = field::node(request.node).at("node")?;
        field::write(WriteKind::AcknowledgeTrail { node }, &request.request_id, None)
    }
}

impl TryFrom<v1::SearchRequest> for AuditSearch {
    type Error = Invalid;

    fn try_from(request: v1::SearchRequest) -> Result<Self, Invalid> {
        let key = match request.key_name.as_str() {
            "" => None,
            name => Some(field::key_name(name, "key_name")?),
        };
        Ok(Self {
            since: request.since_unix_ms.map(UnixMillis),
            until: request.until_unix_ms.map(UnixMillis),
            key,
            principal: field::text(request.principal, MATCH_BYTES_MAX).at("principal")?,
            operation: field::text(request.operation, MATCH_BYTES_MAX).at("operation")?,
            after: page::parse_audit_token(&request.page_token).at("page_token")?,
            page_items: field::page_items(request.page_size)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_search_matches_everything() {
        let search = AuditSearch::try_from(v1::SearchRequest::default()).unwrap();
        let nothing = (search.since, search.until, search.key, search.principal, search.operation);
        assert_eq!(nothing, (None, None, None, None, None));
        assert_eq!((search.after, search.page_items.get()), (None, 100));
    }

    #[test]
    fn what_is_matched_is_short() {
        let request = v1::SearchRequest { principal: "p".repeat(513), ..Default::default() };
        assert_eq!(AuditSearch::try_from(request).unwrap_err().field, "principal");
    }
}
