//! `CryptoService`: encrypt and decrypt, one message or many. A single message is a batch of one whose refusal is the
//! call's.

use keyclave_node::failure::Failure;
use keyclave_node::host::Host;
use keyclave_policy::Action;
use keyclave_proto::reason::Reason;
use keyclave_proto::request::{Asked, Invalid};
use keyclave_proto::v1;
use keyclave_proto::v1::crypto_service_server::CryptoService;
use keyclave_types::position::Position;
use keyclave_types::request::Read;
use keyclave_vault::compute::{Decrypted, Encrypted, ReadAnswer};
use keyclave_vault::refusal::Refusal;
use tonic::{Request, Response, Status};

use super::{Api, take};
use crate::caller::Caller;
use crate::pipeline::internal;

type Items<T> = (Vec<Result<T, Refusal>>, Position);

#[tonic::async_trait]
impl<H: Host> CryptoService for Api<H> {
    async fn encrypt(
        &self,
        request: Request<v1::EncryptRequest>,
    ) -> Result<Response<v1::EncryptResponse>, Status> {
        let (caller, message) = take(request)?;
        let (items, position) = self.encrypted(&caller, "Encrypt", message).await?;
        let Encrypted { ciphertext, version } = only(items)?;
        let version = version.get();
        Ok(Response::new(v1::EncryptResponse { position: Some(position.into()), ciphertext, version }))
    }

    async fn decrypt(
        &self,
        request: Request<v1::DecryptRequest>,
    ) -> Result<Response<v1::DecryptResponse>, Status> {
        let (caller, message) = take(request)?;
        let (items, position) = self.decrypted(&caller, "Decrypt", message).await?;
        let Decrypted { plaintext, version } = only(items)?;
        Ok(Response::new(v1::DecryptResponse {
            position: Some(position.into()),
            plaintext: plaintext.to_vec(),
            version: version.get(),
        }))
    }

    async fn batch_encrypt(
        &self,
        request: Request<v1::BatchEncryptRequest>,
    ) -> Result<Response<v1::BatchEncryptResponse>, Status> {
        let (caller, message) = take(request)?;
        let (items, position) = self.encrypted(&caller, "BatchEncrypt", message).await?;
        let outcomes = items
            .into_iter()
            .map(|item| v1::EncryptOutcome::new(item.map(|item| item.ciphertext).map_err(item_error)))
            .collect();
        Ok(Response::new(v1::BatchEncryptResponse { position: Some(position.into()), outcomes }))
    }

    async fn batch_decrypt(
        &self,
        request: Request<v1::BatchDecryptRequest>,
    ) -> Result<Response<v1::BatchDecryptResponse>, Status> {
        let (caller, message) = take(request)?;
        let (items, position) = self.decrypted(&caller, "BatchDecrypt", message).await?;
        let outcomes = items
            .iter()
            .map(|item| match item {
                Ok(item) => v1::DecryptOutcome::new(Ok((&item.plaintext, item.version))),
                Err(refusal) => v1::DecryptOutcome::new(Err(item_error(*refusal))),
            })
            .collect();
        Ok(Response::new(v1::BatchDecryptResponse { position: Some(position.into()), outcomes }))
    }
}

impl<H: Host> Api<H> {
    async fn encrypted<M>(
        &self,
        caller: &Caller,
        operation: &'static str,
        message: M,
    ) -> Result<Items<Encrypted>, Status>
    where
        Asked<Read>: TryFrom<M, Error = Invalid>,
    {
        match self.pipeline.read(caller, operation, Action::Encrypt, message).await? {
            (ReadAnswer::Encrypted(items), position) => Ok((items, position)),
            _ => Err(internal("an encryption was asked for and something else was answered")),
        }
    }

    async fn decrypted<M>(
        &self,
        caller: &Caller,
        operation: &'static str,
        message: M,
    ) -> Result<Items<Decrypted>, Status>
    where
        Asked<Read>: TryFrom<M, Error = Invalid>,
    {
        match self.pipeline.read(caller, operation, Action::Decrypt, message).await? {
            (ReadAnswer::Decrypted(items), position) => Ok((items, position)),
            _ => Err(internal("a decryption was asked for and something else was answered")),
        }
    }
}

fn only<T>(items: Vec<Result<T, Refusal>>) -> Result<T, Status> {
    match items.into_iter().next() {
        Some(item) => item.map_err(|refusal| Failure::Refused(refusal).into_status()),
        None => Err(internal("one message was given and nothing was answered")),
    }
}

fn item_error(refusal: Refusal) -> v1::ItemError {
    let reason = refusal.reason().parse().unwrap_or(Reason::Internal);
    v1::ItemError::new(reason, &refusal.to_string())
}
