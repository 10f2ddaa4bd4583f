//! A naive ledger to decide against, and the tests that need one: a map, an index, and `apply` in a few lines.

mod access;
mod ciphertexts;
mod clocks;
mod founding;
mod goldens;
mod histories;
mod identities;
mod keys;
mod members;
mod requests;
mod rewritings;
mod rotations;
mod trails;
mod views;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use keyclave_crypto::entropy::Entropy;
use keyclave_policy::{Action, Came, Circumstances, Credential, Permit, Principal, Target};
use keyclave_types::access::{RoleGrant, Subject};
use keyclave_types::identity::TokenTerms;
use keyclave_types::ids::{ClusterId, Incarnation, KeyId, NodeId, RecordId, RequestId};
use keyclave_types::key::{Algorithm, KeyDescription, KeyRules, Version};
use keyclave_types::member::{Member, NodePublicKey};
use keyclave_types::name::KeyName;
use keyclave_types::position::Generation;
use keyclave_types::request::{
    Decrypt, DecryptItem, Encrypt, EncryptItem, Read, TokenId, Write, WriteAnswer, WriteKind,
};
use keyclave_types::seal::Threshold;
use keyclave_types::time::UnixMillis;
use keyclave_types::transaction::{
    Change, Conflict, Expect, LeaderId, Record, Transaction, TransactionOutcome,
};
use zeroize::Zeroizing;

use crate::compute::{Computed, Outcome, ReadAnswer, Uses, compute};
use crate::decide::{Decision, Proposal, decide};
use crate::draft::Draft;
use crate::founding::{Founded, Founding, found};
use crate::occasion::{Now, Occasion};
use crate::permission;
use crate::records::cluster::{RejoinPolicy, RejoinRules};
use crate::refusal::{Refusal, Refused};
use crate::upkeep::{Upkeep, UpkeepAnswer, decide_upkeep};
use crate::view::View;

pub(crate) const CLUSTER: ClusterId = ClusterId::from_bytes([0xc1; 16]);
/// Nothing is known about how a caller came.
pub(crate) const SO: Circumstances = Circumstances {
    mtls: false,
    bound: false,
    source: None,
    time: None,
    version: None,
    associated_data: false,
    purpose: None,
    batch_items: 0,
    approvals: 0,
};
pub(crate) const START: UnixMillis = UnixMillis(1_800_000_000_000);

/// A ledger of one unsealed node, its view folded after every apply.
pub(crate) struct Ledger {
    pub(crate) view: View,
    pub(crate) records: BTreeMap<RecordId, Record>,
    pub(crate) leader: LeaderId,
    pub(crate) now: Now,
    pub(crate) entropy: Entropy,
    pub(crate) root: Principal,
    pub(crate) uses: Block,
    requests: u64,
}

/// What founding shows once.
pub(crate) struct Shown {
    pub(crate) founded: Founded,
}

/// A node's block of uses, of whatever version.
#[derive(Default)]
pub(crate) struct Block(pub(crate) Cell<u64>);

impl Uses for Block {
    fn take(&self, _key: KeyId, _version: Version, uses: u64) -> bool {
        match self.0.get().checked_sub(uses) {
            Some(rest) => {
                self.0.set(rest);
                true
            }
            None => false,
        }
    }
}

pub(crate) fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

pub(crate) fn node(number: u64) -> NodeId {
    NodeId::new(number).unwrap()
}

pub(crate) fn version(number: u32) -> Version {
    Version::new(number).unwrap()
}

/// A permit of who needs no rules.
pub(crate) fn permit(principal: &Principal, action: Action, key: Option<&KeyName>) -> Permit {
    keyclave_policy::built_in(principal, action, key).unwrap()
}

pub(crate) fn user(name: &str) -> Subject {
    format!("user:{name}").parse().unwrap()
}

pub(crate) fn service(name: &str) -> Subject {
    format!("service:{name}").parse().unwrap()
}

pub(crate) fn roles(roles: &[&str]) -> BTreeSet<RoleGrant> {
    roles.iter().map(|role| role.parse().unwrap()).collect()
}

pub(crate) fn founding(threshold: Threshold) -> Founding<'static> {
    Founding {
        cluster: CLUSTER,
        generation: Generation(1),
        applied_index: 1,
        node: node(1),
        member: Member { incarnation: Incarnation::from_bytes([1; 16]), key: NodePublicKey([1; 32]) },
        addresses: addresses("one"),
        threshold,
        rejoin: RejoinPolicy::Strict,
        operator: name("root"),
        approvals_min: 0,
        ca_pkcs8: b"private key of the authority",
        ca_certificate: b"certificate of the authority".to_vec(),
        certificate: vec![b"leaf".to_vec()],
    }
}

pub(crate) fn addresses(host: &str) -> keyclave_types::member::Addresses {
    keyclave_types::member::Addresses {
        peer: format!("{host}:7421").parse().unwrap(),
        client: format!("{host}:7420").parse().unwrap(),
    }
}

/// The naive apply: check everything, then change everything.
pub(crate) fn apply(
    records: &mut BTreeMap<RecordId, Record>,
    leader: LeaderId,
    transaction: &Transaction,
) -> TransactionOutcome {
    if transaction.decided_under != leader {
        return TransactionOutcome::Conflict(Conflict::Leader);
    }
    for (id, expect) in &transaction.expects {
        if Expect::of(records.get(id).map(|record| record.revision)) != *expect {
            return TransactionOutcome::Conflict(Conflict::Record(*id));
        }
    }
    for (id, change) in &transaction.changes {
        if let (Change::Put { revision, .. }, Some(own)) = (change, records.get(id))
            && *revision <= own.revision
        {
            return TransactionOutcome::Conflict(Conflict::Revision(*id));
        }
    }
    for (id, change) in &transaction.changes {
        match change {
            Change::Put { revision, blob } => {
                records.insert(*id, Record { revision: *revision, blob: blob.clone() });
            }
            Change::Delete => {
                records.remove(id);
            }
        }
    }
    TransactionOutcome::Committed
}

impl Ledger {
    pub(crate) fn founded() -> Self {
        Self::founded_showing().0
    }

    pub(crate) fn founded_showing() -> (Self, Shown) {
        let mut entropy = Entropy::from_seed([42; 32]);
        let leader = LeaderId { term: 1, node: 1 };
        let now = Now::Trusted(START);
        let occasion = Occasion { now, leader, arrived_at: node(1) };
        let init = permit(&Principal::LocalSocket, Action::Init, None);
        let threshold = Threshold::new(3, 5).unwrap();
        let founded = found(&init, &founding(threshold), &occasion, &mut entropy).unwrap();
        let view = View::empty(founded.keyring.clone(), CLUSTER, Generation(1), 1);
        let credential = Credential::Token(founded.token_id);
        let root = Principal::Subject { subject: user("root"), credential, came: Came::default() };
        let mut ledger = Self {
            view,
            records: BTreeMap::new(),
            leader,
            now,
            entropy,
            root,
            uses: Block::default(),
            requests: 0,
        };
        assert_eq!(ledger.apply(&founded.transaction), TransactionOutcome::Committed);
        (ledger, Shown { founded })
    }

    pub(crate) fn apply(&mut self, transaction: &Transaction) -> TransactionOutcome {
        let outcome = apply(&mut self.records, self.leader, transaction);
        let changed: Vec<_> = match outcome {
            TransactionOutcome::Committed => {
                transaction.changes.keys().map(|id| (*id, self.records.get(id).cloned())).collect()
            }
            TransactionOutcome::Conflict(_) => Vec::new(),
        };
        self.view = self.view.fold(self.view.index() + 1, changed).unwrap();
        outcome
    }

    pub(crate) fn occasion(&self) -> Occasion {
        Occasion { now: self.now, leader: self.leader, arrived_at: node(1) }
    }

    pub(crate) fn at(&mut self, ms: u64) {
        self.now = Now::Trusted(START.after(ms));
    }

    pub(crate) fn request(&mut self, change: WriteKind) -> Write {
        self.requests += 1;
        let request_id = RequestId::at(self.view.index(), self.requests.to_be_bytes());
        Write { request_id, change }
    }

    pub(crate) fn decide_as(
        &mut self,
        principal: &Principal,
        write: &Write,
    ) -> Result<Decision<WriteAnswer>, Refused> {
        let (action, target) = Action::of_write(&write.change);
        let permit = self.permit(principal, action, target)?;
        decide(&self.view, &permit, write, &self.occasion(), &mut self.entropy)
    }

    /// What the policy says over this ledger's own rules.
    pub(crate) fn permit(
        &self,
        principal: &Principal,
        action: Action,
        target: Target<'_>,
    ) -> Result<Permit, Refused> {
        let asked = permission::permit(&self.view, principal, action, target, &SO, self.now);
        asked.map(|permitted| permitted.permit).map_err(|no| no.refused)
    }

    pub(crate) fn propose(&mut self, change: WriteKind) -> Proposal<WriteAnswer> {
        let write = self.request(change);
        match self.decide_as(&self.root.clone(), &write).unwrap() {
            Decision::Propose(proposal) => proposal,
            Decision::Standing { .. } => panic!("nothing to propose"),
        }
    }

    pub(crate) fn write(&mut self, change: WriteKind) -> Result<WriteAnswer, Refusal> {
        let write = self.request(change);
        self.write_as(&self.root.clone(), &write)
    }

    pub(crate) fn write_as(&mut self, principal: &Principal, write: &Write) -> Result<WriteAnswer, Refusal> {
        let decision = self.decide_as(principal, write).map_err(|refused| refused.refusal)?;
        Ok(self.commit(decision))
    }

    pub(crate) fn commit<A>(&mut self, decision: Decision<A>) -> A {
        match decision {
            Decision::Standing { answer, .. } => answer,
            Decision::Propose(Proposal { transaction, answer, .. }) => {
                assert_eq!(self.apply(&transaction), TransactionOutcome::Committed);
                answer
            }
        }
    }

    pub(crate) fn upkeep(&mut self, upkeep: &Upkeep) -> Result<UpkeepAnswer, Refusal> {
        self.upkeep_of(1, upkeep)
    }

    pub(crate) fn upkeep_of(&mut self, member: u64, upkeep: &Upkeep) -> Result<UpkeepAnswer, Refusal> {
        let decision = self.decide_upkeep(member, upkeep).map_err(|refused| refused.refusal)?;
        Ok(self.commit(decision))
    }

    pub(crate) fn decide_upkeep(
        &mut self,
        member: u64,
        upkeep: &Upkeep,
    ) -> Result<Decision<UpkeepAnswer>, Refused> {
        let (action, key) = upkeep.action();
        let permit = permit(&Principal::Member(node(member)), action, key);
        decide_upkeep(&self.view, &permit, upkeep, &self.occasion(), &mut self.entropy)
    }

    /// As if the cluster had been founded with this policy.
    pub(crate) fn set_rejoin(&mut self, policy: RejoinPolicy) {
        let occasion = self.occasion();
        let decision = Draft::decide(&self.view, &occasion, &mut self.entropy, |draft| {
            draft.put(&RejoinRules { policy, members_until: None });
            Ok(())
        });
        self.commit(decision.unwrap());
    }

    pub(crate) fn create(&mut self, key: &str, algorithm: Algorithm, rules: KeyRules) -> KeyDescription {
        let create = WriteKind::CreateKey { name: name(key), algorithm, rules };
        key_of(self.write(create).unwrap())
    }

    pub(crate) fn create_plain(&mut self, key: &str) -> KeyDescription {
        self.create(key, Algorithm::Xaes256Gcm, KeyRules::default())
    }

    pub(crate) fn service(&mut self, subject: &str) -> (Principal, Zeroizing<String>) {
        let subject = service(subject);
        let roles = roles(&["application", "key-owner", "reader"]);
        let put = WriteKind::PutSubject { subject: subject.clone(), groups: BTreeSet::new(), roles };
        self.write(put).unwrap();
        let (id, text) = token_of(
            self.write(WriteKind::CreateToken { subject: subject.clone(), terms: TokenTerms::default() })
                .unwrap(),
        );
        (Principal::Subject { subject, credential: Credential::Token(id), came: Came::default() }, text)
    }

    pub(crate) fn read_as(&mut self, principal: &Principal, read: &Read) -> Computed {
        let (action, target) = Action::of_read(read);
        match self.permit(principal, action, target) {
            Ok(permit) => compute(&self.view, &permit, &SO, read, self.now, &self.uses, &mut self.entropy),
            Err(Refused { refusal, reads }) => {
                Computed { outcome: Outcome::Refused(refusal), reads, staleness_max_ms: 0 }
            }
        }
    }

    pub(crate) fn read(&mut self, read: &Read) -> Result<ReadAnswer, Refusal> {
        match self.read_as(&self.root.clone(), read).outcome {
            Outcome::Answer(answer) => Ok(answer),
            Outcome::Refused(refusal) => Err(refusal),
            Outcome::NeedBlock(_) => panic!("no block"),
        }
    }

    pub(crate) fn describe(&mut self, key: &str) -> Result<KeyDescription, Refusal> {
        match self.read(&Read::GetKey { name: name(key) })? {
            ReadAnswer::Key(key) => Ok(key),
            _ => panic!("another answer"),
        }
    }

    pub(crate) fn encrypt(&mut self, key: &str, plaintext: &[u8]) -> Result<Vec<u8>, Refusal> {
        match self.read(&Read::Encrypt(encryption(key, None, plaintext)))? {
            ReadAnswer::Encrypted(items) => items.into_iter().next().unwrap().map(|item| item.ciphertext),
            _ => panic!("another answer"),
        }
    }

    pub(crate) fn decrypt(&mut self, key: Option<&str>, ciphertext: &[u8]) -> Result<Vec<u8>, Refusal> {
        match self.read(&Read::Decrypt(decryption(key, ciphertext)))? {
            ReadAnswer::Decrypted(items) => {
                items.into_iter().next().unwrap().map(|item| item.plaintext.to_vec())
            }
            _ => panic!("another answer"),
        }
    }

    pub(crate) fn rotate(&mut self, key: &str) -> KeyDescription {
        key_of(self.write(WriteKind::RotateKey { name: name(key) }).unwrap())
    }
}

pub(crate) fn encryption(key: &str, version: Option<Version>, plaintext: &[u8]) -> Encrypt {
    let item =
        EncryptItem { plaintext: Zeroizing::new(plaintext.to_vec()), associated_data: b"aad".to_vec() };
    Encrypt { name: name(key), version, items: vec![item] }
}

pub(crate) fn decryption(key: Option<&str>, ciphertext: &[u8]) -> Decrypt {
    let item = DecryptItem { ciphertext: ciphertext.to_vec(), associated_data: b"aad".to_vec() };
    Decrypt { name: key.map(name), items: vec![item] }
}

pub(crate) fn key_of(answer: WriteAnswer) -> KeyDescription {
    match answer {
        WriteAnswer::Key(key) => key,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn token_of(answer: WriteAnswer) -> (TokenId, Zeroizing<String>) {
    match answer {
        WriteAnswer::Token { id, text, .. } => (id, text),
        other => panic!("{other:?}"),
    }
}
