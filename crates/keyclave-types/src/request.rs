//! What a caller asks for, parsed, before anyone has decided whether they may; and what they are answered.
//!
//! Made by keyclave-server from the wire, authorised by keyclave-policy, decided or computed by keyclave-vault.
//! Credentials are absent: who asks travels beside a request, never in it.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::access::{GroupName, PolicyName, RoleGrant, Subject};
use crate::envelope::Stored;
use crate::identity::{
    AddressRange, ClientRootSettings, Identity, IssuerName, IssuerSettings, RootName, TokenBinding,
    TokenTerms,
};
use crate::ids::{NodeId, RequestId};
use crate::key::{Algorithm, KeyDescription, KeyRules, Version};
use crate::member::Addresses;
use crate::name::{KeyName, KeyPrefix};
use crate::time::UnixMillis;

/// Bytes of a caller's own, wiped when dropped. No `Debug`: a log line cannot hold them.
pub type Plaintext = Zeroizing<Vec<u8>>;

/// A change of the ledger, decided by the leader.
#[derive(Clone, Debug)]
pub struct Write {
    /// The caller's name for this write; a retry carries the same.
    pub request_id: RequestId,
    /// What is to change.
    pub change: WriteKind,
}

/// The changes that callers can ask for. Its stored form is what a request's digest is taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteKind {
    /// Make a key with its first version.
    CreateKey {
        /// Its name.
        name: KeyName,
        /// What it does.
        algorithm: Algorithm,
        /// Its rules.
        rules: KeyRules,
    },
    /// Change a key's rules as a whole.
    UpdateKey {
        /// Which key.
        name: KeyName,
        /// The rules from now on.
        rules: KeyRules,
    },
    /// Add a version that encrypts from now on.
    RotateKey {
        /// Which key.
        name: KeyName,
    },
    /// Stop, or allow again, a key or one of its versions.
    SetEnabled {
        /// Which key.
        name: KeyName,
        /// Which version; the whole key if none.
        version: Option<Version>,
        /// Allow or stop.
        enabled: bool,
    },
    /// Destroy one version's material for good.
    DestroyVersion {
        /// Which key.
        name: KeyName,
        /// Which version.
        version: Version,
    },
    /// Make a token for a subject.
    CreateToken {
        /// Whom it speaks for.
        subject: Subject,
        /// How long it lives, and where it may be used.
        terms: TokenTerms,
    },
    /// End a token.
    RevokeToken {
        /// Its id, 12 bytes.
        id: TokenId,
    },
    /// Make a token that lets one node join.
    CreateJoinToken,
    /// Vouch for one process of one node, once.
    Admit {
        /// Which node.
        node: NodeId,
        /// The code that its process shows.
        code: NodeCode,
    },
    /// Seal one node and take what lets it come back by itself.
    SealNode {
        /// Which node.
        node: NodeId,
    },
    /// Seal every node.
    SealCluster,
    /// Take everything that the ledger holds for a member that is being removed.
    RemoveMember {
        /// Which node.
        node: NodeId,
    },
    /// Change where a member is reached.
    ChangeAddress {
        /// Which node.
        node: NodeId,
        /// Where it is reached from now on.
        addresses: Addresses,
    },
    /// Accept that time has jumped.
    AcceptTime {
        /// What the time is.
        time: UnixMillis,
    },
    /// Make a subject, or replace what it is part of.
    PutSubject {
        /// Which.
        subject: Subject,
        /// Its groups from now on.
        groups: BTreeSet<GroupName>,
        /// Its own roles from now on.
        roles: BTreeSet<RoleGrant>,
    },
    /// Remove a subject; its credentials end with it.
    RemoveSubject {
        /// Which.
        subject: Subject,
    },
    /// End every credential of a subject at once.
    RevokeCredentials {
        /// Whose.
        subject: Subject,
    },
    /// Make a group, or replace its roles.
    PutGroup {
        /// Which.
        name: GroupName,
        /// What its members may do from now on.
        roles: BTreeSet<RoleGrant>,
    },
    /// Remove a group that no subject is in.
    RemoveGroup {
        /// Which.
        name: GroupName,
    },
    /// Make a policy, or replace its text.
    PutPolicy {
        /// Which.
        name: PolicyName,
        /// One Cedar policy.
        text: String,
    },
    /// Remove a policy.
    RemovePolicy {
        /// Which.
        name: PolicyName,
    },
    /// Keep every record of the trail from now on, whatever its age.
    HoldTrail {
        /// Why, for whoever reads it later.
        reason: String,
    },
    /// Let old records go again.
    ReleaseTrail,
    /// Change how long records of the trail are kept.
    RetainTrail {
        /// How long at least; without end if none.
        keep_ms: Option<u64>,
    },
    /// Let a node serve again whose trail was tampered with.
    AcknowledgeTrail {
        /// Which node.
        node: NodeId,
    },
    /// Prolong the token that the caller came with.
    RenewToken,
    /// Trust certificates as issuers of callers' certificates, or replace those that are trusted under a name.
    PutClientRoot(ClientRootSettings),
    /// Trust them no longer.
    RemoveClientRoot {
        /// Which.
        name: RootName,
    },
    /// Believe an issuer's JWTs, or replace how they are believed.
    PutIssuer(IssuerSettings),
    /// Believe them no longer.
    RemoveIssuer {
        /// Which.
        name: IssuerName,
    },
    /// Say which subject an identity is.
    PutIdentity {
        /// Who, as others vouch for them.
        identity: Identity,
        /// Who that is here.
        subject: Subject,
    },
    /// Say that it is nobody.
    RemoveIdentity {
        /// Which.
        identity: Identity,
    },
}

impl Stored for WriteKind {
    const FORMAT: u8 = 1;
}

/// The code of one process of one node, as people compare it: five groups of five characters of base32
/// (`A-Z 2-7`). Read without regard to case and dashes, printed one way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeCode(String);

/// Why a text is not a node's code.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error("expected five groups of five characters from A-Z and 2-7, as in ABCDE-FGHIJ-KLMNO-PQRST-UVWXY")]
pub struct NodeCodeError;

impl NodeCode {
    /// The code with its dashes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for NodeCode {
    type Err = NodeCodeError;

    fn from_str(text: &str) -> Result<Self, NodeCodeError> {
        let plain: String = text
            .trim_ascii()
            .chars()
            .filter(|character| *character != '-')
            .map(|character| character.to_ascii_uppercase())
            .collect();
        if plain.len() != 25 || !plain.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7')) {
            return Err(NodeCodeError);
        }
        let mut grouped = String::with_capacity(29);
        for (at, character) in plain.chars().enumerate() {
            if at > 0 && at % 5 == 0 {
                grouped.push('-');
            }
            grouped.push(character);
        }
        Ok(Self(grouped))
    }
}

impl TryFrom<String> for NodeCode {
    type Error = NodeCodeError;

    fn try_from(text: String) -> Result<Self, NodeCodeError> {
        text.parse()
    }
}

impl From<NodeCode> for String {
    fn from(code: NodeCode) -> Self {
        code.0
    }
}

impl std::fmt::Display for NodeCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a token: the part that may be shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct TokenId(pub [u8; 12]);

/// A service's or an operator's name in the trail; same grammar as a key's name.
pub type SubjectName = KeyName;

/// A question that any unsealed node answers, confirmed by the leader.
#[derive(Clone, Debug)]
pub enum Read {
    /// Describe one key.
    GetKey {
        /// Which key.
        name: KeyName,
    },
    /// One page of names and descriptions, in order.
    ListKeys {
        /// Where names begin.
        prefix: KeyPrefix,
        /// The last name of the page before.
        after: Option<KeyName>,
        /// How many at most.
        page_items: NonZeroU32,
    },
    /// Encrypt every item.
    Encrypt(Encrypt),
    /// Decrypt every item.
    Decrypt(Decrypt),
    /// All tokens, without their secrets.
    ListTokens,
    /// One page of subjects, in order.
    ListSubjects {
        /// The last of the page before.
        after: Option<Subject>,
        /// How many at most.
        page_items: NonZeroU32,
    },
    /// One page of groups, in order.
    ListGroups {
        /// The last of the page before.
        after: Option<GroupName>,
        /// How many at most.
        page_items: NonZeroU32,
    },
    /// One page of policies' names, in order.
    ListPolicies {
        /// The last of the page before.
        after: Option<PolicyName>,
        /// How many at most.
        page_items: NonZeroU32,
    },
    /// One policy's text.
    GetPolicy {
        /// Which.
        name: PolicyName,
    },
    /// One page of client roots, in order.
    ListClientRoots {
        /// The last of the page before.
        after: Option<RootName>,
        /// How many at most.
        page_items: NonZeroU32,
    },
    /// One page of issuers, in order.
    ListIssuers {
        /// The last of the page before.
        after: Option<IssuerName>,
        /// How many at most.
        page_items: NonZeroU32,
    },
    /// One page of identities, in order.
    ListIdentities {
        /// The last of the page before.
        after: Option<Identity>,
        /// How many at most.
        page_items: NonZeroU32,
    },
    /// Whether somebody may do something, and why.
    Explain {
        /// Who.
        subject: Subject,
        /// What, in a word of policies.
        action: String,
        /// On what.
        on: AskedOn,
    },
    /// Who may do something.
    WhoCan {
        /// What, in a word of policies.
        action: String,
        /// On what.
        on: AskedOn,
    },
}

/// What a question about rights is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AskedOn {
    /// One key.
    Key(KeyName),
    /// All keys under a prefix.
    Prefix(KeyPrefix),
    /// The cluster.
    Cluster,
}

/// One subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubjectDescription {
    /// Who.
    pub subject: Subject,
    /// Its own roles.
    pub roles: BTreeSet<RoleGrant>,
    /// Its groups.
    pub groups: BTreeSet<GroupName>,
}

/// One group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupDescription {
    /// Its name.
    pub name: GroupName,
    /// What its members may do.
    pub roles: BTreeSet<RoleGrant>,
}

/// One policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyDescription {
    /// Its name.
    pub name: PolicyName,
    /// As it was put.
    pub text: String,
    /// When.
    pub put_at: UnixMillis,
}

/// What was decided about somebody, and by what, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// Whether it is allowed.
    pub allowed: bool,
    /// What decides.
    pub by: Vec<String>,
    /// What is missing; none if it is allowed.
    pub missing: Option<String>,
    /// Roles any of which would permit what nothing permits.
    pub would_do: Vec<RoleGrant>,
}

/// Somebody who may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Able {
    /// Who.
    pub subject: Subject,
    /// What decides.
    pub by: Vec<String>,
}

/// Encrypt under one key.
#[derive(Clone)]
pub struct Encrypt {
    /// Which key.
    pub name: KeyName,
    /// Which version; the primary if none.
    pub version: Option<Version>,
    /// What; each has an outcome of its own.
    pub items: Vec<EncryptItem>,
}

/// One message to encrypt.
#[derive(Clone)]
pub struct EncryptItem {
    /// The message.
    pub plaintext: Plaintext,
    /// Authenticated, not stored.
    pub associated_data: Vec<u8>,
}

/// Decrypt under one key.
#[derive(Clone, Debug)]
pub struct Decrypt {
    /// Which key; a ciphertext of another is refused. None lets each header choose (`any_key`).
    pub name: Option<KeyName>,
    /// What; each has an outcome of its own.
    pub items: Vec<DecryptItem>,
}

/// One ciphertext to decrypt.
#[derive(Clone, Debug)]
pub struct DecryptItem {
    /// The ciphertext, header included.
    pub ciphertext: Vec<u8>,
    /// What was authenticated with it.
    pub associated_data: Vec<u8>,
}

impl std::fmt::Debug for Encrypt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Encrypt({}, {} items)", self.name, self.items.len())
    }
}

/// What a write did.
#[derive(Clone, Debug)]
pub enum WriteAnswer {
    /// The key as it is afterwards, with those of its versions that the write made or changed.
    Key(KeyDescription),
    /// A token was made. The secret is shown once.
    Token {
        /// Its id.
        id: TokenId,
        /// The whole token, as its holder must send it.
        text: Zeroizing<String>,
        /// When it ends.
        expires_at: Option<UnixMillis>,
    },
    /// A token ended.
    Revoked,
    /// A token lives longer.
    Renewed {
        /// Until when.
        expires_at: UnixMillis,
    },
    /// It is done, and there is nothing more to say.
    Done,
}

/// One token without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenDescription {
    /// Its id.
    pub id: TokenId,
    /// Whom it speaks for.
    pub subject: Subject,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it ends.
    pub expires_at: Option<UnixMillis>,
    /// Until when it can be renewed.
    pub renewable_until: Option<UnixMillis>,
    /// What it is tied to.
    pub binding: TokenBinding,
    /// Where its callers may come from; anywhere if empty.
    pub sources: BTreeSet<AddressRange>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_without_regard_to_case_and_dashes() {
        let code: NodeCode = "abcde-fghij-klmno-pqrst-uvwx2".parse().unwrap();
        assert_eq!(code.as_str(), "ABCDE-FGHIJ-KLMNO-PQRST-UVWX2");
        assert_eq!(" ABCDEFGHIJKLMNOPQRSTUVWX2\n".parse(), Ok(code));
        for wrong in ["", "ABCDE", "ABCDE-FGHIJ-KLMNO-PQRST-UVWX1", "ABCDE-FGHIJ-KLMNO-PQRST-UVWXYZ"] {
            assert_eq!(wrong.parse::<NodeCode>(), Err(NodeCodeError), "{wrong:?}");
        }
    }

    #[test]
    fn golden_bytes_stay() {
        let write = WriteKind::DestroyVersion { name: "a/b".parse().unwrap(), version: Version::FIRST };
        assert_eq!(crate::envelope::encode(&write), [1, 4, 3, b'a', b'/', b'b', 1]);
    }
}
