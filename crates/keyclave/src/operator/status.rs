//! `keyclave operator status`: what everybody may see of the seals, and, for whoever may, of leader and members.

use keyclave_client::cluster::{AdmissionPolicy, ClockDoubt, ClockState, ClusterStatus};
use keyclave_client::error::ReadError;
use keyclave_client::seal::{NodeSeal, RestartKey, SealState, SealStatus};
use keyclave_types::ids::NodeId;
use keyclave_types::time::Span;
use serde_json::{Value, json};

use super::members::role;
use super::unseal::ceremony_json;
use crate::arguments::Connection;
use crate::connection::client;
use crate::failure::Failure;
use crate::output::Shown;
use crate::progress::watched;
use crate::table::{Table, pairs};

/// The exit status of a sealed cluster.
const SEALED: u8 = 2;

/// Shows how the cluster stands; ends with 2 if the node that answered is sealed.
pub(super) async fn run(connection: &Connection) -> Result<Shown, Failure> {
    let client = client(connection)?;
    let seal = watched("asking for the seal", client.seal_status()).await?;
    let cluster = match seal.this_node.state {
        SealState::Unsealed => {
            watched("asking for the members", client.cluster_status()).await.map(|a| a.value)
        }
        SealState::Sealed | SealState::Uninitialized | SealState::Unknown => Err(ReadError::Sealed),
    };
    // Whoever has no token sees the seals all the same; anything else that is wrong is told.
    let hidden = match &cluster {
        Ok(_) | Err(ReadError::Sealed) => None,
        Err(error) => Some(error.to_string()),
    };
    Ok(shown(&seal, cluster.ok().as_ref(), hidden))
}

fn shown(seal: &SealStatus, cluster: Option<&ClusterStatus>, hidden: Option<String>) -> Shown {
    let status = if seal.this_node.state == SealState::Sealed { SEALED } else { 0 };
    let text = text(seal, cluster, hidden.as_deref());
    Shown::new(text, &object(seal, cluster, hidden.as_deref())).with_status(status)
}

fn text(seal: &SealStatus, cluster: Option<&ClusterStatus>, hidden: Option<&str>) -> String {
    let mut lines = vec![
        ("cluster", seal.cluster.map_or_else(|| "none".to_owned(), |id| id.to_string())),
        ("this node", format!("{}, {}", number(seal.this_node.node), state(seal.this_node.state))),
    ];
    if let Some(cluster) = cluster {
        let leader = cluster.leader.map_or_else(|| "unknown".to_owned(), |node| format!("node {node}"));
        lines.push(("leader", format!("{leader} in term {}", cluster.term)));
        lines.push(("time", format!("{} ({})", cluster.time, clock(cluster.clock))));
        lines.push(("admission", admission(cluster.admission).to_owned()));
        lines.push(("approvals", approvals(cluster.approvals_min)));
    }
    if let Some(threshold) = seal.threshold {
        lines.push(("shares", format!("{} of {} unseal", threshold.needed(), threshold.shares())));
    }
    if let Some(position) = seal.position {
        lines.push(("position", position.to_string()));
    }
    lines.push(("version", seal.server_version.clone()));
    let mut text = pairs(&lines);
    if !seal.nodes.is_empty() {
        text.push('\n');
        text.push_str(&nodes_table(seal, cluster));
    }
    let attention = attention(seal, cluster, hidden);
    if !attention.is_empty() {
        text.push_str("\nNeeds attention:\n");
        attention.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    text
}

fn nodes_table(seal: &SealStatus, cluster: Option<&ClusterStatus>) -> String {
    let mut table = Table::new(["NODE", "SEAL", "ROLE", "REACHED", "CLIENTS", "COMES BACK BY ITSELF"]);
    for node in &seal.nodes {
        let member = cluster.and_then(|cluster| cluster.members.iter().find(|m| Some(m.node) == node.node));
        let health = cluster.and_then(|cluster| cluster.health.iter().find(|h| Some(h.node) == node.node));
        let leads = cluster.is_some_and(|cluster| cluster.leader.is_some() && cluster.leader == node.node);
        let part = member.map_or("-", |member| role(member.role));
        table.row([
            number(node.node),
            state(node.state).to_owned(),
            if leads { "leader".to_owned() } else { part.to_owned() },
            health.map_or("-", |health| if health.reachable { "yes" } else { "no" }).to_owned(),
            member.and_then(|m| m.addresses.as_ref()).map_or("-".to_owned(), |a| a.client.to_string()),
            restart_key(node.restart_key).to_owned(),
        ]);
    }
    table.lines()
}

/// The command that lets a process of a node fetch the root.
pub(super) fn to_admit(node: NodeId) -> String {
    format!(
        "node {node} waits: `keyclave operator admit {node} CODE`, with the code that its machine shows \
         (`keyclave operator code --socket PATH` there), or a share given there"
    )
}

/// Wrong shares, for everybody to see.
pub(super) fn wrong_shares(seal: &SealStatus) -> Vec<String> {
    let given = seal.nodes.iter().filter(|node| node.wrong_shares > 0);
    let line = |node: &NodeSeal| {
        let last = node.last_wrong_share.map_or_else(String::new, |at| format!(", the last at {at}"));
        let times = if node.wrong_shares == 1 { "share was" } else { "shares were" };
        format!("{} wrong {times} given to node {}{last}", node.wrong_shares, number(node.node))
    };
    given.map(line).collect()
}

/// What an operator should do something about, each with what that is.
pub(super) fn attention(
    seal: &SealStatus,
    cluster: Option<&ClusterStatus>,
    hidden: Option<&str>,
) -> Vec<String> {
    let mut lines = Vec::new();
    if seal.this_node.state == SealState::Uninitialized {
        lines.push(
            "this node belongs to no cluster: `keyclave operator init`, or start it with --join".to_owned(),
        );
    }
    if let Some(ceremony) = &seal.ceremony {
        lines.push(format!(
            "a ceremony is under way at node {}: {} of {} shares given; `keyclave operator unseal`",
            number(ceremony.node),
            ceremony.given,
            ceremony.needed,
        ));
    } else if seal.this_node.state == SealState::Sealed {
        lines.push("this node is sealed: `keyclave operator unseal`".to_owned());
    }
    lines.extend(wrong_shares(seal));
    for node in &seal.nodes {
        let name = number(node.node);
        if let Some(node) = node.node.filter(|_| node.needs_admission) {
            lines.push(to_admit(node));
        }
        if node.seal_mark {
            lines.push(format!(
                "node {name} was sealed by an operator; it stays so until shares or an admission"
            ));
        }
        let other = node.node != seal.this_node.node;
        if other && node.state == SealState::Sealed && !node.needs_admission && seal.ceremony.is_none() {
            lines.push(format!("node {name} is sealed; it asks its peers by itself, or give shares there"));
        }
        if node.state == SealState::Unknown {
            lines.push(format!("node {name} does not answer"));
        }
    }
    if let Some(cluster) = cluster {
        if let Some(trouble) = &cluster.rewriting_trouble {
            lines.push(format!("remains of destroyed versions lie on this node's disk still: {trouble}"));
        }
        if cluster.leader.is_none() {
            lines.push("no leader is known; writes wait".to_owned());
        }
        lines.extend(cluster.clock_doubts.iter().map(doubt));
    }
    lines.extend(hidden.map(|why| format!("leader and members are not shown: {why}")));
    lines
}

fn object(seal: &SealStatus, cluster: Option<&ClusterStatus>, hidden: Option<&str>) -> Value {
    let nodes: Vec<_> = seal.nodes.iter().map(|node| node_json(node, cluster)).collect();
    json!({
        "cluster": seal.cluster.map(|id| id.to_string()),
        "node": seal.this_node.node.map(NodeId::get),
        "state": state(seal.this_node.state),
        "sealed": seal.this_node.state != SealState::Unsealed,
        "leader": cluster.and_then(|cluster| cluster.leader).map(NodeId::get),
        "term": cluster.map(|cluster| cluster.term),
        "time": cluster.map(|cluster| cluster.time.to_string()),
        "clock": cluster.map(|cluster| clock(cluster.clock)),
        "clock_doubts": cluster.map(|cluster| cluster.clock_doubts.iter().map(doubt_json).collect::<Vec<_>>()),
        "admission": cluster.map(|cluster| admission(cluster.admission)),
        "approvals_min": cluster.map(|cluster| cluster.approvals_min),
        "threshold": seal.threshold.map(|threshold| threshold.needed()),
        "shares": seal.threshold.map(|threshold| threshold.shares()),
        "position": seal.position.map(|position| position.to_string()),
        "ceremony": seal.ceremony.as_ref().map(ceremony_json),
        "nodes_to_admit": seal.nodes.iter().filter(|node| node.needs_admission)
            .filter_map(|node| node.node).map(NodeId::get).collect::<Vec<_>>(),
        "nodes": nodes,
        "attention": attention(seal, cluster, hidden),
        "server_version": seal.server_version,
    })
}

fn node_json(seal: &NodeSeal, cluster: Option<&ClusterStatus>) -> Value {
    let member = cluster.and_then(|cluster| cluster.members.iter().find(|m| Some(m.node) == seal.node));
    let health = cluster.and_then(|cluster| cluster.health.iter().find(|h| Some(h.node) == seal.node));
    let addresses = member.and_then(|member| member.addresses.as_ref());
    json!({
        "node": seal.node.map(NodeId::get),
        "state": state(seal.state),
        "leader": cluster.and_then(|cluster| cluster.leader).map(|leader| Some(leader) == seal.node),
        "role": member.map(|member| role(member.role)),
        "reachable": health.map(|health| health.reachable),
        "keyed": health.map(|health| health.keyed),
        "matched_index": health.and_then(|health| health.matched_index),
        "peer_address": addresses.map(|addresses| addresses.peer.as_str()),
        "client_address": addresses.map(|addresses| addresses.client.as_str()),
        "seal_mark": seal.seal_mark,
        "needs_admission": seal.needs_admission,
        "wrong_shares": seal.wrong_shares,
        "last_wrong_share": seal.last_wrong_share.map(|at| at.to_string()),
        "restart_key": restart_key(seal.restart_key),
    })
}

fn number(node: Option<NodeId>) -> String {
    node.map_or_else(|| "-".to_owned(), |node| node.to_string())
}

fn state(state: SealState) -> &'static str {
    match state {
        SealState::Unknown => "unknown",
        SealState::Uninitialized => "uninitialized",
        SealState::Sealed => "sealed",
        SealState::Unsealed => "unsealed",
    }
}

fn restart_key(key: RestartKey) -> &'static str {
    match key {
        RestartKey::Unknown => "-",
        RestartKey::Ready => "yes",
        RestartKey::NoTmpfs => "no: not a tmpfs",
        RestartKey::Swap => "no: swap",
        RestartKey::Off => "no",
    }
}

fn doubt(doubt: &ClockDoubt) -> String {
    let ClockDoubt { node, since, ahead_ms } = doubt;
    let by = Span { ms: ahead_ms.unsigned_abs() / 1_000 * 1_000 };
    let side = if *ahead_ms < 0 { "behind" } else { "ahead" };
    format!(
        "time is not trusted since {since}, by node {node}: its clock is {by} {side}, so rotation and expiry wait there; \
         set that clock, or `keyclave operator accept-time`"
    )
}

fn doubt_json(doubt: &ClockDoubt) -> Value {
    json!({ "node": doubt.node.get(), "since": doubt.since.to_string(), "ahead_ms": doubt.ahead_ms })
}

fn clock(clock: ClockState) -> &'static str {
    match clock {
        ClockState::Unknown => "unknown",
        ClockState::Steady => "steady",
        ClockState::Jumped => "jumped",
    }
}

fn approvals(needed: u32) -> String {
    match needed {
        0 => "none needed: one person who may destroy a version can do so alone".to_owned(),
        needed => format!("{needed} by others before what cannot be taken back"),
    }
}

fn admission(policy: AdmissionPolicy) -> &'static str {
    match policy {
        AdmissionPolicy::Strict => "strict",
        AdmissionPolicy::Members => "members",
        AdmissionPolicy::Off => "off",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use keyclave_types::time::UnixMillis;

    use crate::arguments::Output;

    /// Nodes from 1 on in these states.
    pub(in super::super) fn seals(states: &[SealState]) -> Vec<NodeSeal> {
        let seal = |(at, state): (usize, &SealState)| NodeSeal {
            node: NodeId::new(at as u64 + 1),
            state: *state,
            boot_key: None,
            seal_mark: false,
            needs_admission: *state == SealState::Sealed,
            restart_key: RestartKey::Swap,
            wrong_shares: 0,
            last_wrong_share: None,
        };
        states.iter().enumerate().map(seal).collect()
    }

    fn status(states: &[SealState]) -> SealStatus {
        let nodes = seals(states);
        SealStatus {
            position: None,
            this_node: nodes[0].clone(),
            nodes,
            threshold: None,
            share_set: None,
            ceremony: None,
            cluster: None,
            server_version: "0.1.0".to_owned(),
        }
    }

    #[test]
    fn a_sealed_node_ends_with_two_and_says_what_helps() {
        let shown = shown(&status(&[SealState::Sealed]), None, None);
        assert_eq!(shown.status(), 2);
        assert!(shown.render(Output::Text).contains("keyclave operator unseal"));
    }

    #[test]
    fn a_clock_that_is_not_trusted_is_named_with_since_when_and_by_how_much() {
        let doubtful = |ahead_ms| ClusterStatus {
            cluster: keyclave_types::ids::ClusterId::from_bytes([1; 16]),
            node: NodeId::new(1).unwrap(),
            leader: NodeId::new(2),
            term: 3,
            members: Vec::new(),
            health: Vec::new(),
            clock: ClockState::Steady,
            time: UnixMillis(0),
            server_version: "0.1.0".to_owned(),
            admission: AdmissionPolicy::Strict,
            rewriting_trouble: None,
            approvals_min: 0,
            clock_doubts: vec![ClockDoubt { node: NodeId::new(2).unwrap(), since: UnixMillis(0), ahead_ms }],
        };
        let seal = status(&[SealState::Unsealed]);
        for (ahead_ms, said) in [(7_200_900, "2h ahead"), (-90_000, "90s behind")] {
            let shown = shown(&seal, Some(&doubtful(ahead_ms)), None);
            let text = shown.render(Output::Text);
            let expected =
                format!("not trusted since 1970-01-01T00:00:00.000Z, by node 2: its clock is {said}");
            assert!(text.contains(&expected), "{}", *text);
            let object: Value = serde_json::from_str(&shown.render(Output::Json)).unwrap();
            let doubt = json!([{ "node": 2, "since": "1970-01-01T00:00:00.000Z", "ahead_ms": ahead_ms }]);
            assert_eq!(object["clock_doubts"], doubt);
        }
    }

    #[test]
    fn who_still_needs_an_admission_is_named() {
        let shown =
            shown(&status(&[SealState::Unsealed, SealState::Sealed]), None, Some("no token".to_owned()));
        assert_eq!(shown.status(), 0);
        let text = shown.render(Output::Text);
        assert!(text.contains("operator admit 2 CODE"), "{}", *text);
        assert!(text.contains("no token"), "{}", *text);
        let object: Value = serde_json::from_str(&shown.render(Output::Json)).unwrap();
        assert_eq!(object["nodes"][1]["needs_admission"], true);
        assert_eq!(object["sealed"], false);
    }
}
