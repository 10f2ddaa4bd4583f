//! What everybody may see of seals and ceremonies.

use keyclave_proto::request::{Cause, Invalid};
use keyclave_proto::v1;
use keyclave_types::ids::{CeremonyId, ClusterId, NodeId};
use keyclave_types::position::Position;
use keyclave_types::seal::Threshold;
use keyclave_types::time::UnixMillis;

use super::BootKey;
use crate::wire;

/// The seal of the asked node and what it knows of the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealStatus {
    /// Where the asked node's ledger stands; none as long as it belongs to no cluster.
    pub position: Option<Position>,
    /// The asked node.
    pub this_node: NodeSeal,
    /// All members, by number.
    pub nodes: Vec<NodeSeal>,
    /// How many shares there are and how many are needed.
    pub threshold: Option<Threshold>,
    /// The share set that opens the cluster.
    pub share_set: Option<[u8; 8]>,
    /// The ceremony under way.
    pub ceremony: Option<Ceremony>,
    /// The cluster.
    pub cluster: Option<ClusterId>,
    /// The server's version.
    pub server_version: String,
}

/// One node's seal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeSeal {
    /// The node; none as long as it belongs to no cluster.
    pub node: Option<NodeId>,
    /// Whether it holds keys.
    pub state: SealState,
    /// Its process's boot key; none if it could not be reached.
    pub boot_key: Option<BootKey>,
    /// An operator sealed it.
    pub seal_mark: bool,
    /// It waits for an admission.
    pub needs_admission: bool,
    /// Whether its next process can come back by itself.
    pub restart_key: RestartKey,
    /// Wrong shares given to it since a ceremony was last completed there.
    pub wrong_shares: u32,
    /// When the last of them came.
    pub last_wrong_share: Option<UnixMillis>,
}

/// Whether a node holds keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SealState {
    /// It could not be reached, or is of another version.
    Unknown,
    /// It belongs to no cluster.
    Uninitialized,
    /// It holds none.
    Sealed,
    /// It serves.
    Unsealed,
}

/// Whether a node's next process can come back by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestartKey {
    /// Not known.
    Unknown,
    /// It can, as long as the machine does not restart.
    Ready,
    /// The runtime directory is not a tmpfs.
    NoTmpfs,
    /// Swap could hold it.
    Swap,
    /// Off by policy, or wiped by a seal.
    Off,
}

/// One ceremony.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ceremony {
    /// Which one.
    pub id: CeremonyId,
    /// The node that holds it.
    pub node: Option<NodeId>,
    /// Valid shares given.
    pub given: u32,
    /// Valid shares needed.
    pub needed: u32,
    /// The numbers of the shares given.
    pub share_numbers: Vec<u32>,
    /// Wrong shares given to that node since a ceremony was last completed there.
    pub refused: u32,
    /// When it was opened.
    pub opened_at: UnixMillis,
}

impl TryFrom<v1::GetSealStatusResponse> for SealStatus {
    type Error = Invalid;

    fn try_from(response: v1::GetSealStatusResponse) -> Result<Self, Invalid> {
        let nodes = response.nodes.into_iter().map(TryInto::try_into).collect::<Result<_, Invalid>>()?;
        Ok(Self {
            position: response.position.map(Into::into),
            this_node: wire::required(response.this_node, "this_node")?.try_into()?,
            nodes,
            threshold: threshold(response.threshold, response.shares)?,
            share_set: wire::optional_bytes(&response.share_set_id, "share_set_id")?,
            ceremony: response.ceremony.map(TryInto::try_into).transpose()?,
            cluster: wire::optional_bytes(&response.cluster_id, "cluster_id")?.map(ClusterId::from_bytes),
            server_version: response.server_version,
        })
    }
}

impl TryFrom<v1::NodeSeal> for NodeSeal {
    type Error = Invalid;

    fn try_from(seal: v1::NodeSeal) -> Result<Self, Invalid> {
        let node = NodeId::new(seal.node);
        let boot_key = wire::optional_bytes(&seal.boot_public_key, "boot_public_key")?;
        let ceremony = wire::optional_bytes(&seal.ceremony_id, "ceremony_id")?.map(CeremonyId::from_bytes);
        let last_wrong_share = Some(UnixMillis(seal.last_wrong_share_unix_ms));
        Ok(Self {
            node,
            state: SealState::of(seal.state()),
            boot_key: boot_key.map(|public| BootKey::new(node, public, ceremony)),
            wrong_shares: seal.wrong_shares,
            last_wrong_share: last_wrong_share.filter(|_| seal.wrong_shares > 0),
            seal_mark: seal.seal_mark,
            needs_admission: seal.needs_admission,
            restart_key: RestartKey::of(seal.restart_key()),
        })
    }
}

impl TryFrom<v1::CeremonyStatus> for Ceremony {
    type Error = Invalid;

    fn try_from(ceremony: v1::CeremonyStatus) -> Result<Self, Invalid> {
        Ok(Self {
            id: CeremonyId::from_bytes(wire::bytes(&ceremony.ceremony_id, "ceremony.ceremony_id")?),
            node: NodeId::new(ceremony.node),
            given: ceremony.given,
            needed: ceremony.needed,
            share_numbers: ceremony.share_numbers,
            refused: ceremony.refused,
            opened_at: UnixMillis(ceremony.opened_at_unix_ms),
        })
    }
}

impl SealState {
    fn of(state: v1::SealState) -> Self {
        match state {
            v1::SealState::Unspecified => Self::Unknown,
            v1::SealState::Uninitialized => Self::Uninitialized,
            v1::SealState::Sealed => Self::Sealed,
            v1::SealState::Unsealed => Self::Unsealed,
        }
    }
}

impl RestartKey {
    fn of(state: v1::RestartKeyState) -> Self {
        match state {
            v1::RestartKeyState::Unspecified => Self::Unknown,
            v1::RestartKeyState::Ready => Self::Ready,
            v1::RestartKeyState::NoTmpfs => Self::NoTmpfs,
            v1::RestartKeyState::Swap => Self::Swap,
            v1::RestartKeyState::Off => Self::Off,
        }
    }
}

fn threshold(needed: u32, shares: u32) -> Result<Option<Threshold>, Invalid> {
    if (needed, shares) == (0, 0) {
        return Ok(None);
    }
    let wrong = |cause| Invalid { field: "threshold".to_owned(), cause };
    let small = |number: u32| {
        u8::try_from(number).map_err(|_| wrong(Cause::Range { least: 2, most: 255, found: number.into() }))
    };
    Threshold::new(small(needed)?, small(shares)?).map(Some).map_err(|error| wrong(error.into()))
}
