//! The connections that clients hold open: so many in all and so many from one source, and who goes when there are more.
//!
//! Called by the listeners for each arrival, and by admission for each call. When there is no place the connection
//! that has been idle longest goes, of the same source if that source has its share: a crowd of mute connections
//! drives out itself, and a call under way is never cut off for a newcomer. Until a call with a valid credential came
//! over it a connection is a stranger's: of these there may be far fewer, because nothing else bounds what they cost.

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
    /// Of strangers.
    pub(crate) strangers_max: usize,
    /// Of strangers from one source.
    pub(crate) strangers_per_source_max: usize,
}

#[derive(Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, Open>,
    counts: Counts,
    per_source: BTreeMap<Source, Counts>,
}

/// How many there are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Counts {
    all: usize,
    strangers: usize,
}

struct Open {
    source: Source,
    /// Calls under way, by number, and since when the answers of those that are answered leave.
    calls: BTreeMap<u64, Option<Instant>>,
    calls_begun: u64,
    idle_since: Instant,
    /// No call with a valid credential came over it yet.
    stranger: bool,
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
pub(crate) struct UnderWay {
    on: Connection,
    call: u64,
}

impl Connections {
    /// None yet.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { state: Arc::default(), limits }
    }

    /// A place for a connection from `source`. None if every other one has a call under way.
    pub(crate) fn take(&self, source: Source) -> Option<Place> {
        let mut state = lock(&self.state);
        if !state.make_room(source, self.limits) {
            return None;
        }
        let number = state.next;
        state.next = state.next.wrapping_add(1);
        let (alive, ended) = oneshot::channel();
        let open = Open {
            source,
            calls: BTreeMap::new(),
            calls_begun: 0,
            idle_since: Instant::now(),
            stranger: true,
            _alive: alive,
        };
        state.open.insert(number, open);
        state.count(source, |counts| {
            counts.all += 1;
            counts.strangers += 1;
        });
        drop(state);
        Some(Place { at: Connection { number, source, state: self.state.clone() }, ended: Some(ended) })
    }

    /// Ends those on which nothing was ever asked for so long.
    pub(crate) fn end_silent(&self, longer_than: Duration) {
        lock(&self.state).end(|open| open.calls_begun == 0 && open.idle_since.elapsed() > longer_than);
    }

    /// Ends those of strangers who have not taken an answer for so long: it holds its part of a budget meanwhile.
    pub(crate) fn end_unread(&self, longer_than: Duration) {
        let unread = |answered: &Option<Instant>| answered.is_some_and(|since| since.elapsed() > longer_than);
        lock(&self.state).end(|open| open.stranger && open.calls.values().any(unread));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        lock(&self.state).open.len()
    }

    /// Ends every one.
    pub(crate) fn end_all(&self) {
        let mut state = lock(&self.state);
        state.end(|_| true);
    }
}

impl State {
    /// Whether there is room for one more from `source`, perhaps where another was. Counted anew at each step: one that
    /// ends makes room for all of them.
    fn make_room(&mut self, source: Source, limits: Limits) -> bool {
        let own = |open: &Open| open.source == source;
        (self.of(source).strangers < limits.strangers_per_source_max
            || self.end_longest_idle(|open| open.stranger && own(open)))
            && (self.counts.strangers < limits.strangers_max || self.end_longest_idle(|open| open.stranger))
            && (self.of(source).all < limits.per_source_max || self.end_longest_idle(own))
            && (self.counts.all < limits.connections_max || self.end_longest_idle(|_| true))
    }

    fn of(&self, source: Source) -> Counts {
        self.per_source.get(&source).copied().unwrap_or_default()
    }

    /// Whether there was one of `these` that could be ended.
    fn end_longest_idle(&mut self, these: impl Fn(&Open) -> bool) -> bool {
        let idle = self
            .open
            .iter()
            .filter(|(_, open)| open.calls.is_empty() && these(open))
            .min_by_key(|(_, open)| open.idle_since)
            .map(|(number, _)| *number);
        if let Some(number) = idle {
            self.remove(number);
        }
        idle.is_some()
    }

    fn end(&mut self, these: impl Fn(&Open) -> bool) {
        let ended: Vec<u64> =
            self.open.iter().filter(|(_, open)| these(open)).map(|(number, _)| *number).collect();
        for number in ended {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(removed) = self.open.remove(&number) else { return };
        self.count(removed.source, |counts| {
            counts.all -= 1;
            counts.strangers -= usize::from(removed.stranger);
        });
    }

    fn know(&mut self, number: u64) {
        if let Some(open) = self.open.get_mut(&number)
            && std::mem::replace(&mut open.stranger, false)
        {
            let source = open.source;
            self.count(source, |counts| counts.strangers -= 1);
        }
    }

    fn count(&mut self, source: Source, change: impl Fn(&mut Counts)) {
        change(&mut self.counts);
        let of_source = self.per_source.entry(source).or_default();
        change(of_source);
        if *of_source == Counts::default() {
            self.per_source.remove(&source);
        }
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

    /// Whoever holds it has shown a valid credential.
    pub(crate) fn know(&self) {
        lock(&self.state).know(self.number);
    }

    /// While the answer lives, the connection is not idle.
    pub(crate) fn begin(&self) -> UnderWay {
        let mut state = lock(&self.state);
        let call = state.open.get_mut(&self.number).map_or(0, |open| {
            open.calls_begun += 1;
            open.calls.insert(open.calls_begun, None);
            open.calls_begun
        });
        drop(state);
        UnderWay { on: self.clone(), call }
    }
}

impl UnderWay {
    /// The call is answered, and its answer on the way to whoever reads it.
    pub(crate) fn answered(&self) {
        if let Some(open) = lock(&self.on.state).open.get_mut(&self.on.number)
            && let Some(answered) = open.calls.get_mut(&self.call)
        {
            *answered = Some(Instant::now());
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(open) = lock(&self.on.state).open.get_mut(&self.on.number) {
            open.calls.remove(&self.call);
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
        let (strangers_max, strangers_per_source_max) = (connections_max, per_source_max);
        Connections::new(Limits { connections_max, per_source_max, strangers_max, strangers_per_source_max })
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
        assert_eq!(state.counts, Counts::default());
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_drive_out_strangers_and_nobody_who_is_known() {
        let limits = Limits {
            connections_max: 100,
            per_source_max: 100,
            strangers_max: 3,
            strangers_per_source_max: 2,
        };
        let all = Connections::new(limits);
        let mut known: Vec<_> = (1..=5)
            .map(|port| {
                let place = all.take(source(&format!("10.0.0.1:{port}"))).unwrap();
                place.connection().know();
                drop(place.connection().begin());
                place
            })
            .collect();
        let mut strangers = Vec::new();
        for from in ["10.0.0.1:8", "10.0.0.1:9", "10.0.0.1:10", "10.0.0.2:1", "10.0.0.3:1"] {
            tokio::time::advance(Duration::from_secs(1)).await;
            strangers.push(all.take(source(from)).unwrap());
        }
        let ended: Vec<bool> = strangers.iter_mut().map(has_ended).collect();
        // The third of the first source drove out its first, the third source the oldest of all.
        assert_eq!(ended, [true, true, false, false, false]);
        assert!(!known.iter_mut().any(has_ended));
        drop((known, strangers));
        assert_eq!(lock(&all.state).counts, Counts::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_who_does_not_take_an_answer_is_not_waited_for() {
        let all = connections(10, 10);
        let mut places: Vec<_> =
            (1..=4).map(|port| all.take(source(&format!("10.0.0.1:{port}"))).unwrap()).collect();
        places[1].connection().know();
        let begin = |at: usize| places[at].connection().begin();
        let (unread, known, unanswered, taken) = (begin(0), begin(1), begin(2), begin(3));
        for answered in [&unread, &known, &taken] {
            answered.answered();
        }
        drop(taken);
        tokio::time::advance(Duration::from_secs(11)).await;
        let _later = places[2].connection().begin();
        all.end_unread(Duration::from_secs(10));
        let ended: Vec<bool> = places.iter_mut().map(has_ended).collect();
        assert_eq!(ended, [true, false, false, false]);
        drop((unread, known, unanswered));
    }

    #[test]
    fn who_has_a_network_of_addresses_is_one_source() {
        assert_eq!(source("[2001:db8::1]:1"), source("[2001:db8::ffff:2]:9"));
        assert_ne!(source("[2001:db8::1]:1"), source("[2001:db8:0:1::1]:1"));
        assert_eq!(source("[::ffff:10.0.0.1]:1"), source("10.0.0.1:2"));
    }
}
