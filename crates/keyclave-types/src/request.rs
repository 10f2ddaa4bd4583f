//! What a caller asks for, parsed, before anyone has decided whether they may; and what they are answered.
//!
//! Made by keyclave-server from the wire, authorised by keyclave-policy, decided or computed by keyclave-vault.
//! Credentials are absent: who asks travels beside a request, never in it.

use std::num::NonZeroU32;

use zeroize::Zeroizing;

use crate::ids::RequestId;
use crate::key::{Algorithm, KeyDescription, KeyRules, Version};
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

/// The changes that callers can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Make a token for a service.
    CreateToken {
        /// Whom it names, in the trail.
        subject: SubjectName,
        /// When it ends.
        lifetime_ms: Option<u64>,
    },
    /// End a token.
    RevokeToken {
        /// Its id, 12 bytes.
        id: TokenId,
    },
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
    /// The key as it is afterwards.
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
}

/// One token without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenDescription {
    /// Its id.
    pub id: TokenId,
    /// Whom it names.
    pub subject: SubjectName,
    /// Whether it may do everything (root), or is a service's.
    pub root: bool,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it ends.
    pub expires_at: Option<UnixMillis>,
}
