//! Answers from one frozen view: describe, list, encrypt, decrypt. What is computed may leave only once the reads
//! are confirmed.
//!
//! Called by any unsealed node while the confirmation travels. Deliberately absent: waiting for it, and the trail.

mod access;
mod crypto;
mod keys;

use keyclave_crypto::entropy::Entropy;
use keyclave_policy::{Action, Circumstances, Permit};
use keyclave_types::access::PolicyName;
use keyclave_types::identity::{ClientRootDescription, IdentityDescription, IssuerDescription};
use keyclave_types::ids::KeyId;
use keyclave_types::key::{KeyDescription, Version};
use keyclave_types::name::KeyName;
use keyclave_types::request::{
    Able, Explanation, GroupDescription, Plaintext, PolicyDescription, Read, SubjectDescription,
    TokenDescription,
};

use crate::occasion::Now;
use crate::reader::Reader;
use crate::reads::ReadSet;
use crate::refusal::Refusal;
use crate::view::View;

/// What was computed, and what it rests on.
pub struct Computed {
    /// What to answer.
    pub outcome: Outcome,
    /// What was read.
    pub reads: ReadSet,
    /// The staleness that the owners of all keys in it allow; 0 demands a fresh confirmation.
    pub staleness_max_ms: u64,
}

/// What to answer.
pub enum Outcome {
    /// This.
    Answer(ReadAnswer),
    /// No.
    Refused(Refusal),
    /// Nothing yet: a block of uses must be reserved first ([`crate::upkeep::Upkeep::ReserveUses`]), then ask again.
    NeedBlock(NeedBlock),
}

/// Of which version a block of uses is needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NeedBlock {
    /// The key's name.
    pub name: KeyName,
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: Version,
}

/// An answer to a question.
pub enum ReadAnswer {
    /// The key with all its versions.
    Key(KeyDescription),
    /// One page of keys, without their versions.
    Keys {
        /// In the order of names.
        keys: Vec<KeyDescription>,
        /// The name after which the next page begins; none if this is the last.
        next: Option<KeyName>,
    },
    /// What became of each item, in order.
    Encrypted(Vec<Result<Encrypted, Refusal>>),
    /// What became of each item, in order.
    Decrypted(Vec<Result<Decrypted, Refusal>>),
    /// All tokens, in the order of ids.
    Tokens(Vec<TokenDescription>),
    /// One page of subjects, and whether there are more.
    Subjects(Vec<SubjectDescription>, bool),
    /// One page of groups, and whether there are more.
    Groups(Vec<GroupDescription>, bool),
    /// One page of policies' names, and whether there are more.
    Policies(Vec<PolicyName>, bool),
    /// One page of client roots, and whether there are more.
    ClientRoots(Vec<ClientRootDescription>, bool),
    /// One page of issuers, and whether there are more.
    Issuers(Vec<IssuerDescription>, bool),
    /// One page of identities, and whether there are more.
    Identities(Vec<IdentityDescription>, bool),
    /// One policy.
    Policy(PolicyDescription),
    /// What was decided about somebody.
    Explained(Explanation),
    /// Who may.
    Able(Vec<Able>),
}

/// One encrypted message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encrypted {
    /// The ciphertext, header included.
    pub ciphertext: Vec<u8>,
    /// The version that made it.
    pub version: Version,
}

/// One decrypted message.
pub struct Decrypted {
    /// The message.
    pub plaintext: Plaintext,
    /// The version that opened it.
    pub version: Version,
}

/// The uses of counted versions that this node has reserved.
pub trait Uses {
    /// Takes so many uses of this version from its block; false if they are not there, and then none is taken.
    fn take(&self, key: KeyId, version: Version, uses: u64) -> bool;
}

/// Answers one question.
pub fn compute(
    view: &View,
    permit: &Permit,
    circumstances: &Circumstances,
    read: &Read,
    now: Now,
    uses: &dyn Uses,
    entropy: &mut Entropy,
) -> Computed {
    let reader = Reader::new(view);
    let mut answering = Answering { reader, permit, circumstances, now, staleness_max_ms: None };
    let outcome = answering.answer(read, uses, entropy).unwrap_or_else(Outcome::Refused);
    Computed {
        outcome,
        reads: answering.reader.into_reads(),
        staleness_max_ms: answering.staleness_max_ms.unwrap_or(0),
    }
}

/// One question being answered.
struct Answering<'a> {
    reader: Reader<'a>,
    permit: &'a Permit,
    /// How the caller came, for the keys that ciphertexts choose.
    circumstances: &'a Circumstances,
    now: Now,
    /// The least that the keys seen so far allow.
    staleness_max_ms: Option<u64>,
}

impl Answering<'_> {
    fn answer(&mut self, read: &Read, uses: &dyn Uses, entropy: &mut Entropy) -> Result<Outcome, Refusal> {
        let (action, target) = Action::of_read(read);
        if !self.permit.covers(action, target.key()) {
            return Err(Refusal::PermitForeign);
        }
        self.reader.standing(self.permit.principal(), self.now)?;
        match read {
            Read::GetKey { name } => self.describe_key(name).map(Outcome::Answer),
            Read::ListKeys { prefix, after, page_items } => {
                self.list_keys(prefix, after.as_ref(), *page_items).map(Outcome::Answer)
            }
            Read::Encrypt(encrypt) => self.encrypt(encrypt, uses, entropy),
            Read::Decrypt(decrypt) => self.decrypt(decrypt).map(Outcome::Answer),
            Read::ListTokens => self.list_tokens().map(Outcome::Answer),
            Read::ListSubjects { after, page_items } => {
                Ok(Outcome::Answer(self.list_subjects(after.as_ref(), *page_items)))
            }
            Read::ListGroups { after, page_items } => {
                Ok(Outcome::Answer(self.list_groups(after.as_ref(), *page_items)))
            }
            Read::ListPolicies { after, page_items } => {
                Ok(Outcome::Answer(self.list_policies(after.as_ref(), *page_items)))
            }
            Read::ListClientRoots { after, page_items } => {
                Ok(Outcome::Answer(self.list_client_roots(after.as_ref(), *page_items)))
            }
            Read::ListIssuers { after, page_items } => {
                Ok(Outcome::Answer(self.list_issuers(after.as_ref(), *page_items)))
            }
            Read::ListIdentities { after, page_items } => {
                Ok(Outcome::Answer(self.list_identities(after.as_ref(), *page_items)))
            }
            Read::GetPolicy { name } => self.get_policy(name).map(Outcome::Answer),
            Read::Explain { subject, action, on } => self.explain(subject, action, on).map(Outcome::Answer),
            Read::WhoCan { action, on } => self.who_can(action, on).map(Outcome::Answer),
        }
    }

    /// Notes what the owner of a key in the answer allows.
    fn allows(&mut self, staleness_max_ms: u64) {
        let least = self.staleness_max_ms.map_or(staleness_max_ms, |least| least.min(staleness_max_ms));
        self.staleness_max_ms = Some(least);
    }
}
