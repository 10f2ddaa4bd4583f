//! `keyclave access token …`; the rest of `keyclave access` is in [`crate::rights`].

use std::path::PathBuf;

use data_encoding::HEXLOWER;
use keyclave_client::Client;
use keyclave_types::access::Subject;
use keyclave_types::request::{TokenDescription, TokenId};
use keyclave_types::time::Span;
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::Connection;
use crate::arguments::access::{AccessCommand, TokenCommand};
use crate::connection::client;
use crate::failure::Failure;
use crate::output::Shown;
use crate::progress::watched;
use crate::rights;
use crate::secret_output::{writable, write_secret};
use crate::table::Table;

/// A token for programs, as it is shown once.
#[derive(Serialize)]
struct TokenObject<'a> {
    id: String,
    subject: String,
    expires_at: Option<String>,
    token: Option<&'a str>,
    out: Option<String>,
}

/// Runs one of the commands.
pub(crate) async fn run(command: AccessCommand, connection: &Connection) -> Result<Shown, Failure> {
    let client = client(connection)?;
    match command {
        AccessCommand::Token(command) => token(command, &client).await,
        AccessCommand::Subject(command) => rights::subject(command, &client).await,
        AccessCommand::Group(command) => rights::group(command, &client).await,
        AccessCommand::Policy(command) => rights::policy(command, &client).await,
        AccessCommand::Explain { subject, action, on } => {
            rights::explain(&client, &subject, &action, &on).await
        }
        AccessCommand::WhoCan { action, on } => rights::who_can(&client, &action, &on).await,
        AccessCommand::Test { file } => rights::test(&client, &file).await,
    }
}

async fn token(command: TokenCommand, client: &Client) -> Result<Shown, Failure> {
    match command {
        TokenCommand::Create { subject, ttl, out } => create(client, &subject, ttl, out).await,
        TokenCommand::List => list(client).await,
        TokenCommand::Revoke { id } => {
            let answer = watched("revoking the token", client.revoke_token(id)).await?;
            let object = json!({ "id": hex(id), "revoked": true, "position": answer.position.to_string() });
            Ok(Shown::new(format!("token {} is revoked on every node", hex(id)), &object))
        }
    }
}

async fn create(
    client: &Client,
    subject: &Subject,
    ttl: Option<Span>,
    out: Option<PathBuf>,
) -> Result<Shown, Failure> {
    if let Some(path) = &out {
        writable(path)?;
    }
    let lifetime = ttl.map(|span| std::time::Duration::from_millis(span.ms));
    let token = watched("making a token", client.create_token(subject, lifetime)).await?.value;
    let object = TokenObject {
        id: hex(token.id),
        subject: subject.to_string(),
        expires_at: token.expires_at.map(|at| at.to_string()),
        token: out.is_none().then_some(token.text.as_str()),
        out: out.as_ref().map(|path| path.display().to_string()),
    };
    match &out {
        Some(path) => {
            write_secret(path, &token.text)?;
            Ok(Shown::new(format!("token {} is in {}", hex(token.id), path.display()), &object))
        }
        // Only the token: so that it can be caught in a variable.
        None => Ok(Shown::new(token.text.as_str(), &object)),
    }
}

async fn list(client: &Client) -> Result<Shown, Failure> {
    let (mut tokens, mut after) = (Vec::new(), None);
    let position = loop {
        let page = watched("listing tokens", client.list_tokens(0, after)).await?;
        tokens.extend(page.value.tokens);
        after = page.value.next;
        if after.is_none() {
            break page.position;
        }
    };
    let objects: Vec<Value> = tokens.iter().map(token_json).collect();
    Ok(Shown::new(list_text(&tokens), &json!({ "tokens": objects, "position": position.to_string() })))
}

fn list_text(tokens: &[TokenDescription]) -> String {
    let mut table = Table::new(["ID", "SUBJECT", "MADE", "ENDS"]);
    for token in tokens {
        table.row([
            hex(token.id),
            token.subject.to_string(),
            token.created_at.to_string(),
            token.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string()),
        ]);
    }
    table.lines()
}

fn token_json(token: &TokenDescription) -> Value {
    json!({
        "id": hex(token.id),
        "subject": token.subject.to_string(),
        "created_at": token.created_at.to_string(),
        "expires_at": token.expires_at.map(|at| at.to_string()),
    })
}

fn hex(id: TokenId) -> String {
    HEXLOWER.encode(&id.0)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use keyclave_types::time::UnixMillis;

    use super::*;
    use crate::arguments::{Arguments, Command};

    #[test]
    fn an_id_from_the_list_is_what_revoke_takes() {
        let token = TokenDescription {
            id: TokenId([0xab; 12]),
            subject: "service:billing".parse().unwrap(),
            created_at: UnixMillis(0),
            expires_at: None,
        };
        let text = list_text(std::slice::from_ref(&token));
        let id = text.lines().nth(1).unwrap().split(' ').next().unwrap();
        let line = ["keyclave", "access", "token", "revoke", id];
        let Command::Access(AccessCommand::Token(TokenCommand::Revoke { id })) =
            Arguments::try_parse_from(line).unwrap().command
        else {
            panic!("another command");
        };
        assert_eq!(id, token.id);
        assert!(Arguments::try_parse_from(["keyclave", "access", "token", "revoke", "abc"]).is_err());
    }
}
