//! The one place that decides which call may reach which service.
//!
//! It asks, for each request: is the other end still the member that it was when it connected, does the call name
//! this cluster, this line and these two data directories, and is the connection keyed unless the service stands
//! in [`NEEDS_NO_PROOF`]. A path that is no service's is refused like a keyed one. It sees the start of a stream
//! only; what ends a long stream of a removed member is [`super::connection::Connections::close_stale`].

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use http::{HeaderMap, HeaderValue};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::connection::{PeerInfo, still_member};
use super::directory::{Directory, LocalNode};
use super::handshake::Kind;
use super::header::{self, CallHeader};

/// The services that answer a member without the keyring: Raft, because sealed nodes vote; rejoin and ceremony,
/// because that is how a sealed node stops being one. Everything else needs a keyed connection.
pub const NEEDS_NO_PROOF: [&str; 3] =
    ["keyclave.peer.v1.RaftService", "keyclave.peer.v1.RejoinService", "keyclave.peer.v1.CeremonyService"];

/// The metadata under which the gate says why it refused.
const REASON: &str = "keyclave-gate";

/// Why the gate let a call not through. The words travel as metadata: never change one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GateReason {
    /// The sender is not, or no longer, a member by the key it connected with.
    #[error("the sender is not a current member")]
    NotMember,
    /// The service answers on keyed connections only.
    #[error("the service needs a keyed connection")]
    NeedsKeyed,
    /// The call says not what it must, or in a newer format.
    #[error("the call does not say which cluster and data directories it is for")]
    NoHeader,
    /// The call is for another cluster.
    #[error("the call is for another cluster")]
    OtherCluster,
    /// The call is from another line of the ledger.
    #[error("the call is from another generation of the ledger")]
    OtherGeneration,
    /// The sender's data directory is not the one that membership records.
    #[error("the sender's data directory is not the recorded one")]
    OtherSender,
    /// The call is meant for another data directory than this node's.
    #[error("the call is for another data directory of this node")]
    OtherReceiver,
    /// The request did not come through a peer connection.
    #[error("the request came through no peer connection")]
    NoConnection,
}

impl GateReason {
    const ALL: [Self; 8] = [
        Self::NotMember,
        Self::NeedsKeyed,
        Self::NoHeader,
        Self::OtherCluster,
        Self::OtherGeneration,
        Self::OtherSender,
        Self::OtherReceiver,
        Self::NoConnection,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::NotMember => "not-member",
            Self::NeedsKeyed => "needs-keyed",
            Self::NoHeader => "no-header",
            Self::OtherCluster => "other-cluster",
            Self::OtherGeneration => "other-generation",
            Self::OtherSender => "other-sender",
            Self::OtherReceiver => "other-receiver",
            Self::NoConnection => "no-connection",
        }
    }

    fn code(self) -> Code {
        match self {
            Self::NotMember => Code::Unauthenticated,
            Self::NeedsKeyed => Code::PermissionDenied,
            Self::NoHeader => Code::InvalidArgument,
            Self::OtherCluster | Self::OtherGeneration | Self::OtherSender | Self::OtherReceiver => {
                Code::FailedPrecondition
            }
            Self::NoConnection => Code::Internal,
        }
    }

    pub(crate) fn status(self) -> Status {
        let mut status = Status::new(self.code(), self.to_string());
        status.metadata_mut().insert(REASON, tonic::metadata::MetadataValue::from_static(self.word()));
        status
    }

    /// The reason in an answer, if a gate gave it.
    pub(crate) fn of(status: &Status) -> Option<Self> {
        let word = status.metadata().get(REASON)?;
        Self::ALL.into_iter().find(|reason| word.as_bytes() == reason.word().as_bytes())
    }
}

/// The layer in front of every peer service.
#[derive(Clone)]
pub struct Gate {
    local: LocalNode,
    directory: Arc<dyn Directory>,
}

impl Gate {
    /// Lets through to `local` what members of `directory` may ask.
    pub fn new(local: LocalNode, directory: Arc<dyn Directory>) -> Self {
        Self { local, directory }
    }

    fn judge(&self, peer: Option<&PeerInfo>, path: &str, headers: &HeaderMap) -> Result<(), GateReason> {
        let peer = peer.ok_or(GateReason::NoConnection)?;
        let member = self.directory.member(peer.node).ok_or(GateReason::NotMember)?;
        if !still_member(peer, &*self.directory) {
            return Err(GateReason::NotMember);
        }
        if peer.kind != Kind::Keyed && !NEEDS_NO_PROOF.contains(&service_of(path)) {
            return Err(GateReason::NeedsKeyed);
        }
        let header = only_value(headers).and_then(CallHeader::parse).ok_or(GateReason::NoHeader)?;
        if header.cluster != self.local.cluster {
            Err(GateReason::OtherCluster)
        } else if header.generation != self.local.generation {
            Err(GateReason::OtherGeneration)
        } else if header.sender != member.incarnation {
            Err(GateReason::OtherSender)
        } else if header.receiver != self.local.incarnation {
            Err(GateReason::OtherReceiver)
        } else {
            Ok(())
        }
    }
}

/// `keyclave.peer.v1.RaftService` of `/keyclave.peer.v1.RaftService/Append`; nothing of any other shape.
fn service_of(path: &str) -> &str {
    match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some((service, method)) if !method.is_empty() && !method.contains('/') => service,
        _ => "",
    }
}

/// Two values could be read differently by two readers.
fn only_value(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = headers.get_all(header::NAME).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { gate: self.clone(), inner }
    }
}

/// A service behind the gate.
#[derive(Clone)]
pub struct Gated<S> {
    gate: Gate,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Gated<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Self::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<PeerInfo>();
        match self.gate.judge(peer, request.uri().path(), request.headers()) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(reason) => {
                let node = peer.map(|peer| peer.node.get());
                tracing::debug!(node, reason = reason.word(), "the gate refused a peer's call");
                Either::Right(ready(Ok(reason.status().into_http())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use keyclave_types::ids::{ClusterId, Incarnation};
    use keyclave_types::position::Generation;

    use super::*;
    use crate::transport::testing::{TestDirectory, info, local, node};

    const RAFT: &str = "/keyclave.peer.v1.RaftService/Append";
    const FORWARD: &str = "/keyclave.peer.v1.ForwardService/Forward";

    fn right() -> CallHeader {
        CallHeader {
            cluster: local(1).cluster,
            generation: local(1).generation,
            sender: local(2).incarnation,
            receiver: local(1).incarnation,
        }
    }

    fn headers(header: CallHeader) -> HeaderMap {
        [(http::HeaderName::from_static(header::NAME), header.to_value())].into_iter().collect()
    }

    fn judge(kind: Kind, path: &str) -> Result<(), GateReason> {
        let gate = Gate::new(local(1), TestDirectory::of(&[1, 2]));
        gate.judge(Some(&info(2, kind)), path, &headers(right()))
    }

    #[test]
    fn only_the_listed_services_answer_without_a_proof() {
        for service in NEEDS_NO_PROOF {
            assert_eq!(judge(Kind::Plain, &format!("/{service}/Any")), Ok(()));
        }
        for path in [
            FORWARD,
            "/keyclave.peer.v1.LeadershipService/Campaign",
            "/keyclave.peer.v1.KeyedService/FetchRoot",
            "/keyclave.peer.v1.RaftServiceX/Append",
            "/keyclave.peer.v1.raftservice/Append",
            "//keyclave.peer.v1.RaftService/Append",
            "/keyclave.peer.v1.RaftService",
            "/keyclave.peer.v1.RaftService/",
            "/keyclave.peer.v1.RaftService/../ForwardService/Forward",
            "/keyclave.peer.v1.RaftService%2fAppend",
            "keyclave.peer.v1.RaftService/Append",
            "/",
            "",
        ] {
            assert_eq!(judge(Kind::Plain, path), Err(GateReason::NeedsKeyed), "{path}");
            assert_eq!(judge(Kind::Keyed, path), Ok(()), "{path}");
        }
    }

    #[test]
    fn membership_is_asked_again_on_each_request() {
        let directory = TestDirectory::of(&[1, 2, 3]);
        let gate = Gate::new(local(1), directory.clone());
        let ask = |number| gate.judge(Some(&info(number, Kind::Keyed)), RAFT, &headers(right()));
        assert_eq!(ask(2), Ok(()));
        directory.remove(2);
        assert_eq!(ask(2), Err(GateReason::NotMember));
        directory.replace_key(3);
        assert_eq!(ask(3), Err(GateReason::NotMember));
        assert_eq!(ask(4), Err(GateReason::NotMember));
    }

    #[test]
    fn a_call_names_cluster_generation_and_both_data_directories() {
        let gate = Gate::new(local(1), TestDirectory::of(&[1, 2]));
        let ask = |header| gate.judge(Some(&info(2, Kind::Keyed)), RAFT, &headers(header));
        let other = Incarnation::from_bytes([0xff; 16]);
        assert_eq!(ask(right()), Ok(()));
        let wrong = CallHeader { cluster: ClusterId::from_bytes([0; 16]), ..right() };
        assert_eq!(ask(wrong), Err(GateReason::OtherCluster));
        let wrong = CallHeader { generation: Generation(99), ..right() };
        assert_eq!(ask(wrong), Err(GateReason::OtherGeneration));
        assert_eq!(ask(CallHeader { sender: other, ..right() }), Err(GateReason::OtherSender));
        assert_eq!(ask(CallHeader { receiver: other, ..right() }), Err(GateReason::OtherReceiver));
    }

    #[test]
    fn a_call_with_no_header_or_two_is_refused() {
        let gate = Gate::new(local(1), TestDirectory::of(&[1, 2]));
        let peer = info(2, Kind::Keyed);
        assert_eq!(gate.judge(Some(&peer), RAFT, &HeaderMap::new()), Err(GateReason::NoHeader));
        let mut twice = headers(right());
        twice.append(header::NAME, right().to_value());
        assert_eq!(gate.judge(Some(&peer), RAFT, &twice), Err(GateReason::NoHeader));
        assert_eq!(gate.judge(None, RAFT, &headers(right())), Err(GateReason::NoConnection));
    }

    #[test]
    fn every_reason_is_read_back_by_the_caller() {
        for reason in GateReason::ALL {
            assert_eq!(GateReason::of(&reason.status()), Some(reason));
        }
        assert_eq!(GateReason::of(&Status::unauthenticated("from a service")), None);
        assert_eq!(node(1).get(), 1);
    }
}
