//! `AuditService`: searching the trail of the node that is asked.

use keyclave_audit::search::{Filter, FoundRecord, search};
use keyclave_audit::segment_key::{SegmentKeyId, SegmentKeys};
use keyclave_crypto::secret::Secret;
use keyclave_node::host::Host;
use keyclave_policy::{Action, Permit};
use keyclave_proto::page::{AuditCursor, audit_token};
use keyclave_proto::request::{AuditSearch, Invalid};
use keyclave_proto::v1;
use keyclave_proto::v1::audit_service_server::AuditService;
use keyclave_types::time::UnixMillis;
use keyclave_vault::view::View;
use tonic::{Request, Response, Status};

use super::{Api, take};
use crate::pipeline::internal;

struct ViewKeys<'a> {
    view: &'a View,
    permit: &'a Permit,
}

impl SegmentKeys for ViewKeys<'_> {
    fn key(&self, id: SegmentKeyId) -> Option<Secret<32>> {
        self.view.segment_key(self.permit, id.0)
    }
}

#[tonic::async_trait]
impl<H: Host> AuditService for Api<H> {
    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        let (caller, message) = take(request)?;
        let asked: AuditSearch = message.try_into().map_err(|invalid: Invalid| Status::from(invalid))?;
        let files = self.pipeline.node().trail_files().map_err(|error| internal(&error.to_string()))?;
        let items = usize::try_from(asked.page_items.get()).unwrap_or(usize::MAX);
        let filter = Filter {
            since: asked.since,
            until: asked.until,
            key: asked.key,
            principal: asked.principal,
            operation: asked.operation,
            outcome: None,
            after: asked.after.map_or(0, |cursor| cursor.sequence),
        };
        let (page, position) = self
            .pipeline
            .ask(&caller, Action::ReadAudit, "AuditSearch", |view, permit| {
                search(&files, &ViewKeys { view, permit }, &filter, items)
            })
            .await?;
        let page = page.map_err(|error| internal(&error.to_string()))?;
        let member = self.pipeline.node().member().map(|member| member.node());
        let next_page_token = match (page.next, member) {
            (Some(sequence), Some(node)) => audit_token(AuditCursor { time: UnixMillis(0), node, sequence }),
            _ => String::new(),
        };
        Ok(Response::new(v1::SearchResponse {
            position: Some(position.into()),
            records: page.records.into_iter().map(shown).collect(),
            next_page_token,
            missing_nodes: Vec::new(),
        }))
    }
}

fn shown(record: FoundRecord) -> v1::AuditRecord {
    v1::AuditRecord {
        node: record.node.get(),
        sequence: record.sequence,
        time_unix_ms: record.time.0,
        request_id: record.request.as_bytes().to_vec(),
        class: record.class.word().to_owned(),
        phase: record.phase.word().to_owned(),
        outcome: record.outcome,
        body_json: record.body_json.unwrap_or_default(),
    }
}
