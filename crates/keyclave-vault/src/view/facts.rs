//! What a view says to the node about the cluster itself: nodes, addresses, marks, anchors, the time.
//!
//! None of it is a caller's; secrets among it take a permit.

use keyclave_crypto::secret::{Secret, SecretVec};
use keyclave_crypto::sign::SigningKey;
use keyclave_policy::{Action, Permit};
use keyclave_types::envelope::{Stored, decode};
use keyclave_types::ids::{NodeId, PlainKind, RecordId, RequestId};
use keyclave_types::member::Addresses;
use keyclave_types::seal::SealRecord;
use keyclave_types::time::UnixMillis;

use crate::records::RecordName;
use crate::records::access::AccessFloor;
use crate::records::cluster::{
    Admission, AuditAnchor, CA_KEY_FORMAT, CaRecord, ClusterTime, KeptTrail, NodeCounter, NodeRecord,
    RejoinRules, RestartKey, RewritingOrder, Rewritten, SEGMENT_KEY_FORMAT, TRAIL_KEY_FORMAT, TrailRules,
};
use crate::records::plain::{Certificate, Formats, SealMark, WriterKey};
use crate::records::request::Horizon;
use crate::view::{HeldBody, Opened, View};

impl View {
    /// The seal record.
    pub fn seal_record(&self) -> Option<SealRecord> {
        self.plain(RecordId::plain(PlainKind::Seal, 0))
    }

    /// The writer key's public half.
    pub fn writer_key(&self) -> Option<WriterKey> {
        self.plain(RecordId::plain(PlainKind::WriterKey, 0))
    }

    /// Which cluster this is and what its nodes must understand.
    pub fn formats(&self) -> Option<Formats> {
        self.plain(RecordId::plain(PlainKind::Formats, 0))
    }

    /// Where a node is reached.
    pub fn addresses(&self, node: NodeId) -> Option<Addresses> {
        self.plain(RecordId::plain(PlainKind::Address, node.get()))
    }

    /// A node's certificate for clients.
    pub fn certificate(&self, node: NodeId) -> Option<Certificate> {
        self.plain(RecordId::plain(PlainKind::Certificate, node.get()))
    }

    /// An operator's mark on this node.
    pub fn node_mark(&self, node: NodeId) -> Option<SealMark> {
        self.plain(RecordId::plain(PlainKind::SealMark, node.get()))
    }

    /// An operator's mark on the whole cluster.
    pub fn cluster_mark(&self) -> Option<SealMark> {
        self.plain(RecordId::plain(PlainKind::SealMark, 0))
    }

    /// A node that has joined and was not removed.
    pub fn node(&self, node: NodeId) -> Option<&NodeRecord> {
        self.body(&RecordName::Node(node))
    }

    /// All nodes, by number.
    pub fn nodes(&self) -> Vec<NodeRecord> {
        let of = |id| self.held(id).and_then(|held| NodeRecord::held(&held.body)).copied();
        self.indexes().nodes().filter_map(|(_, id)| of(id)).collect()
    }

    /// What lets a restarted process of this node come back.
    pub fn restart_key(&self, node: NodeId) -> Option<&RestartKey> {
        self.body(&RecordName::RestartKey(node))
    }

    /// The process of this node that somebody vouched for.
    pub fn admission(&self, node: NodeId) -> Option<&Admission> {
        self.body(&RecordName::Admission(node))
    }

    /// Approvals by others that an act which cannot be taken back needs; none if that is not on record, and then no such
    /// act is permitted.
    pub fn approvals_min(&self) -> Option<u32> {
        self.body::<AccessFloor>(&RecordName::AccessFloor).map(|floor| floor.approvals_min)
    }

    /// How nodes come back.
    pub fn rejoin_rules(&self) -> Option<RejoinRules> {
        self.body(&RecordName::RejoinRules).copied()
    }

    /// The last order to rewrite the stores; number 0 before the first.
    pub fn rewriting_order(&self) -> RewritingOrder {
        self.body::<RewritingOrder>(&RecordName::RewritingOrder).copied().unwrap_or_default()
    }

    /// The last order to rewrite its store that this node has carried out, in the directory that it has today.
    pub fn rewritten(&self, node: NodeId) -> u64 {
        let rewritten = self.body::<Rewritten>(&RecordName::Rewritten(node));
        let own = self.node(node).map(|node| node.incarnation);
        rewritten
            .filter(|rewritten| Some(rewritten.incarnation) == own)
            .map_or(0, |rewritten| rewritten.number)
    }

    /// Since when something is destroyed that no order to rewrite the stores covers yet.
    pub fn destroyed_since(&self) -> Option<UnixMillis> {
        self.indexes().destroyed_since(self.rewriting_order().number)
    }

    /// The last time that the cluster agreed on.
    pub fn cluster_time(&self) -> Option<UnixMillis> {
        self.body::<ClusterTime>(&RecordName::ClusterTime).map(|time| time.at)
    }

    /// The index below which request ids are refused.
    pub fn horizon(&self) -> u64 {
        self.body::<Horizon>(&RecordName::Horizon).map_or(0, |horizon| horizon.index)
    }

    /// How far this node's audit chain was durable when it last said so.
    pub fn anchor(&self, node: NodeId) -> Option<&AuditAnchor> {
        self.body(&RecordName::AuditAnchor(node))
    }

    /// The certificate of the cluster's authority.
    pub fn ca_certificate(&self) -> Option<&[u8]> {
        self.body::<CaRecord>(&RecordName::Ca).map(|ca| ca.certificate.as_slice())
    }

    /// The private key of the cluster's authority, PKCS #8. Only for [`Action::Housekeep`].
    pub fn ca_key(&self, permit: &Permit) -> Option<SecretVec> {
        let allowed = permit.covers(Action::Housekeep, None);
        allowed.then(|| self.open_secret(self.id_of(&RecordName::CaKey), CA_KEY_FORMAT)).flatten()
    }

    /// The key of one audit segment. Only for [`Action::Housekeep`] and [`Action::ReadAudit`].
    pub fn segment_key(&self, permit: &Permit, segment: [u8; 16]) -> Option<Secret<32>> {
        let allowed = permit.covers(Action::Housekeep, None) || permit.covers(Action::ReadAudit, None);
        let id = self.id_of(&RecordName::AuditSegmentKey(segment));
        let secret = allowed.then(|| self.open_secret(id, SEGMENT_KEY_FORMAT)).flatten()?;
        Secret::from_slice("audit segment key", secret.expose())
    }

    /// How long trails are kept.
    pub fn trail_rules(&self) -> TrailRules {
        self.body::<TrailRules>(&RecordName::TrailRules).cloned().unwrap_or_default()
    }

    /// Where this node's trail begins; none if nothing of it was removed.
    pub fn kept_trail(&self, node: NodeId) -> Option<&KeptTrail> {
        self.body(&RecordName::KeptTrail(node))
    }

    /// What was answered to this request, if it was done: the position in time, and whether it is kept still.
    pub fn is_done(&self, request: RequestId) -> bool {
        self.held(self.id_of(&RecordName::RequestOutcome(request))).is_some()
    }

    /// Whether there is a key that signs how trails stand.
    pub fn has_trail_key(&self) -> bool {
        self.held(self.id_of(&RecordName::TrailKey)).is_some()
    }

    /// The key that signs how trails stand. Only for [`Action::ReadAudit`].
    pub fn trail_key(&self, permit: &Permit) -> Option<SigningKey> {
        let allowed = permit.covers(Action::ReadAudit, None);
        let id = self.id_of(&RecordName::TrailKey);
        let seed = allowed.then(|| self.open_secret(id, TRAIL_KEY_FORMAT)).flatten()?;
        Secret::from_slice("trail key", seed.expose()).map(SigningKey::from_seed)
    }

    /// How far each node's audit chain was durable when it last said so, nodes that were removed included.
    pub fn anchors(&self) -> Vec<AuditAnchor> {
        let last = self.body::<NodeCounter>(&RecordName::NodeCounter).map_or(0, |counter| counter.last.get());
        let nodes = (1..=last).filter_map(NodeId::new);
        nodes.filter_map(|node| self.anchor(node)).copied().collect()
    }

    fn plain<T: Stored>(&self, id: RecordId) -> Option<T> {
        match &self.held(id)?.body {
            Opened::Plain(bytes) => decode(bytes).ok(),
            _ => None,
        }
    }

    pub(crate) fn body<T: HeldBody>(&self, name: &RecordName<'_>) -> Option<&T> {
        self.held(self.id_of(name)).and_then(|held| T::held(&held.body))
    }
}
