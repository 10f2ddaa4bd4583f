//! The connections that clients hold open: so many in all and so many from one source, and who goes when there are more.
//!
//! Called by the listeners for each arrival, and by admission for each call. When there is no place the connection
//! that has been idle longest goes, of the same source if that source has its share: a crowd of mute connections
//! drives out itself, and a call under way is never cut off for a newcomer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// Where connections come from, as far as one party can have many addresses: an IPv4 address, or an IPv6 network of
/// 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Source {
    /// An IPv4 address.
    V4([u8; 4]),
    /// The first half of an IPv6 address.
    V6([u16; 4]),
    /// The operator's socket.
    LocalSocket,
}

impl From<SocketAddr> for Source {
    fn from(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// All connections of one listener. Clones share them.
#[derive(Clone)]
pub(crate) struct Connections {
    state: Arc<Mutex<State>>,
    limits: Limits,
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// In all.
    pub(crate) connections_max: usize,
    /// From one source.
    pub(crate) per_source_max: usize,
}

#[derive(Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, Open>,
    per_source: BTreeMap<Source, usize>,
}

struct Open {
    source: Source,
    calls: usize,
    idle_since: Instant,
    /// Nothing was asked on it yet.
    silent: bool,
    /// Dropping it ends the connection.
    _alive: oneshot::Sender<()>,
}

/// One connection's place among all; dropping it gives the place back.
pub(crate) struct Place {
    at: Connection,
    /// None once it has resolved.
    ended: Option<oneshot::Receiver<()>>,
}

/// One connection, as its calls know it.
#[derive(Clone)]
pub(crate) struct Connection {
    number: u64,
    source: Source,
    state: Arc<Mutex<State>>,
}

/// A call under way on a connection.
pub(crate) struct UnderWay(Connection);

impl Connections {
    /// None yet.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { state: Arc::default(), limits }
    }

    /// A place for a connection from `source`. None if every other one has a call under way.
    pub(crate) fn take(&self, source: Source) -> Option<Place> {
        let mut state = lock(&self.state);
        if state.per_source.get(&source).is_some_and(|count| *count >= self.limits.per_source_max)
            && !state.end_longest_idle(Some(source))
        {
            return None;
        }
        if state.open.len() >= self.limits.connections_max && !state.end_longest_idle(None) {
            return None;
        }
        let number = state.next;
        state.next = state.next.wrapping_add(1);
        let (alive, ended) = oneshot::channel();
        state.open.insert(
            number,
            Open { source, calls: 0, idle_since: Instant::now(), silent: true, _alive: alive },
        );
        *state.per_source.entry(source).or_default() += 1;
        drop(state);
        Some(Place { at: Connection { number, source, state: self.state.clone() }, ended: Some(ended) })
    }

    /// Ends those on which nothing was ever asked for so long.
    pub(crate) fn end_silent(&self, longer_than: Duration) {
        let mut state = lock(&self.state);
        let silent: Vec<u64> = state
            .open
            .iter()
            .filter(|(_, open)| open.silent && open.idle_since.elapsed() > longer_than)
            .map(|(number, _)| *number)
            .collect();
        for number in silent {
            state.remove(number);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        lock(&self.state).open.len()
    }

    /// Ends every one.
    pub(crate) fn end_all(&self) {
        let mut state = lock(&self.state);
        state.open.clear();
        state.per_source.clear();
    }
}

impl State {
    fn end_longest_idle(&mut self, among: Option<Source>) -> bool {
        let idle = self
            .open
            .iter()
            .filter(|(_, open)| open.calls == 0 && among.is_none_or(|source| open.source == source))
            .min_by_key(|(_, open)| open.idle_since)
            .map(|(number, _)| *number);
        idle.is_some_and(|number| self.remove(number))
    }

    fn remove(&mut self, number: u64) -> bool {
        let Some(removed) = self.open.remove(&number) else { return false };
        if let Some(count) = self.per_source.get_mut(&removed.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_source.remove(&removed.source);
            }
        }
        true
    }
}

impl Place {
    /// The connection, for its calls.
    pub(crate) fn connection(&self) -> &Connection {
        &self.at
    }

    /// Whether another needs the place; if not, the task hears of it once that is so.
    pub(crate) fn poll_ended(&mut self, task: &mut Context<'_>) -> Poll<()> {
        match self.ended.as_mut().map(|ended| Pin::new(ended).poll(task)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(_)) | None => {
                self.ended = None;
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.at.state).remove(self.at.number);
    }
}

impl Connection {
    /// Where it comes from.
    pub(crate) fn source(&self) -> Source {
        self.source
    }

    /// While the answer lives, the connection is not idle.
    pub(crate) fn begin(&self) -> UnderWay {
        if let Some(open) = lock(&self.state).open.get_mut(&self.number) {
            open.calls += 1;
            open.silent = false;
        }
        UnderWay(self.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(open) = lock(&self.0.state).open.get_mut(&self.0.number) {
            open.calls = open.calls.saturating_sub(1);
            open.idle_since = Instant::now();
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(connections_max: usize, per_source_max: usize) -> Connections {
        Connections::new(Limits { connections_max, per_source_max })
    }

    fn source(text: &str) -> Source {
        text.parse::<SocketAddr>().unwrap().into()
    }

    fn has_ended(place: &mut Place) -> bool {
        place.poll_ended(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_one_source_drives_out_its_own() {
        let all = connections(100, 2);
        let mut other = all.take(source("10.0.0.2:1")).unwrap();
        let mut first = all.take(source("10.0.0.1:1")).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let mut second = all.take(source("10.0.0.1:2")).unwrap();
        let _third = all.take(source("10.0.0.1:3")).unwrap();
        assert!(has_ended(&mut first));
        assert!(!has_ended(&mut second));
        assert!(!has_ended(&mut other), "the oldest of all, but of another source");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_under_way_is_not_cut_off_for_a_newcomer() {
        let all = connections(2, 2);
        let mut busy = all.take(source("10.0.0.1:1")).unwrap();
        let call = busy.connection().begin();
        let mut idle = all.take(source("10.0.0.2:1")).unwrap();
        let newcomer = all.take(source("10.0.0.3:1")).unwrap();
        assert!(has_ended(&mut idle) && !has_ended(&mut busy));
        let _also_busy = newcomer.connection().begin();
        assert!(all.take(source("10.0.0.4:1")).is_none(), "everybody is busy");
        drop(call);
        assert!(all.take(source("10.0.0.4:1")).is_some());
        assert!(has_ended(&mut busy));
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_asks_anything_is_not_kept() {
        let all = connections(10, 10);
        let (mut silent, mut asked) =
            (all.take(source("10.0.0.1:1")).unwrap(), all.take(source("10.0.0.1:2")).unwrap());
        drop(asked.connection().begin());
        tokio::time::advance(Duration::from_secs(20)).await;
        let mut young = all.take(source("10.0.0.1:3")).unwrap();
        all.end_silent(Duration::from_secs(10));
        assert!(has_ended(&mut silent) && !has_ended(&mut asked) && !has_ended(&mut young));
        all.end_all();
        assert!(has_ended(&mut asked) && has_ended(&mut young));
    }

    #[tokio::test]
    async fn a_place_comes_back_once_whoever_gives_it_back() {
        let all = connections(2, 1);
        for _ in 0..10 {
            let one = all.take(source("10.0.0.1:1")).unwrap();
            // Displaced by its own source, and then dropped by its own task.
            let two = all.take(source("10.0.0.1:1")).unwrap();
            drop((one, two));
        }
        let state = lock(&all.state);
        assert!(state.open.is_empty() && state.per_source.is_empty());
    }

    #[test]
    fn who_has_a_network_of_addresses_is_one_source() {
        assert_eq!(source("[2001:db8::1]:1"), source("[2001:db8::ffff:2]:9"));
        assert_ne!(source("[2001:db8::1]:1"), source("[2001:db8:0:1::1]:1"));
        assert_eq!(source("[::ffff:10.0.0.1]:1"), source("10.0.0.1:2"));
    }
}
