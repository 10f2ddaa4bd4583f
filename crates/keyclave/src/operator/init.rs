//! `keyclave operator init`: what is shown here is shown once.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use keyclave_client::cluster::{AdmissionPolicy, NewCluster};
use keyclave_types::position::Position;
use keyclave_types::seal::Threshold;
use serde::Serialize;
use zeroize::Zeroizing;

use super::recipients::Recipients;
use crate::arguments::Connection;
use crate::connection::socket_client;
use crate::failure::Failure;
use crate::output::{self, Shown};
use crate::progress::watched;

/// What was asked for.
pub(super) struct Asked {
    pub(super) shares: u8,
    pub(super) threshold: u8,
    pub(super) admission: AdmissionPolicy,
    /// Age recipients, one for each share; none to show the shares as they are.
    pub(super) recipients: Vec<String>,
    pub(super) cacert_out: Option<PathBuf>,
}

/// A fresh cluster for programs.
#[derive(Serialize)]
struct NewClusterObject<'a> {
    cluster: String,
    node: u64,
    threshold: u8,
    shares: Vec<&'a str>,
    /// The age recipients of the shares, in order; absent if the shares are plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    recipients: Option<Vec<String>>,
    root_token: &'a str,
    ca_pem: &'a str,
    cacert: Option<String>,
    position: String,
}

/// Makes the cluster.
pub(super) async fn run(asked: Asked, connection: &Connection) -> Result<Shown, Failure> {
    let threshold = Threshold::new(asked.threshold, asked.shares).map_err(|error| {
        Failure::usage(error.to_string()).next("choose --threshold from 2 up to --shares")
    })?;
    let recipients = Recipients::parse(&asked.recipients, asked.shares)?;
    let client = socket_client(connection, "operator init")?;
    // Asked before, because there is no second time.
    if let Some(path) = &asked.cacert_out {
        prepare(path)?;
    }
    let answer = watched("making the cluster", client.init(threshold, asked.admission)).await?;
    let (mut cluster, position) = (answer.value, answer.position);
    if let Some(recipients) = &recipients {
        let encrypted = recipients.encrypt(&cluster.shares)?;
        cluster.shares = encrypted.into_iter().map(Zeroizing::new).collect();
    }
    let written = asked.cacert_out.as_deref().map(|path| (path, std::fs::write(path, &cluster.ca_pem)));
    let cacert = written.as_ref().filter(|(_, written)| written.is_ok()).map(|(path, _)| *path);
    let shown = shown(&cluster, threshold, recipients.as_ref(), cacert, position);
    match written {
        Some((path, Err(error))) => {
            output::note(&format!("keyclave: {} cannot be written: {error}", path.display()));
            Ok(shown.with_status(1))
        }
        Some((_, Ok(()))) | None => Ok(shown),
    }
}

fn prepare(path: &Path) -> Result<(), Failure> {
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map(drop)
        .map_err(|error| Failure::usage(format!("{} cannot be written: {error}", path.display())))
}

fn shown(
    cluster: &NewCluster,
    threshold: Threshold,
    recipients: Option<&Recipients>,
    cacert: Option<&Path>,
    position: Position,
) -> Shown {
    let recipients = recipients.map(Recipients::texts);
    let object = NewClusterObject {
        cluster: cluster.cluster.to_string(),
        node: cluster.node.get(),
        threshold: threshold.needed(),
        shares: cluster.shares.iter().map(|share| share.as_str()).collect(),
        recipients: recipients.clone(),
        root_token: &cluster.root_token,
        ca_pem: &cluster.ca_pem,
        cacert: cacert.map(|path| path.display().to_string()),
        position: position.to_string(),
    };
    Shown::new(text(cluster, threshold, recipients.as_deref(), cacert).as_str(), &object)
}

fn text(
    cluster: &NewCluster,
    threshold: Threshold,
    recipients: Option<&[String]>,
    cacert: Option<&Path>,
) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(16 * 1024));
    let (needed, shares) = (threshold.needed(), threshold.shares());
    let _ = writeln!(text, "Cluster {} is made; this is node {}.\n", cluster.cluster, cluster.node);
    let _ = writeln!(text, "Shares: any {needed} of these {shares} unseal it. They are shown only now;");
    let _ = writeln!(text, "give each to another person, and keep none on these machines.\n");
    for (at, share) in cluster.shares.iter().enumerate() {
        match recipients.and_then(|recipients| recipients.get(at)) {
            Some(recipient) => {
                let _ = writeln!(text, "share {} for {recipient}:\n{}", at + 1, share.as_str());
            }
            None => {
                let _ = writeln!(text, "  share {}  {}", at + 1, share.as_str());
            }
        }
    }
    let _ = writeln!(text, "\nRoot token: it may do everything, and is shown only now.\n");
    let _ = writeln!(text, "  {}\n", cluster.root_token.as_str());
    match cacert {
        Some(path) => {
            let _ = writeln!(
                text,
                "The CA certificate for clients (KEYCLAVE_CACERT) is in {}.\n",
                path.display()
            );
        }
        None => {
            let _ = writeln!(text, "The CA certificate for clients (KEYCLAVE_CACERT):\n\n{}", cluster.ca_pem);
        }
    }
    let _ = writeln!(text, "The cluster is sealed until {needed} shares have been given back, each with");
    let _ = writeln!(text, "  keyclave operator unseal --socket PATH");
    text
}

#[cfg(test)]
mod tests {
    use keyclave_types::ids::{ClusterId, NodeId};
    use keyclave_types::position::Generation;

    use super::*;
    use crate::arguments::Output;

    fn cluster() -> NewCluster {
        NewCluster {
            cluster: ClusterId::from_bytes([7; 16]),
            node: NodeId::new(1).unwrap(),
            shares: ["kcsh1-a", "kcsh1-b"].map(|text| Zeroizing::new(text.to_owned())).to_vec(),
            root_token: Zeroizing::new("kclo_x".to_owned()),
            ca_pem: "-----BEGIN CERTIFICATE-----\n".to_owned(),
        }
    }

    #[test]
    fn everything_that_is_shown_once_is_shown_in_both_forms() {
        let position = Position { generation: Generation(1), index: 2 };
        let shown = shown(&cluster(), Threshold::new(2, 2).unwrap(), None, None, position);
        let text = shown.render(Output::Text);
        for part in ["kcsh1-a", "kcsh1-b", "kclo_x", "BEGIN CERTIFICATE", "operator unseal"] {
            assert!(text.contains(part), "{part}");
        }
        let object: serde_json::Value = serde_json::from_str(&shown.render(Output::Json)).unwrap();
        assert_eq!(object["shares"].as_array().map(Vec::len), Some(2));
        assert_eq!(object["root_token"], "kclo_x");
        assert_eq!(object["threshold"], 2);
        assert_eq!(object.get("recipients"), None);
    }

    #[test]
    fn shares_for_recipients_are_shown_encrypted_only_and_say_for_whom() {
        let people = [1, 2].map(|_| age::x25519::Identity::generate());
        let texts = people.each_ref().map(|person| person.to_public().to_string());
        let recipients = Recipients::parse(&texts, 2).unwrap().unwrap();
        let mut cluster = cluster();
        let encrypted = recipients.encrypt(&cluster.shares).unwrap();
        cluster.shares = encrypted.into_iter().map(Zeroizing::new).collect();
        let position = Position { generation: Generation(1), index: 2 };
        let shown = shown(&cluster, Threshold::new(2, 2).unwrap(), Some(&recipients), None, position);
        let text = shown.render(Output::Text);
        assert!(!text.contains("kcsh1-") && text.contains(&texts[1]), "{}", *text);
        let object: serde_json::Value = serde_json::from_str(&shown.render(Output::Json)).unwrap();
        assert_eq!(object["recipients"], serde_json::json!(texts));
        for (at, person) in people.iter().enumerate() {
            let file = object["shares"][at].as_str().unwrap();
            let opened = age::decrypt(person, file.as_bytes()).unwrap();
            assert_eq!(opened, [b"kcsh1-a", b"kcsh1-b"][at]);
            assert!(text.contains(file));
        }
    }

    #[test]
    fn a_ca_file_that_cannot_be_written_is_named_before_anything_is_made() {
        assert!(prepare(Path::new("/no/such/directory/ca.pem")).is_err());
    }
}
