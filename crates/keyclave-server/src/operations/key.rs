//! `KeyService`: keys and their lives.

use keyclave_node::host::Host;
use keyclave_policy::Action;
use keyclave_proto::page::key_token;
use keyclave_proto::v1;
use keyclave_proto::v1::key_service_server::KeyService;
use keyclave_vault::compute::ReadAnswer;
use tonic::{Request, Response, Status};

use super::{Api, take};
use crate::pipeline::internal;
use crate::writing::Rpc;

/// Every write of this service: the same way for all of them.
macro_rules! write {
    ($self:ident, $request:ident, $operation:literal, $action:ident) => {{
        let (caller, message) = take($request)?;
        let path = concat!("/keyclave.v1.KeyService/", $operation);
        let rpc = Rpc { path, operation: $operation, action: Action::$action };
        Ok(Response::new($self.pipeline.write(caller, rpc, message).await?))
    }};
}

#[tonic::async_trait]
impl<H: Host> KeyService for Api<H> {
    async fn create_key(
        &self,
        request: Request<v1::CreateKeyRequest>,
    ) -> Result<Response<v1::CreateKeyResponse>, Status> {
        write!(self, request, "CreateKey", CreateKey)
    }

    async fn get_key(
        &self,
        request: Request<v1::GetKeyRequest>,
    ) -> Result<Response<v1::GetKeyResponse>, Status> {
        let (caller, message) = take(request)?;
        match self.pipeline.read(&caller, "GetKey", Action::GetKey, message).await? {
            (ReadAnswer::Key(key), position) => Ok(Response::new(v1::GetKeyResponse {
                position: Some(position.into()),
                key: Some((&key).into()),
            })),
            _ => Err(internal("a key was asked for and something else was answered")),
        }
    }

    async fn list_keys(
        &self,
        request: Request<v1::ListKeysRequest>,
    ) -> Result<Response<v1::ListKeysResponse>, Status> {
        let (caller, message) = take(request)?;
        match self.pipeline.read(&caller, "ListKeys", Action::ListKeys, message).await? {
            (ReadAnswer::Keys { keys, next }, position) => Ok(Response::new(v1::ListKeysResponse {
                position: Some(position.into()),
                keys: keys.iter().map(keyclave_proto::answer::summary).collect(),
                next_page_token: next.as_ref().map(key_token).unwrap_or_default(),
            })),
            _ => Err(internal("keys were asked for and something else was answered")),
        }
    }

    async fn update_key(
        &self,
        request: Request<v1::UpdateKeyRequest>,
    ) -> Result<Response<v1::UpdateKeyResponse>, Status> {
        write!(self, request, "UpdateKey", UpdateKey)
    }

    async fn rotate_key(
        &self,
        request: Request<v1::RotateKeyRequest>,
    ) -> Result<Response<v1::RotateKeyResponse>, Status> {
        write!(self, request, "RotateKey", RotateKey)
    }

    async fn enable_key(
        &self,
        request: Request<v1::EnableKeyRequest>,
    ) -> Result<Response<v1::EnableKeyResponse>, Status> {
        write!(self, request, "EnableKey", EnableKey)
    }

    async fn disable_key(
        &self,
        request: Request<v1::DisableKeyRequest>,
    ) -> Result<Response<v1::DisableKeyResponse>, Status> {
        write!(self, request, "DisableKey", DisableKey)
    }

    async fn destroy_key_version(
        &self,
        request: Request<v1::DestroyKeyVersionRequest>,
    ) -> Result<Response<v1::DestroyKeyVersionResponse>, Status> {
        write!(self, request, "DestroyKeyVersion", DestroyKeyVersion)
    }
}
