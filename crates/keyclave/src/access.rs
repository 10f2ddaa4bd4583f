//! `keyclave access token …`; the rest of `keyclave access` is in [`crate::rights`] and [`crate::identities`].

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use keyclave_client::access::CreatedToken;
use keyclave_client::{Client, certificates};
use keyclave_types::access::Subject;
use keyclave_types::identity::{Identity, TokenBinding, TokenTerms};
use keyclave_types::request::{TokenDescription, TokenId};
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::Connection;
use crate::arguments::access::{AccessCommand, TokenCommand};
use crate::connection::{client, client_without_token};
use crate::failure::Failure;
use crate::output::Shown;
use crate::progress::watched;
use crate::secret_output::{writable, write_secret};
use crate::table::Table;
use crate::{identities, rights};

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
    let client = if matches!(command, AccessCommand::Login { .. }) {
        // The JWT is the credential; a token of earlier may have ended.
        client_without_token(connection)?
    } else {
        client(connection)?
    };
    match command {
        AccessCommand::Root(command) => identities::root(command, &client).await,
        AccessCommand::Identity(command) => identities::identity(command, &client).await,
        AccessCommand::Issuer(command) => identities::issuer(command, &client).await,
        AccessCommand::Login { jwt_file, out } => identities::login(&client, &jwt_file, out).await,
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
        TokenCommand::Create { subject, ttl, renewable, bind_certificate, bind_identity, sources, out } => {
            let terms = TokenTerms {
                lifetime_ms: ttl.map(|span| span.ms),
                renewable_ms: renewable.map(|span| span.ms),
                binding: binding(bind_certificate.as_deref(), bind_identity)?,
                sources: sources.into_iter().collect(),
            };
            create(client, &subject, &terms, out).await
        }
        TokenCommand::Renew => {
            let answer = watched("renewing the token", client.renew_token()).await?;
            let (ends, position) = (answer.value.to_string(), answer.position.to_string());
            let object = json!({ "expires_at": ends, "position": position });
            Ok(Shown::new(format!("the token lives until {ends}"), &object))
        }
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
    terms: &TokenTerms,
    out: Option<PathBuf>,
) -> Result<Shown, Failure> {
    if let Some(path) = &out {
        writable(path)?;
    }
    let token = watched("making a token", client.create_token_on(subject, terms)).await?.value;
    show_token(&token, subject, out.as_deref())
}

fn binding(certificate: Option<&Path>, identity: Option<Identity>) -> Result<TokenBinding, Failure> {
    match (certificate, identity) {
        (None, None) => Ok(TokenBinding::Free),
        (_, Some(identity)) => Ok(TokenBinding::Identity(identity)),
        (Some(file), None) => {
            let key = certificates::key_from_pem(rights::text_of(file)?.as_bytes());
            key.map(TokenBinding::Key).map_err(|error| identities::unusable(file, &error))
        }
    }
}

/// A token that is shown once, or written to a file.
pub(crate) fn show_token(
    token: &CreatedToken,
    subject: &Subject,
    out: Option<&Path>,
) -> Result<Shown, Failure> {
    let object = TokenObject {
        id: hex(token.id),
        subject: subject.to_string(),
        expires_at: token.expires_at.map(|at| at.to_string()),
        token: out.is_none().then_some(token.text.as_str()),
        out: out.map(|path| path.display().to_string()),
    };
    match out {
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
    let mut table = Table::new(["ID", "SUBJECT", "MADE", "ENDS", "BOUND TO", "FROM"]);
    for token in tokens {
        table.row([
            hex(token.id),
            token.subject.to_string(),
            token.created_at.to_string(),
            token.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string()),
            bound_to(&token.binding).unwrap_or_else(|| "-".to_owned()),
            if token.sources.is_empty() { "-".to_owned() } else { sources(token).join(", ") },
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
        "renewable_until": token.renewable_until.map(|at| at.to_string()),
        "bound_to": bound_to(&token.binding),
        "from": sources(token),
    })
}

fn bound_to(binding: &TokenBinding) -> Option<String> {
    match binding {
        TokenBinding::Free => None,
        TokenBinding::Key(key) => Some(format!("key:{}", HEXLOWER.encode(key))),
        TokenBinding::Identity(identity) => Some(identity.to_string()),
    }
}

fn sources(token: &TokenDescription) -> Vec<String> {
    token.sources.iter().map(ToString::to_string).collect()
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
            renewable_until: None,
            binding: TokenBinding::Free,
            sources: Default::default(),
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
