//! A retried write: answered from what was kept under its request id, never done twice.

use keyclave_crypto::hash::sha256;
use keyclave_policy::Principal;
use keyclave_types::envelope::encode;
use keyclave_types::ids::RequestId;
use keyclave_types::request::{WriteAnswer, WriteKind};

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::request::{Horizon, Outcome, RequestOutcome};
use crate::refusal::Refusal;

/// Label of a request's digest: label ‖ who (kind (1), length (2), bytes) ‖ the write's stored form.
const REQUEST: &[u8] = b"keyclave request 1\0";

/// How far beyond this view a request id may start: its client may have been answered by a node that had applied
/// more. An id from much further ahead would outlive every horizon.
const AHEAD_MAX: u64 = 10_000;

/// Who asked for what. Two credentials of one subject count as one caller, so that a renewed one may
/// retry.
pub(super) fn digest(principal: &Principal, write: &WriteKind) -> [u8; 32] {
    let (kind, who): (u8, Vec<u8>) = match principal {
        Principal::Subject { subject, .. } => (1, subject.to_string().into_bytes()),
        Principal::LocalSocket => (3, Vec::new()),
        Principal::Member(node) => (4, node.get().to_be_bytes().to_vec()),
        Principal::Unauthenticated => (5, Vec::new()),
    };
    // A name has at most 519 bytes.
    let length = u16::try_from(who.len()).unwrap_or(u16::MAX).to_be_bytes();
    sha256(&[REQUEST, &[kind], &length, &who, &encode(write)])
}

/// What this request was answered before, if it was.
pub(super) fn answer(
    draft: &mut Draft<'_>,
    request: RequestId,
    digest: &[u8; 32],
) -> Result<Option<WriteAnswer>, Refusal> {
    if let Some(kept) = draft.reader.get::<RequestOutcome>(&RecordName::RequestOutcome(request)) {
        if kept.digest != *digest {
            return Err(Refusal::RequestReused);
        }
        return match &kept.outcome {
            Outcome::Key(key) => Ok(Some(WriteAnswer::Key(key.clone()))),
            Outcome::TokenMade(id) => Err(Refusal::ShownOnce { id: *id }),
            Outcome::Revoked => Ok(Some(WriteAnswer::Revoked)),
            Outcome::Renewed(expires_at) => Ok(Some(WriteAnswer::Renewed { expires_at: *expires_at })),
            Outcome::Done => Ok(Some(WriteAnswer::Done)),
        };
    }
    let horizon = draft.reader.get::<Horizon>(&RecordName::Horizon).map_or(0, |horizon| horizon.index);
    let (index, applied) = (request.index(), draft.reader.view().index());
    if index < horizon {
        Err(Refusal::RequestOld { index, horizon })
    } else if index.saturating_sub(applied) > AHEAD_MAX {
        Err(Refusal::RequestAhead { index, applied })
    } else {
        Ok(None)
    }
}

/// Keeps the outcome in the same transaction.
pub(super) fn remember(draft: &mut Draft<'_>, request: RequestId, digest: [u8; 32], answer: &WriteAnswer) {
    let outcome = match answer {
        WriteAnswer::Key(key) => Outcome::Key(key.clone()),
        WriteAnswer::Token { id, .. } => Outcome::TokenMade(*id),
        WriteAnswer::Revoked => Outcome::Revoked,
        WriteAnswer::Renewed { expires_at } => Outcome::Renewed(*expires_at),
        WriteAnswer::Done => Outcome::Done,
    };
    let (arrived_at, at) = (draft.occasion.arrived_at, draft.now());
    draft.put(&RequestOutcome { request, digest, arrived_at, at, outcome });
}
