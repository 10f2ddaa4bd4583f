//! Reading the trail of the whole cluster.

use keyclave_proto::request::Invalid;
use keyclave_proto::v1;
use keyclave_types::ids::{NodeId, RequestId};
use keyclave_types::name::KeyName;
use keyclave_types::time::UnixMillis;

use crate::client::{Answer, Client, answer};
use crate::error::ReadError;
use crate::keys::PageToken;
use crate::wire;

/// What to look for; what is absent matches everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditQuery {
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
    /// How many at most; 0 leaves it to the server.
    pub page_size: u32,
    /// After the page that ended so.
    pub after: Option<PageToken>,
}

/// One record of one node's chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRecord {
    /// The node that wrote it.
    pub node: NodeId,
    /// Its number in that node's chain.
    pub sequence: u64,
    /// When, by that node's clock.
    pub time: UnixMillis,
    /// The call.
    pub request_id: RequestId,
    /// Which class of acts.
    pub class: String,
    /// `intent`, `done` or `withheld`.
    pub phase: String,
    /// `OK` or a stable reason.
    pub outcome: String,
    /// The opened body, one JSON object; empty if its key was dropped.
    pub body_json: String,
}

/// One page of records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditPage {
    /// The records, oldest first.
    pub records: Vec<AuditRecord>,
    /// What to ask the next page with; none on the last.
    pub next: Option<PageToken>,
    /// Nodes whose records could not be read: the page is not complete.
    pub missing_nodes: Vec<NodeId>,
}

impl Client {
    /// One page of the records that match.
    pub async fn search_audit(&self, query: AuditQuery) -> Result<Answer<AuditPage>, ReadError> {
        let request = v1::SearchRequest {
            since_unix_ms: query.since.map(|at| at.0),
            until_unix_ms: query.until.map(|at| at.0),
            key_name: query.key.map(String::from).unwrap_or_default(),
            principal: query.principal.unwrap_or_default(),
            operation: query.operation.unwrap_or_default(),
            page_size: query.page_size,
            page_token: query.after.map(|token| token.0).unwrap_or_default(),
        };
        let send = |channel, request| async move { wire::audit(channel).search(request).await };
        Ok(answer(self.read(request, send).await?, page)?)
    }
}

fn page(response: v1::SearchResponse) -> Result<AuditPage, Invalid> {
    let records = response.records.into_iter().map(record).collect::<Result<_, _>>()?;
    let missing = response.missing_nodes.into_iter().map(|number| wire::node(number, "missing_nodes"));
    let missing_nodes = missing.collect::<Result<_, _>>()?;
    Ok(AuditPage { records, next: PageToken::of(response.next_page_token), missing_nodes })
}

fn record(record: v1::AuditRecord) -> Result<AuditRecord, Invalid> {
    Ok(AuditRecord {
        node: wire::node(record.node, "records.node")?,
        sequence: record.sequence,
        time: UnixMillis(record.time_unix_ms),
        request_id: RequestId::from_bytes(wire::bytes(&record.request_id, "records.request_id")?),
        class: record.class,
        phase: record.phase,
        outcome: record.outcome,
        body_json: record.body_json,
    })
}
