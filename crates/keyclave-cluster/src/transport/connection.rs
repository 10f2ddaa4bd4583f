//! Living connections: whose they are, what they have proven, and how they are ended.
//!
//! [`Connections`] is the node's one register, shared by the listener and by [`super::peers`]. The Raft half asks
//! it which members a keyed connection reaches (the keyed quorum rule); the node ends with it whatever membership
//! no longer covers. An entry lives exactly as long as its stream.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use keyclave_types::ids::NodeId;
use keyclave_types::member::NodePublicKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::directory::Directory;
use super::handshake::Kind;
use super::wire::Exporter;

/// Connections that one member may hold to this node at a time, of each kind; the oldest gives way.
pub const CONNECTIONS_PER_MEMBER_MAX: usize = 8;

/// The other end of a connection. A service finds it in its request's extensions.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Which member.
    pub node: NodeId,
    /// By which key.
    pub key: NodePublicKey,
    /// What the connection has proven.
    pub kind: Kind,
    /// What binds a signature to this connection.
    pub exporter: Exporter,
}

impl PeerInfo {
    /// Who sent `request`. `None` only where a service runs outside of [`super::serve`].
    pub fn of<T>(request: &tonic::Request<T>) -> Option<&Self> {
        request.extensions().get()
    }
}

/// Which end made the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// This node dialled.
    Ours,
    /// The peer dialled.
    Theirs,
}

/// The register of living connections. Clones share it.
#[derive(Clone, Default)]
pub struct Connections {
    shared: Arc<Shared>,
}

struct Shared {
    register: Mutex<Register>,
    keyed: watch::Sender<BTreeSet<NodeId>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { register: Mutex::default(), keyed: watch::Sender::new(BTreeSet::new()) }
    }
}

#[derive(Default)]
struct Register {
    // By a rising number, so the first match is the oldest.
    living: BTreeMap<u64, Arc<Living>>,
    opened: u64,
}

struct Living {
    info: PeerInfo,
    origin: Origin,
    closed: AtomicBool,
    waker: AtomicWaker,
}

impl Connections {
    /// An empty register.
    pub fn new() -> Self {
        Self::default()
    }

    /// The members that at least one keyed connection reaches at this moment, whoever dialled it.
    pub fn keyed(&self) -> BTreeSet<NodeId> {
        self.shared.keyed.borrow().clone()
    }

    /// Follows [`Self::keyed`].
    pub fn watch_keyed(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        self.shared.keyed.subscribe()
    }

    pub(crate) fn keyed_with(&self, node: NodeId) -> bool {
        self.shared.keyed.borrow().contains(&node)
    }

    /// Whether a connection that this node dialled to `node` stands.
    pub(crate) fn dialled(&self, node: NodeId, kind: Kind) -> bool {
        let matches = |living: &Arc<Living>| {
            living.origin == Origin::Ours && living.info.node == node && living.info.kind == kind
        };
        self.register().living.values().any(matches)
    }

    /// How many connections of `kind` there are with `node`.
    pub fn count(&self, node: NodeId, kind: Kind) -> usize {
        let matches = |living: &&Arc<Living>| living.info.node == node && living.info.kind == kind;
        self.register().living.values().filter(matches).count()
    }

    /// Ends every connection whose other end is no longer the member, by the key, that it was. To be called
    /// whenever membership changes.
    pub fn close_stale(&self, directory: &dyn Directory) {
        self.close_where(|info, _| !still_member(info, directory));
    }

    /// Ends every keyed connection, for when a peer key is dropped.
    pub fn close_keyed(&self) {
        self.close_where(|info, _| info.kind == Kind::Keyed);
    }

    /// Ends every connection.
    pub fn close_all(&self) {
        self.close_where(|_, _| true);
    }

    /// Ends what this node dialled to `node`, so that the next call dials anew.
    pub(crate) fn close_dialled(&self, node: NodeId, kind: Kind) {
        self.close_where(|info, origin| origin == Origin::Ours && info.node == node && info.kind == kind);
    }

    /// `ends` is asked outside the lock, so that a directory may have locks of its own.
    fn close_where(&self, ends: impl Fn(&PeerInfo, Origin) -> bool) {
        let living: Vec<(u64, Arc<Living>)> =
            self.register().living.iter().map(|(number, living)| (*number, Arc::clone(living))).collect();
        let ending = living.into_iter().filter(|(_, living)| ends(&living.info, living.origin));
        let ending: Vec<_> = ending.collect();
        let mut register = self.register();
        for (number, living) in ending {
            living.close();
            register.living.remove(&number);
        }
        self.publish(&register);
    }

    /// Enters a stream whose handshake is done.
    pub(crate) fn enter<S>(&self, stream: S, info: PeerInfo, origin: Origin) -> PeerStream<S> {
        let living =
            Arc::new(Living { info, origin, closed: AtomicBool::new(false), waker: AtomicWaker::new() });
        let mut register = self.register();
        if origin == Origin::Theirs {
            register.make_room(&living.info);
        }
        register.opened += 1;
        let number = register.opened;
        register.living.insert(number, Arc::clone(&living));
        self.publish(&register);
        drop(register);
        PeerStream { stream, living, number, connections: self.clone() }
    }

    fn leave(&self, number: u64) {
        let mut register = self.register();
        if register.living.remove(&number).is_some() {
            self.publish(&register);
        }
    }

    fn publish(&self, register: &Register) {
        let keyed = register.keyed();
        self.shared.keyed.send_if_modified(|published| {
            let changed = *published != keyed;
            if changed {
                *published = keyed;
            }
            changed
        });
    }

    fn register(&self) -> MutexGuard<'_, Register> {
        // Nothing under this lock can leave the register half-changed, so a panic elsewhere does not spoil it.
        self.shared.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the other end of a connection is still the member that it was.
pub(crate) fn still_member(info: &PeerInfo, directory: &dyn Directory) -> bool {
    directory.node(&info.key) == Some(info.node)
        && directory.member(info.node).is_some_and(|member| member.key == info.key)
}

impl Register {
    fn keyed(&self) -> BTreeSet<NodeId> {
        let keyed = self.living.values().filter(|living| living.info.kind == Kind::Keyed);
        keyed.map(|living| living.info.node).collect()
    }

    fn make_room(&mut self, newcomer: &PeerInfo) {
        let same = |living: &Living| {
            living.origin == Origin::Theirs
                && living.info.node == newcomer.node
                && living.info.kind == newcomer.kind
        };
        let held: Vec<u64> =
            self.living.iter().filter(|(_, living)| same(living)).map(|(number, _)| *number).collect();
        let surplus = (held.len() + 1).saturating_sub(CONNECTIONS_PER_MEMBER_MAX);
        for number in held.into_iter().take(surplus) {
            if let Some(oldest) = self.living.remove(&number) {
                oldest.close();
            }
        }
    }
}

impl Living {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Fails once the connection was ended from outside. HTTP/2 polls reads and writes of one connection in one
    /// task, so one waker is enough.
    fn poll_closed(&self, context: &Context<'_>) -> io::Result<()> {
        self.waker.register(context.waker());
        if self.closed.load(Ordering::Acquire) {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the connection was ended by this node",
            ));
        }
        Ok(())
    }
}

/// A stream after its handshake: what HTTP/2 runs over.
pub struct PeerStream<S> {
    stream: S,
    living: Arc<Living>,
    number: u64,
    connections: Connections,
}

impl<S> PeerStream<S> {
    /// The other end.
    pub fn info(&self) -> &PeerInfo {
        &self.living.info
    }
}

impl<S> Drop for PeerStream<S> {
    fn drop(&mut self) {
        self.connections.leave(self.number);
    }
}

impl<S> tonic::transport::server::Connected for PeerStream<S> {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.living.info.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PeerStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.living.poll_closed(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PeerStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.living.poll_closed(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.living.poll_closed(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;
    use crate::transport::testing::{TestDirectory, block, info, node};

    #[test]
    fn a_member_counts_as_keyed_while_one_keyed_connection_lives() {
        let connections = Connections::new();
        let mut watch = connections.watch_keyed();
        let plain = connections.enter((), info(2, Kind::Plain), Origin::Ours);
        assert_eq!(connections.keyed(), BTreeSet::new());
        assert!(!watch.has_changed().unwrap());
        let dialled = connections.enter((), info(2, Kind::Keyed), Origin::Ours);
        let accepted = connections.enter((), info(2, Kind::Keyed), Origin::Theirs);
        assert_eq!(*watch.borrow_and_update(), BTreeSet::from([node(2)]));
        assert_eq!(connections.count(node(2), Kind::Keyed), 2);
        drop(dialled);
        assert_eq!(connections.keyed(), BTreeSet::from([node(2)]));
        assert!(!watch.has_changed().unwrap());
        drop(accepted);
        assert_eq!(connections.keyed(), BTreeSet::new());
        assert!(watch.has_changed().unwrap());
        drop(plain);
        assert_eq!(connections.count(node(2), Kind::Plain), 0);
    }

    #[test]
    fn an_ended_connection_fails_a_read_that_was_already_waiting() {
        let connections = Connections::new();
        let (near, _far) = duplex(8);
        let mut stream = connections.enter(near, info(2, Kind::Keyed), Origin::Ours);
        let error = block(async {
            let waiting = async { stream.read_u8().await.unwrap_err() };
            let ender = async {
                tokio::task::yield_now().await;
                connections.close_keyed();
            };
            tokio::join!(waiting, ender).0
        });
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(connections.keyed(), BTreeSet::new(), "an ended connection proves nothing any more");
    }

    #[test]
    fn a_removed_or_changed_member_loses_its_connections_and_nobody_else_does() {
        let directory = TestDirectory::of(&[1, 2, 3, 4]);
        let connections = Connections::new();
        let held = [2, 3, 4].map(|number| connections.enter((), info(number, Kind::Keyed), Origin::Theirs));
        directory.remove(2);
        directory.replace_key(3);
        connections.close_stale(&*directory);
        assert_eq!(connections.keyed(), BTreeSet::from([node(4)]));
        drop(held);
    }

    #[test]
    fn a_member_that_opens_too_many_loses_its_oldest() {
        let connections = Connections::new();
        let other = connections.enter((), info(3, Kind::Plain), Origin::Theirs);
        let ours = connections.enter((), info(2, Kind::Plain), Origin::Ours);
        let held: Vec<_> = (0..CONNECTIONS_PER_MEMBER_MAX + 2)
            .map(|_| connections.enter((), info(2, Kind::Plain), Origin::Theirs))
            .collect();
        let closed: Vec<bool> =
            held.iter().map(|stream| stream.living.closed.load(Ordering::Acquire)).collect();
        assert_eq!(closed.iter().filter(|closed| **closed).count(), 2);
        assert_eq!(closed[..2], [true, true]);
        assert!(!other.living.closed.load(Ordering::Acquire));
        assert!(!ours.living.closed.load(Ordering::Acquire));
    }
}
