//! A key: its description, its versions in pages, each version's secret, and the uses reserved of counted ones.
//!
//! Versions stand in pages of [`VERSIONS_PER_PAGE`], so that a key of 10^5 versions still changes by small records.

use keyclave_types::envelope::Stored;
use keyclave_types::ids::KeyId;
use keyclave_types::key::{Algorithm, KeyRules, KeyState, Version, VersionOrigin, VersionState};
use keyclave_types::name::KeyName;
use keyclave_types::time::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::records::{Body, RecordName};

/// First byte of a version's secret.
pub const MATERIAL_FORMAT: u8 = 1;
/// Versions in one page.
pub(crate) const VERSIONS_PER_PAGE: u32 = 64;

/// One key, without its versions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyMeta {
    /// Its name.
    pub name: KeyName,
    /// Its identity, random at creation.
    pub id: KeyId,
    /// What it does.
    pub algorithm: Algorithm,
    /// Whether it does anything.
    pub state: KeyState,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Its rules.
    pub rules: KeyRules,
    /// When its next version falls due.
    pub rotates_at: Option<UnixMillis>,
    /// Every version below this one is destroyed.
    pub oldest: Version,
    /// The last version made; it encrypts when none is named.
    pub newest: Version,
    /// When that was made.
    pub newest_created_at: UnixMillis,
    /// The largest staleness that was ever lowered. Never reset: whoever acknowledges the rules anew waits for it, unless
    /// it has itself known them for that long.
    pub staleness_before_ms: u64,
}

impl Stored for KeyMeta {
    const FORMAT: u8 = 2;
}

impl Body for KeyMeta {
    fn name(&self) -> RecordName<'_> {
        RecordName::Key(&self.name)
    }
}

/// Consecutive versions of one key: page `n` begins with version `n * VERSIONS_PER_PAGE + 1`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionPage {
    /// Whose versions.
    pub key: KeyId,
    /// Which page, from 0.
    pub page: u32,
    /// The versions.
    pub versions: Vec<VersionMeta>,
}

impl Stored for VersionPage {
    const FORMAT: u8 = 2;
}

impl Body for VersionPage {
    fn name(&self) -> RecordName<'_> {
        RecordName::VersionPage(self.key, self.page)
    }
}

/// One version, without its secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionMeta {
    /// What may be done with it.
    pub state: VersionState,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Why it was made.
    pub origin: VersionOrigin,
    /// When its secret was destroyed.
    pub destroyed_at: Option<UnixMillis>,
    /// The rewriting that was the last one begun when it was destroyed: whatever node has done a later one holds
    /// nothing of its secret any more, sealed or not.
    pub destroyed_after: Option<u64>,
}

/// Uses of one counted version that nodes have reserved, used or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Usage {
    /// Whose version.
    pub key: KeyId,
    /// Which version.
    pub version: Version,
    /// How many uses are given out.
    pub reserved: u64,
}

impl Stored for Usage {
    const FORMAT: u8 = 1;
}

impl Body for Usage {
    fn name(&self) -> RecordName<'_> {
        RecordName::Usage(self.key, self.version)
    }
}
