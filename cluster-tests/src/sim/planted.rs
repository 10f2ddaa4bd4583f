//! Bugs that a run can have built in, each of which the invariants must find: a simulator that finds nothing may be
//! blind. They are built into what the simulator brings (its disk, its clients), so that none can be in the product.

use std::str::FromStr;

/// One bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// The disk says that it has synced and has not: an acknowledged write is lost when the power goes.
    DiskWithoutSync,
    /// A read is answered from the node's own state without the leader's confirmation.
    ReadWithoutConfirmation,
    /// A refusal is given from the node's own state without the leader's confirmation. Whole nodes only.
    RefusalWithoutConfirmation,
    /// A rotation is proposed without what must stand for it. Whole nodes only.
    RotationWithoutPrecondition,
}

/// A name that no bug has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "no planted bug has this name; there are disk-without-sync, read-without-confirmation, \
     refusal-without-confirmation, rotation-without-precondition"
)]
pub struct UnknownPlanted;

impl FromStr for Planted {
    type Err = UnknownPlanted;

    fn from_str(name: &str) -> Result<Self, UnknownPlanted> {
        match name {
            "disk-without-sync" => Ok(Self::DiskWithoutSync),
            "read-without-confirmation" => Ok(Self::ReadWithoutConfirmation),
            "refusal-without-confirmation" => Ok(Self::RefusalWithoutConfirmation),
            "rotation-without-precondition" => Ok(Self::RotationWithoutPrecondition),
            _ => Err(UnknownPlanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_its_name() {
        assert_eq!("disk-without-sync".parse(), Ok(Planted::DiskWithoutSync));
        assert_eq!("read-without-confirmation".parse(), Ok(Planted::ReadWithoutConfirmation));
        assert_eq!("".parse::<Planted>(), Err(UnknownPlanted));
    }
}
