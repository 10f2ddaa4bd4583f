//! What everybody may see of seals: the asked node's, its peers' as they say themselves, ceremonies, wrong shares, and who
//! still waits for `operator admit`.
//!
//! Called by [`super::seal`]. A sealed node answers too: seal marks are plain, and the rest is its own or its peers' word.

use keyclave_node::ceremony::CeremonyProgress;
use keyclave_node::guesses::Guesses;
use keyclave_node::host::Host;
use keyclave_node::member::Member;
use keyclave_node::members::{Marked, PeerSeal};
use keyclave_node::world::RuntimeUnusable;
use keyclave_proto::peer::v1 as peer;
use keyclave_proto::share_terms::SubmitTerms;
use keyclave_proto::v1;
use keyclave_types::ids::NodeId;

/// The seal of this node and of all members.
pub(super) async fn seal_status<H: Host>(member: &Member<H>) -> v1::GetSealStatusResponse {
    let (seals, ceremony) = seals(member).await;
    let own = seals.iter().find(|seal| seal.node == member.node().get()).cloned();
    let set = member.share_set();
    v1::GetSealStatusResponse {
        position: Some(member.position().into()),
        this_node: own,
        nodes: seals,
        threshold: set.as_ref().map(|set| u32::from(set.threshold.needed())).unwrap_or_default(),
        shares: set.as_ref().map(|set| u32::from(set.threshold.shares())).unwrap_or_default(),
        share_set_id: set.map(|set| set.id.to_vec()).unwrap_or_default(),
        ceremony,
        cluster_id: member.cluster_id().as_bytes().to_vec(),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The nodes that wait for `operator admit` and that a share just given does not vouch for.
pub(super) async fn nodes_to_admit<H: Host>(member: &Member<H>, terms: &SubmitTerms) -> Vec<u64> {
    let vouched = terms.vouch_for.as_ref().map(|vouched| vouched.node.get());
    let (seals, _) = seals(member).await;
    let waiting = seals.into_iter().filter(|seal| seal.needs_admission && Some(seal.node) != vouched);
    waiting.map(|seal| seal.node).collect()
}

/// The ceremony at this node.
pub(super) fn own_ceremony<H: Host>(member: &Member<H>) -> Option<v1::CeremonyStatus> {
    let progress = member.ceremony()?;
    Some(ceremony_status(member.node(), &progress, member.guesses()))
}

/// The ceremony at another node, as it says.
pub(super) fn relayed_status(
    node: NodeId,
    progress: &peer::CeremonyProgress,
    refused: u32,
) -> v1::CeremonyStatus {
    v1::CeremonyStatus {
        ceremony_id: progress.ceremony_id.clone(),
        node: node.get(),
        given: u32::try_from(progress.given.len()).unwrap_or(u32::MAX),
        needed: progress.needed,
        share_numbers: progress.given.clone(),
        refused,
        opened_at_unix_ms: progress.begun_unix_ms,
    }
}

async fn seals<H: Host>(member: &Member<H>) -> (Vec<v1::NodeSeal>, Option<v1::CeremonyStatus>) {
    let known = member.known_members().into_iter().map(|known| known.node);
    let others: Vec<NodeId> = known.filter(|node| *node != member.node()).collect();
    let asked = futures::future::join_all(others.iter().map(|node| member.peer_seal(*node))).await;
    let mut ceremony = own_ceremony(member);
    let mut seals = vec![own_seal(member)];
    let mut returning = vec![member.comes_back()];
    for (node, answer) in others.into_iter().zip(asked) {
        returning.push(answer.as_ref().is_some_and(|seal| seal.comes_back));
        if let (None, Some(seal)) = (&ceremony, &answer) {
            let progress = seal.ceremony.as_ref();
            ceremony = progress.map(|progress| relayed_status(node, progress, seal.guesses.wrong));
        }
        seals.push(peer_seal(member, node, answer));
    }
    let unsealed = seals.iter().any(|seal| seal.state() == v1::SealState::Unsealed);
    for (seal, returns) in seals.iter_mut().zip(returning) {
        // Where all are sealed shares are needed, and an admission would be nobody's to use.
        let waits = unsealed && member.admits() && seal.state() == v1::SealState::Sealed;
        let cluster = NodeId::new(seal.node).and_then(|node| member.seal_mark(node)) == Some(Marked::Cluster);
        seal.needs_admission = waits && !cluster && (seal.seal_mark || !returns);
    }
    seals.sort_by_key(|seal| seal.node);
    (seals, ceremony)
}

fn peer_seal<H: Host>(member: &Member<H>, node: NodeId, answer: Option<PeerSeal>) -> v1::NodeSeal {
    let seal_mark = member.seal_mark(node).is_some();
    let Some(answer) = answer else {
        return v1::NodeSeal { node: node.get(), seal_mark, ..Default::default() };
    };
    let restart_key = answer.restart_key.map_or(v1::RestartKeyState::Unspecified, restart_key);
    v1::NodeSeal {
        node: node.get(),
        state: state(!answer.sealed).into(),
        boot_public_key: answer.boot_public,
        seal_mark,
        needs_admission: false,
        restart_key: restart_key.into(),
        ceremony_id: answer.ceremony_id,
        wrong_shares: answer.guesses.wrong,
        last_wrong_share_unix_ms: answer.guesses.last_at.0,
    }
}

fn own_seal<H: Host>(member: &Member<H>) -> v1::NodeSeal {
    let guesses = member.guesses();
    v1::NodeSeal {
        node: member.node().get(),
        state: state(member.is_unsealed()).into(),
        boot_public_key: member.boot_public().to_vec(),
        seal_mark: member.seal_mark(member.node()).is_some(),
        needs_admission: false,
        restart_key: restart_key(member.restart_key_usable()).into(),
        ceremony_id: member.ceremony_id().map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        wrong_shares: guesses.wrong,
        last_wrong_share_unix_ms: guesses.last_at.0,
    }
}

fn state(unsealed: bool) -> v1::SealState {
    if unsealed { v1::SealState::Unsealed } else { v1::SealState::Sealed }
}

fn restart_key(usable: Result<(), RuntimeUnusable>) -> v1::RestartKeyState {
    match usable {
        Ok(()) => v1::RestartKeyState::Ready,
        Err(RuntimeUnusable::NotTmpfs) => v1::RestartKeyState::NoTmpfs,
        Err(RuntimeUnusable::Swap) => v1::RestartKeyState::Swap,
        Err(RuntimeUnusable::Absent | RuntimeUnusable::Access) => v1::RestartKeyState::Off,
    }
}

fn ceremony_status(node: NodeId, progress: &CeremonyProgress, guesses: Guesses) -> v1::CeremonyStatus {
    v1::CeremonyStatus {
        ceremony_id: progress.id.as_bytes().to_vec(),
        node: node.get(),
        given: u32::try_from(progress.given.len()).unwrap_or(u32::MAX),
        needed: u32::from(progress.threshold.needed()),
        share_numbers: progress.given.iter().map(|x| u32::from(x.get())).collect(),
        refused: guesses.wrong,
        opened_at_unix_ms: progress.opened_at.0,
    }
}
