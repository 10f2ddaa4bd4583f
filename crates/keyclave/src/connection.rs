//! From flags and environment to a client of the cluster.

use std::path::Path;
use std::time::Duration;

use keyclave_client::{Builder, Client};
use zeroize::Zeroizing;

use crate::arguments::Connection;
use crate::failure::Failure;
use crate::secret_input;

/// A client of the node's socket if one is named, else of the endpoints.
pub(crate) fn client(connection: &Connection) -> Result<Client, Failure> {
    match &connection.socket {
        Some(socket) => local(connection, socket),
        None => remote(connection),
    }
}

/// A client of the node on this machine, for what only its socket answers.
pub(crate) fn socket_client(connection: &Connection, doing: &str) -> Result<Client, Failure> {
    match &connection.socket {
        Some(socket) => local(connection, socket),
        None => Err(Failure::usage(format!("{doing} works on the node's own machine only"))
            .next("name its socket with --socket PATH; it lies in its data directory as keyclave.sock")),
    }
}

/// Whether this client speaks to the node on this machine.
pub(crate) fn is_local(connection: &Connection) -> bool {
    connection.socket.is_some()
}

fn local(connection: &Connection, socket: &Path) -> Result<Client, Failure> {
    finished(connection, Client::local(socket))
}

fn remote(connection: &Connection) -> Result<Client, Failure> {
    finished(connection, remote_builder(connection)?)
}

fn remote_builder(connection: &Connection) -> Result<Builder, Failure> {
    if connection.endpoints.is_empty() {
        return Err(Failure::usage("no endpoint is named")
            .next("set KEYCLAVE_ENDPOINTS to https://host:port (several with commas), or give --endpoints"));
    }
    let path = connection.cacert.as_deref().ok_or_else(|| {
        Failure::usage("no CA is given").next(
            "set KEYCLAVE_CACERT to the path of the cluster's CA certificate, or give --cacert; \
             `keyclave operator init --cacert-out FILE` writes it",
        )
    })?;
    let pem = std::fs::read(path)
        .map_err(|error| Failure::usage(format!("the CA {} cannot be read: {error}", path.display())))?;
    let builder = Client::builder().endpoint_list(&connection.endpoints.join(","));
    let builder = builder.map_err(|error| Failure::usage(error.to_string()))?;
    presenting(connection, builder.ca_pem(&pem))
}

/// The same as [`client`], without the token that the environment or a file holds.
pub(crate) fn client_without_token(connection: &Connection) -> Result<Client, Failure> {
    let builder = match &connection.socket {
        Some(socket) => Client::local(socket),
        None => remote_builder(connection)?,
    };
    built(connection, builder)
}

/// The certificate that this client shows, if it has one.
fn presenting(connection: &Connection, builder: Builder) -> Result<Builder, Failure> {
    match (&connection.client_cert, &connection.client_key) {
        (None, None) => Ok(builder),
        (Some(chain), Some(key)) => {
            let read = |path: &Path| {
                let bytes = std::fs::read(path).map(Zeroizing::new);
                bytes.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))
            };
            Ok(builder.client_certificate(&read(chain)?, &read(key)?))
        }
        (Some(_), None) | (None, Some(_)) => {
            Err(Failure::usage("a client certificate needs its private key")
                .next("set KEYCLAVE_CLIENT_CERT and KEYCLAVE_CLIENT_KEY to the paths of both"))
        }
    }
}

fn finished(connection: &Connection, mut builder: Builder) -> Result<Client, Failure> {
    if let Some(token) = secret_input::token(connection.token_file.as_deref())? {
        builder = builder.token(&token);
    }
    built(connection, builder)
}

fn built(connection: &Connection, builder: Builder) -> Result<Client, Failure> {
    let deadline = Duration::from_millis(connection.timeout.ms.max(1));
    let client = builder.deadline(deadline).build().map_err(|error| Failure::usage(error.to_string()))?;
    Ok(if connection.receipt { client.with_receipts(&connection.receipts) } else { client })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Output};

    fn connection(flags: &[&str]) -> Connection {
        let line = ["keyclave", "operator", "status"].iter().chain(flags);
        Arguments::try_parse_from(line).unwrap().connection
    }

    fn refusal(flags: &[&str]) -> String {
        let failure = client(&connection(flags)).map(|_| ()).unwrap_err();
        assert_eq!(failure.status(), 2);
        failure.render(Output::Text)
    }

    #[test]
    fn what_is_missing_is_named_with_its_cure() {
        assert!(refusal(&[]).contains("KEYCLAVE_ENDPOINTS"));
        assert!(refusal(&["--endpoints", "https://a:1"]).contains("KEYCLAVE_CACERT"));
        assert!(refusal(&["--endpoints", "https://a:1", "--cacert", "/no/such"]).contains("/no/such"));
        let failure = socket_client(&connection(&[]), "init").map(|_| ()).unwrap_err();
        assert!(failure.render(Output::Text).contains("--socket"));
    }

    #[test]
    fn a_plain_endpoint_and_a_file_that_is_no_ca_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, "no certificate").unwrap();
        let path = path.to_str().unwrap();
        assert!(refusal(&["--endpoints", "http://a:1", "--cacert", path]).contains("https://"));
        refusal(&["--endpoints", "https://a:1", "--cacert", path]);
    }
}
