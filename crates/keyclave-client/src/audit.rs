//! Reading the trail of the whole cluster.

use keyclave_proto::request::Invalid;
use keyclave_proto::v1;
use keyclave_types::ids::{NodeId, RequestId};
use keyclave_types::name::KeyName;
use keyclave_types::time::UnixMillis;

use crate::client::{Answer, Client, answer};
use crate::error::{ReadError, WriteError};
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

/// How the trails stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trails {
    /// The key that signs notes, as C2SP's verifier key; none before there is one.
    pub note_key: Option<String>,
    /// Every node's trail, as it was last put on record.
    pub heads: Vec<TrailHead>,
    /// How long records are kept at least, in milliseconds; without end if none.
    pub keep_ms: Option<u64>,
    /// Who holds the trail, if somebody does.
    pub hold: Option<TrailHold>,
    /// The node that answered.
    pub node: NodeId,
    /// Whether that node's trail was tampered with.
    pub tampered: bool,
    /// Whether there is little room for that node's trail.
    pub low: bool,
}

/// How one node's trail stood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrailHead {
    /// Whose trail.
    pub node: NodeId,
    /// Its last record's number.
    pub sequence: u64,
    /// That record's hash.
    pub hash: [u8; 32],
    /// When.
    pub time: UnixMillis,
    /// The same as a signed note; none where its records are in no tree yet.
    pub note: Option<String>,
}

/// Somebody's wish that nothing be removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrailHold {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: UnixMillis,
}

impl Client {
    /// How every node's trail stood when it was last put on record, signed.
    pub async fn trails(&self) -> Result<Answer<Trails>, ReadError> {
        let send = |channel, request| async move { wire::audit(channel).get_trails(request).await };
        Ok(answer(self.read(v1::GetTrailsRequest {}, send).await?, trails)?)
    }

    /// Keeps every record of every trail from now on.
    pub async fn hold_trail(&self, reason: &str) -> Result<Answer<()>, WriteError> {
        let make = |request_id, _| v1::HoldTrailRequest { reason: reason.to_owned(), request_id };
        let send = |channel, request| async move { wire::audit(channel).hold_trail(request).await };
        Ok(answer(self.write(make, send).await?, |_| Ok(()))?)
    }

    /// Ends a hold.
    pub async fn release_trail(&self) -> Result<Answer<()>, WriteError> {
        let make = |request_id, _| v1::ReleaseTrailRequest { request_id };
        let send = |channel, request| async move { wire::audit(channel).release_trail(request).await };
        Ok(answer(self.write(make, send).await?, |_| Ok(()))?)
    }

    /// Changes how long records are kept at least; without end if none.
    pub async fn retain_trail(&self, keep_ms: Option<u64>) -> Result<Answer<()>, WriteError> {
        let make = |request_id, _| v1::RetainTrailRequest { keep_ms, request_id };
        let send = |channel, request| async move { wire::audit(channel).retain_trail(request).await };
        Ok(answer(self.write(make, send).await?, |_| Ok(()))?)
    }

    /// Lets a node serve again whose trail was tampered with; it must be among the endpoints.
    pub async fn acknowledge_trail(&self, node: NodeId) -> Result<Answer<()>, WriteError> {
        let make = |request_id, _| v1::AcknowledgeTrailRequest { node: node.get(), request_id };
        let send = |channel, request| async move { wire::audit(channel).acknowledge_trail(request).await };
        Ok(answer(self.write(make, send).await?, |_| Ok(()))?)
    }

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

fn trails(response: v1::GetTrailsResponse) -> Result<Trails, Invalid> {
    let hold = response.hold.map(|hold| TrailHold {
        by: hold.by,
        reason: hold.reason,
        since: UnixMillis(hold.since_unix_ms),
    });
    Ok(Trails {
        note_key: Some(response.note_key).filter(|key| !key.is_empty()),
        heads: response.heads.into_iter().map(head).collect::<Result<_, _>>()?,
        keep_ms: response.keep_ms,
        hold,
        node: wire::node(response.node, "node")?,
        tampered: response.tampered,
        low: response.low,
    })
}

fn head(head: v1::TrailHead) -> Result<TrailHead, Invalid> {
    Ok(TrailHead {
        node: wire::node(head.node, "heads.node")?,
        sequence: head.sequence,
        hash: wire::bytes(&head.hash, "heads.hash")?,
        time: UnixMillis(head.time_unix_ms),
        note: Some(head.note).filter(|note| !note.is_empty()),
    })
}
