//! `keyclave operator unseal`: one share, given only after the code of the process that gets it was compared.

use std::io::IsTerminal;
use std::path::PathBuf;

use keyclave_client::Client;
use keyclave_client::seal::{
    BootKey, Ceremony, ComparedKey, GivenShare, SealState, SealStatus, ShareAnswer, ShareOutcome, ShareTerms,
};
use keyclave_types::ids::NodeId;
use keyclave_types::request::NodeCode;
use serde_json::{Value, json};

use super::status::{attention, to_admit, wrong_shares};
use crate::arguments::Connection;
use crate::connection::{client, is_local};
use crate::failure::Failure;
use crate::output::{self, Shown};
use crate::progress::watched;
use crate::secret_input;

/// What was asked for.
pub(super) struct Asked {
    pub(super) node: Option<NodeId>,
    pub(super) code: Option<NodeCode>,
    pub(super) node_code: Option<NodeCode>,
    pub(super) share_file: Option<PathBuf>,
    pub(super) all_members: bool,
    pub(super) reset: bool,
}

/// Where the share goes.
struct Target {
    node: Option<NodeId>,
    key: ComparedKey,
    /// The process that the share also vouches for.
    vouch_for: Option<(NodeId, NodeCode)>,
}

/// Gives one share, or resets the ceremony with it.
pub(super) async fn run(asked: Asked, connection: &Connection) -> Result<Shown, Failure> {
    let local = is_local(connection);
    let named = asked.code.is_some() || asked.node_code.is_some();
    if !local && !named && !std::io::stdin().is_terminal() {
        return Err(cannot_compare());
    }
    let client = client(connection)?;
    let status = watched("asking for the seal", client.seal_status()).await?;
    if let Some(shown) = already_unsealed(&asked, &status)? {
        return Ok(shown);
    }
    let target = target(&asked, &status, &client, local).await?;
    let share = GivenShare::parse(&secret_input::share(asked.share_file.as_deref())?)?;
    if asked.reset {
        return reset(&client, &status, &share, &target).await;
    }
    let terms = ShareTerms { vouch_for: target.vouch_for.clone(), admit_all_members: asked.all_members };
    let giving = client.submit_share(&share, &target.key, terms);
    let answer = watched("giving the share", giving).await?;
    // Who still needs something shows best afterwards; without it the answer says what it can.
    let after = client.seal_status().await.ok();
    Ok(shown(&answer, after.as_ref().unwrap_or(&status), target.node))
}

fn cannot_compare() -> Failure {
    Failure::usage("nobody is here to compare the node's code").next(
        "give --code CODE as `keyclave operator code` shows it on that machine, or use its --socket there",
    )
}

/// Whom the share is for: the node that was named, or the one that holds the ceremony, or the one that is asked.
fn wanted(asked: &Asked, status: &SealStatus) -> Option<NodeId> {
    let ceremony = || status.ceremony.as_ref().and_then(|ceremony| ceremony.node);
    let vouched = || asked.node_code.as_ref().and_then(|code| shows(status, code)).map(|(node, _)| node);
    asked.node.or_else(ceremony).or_else(vouched).or(status.this_node.node)
}

fn already_unsealed(asked: &Asked, status: &SealStatus) -> Result<Option<Shown>, Failure> {
    let wanted = wanted(asked, status);
    let this = status.this_node.node == wanted;
    let seal = status.nodes.iter().find(|seal| seal.node == wanted);
    let state = if this { Some(status.this_node.state) } else { seal.map(|seal| seal.state) };
    match state {
        Some(SealState::Uninitialized) => {
            Err(Failure::failed("NOT_INITIALIZED", "that node belongs to no cluster yet").next(
                "make a cluster with `keyclave operator init`, or let it join with `keyclave server --join`",
            ))
        }
        Some(SealState::Unsealed) => {
            let sealed = status.nodes.iter().filter(|seal| seal.state == SealState::Sealed);
            let sealed: Vec<NodeId> = sealed.filter_map(|seal| seal.node).collect();
            Ok(Some(not_needed(wanted, &sealed)))
        }
        Some(SealState::Sealed | SealState::Unknown) => Ok(None),
        None => Err(no_such_node(wanted)),
    }
}

fn not_needed(node: Option<NodeId>, sealed: &[NodeId]) -> Shown {
    let mut text = format!("{} is unsealed; nothing was given", named(node));
    if !sealed.is_empty() {
        let list: Vec<_> = sealed.iter().map(ToString::to_string).collect();
        text.push_str(&format!("\nstill sealed: {} (name one with --node)", list.join(", ")));
    }
    let sealed: Vec<_> = sealed.iter().map(|node| node.get()).collect();
    Shown::new(text, &json!({ "outcome": "not_needed", "sealed_nodes": sealed }))
}

/// The node whose process has this code, as far as it can be reached.
fn shows<'a>(status: &'a SealStatus, code: &NodeCode) -> Option<(NodeId, &'a BootKey)> {
    let seals = status.nodes.iter().chain([&status.this_node]);
    let mut keys = seals.filter_map(|seal| Some((seal.node?, seal.boot_key.as_ref()?)));
    keys.find(|(_, key)| key.code() == *code)
}

async fn target(asked: &Asked, status: &SealStatus, client: &Client, local: bool) -> Result<Target, Failure> {
    let wanted = wanted(asked, status);
    let this = status.this_node.node;
    let here = if local && status.this_node.state == SealState::Sealed {
        Some(client.local_code().await?)
    } else {
        None
    };
    // Whoever stands at a machine vouches for it; whoever names a code, for the process that shows it.
    let vouch_for = match (&asked.node_code, &here) {
        (Some(code), _) => {
            let (node, _) = shows(status, code).ok_or_else(|| code_unknown(code))?;
            Some((node, code.clone()))
        }
        (None, Some((code, _))) => this.map(|this| (this, code.clone())),
        (None, None) => None,
    };
    if let Some((code, key)) = here.filter(|_| wanted == this) {
        if let Some(expected) = asked.code.as_ref().filter(|expected| **expected != code) {
            return Err(differs(expected, &code));
        }
        return Ok(Target { node: wanted, key, vouch_for });
    }
    let seal = match wanted == this {
        true => Some(&status.this_node),
        false => status.nodes.iter().find(|seal| seal.node == wanted),
    };
    let key = seal.ok_or_else(|| no_such_node(wanted))?.boot_key.clone().ok_or_else(|| {
        Failure::failed("NODE_UNREACHABLE", format!("{} cannot be reached", named(wanted)))
            .next("start it, or give the share at another node with --node")
    })?;
    // A code that is named as the one to vouch for was read on the machine too.
    let read = asked.code.as_ref().or(asked.node_code.as_ref().filter(|code| key.code() == **code));
    let key = match read {
        Some(code) => key.compare(code).map_err(|error| differs(code, &error.shown))?,
        None => compared_by_a_person(key, wanted)?,
    };
    Ok(Target { node: wanted, key, vouch_for })
}

fn code_unknown(code: &NodeCode) -> Failure {
    Failure::failed(
        "CODE_UNKNOWN",
        format!("no node that can be reached shows the code {code}: nothing was given"),
    )
    .next("read the code again on that machine: it changes with each start")
}

fn compared_by_a_person(key: BootKey, node: Option<NodeId>) -> Result<ComparedKey, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(cannot_compare());
    }
    let who = named(node);
    let question = format!(
        "The share goes to {who}, whose code is\n\n  {}\n\nIs this what its log or `keyclave operator code` \
         shows on that machine? [yes/no] ",
        key.code()
    );
    let answer = output::ask(&question).map_err(|error| Failure::from_error("PROMPT", &error))?;
    match answer.to_ascii_lowercase().as_str() {
        "yes" | "y" => Ok(key.confirmed()),
        _ => Err(Failure::failed("NOT_COMPARED", "nothing was given")
            .next("if the codes differ, somebody stands in between: find out who before giving any share")),
    }
}

fn differs(expected: &NodeCode, shown: &NodeCode) -> Failure {
    Failure::failed("CODE_DIFFERS", format!("the node shows {shown}, not {expected}: nothing was given"))
        .next("read the code again on that machine (it changes with each start); if it still differs, somebody stands in between")
}

fn no_such_node(node: Option<NodeId>) -> Failure {
    Failure::failed("NODE_NOT_FOUND", format!("{} is no member", named(node)))
        .next("see the members with `keyclave operator status`")
}

async fn reset(
    client: &Client,
    status: &SealStatus,
    share: &GivenShare,
    target: &Target,
) -> Result<Shown, Failure> {
    let ceremony = status.ceremony.as_ref().ok_or_else(|| {
        Failure::failed("CEREMONY_NOT_FOUND", "no ceremony is under way").next("give a share to open one")
    })?;
    client.reset_ceremony_with_share(ceremony.id, share, &target.key).await?;
    let object = json!({ "outcome": "reset", "ceremony_id": ceremony.id.to_string() });
    Ok(Shown::new("the ceremony is reset: all shares are needed again", &object))
}

fn shown(answer: &ShareAnswer, status: &SealStatus, target: Option<NodeId>) -> Shown {
    let holder = answer.ceremony.as_ref().and_then(|ceremony| ceremony.node).or(target);
    let (node, share) = (named(holder), answer.share_number);
    let mut text = match (answer.outcome, &answer.ceremony) {
        (ShareOutcome::Taken, Some(ceremony)) => {
            let left = ceremony.needed.saturating_sub(ceremony.given);
            format!(
                "share {share} counts at {node}: {} of {} given, {left} to go",
                ceremony.given, ceremony.needed
            )
        }
        (ShareOutcome::Taken, None) => format!("share {share} counts at {node}"),
        (ShareOutcome::Repeated, _) => format!("share {share} was given before; another one is needed"),
        (ShareOutcome::Completed, _) => format!("share {share} completes the ceremony: {node} is unsealed"),
        (ShareOutcome::Vouched, _) => {
            format!("share {share} vouches for {node}, which gets the root from a peer")
        }
        (ShareOutcome::NotNeeded, _) => format!("{node} is unsealed already; nothing changed"),
    };
    let mut attention = match answer.outcome {
        ShareOutcome::Taken | ShareOutcome::Repeated => wrong_shares(status),
        ShareOutcome::Completed | ShareOutcome::Vouched | ShareOutcome::NotNeeded => {
            attention(status, None, None)
        }
    };
    let said =
        |node: &NodeId| status.nodes.iter().any(|seal| seal.node == Some(*node) && seal.needs_admission);
    attention.extend(answer.nodes_to_admit.iter().filter(|node| !said(node)).map(|node| to_admit(*node)));
    attention.iter().for_each(|line| text.push_str(&format!("\n{line}")));
    let object = json!({
        "outcome": outcome(answer.outcome),
        "share_number": share,
        "node": holder.map(NodeId::get),
        "shares_needed": status.threshold.map(|threshold| threshold.needed()),
        "ceremony": answer.ceremony.as_ref().map(ceremony_json),
        "nodes_to_admit": answer.nodes_to_admit.iter().map(|node| node.get()).collect::<Vec<_>>(),
        "attention": attention,
    });
    Shown::new(text, &object)
}

fn outcome(outcome: ShareOutcome) -> &'static str {
    match outcome {
        ShareOutcome::Taken => "taken",
        ShareOutcome::Repeated => "repeated",
        ShareOutcome::Completed => "completed",
        ShareOutcome::Vouched => "vouched",
        ShareOutcome::NotNeeded => "not_needed",
    }
}

/// A ceremony for programs.
pub(super) fn ceremony_json(ceremony: &Ceremony) -> Value {
    json!({
        "id": ceremony.id.to_string(),
        "node": ceremony.node.map(NodeId::get),
        "given": ceremony.given,
        "needed": ceremony.needed,
        "share_numbers": ceremony.share_numbers,
        "refused": ceremony.refused,
        "opened_at": ceremony.opened_at.to_string(),
    })
}

fn named(node: Option<NodeId>) -> String {
    node.map_or_else(|| "this node".to_owned(), |node| format!("node {node}"))
}

#[cfg(test)]
mod tests {
    use keyclave_types::ids::CeremonyId;
    use keyclave_types::time::UnixMillis;

    use super::*;
    use crate::arguments::Output;

    fn node(number: u64) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn ceremony(at: u64) -> Ceremony {
        Ceremony {
            id: CeremonyId::from_bytes([1; 16]),
            node: NodeId::new(at),
            given: 1,
            needed: 3,
            share_numbers: vec![4],
            refused: 0,
            opened_at: UnixMillis(0),
        }
    }

    fn status(states: &[SealState], ceremony: Option<Ceremony>) -> SealStatus {
        let nodes = super::super::status::tests::seals(states);
        SealStatus {
            position: None,
            this_node: nodes[0].clone(),
            nodes,
            threshold: None,
            share_set: None,
            ceremony,
            cluster: None,
            server_version: "0.1.0".to_owned(),
        }
    }

    fn asked(node: Option<NodeId>) -> Asked {
        Asked { node, code: None, node_code: None, share_file: None, all_members: false, reset: false }
    }

    #[test]
    fn a_share_goes_to_the_ceremony_unless_another_node_is_named() {
        let sealed = [SealState::Sealed; 3];
        let open = status(&sealed, Some(ceremony(2)));
        assert_eq!(wanted(&asked(None), &open), Some(node(2)));
        assert_eq!(wanted(&asked(Some(node(3))), &open), Some(node(3)));
        assert_eq!(wanted(&asked(None), &status(&sealed, None)), Some(node(1)));
    }

    #[test]
    fn an_unsealed_node_is_given_nothing_and_the_sealed_ones_are_named() {
        let status = status(&[SealState::Unsealed, SealState::Sealed, SealState::Unsealed], None);
        let shown = already_unsealed(&asked(None), &status).unwrap().unwrap();
        assert!(shown.render(Output::Text).contains("still sealed: 2"));
        assert!(already_unsealed(&asked(Some(node(2))), &status).unwrap().is_none());
        assert!(already_unsealed(&asked(Some(node(9))), &status).is_err());
    }

    #[test]
    fn progress_says_how_many_are_left_and_who_needs_an_admission() {
        let answer = ShareAnswer {
            outcome: ShareOutcome::Taken,
            share_number: 4,
            ceremony: Some(ceremony(2)),
            nodes_to_admit: vec![node(3)],
        };
        let shown = shown(&answer, &status(&[SealState::Sealed], None), Some(node(1)));
        let text = shown.render(Output::Text);
        assert!(text.contains("at node 2: 1 of 3 given, 2 to go"), "{}", *text);
        assert!(text.contains("operator admit 3 CODE"), "{}", *text);
    }
}
