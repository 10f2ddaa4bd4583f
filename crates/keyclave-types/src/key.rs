//! What a key is to everyone who is not allowed to see it: algorithm, versions, states, rotation rules.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{KeyId, NodeId};
use crate::name::KeyName;
use crate::time::UnixMillis;

/// What a key does. The text form is its name on the wire and at the prompt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Algorithm {
    /// XAES-256-GCM (C2SP): 192-bit random nonce, no practical message limit.
    Xaes256Gcm,
    /// AES-256-GCM (NIST SP 800-38D) with 96-bit random nonces; uses are counted.
    Aes256Gcm,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Xaes256Gcm, Self::Aes256Gcm];

    /// Its name on the wire and at the prompt.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Xaes256Gcm => "xaes256-gcm",
            Self::Aes256Gcm => "aes256-gcm",
        }
    }

    /// How many messages one version may encrypt, if that is limited.
    pub fn messages_max(self) -> Option<u64> {
        match self {
            Self::Xaes256Gcm => None,
            Self::Aes256Gcm => Some(crate::limits::RANDOM_NONCE_MESSAGES_MAX),
        }
    }
}

/// Why a text names no algorithm.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no such key type; known are xaes256-gcm and aes256-gcm")]
pub struct AlgorithmError;

impl FromStr for Algorithm {
    type Err = AlgorithmError;

    fn from_str(text: &str) -> Result<Self, AlgorithmError> {
        Self::ALL.into_iter().find(|a| a.as_str() == text).ok_or(AlgorithmError)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One version of one key, counted from 1, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Version(NonZeroU32);

impl Version {
    /// The version that a key begins with.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The version, unless it is 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// The version after this one, unless numbers have run out.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What may be done with one version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum VersionState {
    /// Encrypts (if it is the one chosen) and decrypts.
    Enabled,
    /// Neither, until it is enabled again.
    Disabled,
    /// Its material is gone for good.
    Destroyed,
}

/// What may be done with a whole key, before its versions are asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum KeyState {
    /// Its versions decide.
    Enabled,
    /// No version does anything, until it is enabled again.
    Disabled,
}

/// Why a version came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum VersionOrigin {
    /// With the key.
    Created,
    /// Somebody asked for it.
    Requested,
    /// It was due.
    Scheduled {
        /// When it fell due.
        due: UnixMillis,
    },
}

/// What a key's owner decides about its life. Everything may be changed later.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KeyRules {
    /// A fresh version every so many milliseconds.
    pub rotate_every_ms: Option<u64>,
    /// Destroy what is older than the newest so many versions.
    pub keep_versions: Option<NonZeroU32>,
    /// No encryption from this moment on.
    pub encrypt_until: Option<UnixMillis>,
    /// Answers may rest on a confirmation this old; 0 demands a fresh one.
    pub staleness_max_ms: u64,
}

/// One version, as `key get` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionDescription {
    /// Its number.
    pub version: Version,
    /// What may be done with it.
    pub state: VersionState,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Why it was made.
    pub origin: VersionOrigin,
    /// When its material was destroyed.
    pub destroyed_at: Option<UnixMillis>,
    /// Of a destroyed one, node by node, whether anything of its material may still lie on the disk. Empty otherwise,
    /// and in the answers to writes.
    pub purges: Vec<Purge>,
    /// Uses reserved so far, for algorithms that count.
    pub uses_reserved: u64,
}

/// Where one node stands with the remains of a destroyed version: its sealed material in the log and in parts of the
/// store that are no longer used, until the store is rewritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Purge {
    /// Which node.
    pub node: NodeId,
    /// Whether it has rewritten its store since.
    pub purged: bool,
}

/// One key, as `key get` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyDescription {
    /// Its name.
    pub name: KeyName,
    /// Its identity, which its ciphertexts carry.
    pub id: KeyId,
    /// What it does.
    pub algorithm: Algorithm,
    /// Whether it does anything.
    pub state: KeyState,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Its rules.
    pub rules: KeyRules,
    /// When the next version falls due.
    pub rotates_at: Option<UnixMillis>,
    /// The version that encrypts when none is named.
    pub primary: Version,
    /// Its versions, oldest first.
    pub versions: Vec<VersionDescription>,
}
