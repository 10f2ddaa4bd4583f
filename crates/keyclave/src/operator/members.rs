//! `keyclave operator join-token | members | step-down | accept-time`.

use std::path::PathBuf;

use data_encoding::HEXLOWER;
use keyclave_client::cluster::{Member, MemberRole};
use keyclave_types::ids::NodeId;
use keyclave_types::member::Addresses;
use keyclave_types::time::UnixMillis;
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::Connection;
use crate::arguments::operator::MembersCommand;
use crate::connection::client;
use crate::failure::Failure;
use crate::output::Shown;
use crate::progress::watched;
use crate::secret_output::{writable, write_secret};
use crate::table::Table;

/// A join token for programs, as it is shown once.
#[derive(Serialize)]
struct JoinTokenObject<'a> {
    join_token: Option<&'a str>,
    out: Option<String>,
    expires_at: String,
}

/// Makes a token that lets one node in.
pub(super) async fn join_token(out: Option<PathBuf>, connection: &Connection) -> Result<Shown, Failure> {
    let client = client(connection)?;
    if let Some(path) = &out {
        writable(path)?;
    }
    let token = watched("making a join token", client.create_join_token()).await?.value;
    let object = JoinTokenObject {
        join_token: out.is_none().then_some(token.text.as_str()),
        out: out.as_ref().map(|path| path.display().to_string()),
        expires_at: token.expires_at.to_string(),
    };
    match &out {
        Some(path) => {
            write_secret(path, &token.text)?;
            let text = format!("the join token is in {}; it ends at {}", path.display(), token.expires_at);
            Ok(Shown::new(text, &object))
        }
        // Only the token: so that it can be sent into a file.
        None => Ok(Shown::new(token.text.as_str(), &object)),
    }
}

/// Runs one of `members …`.
pub(super) async fn run(command: MembersCommand, connection: &Connection) -> Result<Shown, Failure> {
    let client = client(connection)?;
    match command {
        MembersCommand::List => {
            let answer = watched("listing members", client.list_members()).await?;
            let objects: Vec<_> = answer.value.iter().map(member_json).collect();
            let object = json!({ "members": objects, "position": answer.position.to_string() });
            Ok(Shown::new(members_text(&answer.value), &object))
        }
        MembersCommand::Remove { node } => {
            let answer = watched("removing the member", client.remove_member(node)).await?;
            let text = format!(
                "node {node} is removed; its number is never used again\n\
                 It has held the root: once `operator rekey` is there, rekey and destroy the old shares."
            );
            let position = answer.position.to_string();
            Ok(Shown::new(text, &json!({ "removed": node.get(), "position": position })))
        }
        MembersCommand::Address { node, peer, client: reached } => {
            let addresses = Addresses { peer, client: reached };
            let answer = watched("changing the address", client.set_member_address(node, &addresses)).await?;
            let object = json!({
                "node": node.get(), "peer_address": addresses.peer.as_str(),
                "client_address": addresses.client.as_str(), "position": answer.position.to_string(),
            });
            Ok(Shown::new(
                format!(
                    "node {node} is reached at {} by peers and {} by clients",
                    addresses.peer, addresses.client
                ),
                &object,
            ))
        }
    }
}

/// Makes the leader hand over.
pub(super) async fn step_down(to: Option<NodeId>, connection: &Connection) -> Result<Shown, Failure> {
    let client = client(connection)?;
    let answer = watched("handing over", client.step_down(to)).await?;
    let object = json!({ "leader": answer.value.get(), "position": answer.position.to_string() });
    Ok(Shown::new(format!("node {} leads", answer.value), &object))
}

/// Lets the cluster's time go on.
pub(super) async fn accept_time(time: UnixMillis, connection: &Connection) -> Result<Shown, Failure> {
    let client = client(connection)?;
    let answer = watched("accepting the time", client.accept_time(time)).await?;
    let object = json!({ "time": time.to_string(), "position": answer.position.to_string() });
    Ok(Shown::new(format!("the cluster's time goes on from {time}"), &object))
}

fn members_text(members: &[Member]) -> String {
    let mut table = Table::new(["NODE", "ROLE", "PEERS REACH IT AT", "CLIENTS AT", "INCARNATION"]);
    for member in members {
        let address = |of: fn(&Addresses) -> String| member.addresses.as_ref().map_or("-".to_owned(), of);
        table.row([
            member.node.to_string(),
            role(member.role).to_owned(),
            address(|addresses| addresses.peer.to_string()),
            address(|addresses| addresses.client.to_string()),
            member.identity.incarnation.to_string(),
        ]);
    }
    table.lines()
}

fn member_json(member: &Member) -> Value {
    json!({
        "node": member.node.get(),
        "role": role(member.role),
        "incarnation": member.identity.incarnation.to_string(),
        "public_key": HEXLOWER.encode(&member.identity.key.0),
        "peer_address": member.addresses.as_ref().map(|addresses| addresses.peer.as_str()),
        "client_address": member.addresses.as_ref().map(|addresses| addresses.client.as_str()),
    })
}

/// A member's part, as it is shown.
pub(super) fn role(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Voter => "voter",
        MemberRole::Learner => "learner",
    }
}
