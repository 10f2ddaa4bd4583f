//! The key of one segment's bodies: a secret with the id of the ledger record that holds it.
//!
//! Made and kept by the node; dropping the record makes every body of the segment unreadable. Deliberately absent:
//! making one.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use keyclave_crypto::aead::XaesKey;
use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::labels::AUDIT_BODY;
use keyclave_crypto::secret::Secret;
use keyclave_types::ids::{ClusterId, NodeId};
use zeroize::Zeroizing;

use crate::files::SegmentNumber;

/// Names a segment key; random when it is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentKeyId(pub [u8; 16]);

impl fmt::Display for SegmentKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// A segment key, as the node hands it over.
#[derive(Debug)]
pub struct SegmentKey {
    /// The id of its ledger record.
    pub id: SegmentKeyId,
    /// The secret. Used for bodies of this trail only, each under a random 192-bit nonce.
    pub secret: Secret<32>,
}

/// Where readers find segment keys.
pub trait SegmentKeys {
    /// The key of this id, if it is known and has not been dropped.
    fn key(&self, id: SegmentKeyId) -> Option<Secret<32>>;
}

/// For readers without keys: the chain can be checked, bodies stay closed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKeys;

impl SegmentKeys for NoKeys {
    fn key(&self, _: SegmentKeyId) -> Option<Secret<32>> {
        None
    }
}

/// Where a body stands. It opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) segment: SegmentNumber,
    pub(crate) sequence: u64,
    /// The hash of the line before. Without the key nobody can fit a body to another history.
    pub(crate) previous: &'a [u8; 32],
    /// The line from its beginning up to the body: time, request, class, phase and outcome.
    pub(crate) line: &'a [u8],
}

/// One segment's key, expanded.
pub(crate) struct BodyKey {
    pub(crate) id: SegmentKeyId,
    key: XaesKey,
}

impl BodyKey {
    pub(crate) fn new(id: SegmentKeyId, secret: &Secret<32>) -> Self {
        Self { id, key: XaesKey::new(secret) }
    }

    /// XAES-256-GCM(key, label ‖ place, body). The nonce is random: a sequence number cannot be the nonce, because
    /// a number whose group was torn or refused is given again to another body.
    pub(crate) fn seal(&self, entropy: &mut Entropy, place: &Place<'_>, body: &[u8]) -> Vec<u8> {
        place.bound(|parts| self.key.seal(entropy, parts, body))
    }

    /// The body from a line's base64url; none if it was not sealed here under this key.
    pub(crate) fn open(&self, place: &Place<'_>, text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let sealed = BASE64URL_NOPAD.decode(text).ok()?;
        place.bound(|parts| self.key.open(parts, &sealed)).ok()
    }
}

impl Place<'_> {
    /// label ‖ cluster (16) ‖ node (8) ‖ segment (8) ‖ sequence (8) ‖ previous (32) ‖ line.
    fn bound<T>(&self, with: impl FnOnce(&[&[u8]]) -> T) -> T {
        with(&[
            AUDIT_BODY.bytes(),
            self.cluster.as_bytes(),
            &self.node.get().to_be_bytes(),
            &self.segment.0.to_be_bytes(),
            &self.sequence.to_be_bytes(),
            self.previous,
            self.line,
        ])
    }
}
