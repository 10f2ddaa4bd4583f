//! One record as a view holds it: opened, except for secrets, which stay sealed until they are used.

use std::sync::Arc;

use keyclave_types::envelope::{EnvelopeError, decode};
use keyclave_types::position::Revision;

use crate::records::access::{
    AccessFloor, AccessHead, GroupRecord, JoinToken, PolicyRecord, SubjectRecord, TokenRecord,
};
use crate::records::cluster::{
    Admission, AuditAnchor, CaRecord, ClusterTime, KeptTrail, NodeCounter, NodeRecord, RejoinRules,
    RestartKey, RewritingOrder, Rewritten, TrailRules,
};
use crate::records::foreign::{ClientRootRecord, IdentityRecord, IssuerRecord};
use crate::records::key::{KeyMeta, Usage, VersionPage};
use crate::records::request::{Horizon, RequestOutcome};
use crate::records::{Body, RecordKind};

/// A record and the state that it is in.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) revision: Revision,
    pub(crate) body: Opened,
}

/// A body that a view can hold opened.
pub(crate) trait HeldBody: Body {
    fn held(opened: &Opened) -> Option<&Self>;
}

macro_rules! bodies {
    ($($kind:ident($body:ident),)+) => {
        /// What a record turned out to be.
        #[derive(Clone)]
        pub(crate) enum Opened {
            /// Readable without the keyring.
            Plain(Arc<[u8]>),
            /// Holds a secret: checked when it was folded in, opened when it is used.
            Secret { kind: RecordKind, blob: Arc<[u8]> },
            $($kind(Arc<$body>),)+
        }

        impl Opened {
            /// Reads an opened blob as what its kind says; a secret's plaintext is dropped again.
            pub(crate) fn read(kind: RecordKind, plaintext: &[u8], blob: Vec<u8>) -> Result<Self, EnvelopeError> {
                Ok(match kind {
                    RecordKind::VersionMaterial
                    | RecordKind::AuditSegmentKey
                    | RecordKind::TrailKey
                    | RecordKind::CaKey => Self::Secret { kind, blob: blob.into() },
                    $(RecordKind::$kind => Self::$kind(Arc::new(decode(plaintext)?)),)+
                })
            }

            /// The kind of a sealed record.
            pub(crate) fn kind(&self) -> Option<RecordKind> {
                match self {
                    Self::Plain(_) => None,
                    Self::Secret { kind, .. } => Some(*kind),
                    $(Self::$kind(_) => Some(RecordKind::$kind),)+
                }
            }
        }

        $(impl HeldBody for $body {
            fn held(opened: &Opened) -> Option<&Self> {
                match opened {
                    Opened::$kind(body) => Some(body),
                    _ => None,
                }
            }
        })+
    };
}

bodies! {
    Key(KeyMeta),
    VersionPage(VersionPage),
    Usage(Usage),
    Token(TokenRecord),
    AccessHead(AccessHead),
    JoinToken(JoinToken),
    NodeCounter(NodeCounter),
    Node(NodeRecord),
    RestartKey(RestartKey),
    Admission(Admission),
    RequestOutcome(RequestOutcome),
    Horizon(Horizon),
    ClusterTime(ClusterTime),
    Ca(CaRecord),
    AuditAnchor(AuditAnchor),
    RejoinRules(RejoinRules),
    RewritingOrder(RewritingOrder),
    TrailRules(TrailRules),
    KeptTrail(KeptTrail),
    Rewritten(Rewritten),
    Subject(SubjectRecord),
    Group(GroupRecord),
    Policy(PolicyRecord),
    AccessFloor(AccessFloor),
    ClientRoot(ClientRootRecord),
    Issuer(IssuerRecord),
    Identity(IdentityRecord),
}
