//! What a view keeps besides its records so that nothing is searched for: names in order, ids, what is due, what
//! grants access.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use keyclave_crypto::hash::sha256;
use keyclave_policy::{Policy, Rules};
use keyclave_types::access::Subject;
use keyclave_types::ids::{KeyId, NodeId, RecordId};
use keyclave_types::name::{KeyName, KeyPrefix};
use keyclave_types::position::Revision;
use keyclave_types::request::TokenId;
use keyclave_types::time::UnixMillis;

use crate::records::access::{AccessHead, TokenRecord};
use crate::records::key::KeyMeta;
use crate::versions;
use crate::view::access::AccessRecords;
use crate::view::{ForeignRecords, Held, Opened};

/// Label of the digest in the access head: label ‖ (record id (16) ‖ revision (8))…, in the order of ids.
const ACCESS_HEAD: &[u8] = b"keyclave access head 1\0";

/// Everything by which records are found.
#[derive(Clone, Default)]
pub(crate) struct Indexes {
    keys: OrdMap<KeyName, RecordId>,
    key_ids: OrdMap<KeyId, RecordId>,
    due: OrdSet<(UnixMillis, RecordId)>,
    prunable: OrdSet<RecordId>,
    tokens: OrdMap<TokenId, RecordId>,
    nodes: OrdMap<NodeId, RecordId>,
    outcomes: OrdSet<(u64, RecordId)>,
    /// Pages with destroyed versions: after which order to rewrite the stores, and since when.
    destroyed: OrdSet<(u64, UnixMillis, RecordId)>,
    /// Tokens that their subjects can rely on.
    lasting: OrdMap<TokenId, (Subject, u64)>,
    /// Tokens that end by themselves, in the order in which they do.
    ending: OrdSet<(UnixMillis, RecordId)>,
    /// How many tokens logins have given to each subject.
    logins: OrdMap<Subject, usize>,
    access: OrdMap<RecordId, Revision>,
    access_records: AccessRecords,
    foreign_records: ForeignRecords,
    /// Of `access`; none while it is being changed.
    settled: Option<Settled>,
}

/// What follows from the records that grant access.
#[derive(Clone)]
struct Settled {
    head: AccessHead,
    /// None if a policy does not read.
    rules: Option<Arc<Rules>>,
}

impl Indexes {
    pub(crate) fn insert(&mut self, id: RecordId, held: &Held) {
        match &held.body {
            Opened::Key(meta) => self.insert_key(id, meta),
            Opened::Token(token) => self.insert_token(id, token),
            Opened::Subject(_)
            | Opened::Group(_)
            | Opened::Policy(_)
            | Opened::AccessFloor(_)
            | Opened::ClientRoot(_)
            | Opened::Issuer(_)
            | Opened::Identity(_) => {
                self.access.insert(id, held.revision);
                self.insert_access(&held.body);
                self.settled = None;
            }
            Opened::Node(node) => {
                self.nodes.insert(node.node, id);
            }
            Opened::RequestOutcome(outcome) => {
                self.outcomes.insert((outcome.request.index(), id));
            }
            Opened::VersionPage(page) => {
                self.destroyed.extend(versions::last_destroyed(page).map(|(after, at)| (after, at, id)));
            }
            _ => {}
        }
    }

    pub(crate) fn remove(&mut self, id: RecordId, held: &Held) {
        match &held.body {
            Opened::Key(meta) => self.remove_key(id, meta),
            Opened::Token(token) => self.remove_token(id, token),
            Opened::Subject(_)
            | Opened::Group(_)
            | Opened::Policy(_)
            | Opened::AccessFloor(_)
            | Opened::ClientRoot(_)
            | Opened::Issuer(_)
            | Opened::Identity(_) => {
                self.access.remove(&id);
                self.remove_access(&held.body);
                self.settled = None;
            }
            Opened::Node(node) => {
                self.nodes.remove(&node.node);
            }
            Opened::RequestOutcome(outcome) => {
                self.outcomes.remove(&(outcome.request.index(), id));
            }
            Opened::VersionPage(page) => {
                if let Some((after, at)) = versions::last_destroyed(page) {
                    self.destroyed.remove(&(after, at, id));
                }
            }
            _ => {}
        }
    }

    fn insert_key(&mut self, id: RecordId, meta: &KeyMeta) {
        self.keys.insert(meta.name.clone(), id);
        self.key_ids.insert(meta.id, id);
        if let Some(at) = versions::due_at(meta) {
            self.due.insert((at, id));
        }
        if versions::prune_below(meta).is_some() {
            self.prunable.insert(id);
        }
    }

    fn remove_key(&mut self, id: RecordId, meta: &KeyMeta) {
        self.keys.remove(&meta.name);
        self.key_ids.remove(&meta.id);
        if let Some(at) = versions::due_at(meta) {
            self.due.remove(&(at, id));
        }
        self.prunable.remove(&id);
    }

    fn insert_token(&mut self, id: RecordId, token: &TokenRecord) {
        self.tokens.insert(token.id, id);
        if token.lasts() {
            self.lasting.insert(token.id, (token.subject.clone(), token.credential_epoch));
        }
        if let Some(end) = token.expires_at {
            self.ending.insert((end, id));
        }
        if token.by_login.is_some() {
            *self.logins.entry(token.subject.clone()).or_default() += 1;
        }
    }

    fn remove_token(&mut self, id: RecordId, token: &TokenRecord) {
        self.tokens.remove(&token.id);
        self.lasting.remove(&token.id);
        if let Some(end) = token.expires_at {
            self.ending.remove(&(end, id));
        }
        if token.by_login.is_some()
            && let Some(count) = self.logins.get_mut(&token.subject)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.logins.remove(&token.subject);
            }
        }
    }

    fn insert_access(&mut self, body: &Opened) {
        match body {
            Opened::Subject(record) => self.access_records.put_subject(record),
            Opened::Group(record) => self.access_records.put_group(record),
            Opened::Policy(record) => {
                let policy = Policy::read(&record.name, &record.text).ok();
                self.access_records.put_policy(record.name.clone(), policy);
            }
            Opened::AccessFloor(floor) => self.access_records.put_floor(Some(**floor)),
            Opened::ClientRoot(record) => self.foreign_records.put_root(record),
            Opened::Issuer(record) => self.foreign_records.put_issuer(record),
            Opened::Identity(record) => self.foreign_records.put_identity(record),
            _ => {}
        }
    }

    fn remove_access(&mut self, body: &Opened) {
        match body {
            Opened::Subject(record) => self.access_records.remove_subject(&record.subject),
            Opened::Group(record) => self.access_records.remove_group(&record.name),
            Opened::Policy(record) => self.access_records.remove_policy(&record.name),
            Opened::AccessFloor(_) => self.access_records.put_floor(None),
            Opened::ClientRoot(record) => self.foreign_records.remove_root(&record.name),
            Opened::Issuer(record) => self.foreign_records.remove_issuer(&record.name),
            Opened::Identity(record) => self.foreign_records.remove_identity(&record.identity),
            _ => {}
        }
    }

    /// Counts and digests the records that grant access and makes the rules, if they have changed.
    pub(crate) fn settle(&mut self) {
        if self.settled.is_none() {
            let head = head_of(self.access.iter().map(|(id, revision)| (*id, *revision)));
            self.settled = Some(Settled { head, rules: self.access_records.rules().map(Arc::new) });
        }
    }

    /// What the access head must be; none before the first record is folded in.
    pub(crate) fn access_head(&self) -> Option<AccessHead> {
        self.settled.as_ref().map(|settled| settled.head)
    }

    /// The rules; none if they cannot be made, and then everything is denied.
    pub(crate) fn rules(&self) -> Option<&Arc<Rules>> {
        self.settled.as_ref()?.rules.as_ref()
    }

    pub(crate) fn access_records(&self) -> &AccessRecords {
        &self.access_records
    }

    /// Who is believed about callers, and who they are.
    pub(crate) fn foreign_records(&self) -> &ForeignRecords {
        &self.foreign_records
    }

    /// How many tokens logins have given to a subject that are not forgotten.
    pub(crate) fn by_login(&self, subject: &Subject) -> usize {
        self.logins.get(subject).copied().unwrap_or(0)
    }

    /// Tokens that have ended by `now`, longest ended first.
    pub(crate) fn ended(&self, now: UnixMillis) -> impl Iterator<Item = RecordId> {
        self.ending.iter().take_while(move |(end, _)| *end <= now).map(|(_, id)| *id)
    }

    /// Whose tokens last, and the epochs that they were made under, but for one token.
    pub(crate) fn lasting(&self, but: Option<TokenId>) -> impl Iterator<Item = (&Subject, u64)> {
        let others = self.lasting.iter().filter(move |(id, _)| Some(**id) != but);
        others.map(|(_, (subject, epoch))| (subject, *epoch))
    }

    /// The records that grant access.
    pub(crate) fn access(&self) -> &OrdMap<RecordId, Revision> {
        &self.access
    }

    /// Keys under `prefix` after the name `after`, in order.
    pub(crate) fn names<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
        after: Option<&KeyName>,
    ) -> impl Iterator<Item = (&'a KeyName, &'a RecordId)> {
        let base = prefix.as_str().trim_end_matches('/');
        let itself =
            base.parse().ok().filter(|name| prefix.covers(name) && after.is_none_or(|after| after < name));
        // No segment is less than "0", so nothing under the prefix comes before it. A prefix that is as deep as
        // names may be has nothing under it.
        let least = format!("{base}{}0", if base.is_empty() { "" } else { "/" }).parse::<KeyName>().ok();
        let below = least.into_iter().flat_map(move |least| {
            let from = match after {
                Some(after) if *after >= least => Bound::Excluded(after.clone()),
                Some(_) | None => Bound::Included(least),
            };
            self.keys.range((from, Bound::Unbounded)).take_while(move |(name, _)| prefix.covers(name))
        });
        let itself = itself.and_then(|name: KeyName| self.keys.get_key_value(&name));
        itself.into_iter().chain(below)
    }

    pub(crate) fn key_by_id(&self, id: KeyId) -> Option<RecordId> {
        self.key_ids.get(&id).copied()
    }

    /// Keys whose next version is due by `now`, longest due first.
    pub(crate) fn due(&self, now: UnixMillis) -> impl Iterator<Item = (UnixMillis, RecordId)> {
        self.due.iter().take_while(move |(at, _)| *at <= now).copied()
    }

    /// When the next version of any key is due.
    pub(crate) fn next_due(&self) -> Option<UnixMillis> {
        self.due.get_min().map(|(at, _)| *at)
    }

    /// Keys that hold more versions than their rules keep.
    pub(crate) fn prunable(&self) -> impl Iterator<Item = RecordId> {
        self.prunable.iter().copied()
    }

    /// Since when a version is destroyed that no order after this one covers.
    pub(crate) fn destroyed_since(&self, order: u64) -> Option<UnixMillis> {
        let uncovered = self.destroyed.range((order, UnixMillis(0), RecordId::from_bytes([0; 16]))..);
        uncovered.map(|(_, at, _)| *at).next()
    }

    pub(crate) fn tokens(&self) -> impl Iterator<Item = (&TokenId, &RecordId)> {
        self.tokens.iter()
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (NodeId, RecordId)> {
        self.nodes.iter().map(|(node, id)| (*node, *id))
    }

    pub(crate) fn nodes_count(&self) -> usize {
        self.nodes.len()
    }

    /// Outcomes of requests that started below `horizon`.
    pub(crate) fn outcomes_below(&self, horizon: u64) -> impl Iterator<Item = RecordId> {
        self.outcomes.iter().take_while(move |(index, _)| *index < horizon).map(|(_, id)| *id)
    }
}

/// Count and digest of records that grant access, given in the order of their ids.
pub(crate) fn head_of(access: impl Iterator<Item = (RecordId, Revision)>) -> AccessHead {
    let mut bytes = Vec::new();
    let mut count = 0;
    for (id, revision) in access {
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(&revision.0.to_be_bytes());
        count += 1;
    }
    AccessHead { count, digest: sha256(&[ACCESS_HEAD, &bytes]) }
}
