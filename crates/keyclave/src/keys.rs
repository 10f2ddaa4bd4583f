//! `keyclave key …`.

mod describe;

use keyclave_client::Client;
use keyclave_client::error::WriteError;
use keyclave_types::key::{KeyDescription, Version};
use keyclave_types::name::{KeyName, KeyPrefix};
use serde_json::json;

use crate::arguments::Connection;
use crate::arguments::keys::KeyCommand;
use crate::connection::client;
use crate::failure::Failure;
use crate::output::Shown;
use crate::progress::watched;

use describe::{key_json, key_text, list_text};

type KeyAnswer = Result<keyclave_client::Answer<KeyDescription>, WriteError>;

/// Runs one of the commands.
pub(crate) async fn run(command: KeyCommand, connection: &Connection) -> Result<Shown, Failure> {
    let client = client(connection)?;
    match command {
        KeyCommand::Create { name, algorithm, rules } => {
            let answer = watched("making the key", client.create_key(&name, algorithm, rules.into())).await;
            changed(answer, |key| format!("{} is made; version {} encrypts", key.name, key.primary))
        }
        KeyCommand::List { prefix } => list(&client, &prefix).await,
        KeyCommand::Get { name } => get(&client, &name).await,
        KeyCommand::Update { name, rules } => {
            let answer = watched("changing the rules", client.update_key(&name, rules.into())).await;
            changed(answer, |key| format!("the rules of {} are changed", key.name))
        }
        KeyCommand::Rotate { name } => {
            let answer = watched("rotating the key", client.rotate_key(&name)).await;
            changed(answer, |key| format!("{}: version {} encrypts from now on", key.name, key.primary))
        }
        KeyCommand::Enable { name, version } => {
            let answer = watched("enabling", client.enable_key(&name, version)).await;
            changed(answer, |_| format!("{} is enabled", which(&name, version)))
        }
        KeyCommand::Disable { name, version } => {
            let answer = watched("disabling", client.disable_key(&name, version)).await;
            changed(answer, |_| format!("{} is disabled on every node", which(&name, version)))
        }
        KeyCommand::Destroy { name, version } => {
            let answer = watched("destroying", client.destroy_key_version(&name, version)).await;
            changed(answer, |_| {
                format!("{} is destroyed: what it encrypted opens no more", which(&name, Some(version)))
            })
        }
    }
}

fn changed(answer: KeyAnswer, say: impl FnOnce(&KeyDescription) -> String) -> Result<Shown, Failure> {
    let answer = answer?;
    let text = say(&answer.value);
    Ok(Shown::new(text, &key_json(&answer.value, answer.position)))
}

fn which(name: &KeyName, version: Option<Version>) -> String {
    match version {
        Some(version) => format!("version {version} of {name}"),
        None => name.to_string(),
    }
}

async fn get(client: &Client, name: &KeyName) -> Result<Shown, Failure> {
    let answer = watched("asking for the key", client.get_key(name)).await?;
    Ok(Shown::new(key_text(&answer.value), &key_json(&answer.value, answer.position)))
}

async fn list(client: &Client, prefix: &KeyPrefix) -> Result<Shown, Failure> {
    let (mut keys, mut after) = (Vec::new(), None);
    let position = loop {
        let page = watched("listing keys", client.list_keys(prefix, 0, after)).await?;
        keys.extend(page.value.keys);
        after = page.value.next;
        if after.is_none() {
            break page.position;
        }
    };
    let objects: Vec<_> = keys.iter().map(|key| key_json(key, position)).collect();
    Ok(Shown::new(list_text(&keys), &json!({ "keys": objects, "position": position.to_string() })))
}
