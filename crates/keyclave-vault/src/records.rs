//! Every sealed record: its kind, its name, its body.
//!
//! A record's id is a keyed pseudorandom function of kind and name; its blob is the body's stored form, sealed for
//! kind, id and revision. Kinds are numbers that are stored: never reuse one.

pub mod access;
pub mod cluster;
pub mod foreign;
pub mod key;
pub mod plain;
pub mod request;

use std::cmp::Ordering;

use keyclave_types::access::{GroupName, PolicyName, Subject};
use keyclave_types::envelope::Stored;
use keyclave_types::identity::{Identity, IssuerName, RootName};
use keyclave_types::ids::{KeyId, NodeId, RequestId};
use keyclave_types::key::Version;
use keyclave_types::name::KeyName;
use keyclave_types::request::TokenId;

/// A sealed version's secret: format, epoch, nonce, format, key, tag.
const MATERIAL_BLOB_BYTES: usize = 1 + 4 + 24 + (1 + 32) + 16;

/// What a sealed record holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum RecordKind {
    /// [`key::KeyMeta`].
    Key = 1,
    /// [`key::VersionPage`].
    VersionPage = 2,
    /// A version's secret: [`key::MATERIAL_FORMAT`] and 32 bytes.
    VersionMaterial = 3,
    /// [`key::Usage`].
    Usage = 4,
    /// [`access::TokenRecord`].
    Token = 5,
    /// [`access::AccessHead`].
    AccessHead = 6,
    /// [`access::JoinToken`].
    JoinToken = 7,
    /// [`cluster::NodeCounter`].
    NodeCounter = 8,
    /// [`cluster::NodeRecord`].
    Node = 9,
    /// [`cluster::RestartKey`].
    RestartKey = 10,
    /// [`cluster::Admission`].
    Admission = 11,
    /// [`request::RequestOutcome`].
    RequestOutcome = 12,
    /// [`request::Horizon`].
    Horizon = 13,
    /// [`cluster::ClusterTime`].
    ClusterTime = 14,
    /// [`cluster::CaRecord`].
    Ca = 15,
    /// [`cluster::AuditAnchor`].
    AuditAnchor = 16,
    /// A segment's secret: [`cluster::SEGMENT_KEY_FORMAT`] and 32 bytes.
    AuditSegmentKey = 17,
    /// The authority's private key: [`cluster::CA_KEY_FORMAT`] and PKCS #8.
    CaKey = 18,
    /// [`cluster::RejoinRules`].
    RejoinRules = 19,
    /// [`cluster::RewritingOrder`].
    RewritingOrder = 30,
    /// [`cluster::Rewritten`].
    Rewritten = 31,
    /// [`access::SubjectRecord`].
    Subject = 20,
    /// [`access::GroupRecord`].
    Group = 21,
    /// [`access::PolicyRecord`].
    Policy = 22,
    /// [`access::AccessFloor`].
    AccessFloor = 23,
    /// The key that signs how trails stand: [`cluster::TRAIL_KEY_FORMAT`] and an Ed25519 seed.
    TrailKey = 32,
    /// [`cluster::TrailRules`].
    TrailRules = 33,
    /// [`cluster::KeptTrail`].
    KeptTrail = 34,
    /// [`foreign::ClientRootRecord`].
    ClientRoot = 24,
    /// [`foreign::IssuerRecord`].
    Issuer = 25,
    /// [`foreign::IdentityRecord`].
    Identity = 26,
}

impl RecordKind {
    /// The kinds in the order in which to try an unknown record whose blob has this length. A version's secret has
    /// one length, a page of few versions is shorter, and most of the rest are keys. A wrong guess costs time only:
    /// the kind is authenticated.
    pub(crate) fn likely_first(blob_bytes: usize) -> impl Iterator<Item = Self> {
        let guess = match blob_bytes.cmp(&MATERIAL_BLOB_BYTES) {
            Ordering::Less => Self::VersionPage,
            Ordering::Equal => Self::VersionMaterial,
            Ordering::Greater => Self::Key,
        };
        let rest = Self::LIKELY_FIRST.into_iter().filter(move |kind| *kind != guess);
        std::iter::once(guess).chain(rest)
    }

    /// The most frequent first.
    pub(crate) const LIKELY_FIRST: [Self; 31] = [
        Self::Key,
        Self::RequestOutcome,
        Self::VersionPage,
        Self::VersionMaterial,
        Self::Token,
        Self::Subject,
        Self::Policy,
        Self::Group,
        Self::Identity,
        Self::Usage,
        Self::AuditSegmentKey,
        Self::AuditAnchor,
        Self::Node,
        Self::RestartKey,
        Self::Admission,
        Self::JoinToken,
        Self::AccessHead,
        Self::NodeCounter,
        Self::Horizon,
        Self::ClusterTime,
        Self::Ca,
        Self::CaKey,
        Self::RejoinRules,
        Self::RewritingOrder,
        Self::Rewritten,
        Self::AccessFloor,
        Self::TrailKey,
        Self::TrailRules,
        Self::KeptTrail,
        Self::ClientRoot,
        Self::Issuer,
    ];

    /// Whether the access head counts it.
    pub(crate) fn grants_access(self) -> bool {
        matches!(
            self,
            Self::Subject
                | Self::Group
                | Self::Policy
                | Self::AccessFloor
                | Self::ClientRoot
                | Self::Issuer
                | Self::Identity
        )
    }

    /// The number that is stored.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// The name of one sealed record, from which its id follows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RecordName<'a> {
    Key(&'a KeyName),
    VersionPage(KeyId, u32),
    VersionMaterial(KeyId, Version),
    Usage(KeyId, Version),
    Token(TokenId),
    AccessHead,
    JoinToken(TokenId),
    NodeCounter,
    Node(NodeId),
    RestartKey(NodeId),
    Admission(NodeId),
    RequestOutcome(RequestId),
    Horizon,
    ClusterTime,
    Ca,
    AuditAnchor(NodeId),
    AuditSegmentKey([u8; 16]),
    CaKey,
    RejoinRules,
    RewritingOrder,
    Rewritten(NodeId),
    Subject(&'a Subject),
    Group(&'a GroupName),
    Policy(&'a PolicyName),
    AccessFloor,
    TrailKey,
    TrailRules,
    KeptTrail(NodeId),
    ClientRoot(&'a RootName),
    Issuer(&'a IssuerName),
    Identity(&'a Identity),
}

impl RecordName<'_> {
    pub(crate) fn kind(&self) -> RecordKind {
        match self {
            Self::Key(_) => RecordKind::Key,
            Self::VersionPage(..) => RecordKind::VersionPage,
            Self::VersionMaterial(..) => RecordKind::VersionMaterial,
            Self::Usage(..) => RecordKind::Usage,
            Self::Token(_) => RecordKind::Token,
            Self::AccessHead => RecordKind::AccessHead,
            Self::JoinToken(_) => RecordKind::JoinToken,
            Self::NodeCounter => RecordKind::NodeCounter,
            Self::Node(_) => RecordKind::Node,
            Self::RestartKey(_) => RecordKind::RestartKey,
            Self::Admission(_) => RecordKind::Admission,
            Self::RequestOutcome(_) => RecordKind::RequestOutcome,
            Self::Horizon => RecordKind::Horizon,
            Self::ClusterTime => RecordKind::ClusterTime,
            Self::Ca => RecordKind::Ca,
            Self::AuditAnchor(_) => RecordKind::AuditAnchor,
            Self::AuditSegmentKey(_) => RecordKind::AuditSegmentKey,
            Self::CaKey => RecordKind::CaKey,
            Self::RejoinRules => RecordKind::RejoinRules,
            Self::RewritingOrder => RecordKind::RewritingOrder,
            Self::Rewritten(_) => RecordKind::Rewritten,
            Self::Subject(_) => RecordKind::Subject,
            Self::Group(_) => RecordKind::Group,
            Self::Policy(_) => RecordKind::Policy,
            Self::AccessFloor => RecordKind::AccessFloor,
            Self::TrailKey => RecordKind::TrailKey,
            Self::TrailRules => RecordKind::TrailRules,
            Self::KeptTrail(_) => RecordKind::KeptTrail,
            Self::ClientRoot(_) => RecordKind::ClientRoot,
            Self::Issuer(_) => RecordKind::Issuer,
            Self::Identity(_) => RecordKind::Identity,
        }
    }

    /// The bytes of the name. Each kind has one shape, so two names of a kind never share bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Key(name) => name.as_str().as_bytes().to_vec(),
            Self::VersionPage(key, page) => [key.as_bytes().as_slice(), &page.to_be_bytes()].concat(),
            Self::VersionMaterial(key, version) | Self::Usage(key, version) => {
                [key.as_bytes().as_slice(), &version.get().to_be_bytes()].concat()
            }
            Self::Token(id) | Self::JoinToken(id) => id.0.to_vec(),
            Self::Node(node)
            | Self::RestartKey(node)
            | Self::Admission(node)
            | Self::AuditAnchor(node)
            | Self::Rewritten(node)
            | Self::KeptTrail(node) => node.get().to_be_bytes().to_vec(),
            Self::RequestOutcome(id) => id.as_bytes().to_vec(),
            Self::AuditSegmentKey(segment) => segment.to_vec(),
            Self::AccessHead
            | Self::NodeCounter
            | Self::Horizon
            | Self::ClusterTime
            | Self::Ca
            | Self::CaKey
            | Self::RejoinRules
            | Self::RewritingOrder
            | Self::AccessFloor
            | Self::TrailKey
            | Self::TrailRules => Vec::new(),
            // A kind has no colon in its word, so a user and a service never share bytes.
            Self::Subject(subject) => subject.to_string().into_bytes(),
            Self::Group(name) | Self::Policy(name) | Self::ClientRoot(name) | Self::Issuer(name) => {
                name.as_str().as_bytes().to_vec()
            }
            // Neither a kind's word nor a name of one segment has a colon.
            Self::Identity(identity) => identity.to_string().into_bytes(),
        }
    }
}

/// A body that knows its record's name.
pub(crate) trait Body: Stored {
    fn name(&self) -> RecordName<'_>;
}
