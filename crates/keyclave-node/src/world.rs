//! What a node needs from outside, as values: wall clock, entropy, and the place that survives a restart of the
//! process but not of the machine. The binary gives the real ones, the simulator seeded ones.
//!
//! Deliberately absent: monotonic time and timers, which are `tokio::time` (the simulator pauses it).

use std::sync::Arc;

use keyclave_types::time::UnixMillis;

/// The wall clock. It may jump; nothing trusts it alone.
pub trait Clock: Send + Sync + 'static {
    /// What the clock shows.
    fn now(&self) -> UnixMillis;
}

/// Where seeds for entropy come from.
pub trait EntropySource: Send + Sync + 'static {
    /// 32 fresh unpredictable bytes.
    fn seed(&self) -> [u8; 32];
}

/// Memory that outlives the process and never reaches a disk: a tmpfs directory without swap.
///
/// Holds the private half of the restart key and nothing else.
pub trait RuntimeMemory: Send + Sync + 'static {
    /// Whether it may be used at all; if not, why, for the log and for `status`.
    fn usable(&self) -> Result<(), RuntimeUnusable>;
    /// What was stored by an earlier process of this boot, if anything.
    fn load(&self) -> Option<[u8; 32]>;
    /// Replaces what is stored. Answers whether it is there now.
    fn store(&self, seed: &[u8; 32]) -> bool;
    /// Overwrites and removes what is stored.
    fn wipe(&self);
}

/// Why a runtime directory cannot hold a restart key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeUnusable {
    /// None was given.
    #[error("no runtime directory is configured")]
    Absent,
    /// It is on something that reaches a disk.
    #[error("the runtime directory is not on tmpfs")]
    NotTmpfs,
    /// Its pages could be swapped out.
    #[error("swap is on and the tmpfs is not mounted noswap")]
    Swap,
    /// It cannot be written, or others can read it.
    #[error("the runtime directory is not writable by this user alone")]
    Access,
}

/// Everything a node needs from outside but disk and network.
#[derive(Clone)]
pub struct World {
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Seeds.
    pub entropy: Arc<dyn EntropySource>,
    /// The restart key's place.
    pub runtime: Arc<dyn RuntimeMemory>,
    /// Makes the certificates that clients see.
    pub authority: Arc<dyn crate::authority::Authority>,
}
