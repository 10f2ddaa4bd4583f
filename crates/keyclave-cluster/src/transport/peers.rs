//! The dialler's side: for each peer a plain and a keyed channel that connect by themselves, when first used and
//! again after every loss, proving anew each time.
//!
//! Called by the Raft half, and by the node for forwarding, rejoin and ceremonies. A channel belongs to one member
//! with one key; after membership changes it refuses, and a new one must be asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::TryFutureExt;
use futures::future::{BoxFuture, Either, Ready, ready};
use http::HeaderValue;
use hyper_util::rt::TokioIo;
use keyclave_types::ids::NodeId;
use keyclave_types::member::Member;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::{BoxError, Service, service_fn};

use super::call::{CallError, MISSED_CALLS_MAX};
use super::connection::PeerStream;
use super::directory::{Directory, LocalNode};
use super::establish::Establish;
use super::handshake::Kind;
use super::header::{self, CallHeader};
use super::refused::Refused;
use super::wire::{Exporter, Wire};

/// How long a refusal is remembered before the peer is dialled again. Without it, calls to a sealed peer made 1300
/// handshakes a second.
pub const REFUSAL_REMEMBERED_MS: u64 = 200;

/// HTTP/2 pings an idle connection this often.
pub const KEEP_ALIVE_MS: u64 = 1_000;

/// And gives it up when the ping is not answered within this.
pub const KEEP_ALIVE_ANSWER_MS_MAX: u64 = 2_000;

/// Bytes in flight on one stream, and on one connection.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The channels to every peer. Clones share them.
pub struct Peers<W: Wire> {
    shared: Arc<Shared<W>>,
}

struct Shared<W: Wire> {
    local: LocalNode,
    establish: Establish<W>,
    lanes: Mutex<BTreeMap<NodeId, Lanes>>,
}

#[derive(Clone)]
struct Lanes {
    plain: PeerChannel,
    keyed: PeerChannel,
}

impl<W: Wire> Clone for Peers<W> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<W: Wire> Peers<W> {
    /// Channels from `local`. Nothing is dialled yet. They must be used within a runtime.
    pub fn new(local: LocalNode, establish: Establish<W>) -> Self {
        Self { shared: Arc::new(Shared { local, establish, lanes: Mutex::default() }) }
    }

    /// The channel to `node` that needs no proof.
    pub fn plain(&self, node: NodeId) -> Result<PeerChannel, Refused> {
        self.lanes(node).map(|lanes| lanes.plain)
    }

    /// The channel to `node` over which both ends prove the keyring.
    pub fn keyed(&self, node: NodeId) -> Result<PeerChannel, Refused> {
        self.lanes(node).map(|lanes| lanes.keyed)
    }

    /// A plain connection of its own, whose exporter the caller may sign. It does not come back once it ends.
    pub async fn dedicated(&self, node: NodeId) -> Result<Dedicated, Refused> {
        let member = self.member(node)?;
        let stream = self.shared.establish.dial(node, &member.key, Kind::Plain).await?;
        let exporter = stream.info().exporter;
        let once = Arc::new(Mutex::new(Some(stream)));
        let connect = move || {
            let stream = locked(&once).take();
            ready(stream.ok_or(Refused::Ended))
        };
        let channel = self.channel(node, member, Kind::Plain, lazily(connect));
        Ok(Dedicated { channel, exporter })
    }

    /// Whether a keyed connection with `node` stands, whoever dialled it, and this node could dial one.
    pub(crate) fn has_keyed(&self, node: NodeId) -> bool {
        let establish = &self.shared.establish;
        establish.unsealed() && establish.connections().keyed_with(node)
    }

    /// The members that at least one keyed connection reaches at this moment, whoever dialled it.
    pub fn keyed_members(&self) -> BTreeSet<NodeId> {
        self.shared.establish.connections().keyed()
    }

    /// The members to which this node has dialled no keyed connection that stands; none while it is sealed.
    pub(crate) fn without_keyed(&self) -> Vec<NodeId> {
        let establish = &self.shared.establish;
        if !establish.unsealed() {
            return Vec::new();
        }
        let mut nodes = establish.directory().nodes();
        nodes.retain(|node| {
            *node != self.shared.local.node && !establish.connections().dialled(*node, Kind::Keyed)
        });
        nodes
    }

    /// To be called whenever membership changes: forgets the channels, and ends the connections, in both
    /// directions, of whoever is no longer the member that it was.
    pub fn membership_changed(&self) {
        let directory = self.shared.establish.directory();
        locked(&self.shared.lanes).retain(|node, lanes| directory.member(*node) == Some(lanes.plain.member));
        self.shared.establish.connections().close_stale(&**directory);
    }

    fn lanes(&self, node: NodeId) -> Result<Lanes, Refused> {
        let member = self.member(node)?;
        let mut lanes = locked(&self.shared.lanes);
        match lanes.get(&node) {
            Some(known) if known.plain.member == member => Ok(known.clone()),
            _ => {
                let lane = |kind| self.channel(node, member, kind, lazily(self.dialler(node, member, kind)));
                let made = Lanes { plain: lane(Kind::Plain), keyed: lane(Kind::Keyed) };
                lanes.insert(node, made.clone());
                Ok(made)
            }
        }
    }

    fn member(&self, node: NodeId) -> Result<Member, Refused> {
        if node == self.shared.local.node {
            return Err(Refused::Itself);
        }
        self.shared.establish.directory().member(node).ok_or(Refused::NotMember)
    }

    fn channel(&self, node: NodeId, member: Member, kind: Kind, channel: Channel) -> PeerChannel {
        let LocalNode { cluster, generation, incarnation, .. } = self.shared.local;
        let header = CallHeader { cluster, generation, sender: incarnation, receiver: member.incarnation };
        let connections = self.shared.establish.connections().clone();
        PeerChannel {
            channel,
            node,
            member,
            header: header.to_value(),
            directory: Arc::clone(self.shared.establish.directory()),
            missed: Arc::default(),
            give_up: Arc::new(move || connections.close_dialled(node, kind)),
        }
    }

    /// Dials, and for a while after a refusal repeats the refusal instead.
    fn dialler(
        &self,
        node: NodeId,
        member: Member,
        kind: Kind,
    ) -> impl Fn() -> BoxFuture<'static, Result<PeerStream<W::Stream>, Refused>> + Send + Clone + 'static
    {
        let establish = self.shared.establish.clone();
        let last: Arc<Mutex<Option<(Instant, Refused)>>> = Arc::default();
        move || {
            let (establish, last) = (establish.clone(), Arc::clone(&last));
            Box::pin(async move {
                if let Some((when, refused)) = &*locked(&last)
                    && when.elapsed() < Duration::from_millis(REFUSAL_REMEMBERED_MS)
                {
                    return Err(refused.clone());
                }
                let dialled = establish.dial(node, &member.key, kind).await;
                *locked(&last) = dialled.as_ref().err().map(|refused| (Instant::now(), refused.clone()));
                dialled
            })
        }
    }
}

/// A channel over whatever `connect` gives, asked for a stream when first used and after each loss.
fn lazily<S, C, F>(connect: C) -> Channel
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    C: Fn() -> F + Send + 'static,
    F: Future<Output = Result<S, Refused>> + Send + 'static,
{
    // Not https, or tonic would look for a TLS of its own. The authority names nobody: the key does.
    Endpoint::from_static("http://peer.keyclave")
        .http2_keep_alive_interval(Duration::from_millis(KEEP_ALIVE_MS))
        .keep_alive_timeout(Duration::from_millis(KEEP_ALIVE_ANSWER_MS_MAX))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_with_connector_lazy(service_fn(move |_: http::Uri| connect().map_ok(TokioIo::new)))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each lock is held for one assignment or look-up, so a panic elsewhere leaves nothing half-done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One plain connection and what it is bound to.
pub struct Dedicated {
    /// Calls over this connection and no other.
    pub channel: PeerChannel,
    /// What both ends of it know.
    pub exporter: Exporter,
}

/// A channel to one member by one key. Generated clients take it as it is; calls should go through
/// [`PeerChannel::call`], which bounds them.
#[derive(Clone)]
pub struct PeerChannel {
    channel: Channel,
    node: NodeId,
    member: Member,
    header: HeaderValue,
    directory: Arc<dyn Directory>,
    missed: Arc<AtomicU32>,
    give_up: Arc<dyn Fn() + Send + Sync>,
}

impl PeerChannel {
    /// Whom it reaches.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Counts calls without an answer, and gives a connection up that swallows them.
    pub(crate) fn note<T>(&self, outcome: &Result<T, CallError>) {
        if !matches!(outcome, Err(CallError::Deadline { .. })) {
            self.missed.store(0, Ordering::Relaxed);
        } else if self.missed.fetch_add(1, Ordering::Relaxed) + 1 >= MISSED_CALLS_MAX {
            self.missed.store(0, Ordering::Relaxed);
            (self.give_up)();
        }
    }
}

impl Service<http::Request<Body>> for PeerChannel {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future =
        Either<BoxFuture<'static, Result<Self::Response, BoxError>>, Ready<Result<Self::Response, BoxError>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.channel.poll_ready(context).map_err(BoxError::from)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if self.directory.member(self.node) != Some(self.member) {
            return Either::Right(ready(Err(Refused::NotMember.into())));
        }
        request.headers_mut().insert(header::NAME, self.header.clone());
        Either::Left(Box::pin(self.channel.call(request).map_err(BoxError::from)))
    }
}
