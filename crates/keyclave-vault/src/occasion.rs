//! When and under whom something is decided: everything that a decision takes from outside besides the request.

use keyclave_types::ids::NodeId;
use keyclave_types::time::UnixMillis;
use keyclave_types::transaction::LeaderId;

/// The time, and whether it may be relied on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Now {
    /// The greatest of the node's clock, the leader's and the last one in the ledger.
    Trusted(UnixMillis),
    /// The clock has jumped and nobody has confirmed it: the last time that was good. What reads the time
    /// refuses; what only notes it notes this one.
    Doubtful(UnixMillis),
}

impl Now {
    /// For notes such as "made at"; decides nothing.
    pub fn noted(self) -> UnixMillis {
        match self {
            Self::Trusted(at) | Self::Doubtful(at) => at,
        }
    }

    /// For whatever depends on it.
    pub(crate) fn relied(self) -> Option<UnixMillis> {
        match self {
            Self::Trusted(at) => Some(at),
            Self::Doubtful(_) => None,
        }
    }
}

/// The circumstances of one decision.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    /// The time.
    pub now: Now,
    /// Under whose leadership: in any other the transaction conflicts.
    pub leader: LeaderId,
    /// The node where the request arrived, whose trail will hold its outcome.
    pub arrived_at: NodeId,
}
