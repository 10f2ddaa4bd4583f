//! What members of the cluster write on its own account: nobody asks for it, so it has no request id; each is
//! harmless when it is repeated.
//!
//! A member sends its upkeep to the leader over a keyed connection; the leader decides it here, as that member.

mod marks;
mod node;
mod requests;
mod rewriting;
mod segments;
mod uses;

use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::secret::Secret;
use keyclave_policy::{Action, Permit, Principal};
use keyclave_types::envelope::Stored;
use keyclave_types::ids::{Incarnation, NodeId, PlainKind};
use keyclave_types::key::Version;
use keyclave_types::name::KeyName;
use keyclave_types::request::NodeCode;
use keyclave_types::time::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::decide::Decision;
use crate::draft::Draft;
use crate::occasion::Occasion;
use crate::records::RecordName;
use crate::records::cluster::{AnchoredTree, ClusterTime, KeptTrail, SEGMENT_KEY_FORMAT, TRAIL_KEY_FORMAT};
use crate::records::plain::Certificate;
use crate::refusal::{Refusal, Refused};
use crate::upkeep::node::Head;
use crate::view::View;

/// One piece of upkeep. Its stored form is what a member sends to the leader.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Upkeep {
    /// Record what lets a restarted process of this node come back. Refused under a seal mark.
    PutRestartKey {
        /// Whose.
        node: NodeId,
        /// On which data directory.
        incarnation: Incarnation,
        /// Ed25519.
        public: [u8; 32],
    },
    /// Take back what lets this node come back by itself.
    DeleteRestartKey {
        /// Whose.
        node: NodeId,
    },
    /// Vouch for a process of this node because a valid share was given for it. Refused under a seal mark.
    Vouch {
        /// Whose process.
        node: NodeId,
        /// The code of its boot key.
        code: NodeCode,
    },
    /// Use up the admission of this process: once committed, the root may be sealed to it.
    UseAdmission {
        /// Whose process.
        node: NodeId,
        /// The code of its boot key.
        code: NodeCode,
    },
    /// Lift seal marks after a ceremony: of these nodes, and the cluster's.
    LiftMarks {
        /// Whose marks.
        nodes: Vec<NodeId>,
        /// Whether the cluster's mark too.
        cluster: bool,
    },
    /// Record a node's certificate for clients: DER, the leaf first.
    PutCertificate {
        /// Whose.
        node: NodeId,
        /// The chain.
        chain: Vec<Vec<u8>>,
    },
    /// Record the time. It never goes back.
    RecordTime {
        /// The time.
        at: UnixMillis,
    },
    /// Record how far a node's audit chain is durable.
    PutAnchor {
        /// Whose chain.
        node: NodeId,
        /// In which data directory.
        incarnation: Incarnation,
        /// The sequence number of its last durable record.
        sequence: u64,
        /// That record's hash.
        hash: [u8; 32],
        /// The tree over the records up to it.
        tree: Option<AnchoredTree>,
    },
    /// Make the key of an audit segment.
    CreateSegmentKey {
        /// The segment's id, random.
        segment: [u8; 16],
    },
    /// Refuse request ids that start below this index from now on.
    RaiseHorizon {
        /// The index.
        index: u64,
    },
    /// Forget outcomes below the horizon, some at a time.
    ForgetRequests,
    /// Reserve a block of uses of a counted version.
    ReserveUses {
        /// Which key.
        name: KeyName,
        /// Which version.
        version: Version,
    },
    /// Let being a member be enough until then. Refused unless the cluster's policy is `Members`.
    OpenToMembers {
        /// Until when.
        until: UnixMillis,
    },
    /// Have every node rewrite its store, if something was destroyed since it was last told to.
    OrderRewriting,
    /// Record that a node has carried out an order to rewrite its store.
    ReportRewritten {
        /// Which node.
        node: NodeId,
        /// In which data directory.
        incarnation: Incarnation,
        /// Which order.
        number: u64,
        /// Up to which index its log was gone before.
        index: u64,
    },
    /// Make the key that signs how trails stand, if there is none.
    CreateTrailKey,
    /// Remove old segments of a node's trail, with their keys: what they hold cannot be read any more.
    DropSegments {
        /// Whose trail.
        node: NodeId,
        /// In which data directory.
        incarnation: Incarnation,
        /// The first segment that is kept.
        segment: u64,
        /// The last record before it.
        sequence: u64,
        /// The hash of the last line before it.
        hash: [u8; 32],
        /// When the last segment before it ended.
        ended: UnixMillis,
        /// The keys of the segments before it, as far as they are there.
        keys: Vec<[u8; 16]>,
    },
}

impl Stored for Upkeep {
    const FORMAT: u8 = 2;
}

/// What a piece of upkeep did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpkeepAnswer {
    /// It is done.
    Done,
    /// So many requests were forgotten; 0 if none are left.
    Forgotten {
        /// How many.
        requests: usize,
    },
    /// So many uses are the member's own from now on.
    Reserved {
        /// How many.
        uses: u64,
    },
}

impl Upkeep {
    /// What it asks for, and on which key.
    pub fn action(&self) -> (Action, Option<&KeyName>) {
        match self {
            Self::ReserveUses { name, .. } => (Action::ReserveUses, Some(name)),
            Self::PutRestartKey { .. }
            | Self::DeleteRestartKey { .. }
            | Self::Vouch { .. }
            | Self::UseAdmission { .. }
            | Self::OpenToMembers { .. }
            | Self::LiftMarks { .. }
            | Self::PutCertificate { .. }
            | Self::RecordTime { .. }
            | Self::PutAnchor { .. }
            | Self::CreateSegmentKey { .. }
            | Self::RaiseHorizon { .. }
            | Self::ForgetRequests
            | Self::OrderRewriting
            | Self::ReportRewritten { .. }
            | Self::CreateTrailKey
            | Self::DropSegments { .. } => (Action::Housekeep, None),
        }
    }

    /// The node that it is about, if only that node may ask for it.
    fn own(&self) -> Option<NodeId> {
        match self {
            Self::PutRestartKey { node, .. }
            | Self::PutCertificate { node, .. }
            | Self::PutAnchor { node, .. }
            | Self::DropSegments { node, .. }
            | Self::ReportRewritten { node, .. } => Some(*node),
            Self::DeleteRestartKey { .. }
            | Self::Vouch { .. }
            | Self::UseAdmission { .. }
            | Self::OpenToMembers { .. }
            | Self::LiftMarks { .. }
            | Self::RecordTime { .. }
            | Self::CreateSegmentKey { .. }
            | Self::RaiseHorizon { .. }
            | Self::ForgetRequests
            | Self::OrderRewriting
            | Self::CreateTrailKey
            | Self::ReserveUses { .. } => None,
        }
    }
}

/// Decides one piece of upkeep for the member whose permit this is.
pub fn decide_upkeep(
    view: &View,
    permit: &Permit,
    upkeep: &Upkeep,
    occasion: &Occasion,
    entropy: &mut Entropy,
) -> Result<Decision<UpkeepAnswer>, Refused> {
    Draft::decide(view, occasion, entropy, |draft| {
        let (action, key) = upkeep.action();
        let own = upkeep.own().is_none_or(|node| *permit.principal() == Principal::Member(node));
        if !permit.covers(action, key) || !own {
            return Err(Refusal::PermitForeign);
        }
        draft.reader.standing(permit.principal(), occasion.now)?;
        change(draft, upkeep)
    })
}

fn change(draft: &mut Draft<'_>, upkeep: &Upkeep) -> Result<UpkeepAnswer, Refusal> {
    match upkeep {
        Upkeep::PutRestartKey { node, incarnation, public } => {
            node::put_restart_key(draft, *node, *incarnation, *public)
        }
        Upkeep::DeleteRestartKey { node } => {
            draft.delete(&RecordName::RestartKey(*node));
            Ok(UpkeepAnswer::Done)
        }
        Upkeep::Vouch { node, code } => marks::vouch(draft, *node, code),
        Upkeep::UseAdmission { node, code } => marks::use_admission(draft, *node, code),
        Upkeep::OpenToMembers { until } => marks::open_to_members(draft, *until),
        Upkeep::LiftMarks { nodes, cluster } => marks::lift(draft, nodes, *cluster),
        Upkeep::PutCertificate { node, chain } => {
            node::known(draft, *node)?;
            draft.put_plain(PlainKind::Certificate, node.get(), &Certificate { chain: chain.clone() });
            Ok(UpkeepAnswer::Done)
        }
        Upkeep::RecordTime { at } => record_time(draft, *at),
        Upkeep::PutAnchor { node, incarnation, sequence, hash, tree } => node::put_anchor(
            draft,
            *node,
            *incarnation,
            Head { sequence: *sequence, hash: *hash, tree: *tree },
        ),
        Upkeep::CreateSegmentKey { segment } => create_segment_key(draft, *segment),
        Upkeep::RaiseHorizon { index } => requests::raise_horizon(draft, *index),
        Upkeep::ForgetRequests => requests::forget(draft),
        Upkeep::ReserveUses { name, version } => uses::reserve(draft, name, *version),
        Upkeep::OrderRewriting => rewriting::order(draft),
        Upkeep::ReportRewritten { node, incarnation, number, index } => {
            rewriting::report(draft, *node, *incarnation, *number, *index)
        }
        Upkeep::CreateTrailKey => create_trail_key(draft),
        Upkeep::DropSegments { node, incarnation, segment, sequence, hash, ended, keys } => {
            let kept = KeptTrail {
                node: *node,
                incarnation: *incarnation,
                segment: *segment,
                sequence: *sequence,
                hash: *hash,
                at: draft.now(),
            };
            segments::drop_before(draft, kept, *ended, keys)
        }
    }
}

fn record_time(draft: &mut Draft<'_>, at: UnixMillis) -> Result<UpkeepAnswer, Refusal> {
    let found = draft.reader.get::<ClusterTime>(&RecordName::ClusterTime);
    if found.is_none_or(|found| found.at < at) {
        draft.put(&ClusterTime { at });
    }
    Ok(UpkeepAnswer::Done)
}

fn create_segment_key(draft: &mut Draft<'_>, segment: [u8; 16]) -> Result<UpkeepAnswer, Refusal> {
    let name = RecordName::AuditSegmentKey(segment);
    if draft.reader.exists(&name) {
        return Err(Refusal::RecordExists);
    }
    let key: Secret<32> = draft.entropy.secret("audit segment key");
    draft.put_secret(&name, SEGMENT_KEY_FORMAT, key.expose());
    Ok(UpkeepAnswer::Done)
}

fn create_trail_key(draft: &mut Draft<'_>) -> Result<UpkeepAnswer, Refusal> {
    if !draft.reader.exists(&RecordName::TrailKey) {
        let seed: Secret<32> = draft.entropy.secret("trail key");
        draft.put_secret(&RecordName::TrailKey, TRAIL_KEY_FORMAT, seed.expose());
    }
    Ok(UpkeepAnswer::Done)
}
