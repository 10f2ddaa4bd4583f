//! `keyclave access root|identity|issuer|login`: who callers are to others.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use keyclave_client::keys::PageToken;
use keyclave_client::{Client, certificates};
use keyclave_types::identity::{
    ClientRootDescription, ClientRootSettings, IdentityDescription, IssuerDescription, IssuerSettings,
};
use serde_json::{Value, json};

use crate::access::show_token;
use crate::arguments::identities::{IdentityCommand, IssuerCommand, RootCommand};
use crate::failure::Failure;
use crate::output::Shown;
use crate::progress::watched;
use crate::rights::text_of;
use crate::secret_output::writable;
use crate::table::Table;

pub(crate) async fn root(command: RootCommand, client: &Client) -> Result<Shown, Failure> {
    match command {
        RootCommand::Put { name, file, names } => {
            let certificates = certificates::from_pem(text_of(&file)?.as_bytes())
                .map_err(|error| unusable(&file, &error))?;
            let root = ClientRootSettings { name, names, certificates };
            let answer = watched("writing the client root", client.put_client_root(&root)).await?;
            let object = json!({ "name": root.name.as_str(), "position": answer.position.to_string() });
            Ok(Shown::new(format!("client root {} stands", root.name), &object))
        }
        RootCommand::List => list_roots(client).await,
        RootCommand::Remove { name } => {
            let removed = watched("removing the client root", client.remove_client_root(&name)).await?;
            let object = json!({ "name": name.as_str(), "position": removed.position.to_string() });
            Ok(Shown::new(format!("client root {name} is trusted no longer, on every node"), &object))
        }
    }
}

pub(crate) async fn identity(command: IdentityCommand, client: &Client) -> Result<Shown, Failure> {
    match command {
        IdentityCommand::Put { identity, subject } => {
            let answer = watched("writing the identity", client.put_identity(&identity, &subject)).await?;
            let object = json!({
                "identity": identity.to_string(),
                "subject": subject.to_string(),
                "position": answer.position.to_string(),
            });
            Ok(Shown::new(format!("{identity} is {subject}"), &object))
        }
        IdentityCommand::List => list_identities(client).await,
        IdentityCommand::Remove { identity } => {
            let removed = watched("removing the identity", client.remove_identity(&identity)).await?;
            let object =
                json!({ "identity": identity.to_string(), "position": removed.position.to_string() });
            Ok(Shown::new(format!("{identity} is nobody, on every node"), &object))
        }
    }
}

pub(crate) async fn issuer(command: IssuerCommand, client: &Client) -> Result<Shown, Failure> {
    match command {
        IssuerCommand::Put { name, issuer, audience, algorithms, jwks } => {
            let keys = text_of(&jwks)?;
            let algorithms = algorithms.into_iter().collect();
            let settings = IssuerSettings { name, issuer, audience, algorithms, keys };
            let answer = watched("writing the issuer", client.put_issuer(&settings)).await?;
            let object = json!({ "name": settings.name.as_str(), "position": answer.position.to_string() });
            Ok(Shown::new(format!("issuer {} stands", settings.name), &object))
        }
        IssuerCommand::List => list_issuers(client).await,
        IssuerCommand::Remove { name } => {
            let removed = watched("removing the issuer", client.remove_issuer(&name)).await?;
            let object = json!({ "name": name.as_str(), "position": removed.position.to_string() });
            Ok(Shown::new(format!("issuer {name} is believed no longer, on every node"), &object))
        }
    }
}

pub(crate) async fn login(client: &Client, file: &Path, out: Option<PathBuf>) -> Result<Shown, Failure> {
    if let Some(path) = &out {
        writable(path)?;
    }
    let jwt = text_of(file)?;
    let logged_in = watched("logging in", client.login(&jwt)).await?.value;
    show_token(&logged_in.token, &logged_in.subject, out.as_deref())
}

async fn list_roots(client: &Client) -> Result<Shown, Failure> {
    let mut table = Table::new(["ROOT", "NAMES", "SHA-256", "ENDS"]);
    let (mut objects, mut after): (Vec<Value>, Option<PageToken>) = (Vec::new(), None);
    let position = loop {
        let page = watched("listing client roots", client.list_client_roots(0, after)).await?;
        for root in &page.value.items {
            for (sha256, not_after) in &root.certificates {
                let (name, names) = (root.name.to_string(), root.names.as_str().to_owned());
                table.row([name, names, HEXLOWER.encode(sha256), not_after.to_string()]);
            }
            objects.push(root_json(root));
        }
        after = page.value.next;
        if after.is_none() {
            break page.position;
        }
    };
    Ok(Shown::new(table.lines(), &json!({ "roots": objects, "position": position.to_string() })))
}

async fn list_issuers(client: &Client) -> Result<Shown, Failure> {
    let mut table = Table::new(["ISSUER", "ISS", "AUD", "ALGORITHMS"]);
    let (mut objects, mut after): (Vec<Value>, Option<PageToken>) = (Vec::new(), None);
    let position = loop {
        let page = watched("listing issuers", client.list_issuers(0, after)).await?;
        for issuer in &page.value.items {
            let (iss, aud) = (issuer.issuer.clone(), issuer.audience.clone());
            table.row([issuer.name.to_string(), iss, aud, algorithms(issuer).join(", ")]);
            objects.push(issuer_json(issuer));
        }
        after = page.value.next;
        if after.is_none() {
            break page.position;
        }
    };
    Ok(Shown::new(table.lines(), &json!({ "issuers": objects, "position": position.to_string() })))
}

async fn list_identities(client: &Client) -> Result<Shown, Failure> {
    let mut table = Table::new(["IDENTITY", "SUBJECT", "COUNTS"]);
    let (mut objects, mut after): (Vec<Value>, Option<PageToken>) = (Vec::new(), None);
    let position = loop {
        let page = watched("listing identities", client.list_identities(0, after)).await?;
        for identity in &page.value.items {
            let counts = if identity.counts { "yes" } else { "no: put it again" };
            table.row([identity.identity.to_string(), identity.subject.to_string(), counts.to_owned()]);
            objects.push(identity_json(identity));
        }
        after = page.value.next;
        if after.is_none() {
            break page.position;
        }
    };
    Ok(Shown::new(table.lines(), &json!({ "identities": objects, "position": position.to_string() })))
}

fn root_json(root: &ClientRootDescription) -> Value {
    let certificates: Vec<Value> = root
        .certificates
        .iter()
        .map(|(sha256, not_after)| json!({ "sha256": HEXLOWER.encode(sha256), "not_after": not_after.to_string() }))
        .collect();
    json!({ "name": root.name.as_str(), "names": root.names.as_str(), "certificates": certificates })
}

fn issuer_json(issuer: &IssuerDescription) -> Value {
    json!({
        "name": issuer.name.as_str(),
        "issuer": issuer.issuer,
        "audience": issuer.audience,
        "algorithms": algorithms(issuer),
    })
}

fn identity_json(identity: &IdentityDescription) -> Value {
    json!({
        "identity": identity.identity.to_string(),
        "subject": identity.subject.to_string(),
        "counts": identity.counts,
    })
}

fn algorithms(issuer: &IssuerDescription) -> Vec<&'static str> {
    issuer.algorithms.iter().map(|algorithm| algorithm.as_str()).collect()
}

/// A file that is not what it should be.
pub(crate) fn unusable(file: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::usage(format!("{} cannot be used: {error}", file.display()))
}
