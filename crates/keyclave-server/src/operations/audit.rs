//! `AuditService`: searching the trail of the node that is asked.

use std::io;
use std::sync::{Arc, Weak};

use keyclave_audit::files::{FileMark, SegmentNumber, TrailFiles};
use keyclave_audit::search::{Filter, FoundRecord, Page, SearchError, search};
use keyclave_audit::segment_key::{SegmentKeyId, SegmentKeys};
use keyclave_crypto::secret::Secret;
use keyclave_node::failure::Failure;
use keyclave_node::host::Host;
use keyclave_policy::{Action, Permit};
use keyclave_proto::page::{AuditCursor, audit_token};
use keyclave_proto::reason::Reason;
use keyclave_proto::request::AuditSearch;
use keyclave_proto::status::status;
use keyclave_proto::v1;
use keyclave_proto::v1::audit_service_server::AuditService;
use keyclave_types::time::UnixMillis;
use keyclave_vault::view::View;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::{Api, take, trails};
use crate::caller::Caller;
use crate::pipeline::{Permitted, internal};

/// Searches at a time; each may read gigabytes.
pub(super) const SEARCHES_MAX: usize = 4;
/// Its name in the trail.
const OPERATION: &str = "AuditSearch";

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
    async fn get_trails(
        &self,
        request: Request<v1::GetTrailsRequest>,
    ) -> Result<Response<v1::GetTrailsResponse>, Status> {
        let (caller, _) = take(request)?;
        Ok(Response::new(self.trails(&caller).await?))
    }

    async fn hold_trail(
        &self,
        request: Request<v1::HoldTrailRequest>,
    ) -> Result<Response<v1::HoldTrailResponse>, Status> {
        let (caller, message) = take(request)?;
        Ok(Response::new(self.pipeline.write(caller, trails::HOLD, message).await?))
    }

    async fn release_trail(
        &self,
        request: Request<v1::ReleaseTrailRequest>,
    ) -> Result<Response<v1::ReleaseTrailResponse>, Status> {
        let (caller, message) = take(request)?;
        Ok(Response::new(self.pipeline.write(caller, trails::RELEASE, message).await?))
    }

    async fn retain_trail(
        &self,
        request: Request<v1::RetainTrailRequest>,
    ) -> Result<Response<v1::RetainTrailResponse>, Status> {
        let (caller, message) = take(request)?;
        Ok(Response::new(self.pipeline.write(caller, trails::RETAIN, message).await?))
    }

    async fn acknowledge_trail(
        &self,
        request: Request<v1::AcknowledgeTrailRequest>,
    ) -> Result<Response<v1::AcknowledgeTrailResponse>, Status> {
        let (caller, message) = take(request)?;
        Ok(Response::new(self.acknowledge(caller, message).await?))
    }

    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        let (caller, message) = take(request)?;
        let asked: AuditSearch = match message.try_into() {
            Ok(asked) => asked,
            Err(invalid) => {
                let refused = self.pipeline.invalid(&caller, OPERATION, Action::ReadAudit, &invalid).await;
                return refused.map(|(response, _)| response);
            }
        };
        // Nothing is read for somebody who may not, and what is read is read where waiting for a disk harms nobody.
        let permitted = self.pipeline.permitted(&caller, Action::ReadAudit, OPERATION).await?;
        let Permitted { member, permit, view, recording, position } = permitted;
        let found = self.find(&caller, permit, view, asked).await;
        let draft = match &found {
            Ok(_) => recording.done(self.pipeline.now()),
            Err(status) => recording.refused(self.pipeline.now(), status),
        };
        self.pipeline.record(&member, draft).await?;
        let page = found?;
        let next_page_token = page
            .next
            .map(|sequence| audit_token(AuditCursor { time: UnixMillis(0), node: member.node(), sequence }));
        Ok(Response::new(v1::SearchResponse {
            position: Some(position.into()),
            records: page.records.into_iter().map(shown).collect(),
            next_page_token: next_page_token.unwrap_or_default(),
            missing_nodes: Vec::new(),
        }))
    }
}

impl<H: Host> Api<H> {
    /// Searches on the host's threads, a few searches at a time, for as long as the caller waits.
    async fn find(
        &self,
        caller: &Caller,
        permit: Permit,
        view: Arc<View>,
        asked: AuditSearch,
    ) -> Result<Page, Status> {
        let busy = |_| status(Reason::Overloaded, "too many searches are under way", Default::default());
        let place = self.searches.clone().try_acquire_owned().map_err(busy)?;
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
        let waited_for = Arc::new(());
        let waits = Arc::downgrade(&waited_for);
        let (done, is_done) = oneshot::channel();
        let node = self.pipeline.node().clone();
        self.pipeline.node().run_blocking(Box::new(move || {
            let _place = place;
            let found = node.trail_files().map_err(SearchError::List).and_then(|files| {
                let keys = ViewKeys { view: &view, permit: &permit };
                search(&WhileWaitedFor { files, waits }, &keys, &filter, items)
            });
            // A caller who has gone needs no page.
            let _ = done.send(found);
        }));
        let found = tokio::time::timeout_at(caller.deadline, is_done).await;
        drop(waited_for);
        match found {
            Ok(Ok(Ok(page))) => Ok(page),
            Ok(Ok(Err(error))) => Err(internal(&error.to_string())),
            Ok(Err(_)) => Err(internal("a search of the trail was lost")),
            Err(_) => Err(Failure::Deadline.into_status()),
        }
    }
}

/// The trail's files for as long as somebody waits for what is read.
struct WhileWaitedFor<F> {
    files: F,
    waits: Weak<()>,
}

struct ReadWhileWaitedFor<R> {
    reader: R,
    waits: Weak<()>,
}

impl<R: io::Read> io::Read for ReadWhileWaitedFor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.waits.strong_count() {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => self.reader.read(buffer),
        }
    }
}

impl<F: TrailFiles> TrailFiles for WhileWaitedFor<F> {
    type File = F::File;
    type Reader = ReadWhileWaitedFor<F::Reader>;

    fn segments(&self) -> io::Result<Vec<SegmentNumber>> {
        self.files.segments()
    }

    fn read(&self, segment: SegmentNumber) -> io::Result<Self::Reader> {
        Ok(ReadWhileWaitedFor { reader: self.files.read(segment)?, waits: self.waits.clone() })
    }

    fn create(&self, segment: SegmentNumber, header: &[u8], room_bytes: u64) -> io::Result<F::File> {
        self.files.create(segment, header, room_bytes)
    }

    fn open(&self, segment: SegmentNumber) -> io::Result<F::File> {
        self.files.open(segment)
    }

    fn keep_torn(&self, segment: SegmentNumber, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.files.keep_torn(segment, offset, bytes)
    }

    fn marks(&self) -> io::Result<Vec<(SegmentNumber, FileMark)>> {
        self.files.marks()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.files.free_bytes()
    }

    fn remove(&self, segment: SegmentNumber) -> io::Result<()> {
        self.files.remove(segment)
    }

    fn raise_alarm(&self, how: &str) -> io::Result<()> {
        self.files.raise_alarm(how)
    }

    fn has_alarm(&self) -> io::Result<bool> {
        self.files.has_alarm()
    }

    fn clear_alarm(&self) -> io::Result<()> {
        self.files.clear_alarm()
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use keyclave_audit::memory::MemoryFiles;

    use super::*;

    #[test]
    fn nothing_more_is_read_once_nobody_waits_for_it() {
        let files = MemoryFiles::default();
        files.create(SegmentNumber::FIRST, b"header", 0).unwrap();
        let waited_for = Arc::new(());
        let files = WhileWaitedFor { files, waits: Arc::downgrade(&waited_for) };
        let mut reader = files.read(SegmentNumber::FIRST).unwrap();
        let mut byte = [0];
        assert_eq!(reader.read(&mut byte).unwrap(), 1);
        drop(waited_for);
        assert_eq!(reader.read(&mut byte).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
