//! The very first transaction: a cluster of one node, its keyring under a root in shares, and one root token.
//!
//! Called once, by `operator init`. The root and the keyring go at the end of it: the new cluster stays sealed
//! until a threshold of the shares has been given back.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::share::Share;
use keyclave_crypto::token::{Token, TokenKind, mac};
use keyclave_policy::{Action, Permit};
use keyclave_types::access::{Role, RoleGrant, Subject, SubjectKind};
use keyclave_types::identity::TokenBinding;
use keyclave_types::ids::{ClusterId, NodeId, PlainKind};
use keyclave_types::member::{Addresses, Member};
use keyclave_types::position::Generation;
use keyclave_types::request::{SubjectName, TokenId};
use keyclave_types::seal::{SealRecord, ShareSet, Threshold};
use keyclave_types::transaction::Transaction;
use zeroize::Zeroizing;

use crate::decide::Decision;
use crate::draft::Draft;
use crate::keyring::{Keyring, Root};
use crate::occasion::Occasion;
use crate::records::RecordName;
use crate::records::access::{AccessFloor, SubjectRecord, TokenRecord};
use crate::records::cluster::{
    CA_KEY_FORMAT, CaRecord, ClusterTime, NodeCounter, NodeRecord, RejoinPolicy, RejoinRules,
};
use crate::records::plain::{Certificate, Formats, WriterKey};
use crate::refusal::Refusal;
use crate::view::{View, head_of};

/// What a new cluster is made of, besides randomness.
pub struct Founding<'a> {
    /// Its name for itself, random.
    pub cluster: ClusterId,
    /// The ledger's line: 1 for a new cluster.
    pub generation: Generation,
    /// Where the ledger stands: what Raft has applied before the first transaction.
    pub applied_index: u64,
    /// Its first node.
    pub node: NodeId,
    /// That node's data directory and key.
    pub member: Member,
    /// Where that node is reached.
    pub addresses: Addresses,
    /// How many shares, how many needed.
    pub threshold: Threshold,
    /// What vouches for a process that wants the root from a peer.
    pub rejoin: RejoinPolicy,
    /// Whom the root token speaks for: the first administrator.
    pub operator: SubjectName,
    /// Approvals by others that an act which cannot be taken back needs.
    pub approvals_min: u32,
    /// The authority's private key, PKCS #8, made beforehand.
    pub ca_pkcs8: &'a [u8],
    /// The authority's certificate, DER.
    pub ca_certificate: Vec<u8>,
    /// The first node's certificate chain for clients, DER, leaf first.
    pub certificate: Vec<Vec<u8>>,
}

/// A founded cluster.
pub struct Founded {
    /// The transaction to propose.
    pub transaction: Transaction,
    /// The shares, to be shown once.
    pub shares: Vec<Share>,
    /// The root token, to be shown once.
    pub token: Zeroizing<String>,
    /// Its id.
    pub token_id: TokenId,
    /// The seal record, which the first ceremony needs.
    pub seal_record: SealRecord,
    /// Signs the first entries; the process drops it with the answer.
    pub keyring: Arc<Keyring>,
}

/// Makes everything of a new cluster: keyring and root, shares, seal record, writer key, formats, access head, root
/// token, authority, node 1. Every record of it must be absent, so a second founding of one ledger conflicts.
pub fn found(
    permit: &Permit,
    founding: &Founding<'_>,
    occasion: &Occasion,
    entropy: &mut Entropy,
) -> Result<Founded, Refusal> {
    if !permit.covers(Action::Init, None) {
        return Err(Refusal::PermitForeign);
    }
    let root = Root::create(entropy);
    let keyring = Arc::new(Keyring::create(entropy));
    let shares = root.split(founding.threshold, entropy);
    let seal_record = seal_record(founding, &root, &keyring, &shares, entropy)?;
    let token = Token::new(TokenKind::Operator, entropy);
    let view =
        View::empty(Arc::clone(&keyring), founding.cluster, founding.generation, founding.applied_index);
    let decision = Draft::decide(&view, occasion, entropy, |draft| {
        put_plain(draft, founding, &seal_record);
        put_access(draft, founding, &token);
        put_cluster(draft, founding);
        Ok(())
    });
    match decision.map_err(|refused| refused.refusal)? {
        Decision::Propose(proposal) => Ok(Founded {
            transaction: proposal.transaction,
            shares,
            token: token.to_text(),
            token_id: token.id,
            seal_record,
            keyring,
        }),
        Decision::Standing { .. } => Err(Refusal::RecordLost),
    }
}

fn seal_record(
    founding: &Founding<'_>,
    root: &Root,
    keyring: &Keyring,
    shares: &[Share],
    entropy: &mut Entropy,
) -> Result<SealRecord, Refusal> {
    let id = shares.first().ok_or(Refusal::RecordLost)?.set();
    let current = ShareSet {
        id,
        threshold: founding.threshold,
        commitments: shares.iter().map(Share::commitment).collect(),
        wrapped_keyring: keyring.wrap(root, founding.cluster, id, entropy),
    };
    Ok(SealRecord { current, pending: None })
}

fn put_plain(draft: &mut Draft<'_>, founding: &Founding<'_>, seal_record: &SealRecord) {
    let node = founding.node.get();
    let public = draft.reader.view().keyring().writer().public();
    let formats =
        Formats { cluster: founding.cluster, generation: founding.generation, version_min: Formats::VERSION };
    draft.put_plain(PlainKind::Seal, 0, seal_record);
    draft.put_plain(PlainKind::WriterKey, 0, &WriterKey { public });
    draft.put_plain(PlainKind::Formats, 0, &formats);
    draft.put_plain(PlainKind::Address, node, &founding.addresses);
    draft.put_plain(PlainKind::Certificate, node, &Certificate { chain: founding.certificate.clone() });
}

fn put_access(draft: &mut Draft<'_>, founding: &Founding<'_>, token: &Token) {
    let (mac_key, key) = draft.reader.view().keyring().token_keys().active();
    let subject = Subject { kind: SubjectKind::User, name: founding.operator.clone() };
    // Later ones are indexes of the ledger, which are greater.
    let (credential_epoch, created_at) = (0, draft.now());
    let mac = mac(key, token);
    draft.put(&SubjectRecord {
        subject: subject.clone(),
        groups: BTreeSet::new(),
        roles: BTreeSet::from([RoleGrant::everywhere(Role::Administrator)]),
        credential_epoch,
        created_at,
    });
    draft.put(&AccessFloor { approvals_min: founding.approvals_min });
    draft.put(&TokenRecord {
        id: token.id,
        subject,
        credential_epoch,
        mac,
        mac_key,
        created_at,
        expires_at: None,
        renewal: None,
        binding: TokenBinding::Free,
        sources: BTreeSet::new(),
        by_login: None,
    });
    let head = head_of(draft.access_after().into_iter());
    draft.put(&head);
}

fn put_cluster(draft: &mut Draft<'_>, founding: &Founding<'_>) {
    let Member { incarnation, key } = founding.member;
    let now = draft.now();
    draft.put(&NodeCounter { last: founding.node });
    draft.put(&NodeRecord { node: founding.node, incarnation, key, joined_at: now });
    draft.put(&RejoinRules { policy: founding.rejoin, members_until: None });
    draft.put(&ClusterTime { at: now });
    draft.put(&CaRecord { certificate: founding.ca_certificate.clone() });
    draft.put_secret(&RecordName::CaKey, CA_KEY_FORMAT, founding.ca_pkcs8);
}
