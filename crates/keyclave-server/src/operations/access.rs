//! `AccessService`: tokens.

use keyclave_node::host::Host;
use keyclave_policy::Action;
use keyclave_proto::page::TokenPage;
use keyclave_proto::v1;
use keyclave_proto::v1::access_service_server::AccessService;
use keyclave_vault::compute::ReadAnswer;
use tonic::{Request, Response, Status};

use super::{Api, take};
use crate::pipeline::internal;
use crate::writing::Rpc;

#[tonic::async_trait]
impl<H: Host> AccessService for Api<H> {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let (caller, message) = take(request)?;
        let rpc = Rpc {
            path: "/keyclave.v1.AccessService/CreateToken",
            operation: "CreateToken",
            action: Action::CreateToken,
        };
        Ok(Response::new(self.pipeline.write(caller, rpc, message).await?))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let (caller, message) = take(request)?;
        let rpc = Rpc {
            path: "/keyclave.v1.AccessService/RevokeToken",
            operation: "RevokeToken",
            action: Action::RevokeToken,
        };
        Ok(Response::new(self.pipeline.write(caller, rpc, message).await?))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let (caller, message) = take(request)?;
        let page = match TokenPage::try_from(&message) {
            Ok(page) => page,
            Err(invalid) => {
                let refused =
                    self.pipeline.invalid(&caller, "ListTokens", Action::ListTokens, &invalid).await;
                return refused.map(|(response, _)| response);
            }
        };
        match self.pipeline.read(&caller, "ListTokens", Action::ListTokens, message).await? {
            (ReadAnswer::Tokens(tokens), position) => {
                let (tokens, next_page_token) = page.cut(tokens);
                Ok(Response::new(v1::ListTokensResponse {
                    position: Some(position.into()),
                    tokens: tokens.iter().map(Into::into).collect(),
                    next_page_token,
                }))
            }
            _ => Err(internal("tokens were asked for and something else was answered")),
        }
    }
}
