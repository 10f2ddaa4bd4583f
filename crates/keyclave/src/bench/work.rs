//! The calls that are measured.

use std::sync::Arc;
use std::time::Duration;

use keyclave_client::Client;
use keyclave_client::crypto::DecryptWith;
use keyclave_types::key::{Algorithm, KeyRules};
use keyclave_types::name::KeyName;

use super::load::{self, Measured, Turn};
use crate::arguments::bench::Measure;
use crate::failure::Failure;

/// Bytes of each message.
pub(super) const MESSAGE_BYTES: usize = 1_024;

/// Measures one kind of call with names that begin with `prefix`.
pub(super) async fn measure(
    measure: Measure,
    prefix: &str,
    clients: Vec<Client>,
    span: Duration,
) -> Result<Measured, Failure> {
    match measure {
        Measure::Writes => writes(prefix, clients, span).await,
        Measure::Encrypt => encrypt(prefix, clients, span).await,
        Measure::Decrypt => decrypt(prefix, clients, span).await,
        Measure::Failover => Err(Failure::usage("failover is no load")),
    }
}

/// Every call makes another key.
async fn writes(prefix: &str, clients: Vec<Client>, span: Duration) -> Result<Measured, Failure> {
    let prefix: Arc<str> = prefix.into();
    let call = move |turn: Turn| {
        let prefix = Arc::clone(&prefix);
        async move { create(&turn.client, &name(&prefix, turn.number, turn.sequence)).await }
    };
    load::run(clients, span, call).await
}

/// All calls use one key.
async fn encrypt(prefix: &str, clients: Vec<Client>, span: Duration) -> Result<Measured, Failure> {
    let key = one_key(prefix, &clients).await?;
    let call = move |turn: Turn| {
        let key = Arc::clone(&key);
        async move {
            turn.client.encrypt(&key, None, &[7; MESSAGE_BYTES], b"").await?;
            Ok(())
        }
    };
    load::run(clients, span, call).await
}

/// All calls decrypt one ciphertext.
async fn decrypt(prefix: &str, clients: Vec<Client>, span: Duration) -> Result<Measured, Failure> {
    let key = one_key(prefix, &clients).await?;
    let first = first(&clients)?;
    let made = first.encrypt(&key, None, &[7; MESSAGE_BYTES], b"").await?.value;
    let ciphertext: Arc<[u8]> = made.ciphertext.into();
    let call = move |turn: Turn| {
        let (key, ciphertext) = (Arc::clone(&key), Arc::clone(&ciphertext));
        async move {
            turn.client.decrypt(DecryptWith::Key(&key), &ciphertext, b"").await?;
            Ok(())
        }
    };
    load::run(clients, span, call).await
}

async fn one_key(prefix: &str, clients: &[Client]) -> Result<Arc<KeyName>, Failure> {
    let name = name(prefix, 0, 0);
    create(first(clients)?, &name).await?;
    Ok(Arc::new(name))
}

fn first(clients: &[Client]) -> Result<&Client, Failure> {
    clients.first().ok_or_else(|| Failure::usage("no client is asked for"))
}

/// One acknowledged write.
pub(super) async fn create(client: &Client, name: &KeyName) -> Result<(), Failure> {
    client.create_key(name, Algorithm::Xaes256Gcm, KeyRules::default()).await?;
    Ok(())
}

/// The name of one client's one key.
pub(super) fn name(prefix: &str, client: usize, sequence: u64) -> KeyName {
    format!("{prefix}/{client}/{sequence}").parse().expect("segments of small letters, digits and dashes")
}
