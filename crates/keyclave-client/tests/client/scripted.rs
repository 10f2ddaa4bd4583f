//! Nodes that do as a test tells them, over connections in memory.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex};

use keyclave_client::Client;
use keyclave_client::dial::{Dial, DialError, Dialling, Stream};
use keyclave_client::endpoint::Endpoint;
use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::hpke::BootKey;
use keyclave_proto::reason::Reason;
use keyclave_proto::status::status;
use keyclave_proto::v1;
use keyclave_proto::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use keyclave_proto::v1::key_service_server::{KeyService, KeyServiceServer};
use keyclave_proto::v1::seal_service_server::{SealService, SealServiceServer};
use keyclave_types::ids::CeremonyId;
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::task::AbortHandle;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The ceremony at every node.
pub(crate) const CEREMONY: CeremonyId = CeremonyId::from_bytes([8; 16]);

/// What a node does with its next call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Answer,
    Refuse(Reason),
    /// Never answers.
    Hang,
    /// The connection breaks after the request has arrived.
    Break,
    /// An answer that makes no sense.
    Nonsense,
}

/// What a node saw of one call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) authorization: Option<String>,
    pub(crate) request_id: Vec<u8>,
    pub(crate) floor: Option<(u64, u64)>,
}

#[derive(Clone)]
pub(crate) struct Node(Arc<State>);

struct State {
    script: Mutex<VecDeque<Reply>>,
    calls: Mutex<Vec<Call>>,
    position: Mutex<(u64, u64)>,
    connections: Mutex<Vec<AbortHandle>>,
    shares: Mutex<Vec<v1::SubmitShareRequest>>,
    boot_key: BootKey,
}

impl Node {
    pub(crate) fn new(seed: u8) -> Self {
        let boot_key = BootKey::new(&mut Entropy::from_seed([seed; 32]));
        Self(Arc::new(State {
            script: Mutex::default(),
            calls: Mutex::default(),
            position: Mutex::new((1, 1)),
            connections: Mutex::default(),
            shares: Mutex::default(),
            boot_key,
        }))
    }

    /// What the next calls get, in order; after them answers.
    pub(crate) fn will(&self, replies: impl IntoIterator<Item = Reply>) {
        self.0.script.lock().unwrap().extend(replies);
    }

    pub(crate) fn stand_at(&self, generation: u64, index: u64) {
        *self.0.position.lock().unwrap() = (generation, index);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.0.calls.lock().unwrap().clone()
    }

    pub(crate) fn methods(&self) -> Vec<&'static str> {
        self.calls().iter().map(|call| call.method).collect()
    }

    pub(crate) fn shares(&self) -> Vec<v1::SubmitShareRequest> {
        self.0.shares.lock().unwrap().clone()
    }

    pub(crate) fn boot_key(&self) -> &BootKey {
        &self.0.boot_key
    }

    async fn reply<T>(
        &self,
        method: &'static str,
        request: &Request<T>,
        request_id: &[u8],
        floor: Option<v1::Position>,
    ) -> Result<Option<v1::Position>, Status> {
        let authorization = request.metadata().get("authorization").map(|v| v.to_str().unwrap().to_owned());
        let floor = floor.map(|floor| (floor.generation, floor.index));
        let call = Call { method, authorization, request_id: request_id.to_vec(), floor };
        self.0.calls.lock().unwrap().push(call);
        let (generation, index) = *self.0.position.lock().unwrap();
        let next = self.0.script.lock().unwrap().pop_front().unwrap_or(Reply::Answer);
        match next {
            Reply::Answer => Ok(Some(v1::Position { generation, index })),
            Reply::Nonsense => Ok(None),
            Reply::Refuse(reason) => {
                let position = ("position".to_owned(), format!("{generation}.{index}"));
                Err(status(reason, "as scripted", BTreeMap::from([position])))
            }
            Reply::Hang => pending().await,
            Reply::Break => {
                for connection in self.0.connections.lock().unwrap().drain(..) {
                    connection.abort();
                }
                pending().await
            }
        }
    }

    fn connect(&self) -> DuplexStream {
        let (client, mut near) = duplex(64 * 1024);
        let (mut far, server) = duplex(64 * 1024);
        // Between the two, so that a test can cut it.
        let between = tokio::spawn(async move {
            let _ = copy_bidirectional(&mut near, &mut far).await;
        });
        self.0.connections.lock().unwrap().push(between.abort_handle());
        let router = Server::builder()
            .add_service(KeyServiceServer::new(self.clone()))
            .add_service(SealServiceServer::new(self.clone()))
            .add_service(ClusterServiceServer::new(self.clone()));
        let incoming = tokio_stream::once(Ok::<_, io::Error>(server));
        tokio::spawn(router.serve_with_incoming(incoming));
        client
    }
}

/// The network: hosts by name; who is not in it refuses connections.
#[derive(Default)]
pub(crate) struct Memory {
    nodes: BTreeMap<&'static str, Node>,
}

impl Memory {
    pub(crate) fn of<const N: usize>(nodes: [(&'static str, &Node); N]) -> Arc<Self> {
        Arc::new(Self { nodes: nodes.into_iter().map(|(name, node)| (name, node.clone())).collect() })
    }
}

impl Dial for Memory {
    fn dial(&self, endpoint: &Endpoint) -> Dialling {
        let node = endpoint.address().and_then(|address| self.nodes.get(address.host())).cloned();
        Box::pin(async move {
            let refused = || DialError::Connect(Arc::new(io::ErrorKind::ConnectionRefused.into()));
            Ok(Box::new(node.ok_or_else(refused)?.connect()) as Box<dyn Stream>)
        })
    }
}

/// A client of these hosts, in this order.
pub(crate) fn client(network: Arc<Memory>, hosts: &[&str]) -> Client {
    let list = hosts.iter().map(|host| format!("https://{host}:7420")).collect::<Vec<_>>().join(",");
    Client::builder()
        .endpoint_list(&list)
        .unwrap()
        .dial(network)
        .token("kcls_canary")
        .entropy(Entropy::from_seed([7; 32]))
        .build()
        .unwrap()
}

fn key(name: String) -> Option<v1::Key> {
    Some(v1::Key {
        name,
        key_id: vec![1; 16],
        algorithm: v1::Algorithm::Xaes256Gcm.into(),
        state: v1::KeyState::Enabled.into(),
        rules: Some(v1::KeyRules::default()),
        primary_version: 1,
        ..Default::default()
    })
}

macro_rules! key_writes {
    ($($method:ident, $name:literal: $request:ident => $response:ident;)+) => {
        #[tonic::async_trait]
        impl KeyService for Node {
            $(async fn $method(&self, request: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                let (id, floor) = (request.get_ref().request_id.clone(), request.get_ref().floor);
                let position = self.reply($name, &request, &id, floor).await?;
                Ok(Response::new(v1::$response { position, key: key(request.into_inner().name) }))
            })+

            async fn get_key(&self, request: Request<v1::GetKeyRequest>) -> Result<Response<v1::GetKeyResponse>, Status> {
                let floor = request.get_ref().floor;
                let position = self.reply("GetKey", &request, &[], floor).await?;
                Ok(Response::new(v1::GetKeyResponse { position, key: key(request.into_inner().name) }))
            }

            async fn list_keys(
                &self,
                request: Request<v1::ListKeysRequest>,
            ) -> Result<Response<v1::ListKeysResponse>, Status> {
                let floor = request.get_ref().floor;
                let position = self.reply("ListKeys", &request, &[], floor).await?;
                Ok(Response::new(v1::ListKeysResponse { position, ..Default::default() }))
            }
        }
    };
}

key_writes! {
    create_key, "CreateKey": CreateKeyRequest => CreateKeyResponse;
    update_key, "UpdateKey": UpdateKeyRequest => UpdateKeyResponse;
    rotate_key, "RotateKey": RotateKeyRequest => RotateKeyResponse;
    enable_key, "EnableKey": EnableKeyRequest => EnableKeyResponse;
    disable_key, "DisableKey": DisableKeyRequest => DisableKeyResponse;
    destroy_key_version, "DestroyKeyVersion": DestroyKeyVersionRequest => DestroyKeyVersionResponse;
}

macro_rules! plain {
    ($service:ident { $($method:ident, $name:literal: $request:ident => $response:ident;)+ } { $($rest:tt)* }) => {
        #[tonic::async_trait]
        impl $service for Node {
            $(async fn $method(&self, request: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                let position = self.reply($name, &request, &[], None).await?;
                Ok(Response::new(v1::$response { position, ..Default::default() }))
            })+
            $($rest)*
        }
    };
}

plain! { SealService {
    reset_ceremony, "ResetCeremony": ResetCeremonyRequest => ResetCeremonyResponse;
    seal_node, "SealNode": SealNodeRequest => SealNodeResponse;
    admit, "Admit": AdmitRequest => AdmitResponse;
    seal_this_node, "SealThisNode": SealThisNodeRequest => SealThisNodeResponse;
} {
    async fn get_seal_status(
        &self,
        request: Request<v1::GetSealStatusRequest>,
    ) -> Result<Response<v1::GetSealStatusResponse>, Status> {
        let position = self.reply("GetSealStatus", &request, &[], None).await?;
        let boot_public_key = self.boot_key().public().to_vec();
        let ceremony_id = CEREMONY.as_bytes().to_vec();
        let this_node = Some(v1::NodeSeal { node: 3, boot_public_key, ceremony_id, ..Default::default() });
        Ok(Response::new(v1::GetSealStatusResponse { position, this_node, ..Default::default() }))
    }

    async fn submit_share(
        &self,
        request: Request<v1::SubmitShareRequest>,
    ) -> Result<Response<v1::SubmitShareResponse>, Status> {
        let position = self.reply("SubmitShare", &request, &[], None).await?;
        self.0.shares.lock().unwrap().push(request.into_inner());
        let outcome = v1::ShareOutcome::Taken.into();
        Ok(Response::new(v1::SubmitShareResponse { position, outcome, share_number: 1, ..Default::default() }))
    }

    async fn get_code(
        &self,
        request: Request<v1::GetCodeRequest>,
    ) -> Result<Response<v1::GetCodeResponse>, Status> {
        self.reply("GetCode", &request, &[], None).await?;
        let boot_public_key = self.boot_key().public().to_vec();
        let ceremony_id = CEREMONY.as_bytes().to_vec();
        Ok(Response::new(v1::GetCodeResponse { node: 3, boot_public_key, ceremony_id, ..Default::default() }))
    }
} }

plain! { ClusterService {
    init, "Init": InitRequest => InitResponse;
    get_cluster_status, "GetClusterStatus": GetClusterStatusRequest => GetClusterStatusResponse;
    join, "Join": JoinRequest => JoinResponse;
    create_join_token, "CreateJoinToken": CreateJoinTokenRequest => CreateJoinTokenResponse;
    list_members, "ListMembers": ListMembersRequest => ListMembersResponse;
    remove_member, "RemoveMember": RemoveMemberRequest => RemoveMemberResponse;
    set_member_address, "SetMemberAddress": SetMemberAddressRequest => SetMemberAddressResponse;
    step_down, "StepDown": StepDownRequest => StepDownResponse;
    accept_time, "AcceptTime": AcceptTimeRequest => AcceptTimeResponse;
} {} }
