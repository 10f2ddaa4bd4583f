//! Snapshots on their way: what openraft carries, the chunks that leave, and the judgement over what arrives.
//!
//! A snapshot that arrives is staged beside the records and becomes openraft's only after its checkpoint's
//! signature, its digest over records and membership, and its index were found right.

use std::fmt;
use std::future;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use keyclave_ledger::capture::{Capture, CaptureError};
use keyclave_ledger::disk::Disk;
use keyclave_ledger::install::{InstallError, Installing};
use keyclave_ledger::ledger::Applied;
use keyclave_types::envelope;
use keyclave_types::ids::NodeId;
use openraft::{ErrorSubject, ErrorVerb};

use crate::cluster::Cluster;
use crate::entry::Entry;
use crate::guard::{Refused, is_below};
use crate::machine::{Machine, checkpoint_digest};
use crate::message::{MessageError, SnapshotAnswer, SnapshotHead};
use crate::raft::{LogId, Snapshot, SnapshotMeta, StoredMembership, Vote, storage_error};

/// A snapshot's contents: leaving, staged, or none where there is no checkpoint yet.
pub(crate) struct SnapshotBody(Contents);

enum Contents {
    Nothing,
    Captured { checkpoint: Vec<u8>, chunks: BoxStream<'static, Vec<u8>> },
    Staged { checkpoint: Box<Entry>, staged: Box<dyn Staged> },
}

/// Records that arrived and were judged, beside those that count.
pub(crate) trait Staged: Send {
    /// Makes them count.
    fn finish(self: Box<Self>, index: u64, mark: Vec<u8>) -> Result<Applied, InstallError>;
}

impl<D: Disk> Staged for Installing<D> {
    fn finish(self: Box<Self>, index: u64, mark: Vec<u8>) -> Result<Applied, InstallError> {
        let judged = self.digest();
        Installing::finish(*self, index, mark, judged)
    }
}

impl SnapshotBody {
    /// Nothing to send: openraft asked before there was a checkpoint.
    pub(crate) fn nothing() -> Self {
        Self(Contents::Nothing)
    }

    /// The stored checkpoint entry and the chunks of the state that it signs.
    pub(crate) fn captured(checkpoint: Vec<u8>, chunks: BoxStream<'static, Vec<u8>>) -> Self {
        Self(Contents::Captured { checkpoint, chunks })
    }

    /// What leaves, if anything does.
    pub(crate) fn into_parts(self) -> Option<(Vec<u8>, BoxStream<'static, Vec<u8>>)> {
        match self.0 {
            Contents::Captured { checkpoint, chunks } => Some((checkpoint, chunks)),
            Contents::Nothing | Contents::Staged { .. } => None,
        }
    }

    /// What arrived; the body itself if it did not.
    pub(crate) fn into_staged(self) -> Result<(Entry, Box<dyn Staged>), Self> {
        match self.0 {
            Contents::Staged { checkpoint, staged } => Ok((*checkpoint, staged)),
            other => Err(Self(other)),
        }
    }
}

impl fmt::Debug for SnapshotBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SnapshotBody")
    }
}

/// What openraft is told about the snapshot of a checkpoint.
pub(crate) fn meta_of(checkpoint: LogId, last_membership: StoredMembership) -> SnapshotMeta {
    SnapshotMeta { last_log_id: Some(checkpoint), last_membership, snapshot_id: checkpoint.to_string() }
}

/// The chunks of a capture. One that can give no more ends early, which its receiver notices by the digest.
pub(crate) fn chunks_of<D: Disk>(capture: Capture<D>, machine: Machine<D>) -> BoxStream<'static, Vec<u8>> {
    stream::unfold(Some(None), move |after| {
        let next = after.and_then(|after| match capture.chunk(after) {
            Ok(next) => next.map(|(chunk, last)| (chunk, Some(Some(last)))),
            Err(error) => {
                tracing::warn!(%error, "a snapshot was cut short");
                if matches!(error, CaptureError::Outgrown | CaptureError::Replaced) {
                    machine.want_snapshot();
                }
                None
            }
        });
        future::ready(next)
    })
    .boxed()
}

impl<D: Disk> Cluster<D> {
    /// One whole snapshot, and its answer. A chunk that is an error ends it, and so does anything that is not what
    /// the checkpoint says.
    pub async fn handle_snapshot<E>(
        &self,
        sender: NodeId,
        keyed: bool,
        head: &[u8],
        chunks: impl Stream<Item = Result<Vec<u8>, E>> + Send,
    ) -> Result<Vec<u8>, Refused> {
        let answer = self.take_snapshot(sender, keyed, head, chunks).await;
        answer.inspect_err(|refused| self.note_refusal(sender, refused))
    }

    async fn take_snapshot<E>(
        &self,
        sender: NodeId,
        keyed: bool,
        head: &[u8],
        chunks: impl Stream<Item = Result<Vec<u8>, E>> + Send,
    ) -> Result<Vec<u8>, Refused> {
        let inner = &self.inner;
        let head: SnapshotHead = envelope::decode(head).map_err(MessageError::Form)?;
        let vote = Vote::from(head.vote);
        let checkpoint = Entry::from_bytes(&head.checkpoint)?;
        let membership: StoredMembership = head.membership.try_into().map_err(MessageError::Membership)?;
        self.hear_only_keyed(keyed)?;
        inner.guard.check_vote(&inner.ground.standing(), &vote, sender, true)?;
        let signed = inner.guard.check_checkpoint(&checkpoint)?;
        let made_at = *membership.log_id();
        if made_at >= Some(checkpoint.log_id) {
            return Err(Refused::Digest);
        }
        let _only = inner.incoming.lock().await;
        if let Some(answer) = self.answer_at_once(&vote, &checkpoint) {
            return Ok(answer);
        }
        let installing = self.stage(chunks).await?;
        let records = Applied { index: checkpoint.log_id.index, mark: None, digest: installing.digest() };
        if checkpoint_digest(&records, &membership) != signed {
            return Err(Refused::Digest);
        }
        let _one = inner.gate.lock().await;
        inner.guard.check_vote(&inner.ground.standing(), &vote, sender, true)?;
        if let Some(answer) = self.answer_at_once(&vote, &checkpoint) {
            return Ok(answer);
        }
        let meta = meta_of(checkpoint.log_id, membership);
        let body =
            SnapshotBody(Contents::Staged { checkpoint: Box::new(checkpoint), staged: Box::new(installing) });
        let snapshot = Snapshot { meta, snapshot: Box::new(body) };
        let installed = inner.raft.install_full_snapshot(vote, snapshot).await;
        let response = installed.map_err(|_| Refused::Stopped)?;
        if response.vote == vote {
            inner.presence.heard(sender, false);
        }
        Ok(answer(response.vote))
    }

    /// A vote below ours is answered with ours, and what is applied already is not installed.
    fn answer_at_once(&self, vote: &Vote, checkpoint: &Entry) -> Option<Vec<u8>> {
        let standing = self.inner.ground.standing();
        let ours = standing.vote.filter(|ours| is_below(vote, ours));
        let known = standing.applied.is_some_and(|applied| applied.index >= checkpoint.log_id.index);
        ours.or(known.then_some(*vote)).map(answer)
    }

    async fn stage<E>(
        &self,
        chunks: impl Stream<Item = Result<Vec<u8>, E>> + Send,
    ) -> Result<Installing<D>, Refused> {
        let mut installing =
            self.inner.ledger.begin_install().map_err(|error| staging_failed(&error.into()))?;
        let mut chunks = std::pin::pin!(chunks);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| MessageError::Short)?;
            installing.add(&chunk).map_err(|error| match error {
                InstallError::Disk(_) => staging_failed(&error),
                InstallError::Chunk(source) => Refused::Message(MessageError::Form(source)),
                InstallError::Order { .. }
                | InstallError::Digest { .. }
                | InstallError::Older { .. }
                | InstallError::Unreadable(_) => Refused::Digest,
            })?;
        }
        Ok(installing)
    }
}

fn staging_failed(error: &InstallError) -> Refused {
    Refused::Storage(storage_error(ErrorSubject::Snapshot(None), ErrorVerb::Write, error).into())
}

fn answer(vote: Vote) -> Vec<u8> {
    envelope::encode(&SnapshotAnswer { vote: vote.into() })
}
