//! What a node keeps of itself on its own disk: its key, its incarnation, which cluster it belongs to, and the key
//! of the certificate that clients see.
//!
//! Deliberately absent: anything under the root. What is here lets a thief pose as this node on the network, and no
//! more.

use keyclave_cluster::guard::Pins;
use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::secret::Secret;
use keyclave_crypto::sign::SigningKey;
use keyclave_ledger::disk::{Disk, DiskError};
use keyclave_ledger::log_store::LogStore;
use keyclave_types::envelope::{self, EnvelopeError, Stored};
use keyclave_types::ids::{ClusterId, Incarnation, NodeId};
use keyclave_types::member::{Addresses, HostPort, Member, NodePublicKey};
use keyclave_types::position::Generation;
use keyclave_types::time::UnixMillis;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::guesses::Guesses;

const IDENTITY_SLOT: &str = "node/identity";
const MEMBERSHIP_SLOT: &str = "node/membership";
const CERTIFICATE_SLOT: &str = "node/certificate";
const GUESSES_SLOT: &str = "node/share-guesses";
const IDENTITY_FORMAT: u8 = 1;
/// Format byte, incarnation, key seed.
const IDENTITY_BYTES: usize = 1 + 16 + 32;

/// Why what is kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The identity is damaged or of a newer version.
    #[error("this node's identity on disk cannot be read: {found} bytes of format {format:#04x}")]
    Identity {
        /// Its length.
        found: usize,
        /// Its first byte.
        format: u8,
    },
    /// A value is damaged or of a newer version.
    #[error("{what} on disk cannot be read")]
    Value {
        /// Which value.
        what: &'static str,
        /// Why.
        #[source]
        source: EnvelopeError,
    },
}

/// Who this data directory is, whatever cluster it belongs to.
#[derive(Debug)]
pub struct Identity {
    /// Which data directory.
    pub incarnation: Incarnation,
    /// Its own key.
    pub key: SigningKey,
}

impl Identity {
    /// What membership says of it.
    pub fn member(&self) -> Member {
        Member { incarnation: self.incarnation, key: NodePublicKey(self.key.public()) }
    }
}

/// Which cluster this data directory belongs to. Written once, when it has begun to belong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its line.
    pub generation: Generation,
    /// This node's number.
    pub node: NodeId,
    /// How the cluster began, pinned.
    pub pins: Pins,
    /// The members that were known when it joined, for as long as the log does not say more.
    pub known: Vec<(NodeId, Member, Addresses)>,
}

/// The stored form of [`Membership`].
#[derive(Serialize, Deserialize)]
struct MembershipForm {
    cluster: ClusterId,
    generation: Generation,
    node: NodeId,
    writer: [u8; 32],
    first: NodeId,
    first_member: Member,
    known: Vec<(NodeId, Member, Addresses)>,
}

impl Stored for MembershipForm {
    const FORMAT: u8 = 1;
}

impl From<&Membership> for MembershipForm {
    fn from(membership: &Membership) -> Self {
        let Membership { cluster, generation, node, pins, known } = membership.clone();
        let Pins { writer, first, member: first_member } = pins;
        Self { cluster, generation, node, writer, first, first_member, known }
    }
}

impl From<MembershipForm> for Membership {
    fn from(form: MembershipForm) -> Self {
        let MembershipForm { cluster, generation, node, writer, first, first_member, known } = form;
        Self { cluster, generation, node, pins: Pins { writer, first, member: first_member }, known }
    }
}

/// The certificate that clients see, with its key.
#[derive(Serialize, Deserialize)]
pub struct ServingCertificate {
    /// DER, the node's own first.
    pub chain: Vec<Vec<u8>>,
    /// PKCS#8.
    pub key: Vec<u8>,
    /// For which address it was issued.
    pub address: HostPort,
    /// When it ends.
    pub expires_at: UnixMillis,
}

impl Stored for ServingCertificate {
    const FORMAT: u8 = 1;
}

impl Drop for ServingCertificate {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// The kept values of one node.
pub struct Home<D> {
    slots: LogStore<D>,
}

impl<D> Clone for Home<D> {
    fn clone(&self) -> Self {
        Self { slots: self.slots.clone() }
    }
}

impl<D: Disk> Home<D> {
    /// The values beside `log`.
    pub fn new(log: LogStore<D>) -> Self {
        Self { slots: log }
    }

    /// Removes what an init or a join that was cut short has left: the log, the records, and every kept value but who
    /// this directory is. To be called before the ledger is opened, on a directory that belongs to no cluster.
    pub(crate) fn clear_attempt(&self) -> Result<(), HomeError> {
        Ok(self.slots.clear_unfinished(&[IDENTITY_SLOT])?)
    }

    /// Who this data directory is; made now if it is a fresh one.
    pub fn identity(&self, entropy: &mut Entropy) -> Result<Identity, HomeError> {
        if let Some(bytes) = self.slots.slot(IDENTITY_SLOT)?.map(Zeroizing::new) {
            return parse_identity(&bytes);
        }
        let incarnation = Incarnation::from_bytes(entropy.array());
        let key = SigningKey::from_seed(entropy.secret("node key"));
        let mut bytes = Vec::with_capacity(IDENTITY_BYTES);
        bytes.push(IDENTITY_FORMAT);
        bytes.extend_from_slice(incarnation.as_bytes());
        bytes.extend_from_slice(key.seed().expose());
        self.slots.save_slot(IDENTITY_SLOT, bytes)?;
        Ok(Identity { incarnation, key })
    }

    /// The cluster that this data directory belongs to.
    pub fn membership(&self) -> Result<Option<Membership>, HomeError> {
        let form = self.value::<MembershipForm>(MEMBERSHIP_SLOT, "this node's membership")?;
        Ok(form.map(Membership::from))
    }

    /// From now on it belongs to a cluster.
    pub fn save_membership(&self, membership: &Membership) -> Result<(), HomeError> {
        Ok(self.slots.save_slot(MEMBERSHIP_SLOT, envelope::encode(&MembershipForm::from(membership)))?)
    }

    /// The certificate for clients.
    pub fn certificate(&self) -> Result<Option<ServingCertificate>, HomeError> {
        self.value(CERTIFICATE_SLOT, "this node's certificate")
    }

    /// Replaces the certificate for clients.
    pub fn save_certificate(&self, certificate: &ServingCertificate) -> Result<(), HomeError> {
        Ok(self.slots.save_slot(CERTIFICATE_SLOT, envelope::encode(certificate))?)
    }

    /// Wrong shares given here.
    pub fn guesses(&self) -> Result<Guesses, HomeError> {
        Ok(self.value(GUESSES_SLOT, "this node's count of wrong shares")?.unwrap_or_default())
    }

    /// Replaces the count of wrong shares.
    pub fn save_guesses(&self, guesses: Guesses) -> Result<(), HomeError> {
        Ok(self.slots.save_slot(GUESSES_SLOT, envelope::encode(&guesses))?)
    }

    fn value<T: Stored>(&self, slot: &str, what: &'static str) -> Result<Option<T>, HomeError> {
        let bytes = self.slots.slot(slot)?.map(Zeroizing::new);
        bytes
            .map(|bytes| envelope::decode(&bytes).map_err(|source| HomeError::Value { what, source }))
            .transpose()
    }
}

fn parse_identity(bytes: &[u8]) -> Result<Identity, HomeError> {
    let wrong =
        || HomeError::Identity { found: bytes.len(), format: bytes.first().copied().unwrap_or_default() };
    let (format, rest) = bytes.split_first().ok_or_else(wrong)?;
    let (incarnation, seed) = rest.split_first_chunk::<16>().ok_or_else(wrong)?;
    match Secret::from_slice("node key", seed) {
        Some(seed) if *format == IDENTITY_FORMAT => Ok(Identity {
            incarnation: Incarnation::from_bytes(*incarnation),
            key: SigningKey::from_seed(seed),
        }),
        Some(_) | None => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyclave_ledger::sled_disk::SledDisk;

    use super::*;

    fn home(directory: &tempfile::TempDir) -> Home<SledDisk> {
        Home::new(LogStore::new(Arc::new(SledDisk::open(directory.path()).unwrap())))
    }

    #[test]
    fn a_data_directory_stays_who_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let first = home(&directory).identity(&mut Entropy::from_seed([1; 32])).unwrap().member();
        let again = home(&directory).identity(&mut Entropy::from_seed([2; 32])).unwrap().member();
        assert_eq!(first, again);
    }

    #[test]
    fn of_an_attempt_that_was_cut_short_only_the_identity_stays() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Arc::new(SledDisk::open(directory.path()).unwrap());
        let log = LogStore::new(disk.clone());
        let home = Home::new(log.clone());
        let first = home.identity(&mut Entropy::from_seed([1; 32])).unwrap().member();
        for slot in ["pins", "peer-marks", CERTIFICATE_SLOT, MEMBERSHIP_SLOT, "z"] {
            log.save_slot(slot, vec![1]).unwrap();
        }
        home.clear_attempt().unwrap();
        for slot in ["pins", "peer-marks", CERTIFICATE_SLOT, MEMBERSHIP_SLOT, "z"] {
            assert_eq!(log.slot(slot).unwrap(), None, "{slot}");
        }
        assert_eq!(home.identity(&mut Entropy::from_seed([2; 32])).unwrap().member(), first);
    }

    #[test]
    fn a_newer_identity_is_refused_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let log = LogStore::new(Arc::new(SledDisk::open(directory.path()).unwrap()));
        log.save_slot(IDENTITY_SLOT, vec![9; IDENTITY_BYTES]).unwrap();
        let home = Home::new(log);
        let refused = home.identity(&mut Entropy::from_seed([1; 32]));
        assert!(matches!(refused, Err(HomeError::Identity { format: 9, .. })));
    }
}
