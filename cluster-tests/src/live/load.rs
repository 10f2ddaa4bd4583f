//! Callers that go on asking while faults happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Caller, Cluster, Journal, LiveError};
use crate::history::{Key, KeyAct};

/// Between two calls of one caller, so that histories stay small enough to be judged.
const PACE: Duration = Duration::from_millis(25);
/// Keys that all callers of a load share.
const SHARED: Key = 3;
/// Keys that a load makes have numbers from here on.
const OWN: Key = 1_000;

/// Callers under way.
pub struct Load {
    stop: Arc<AtomicBool>,
    callers: JoinSet<Tally>,
    made: Arc<AtomicU32>,
}

/// What callers were told.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    /// Answers that say something of a key.
    pub answered: u32,
    /// Calls without one.
    pub unanswered: u32,
}

impl Load {
    /// Makes the shared keys and begins: two callers per node that rotate, encrypt, decrypt and describe them, and
    /// one per node that makes keys of its own.
    pub async fn begin(cluster: &Cluster, journal: &Journal) -> Result<Self, LiveError> {
        let founder = journal.caller(cluster.client_of_all()?, 0);
        for key in 1..=SHARED {
            founder.ask(key, KeyAct::Create).await;
        }
        let mut load = Self { stop: Arc::default(), callers: JoinSet::new(), made: Arc::default() };
        for number in 1..=cluster.count() {
            for half in 0..2 {
                let caller = journal.caller(cluster.client_preferring(number)?, 0);
                let turn = (number * 2 + half) as u32;
                load.callers.spawn(share(caller, journal.clone(), turn, load.stop.clone()));
            }
            let caller = journal.caller(cluster.client_preferring(number)?, 0);
            load.callers.spawn(make(caller, load.made.clone(), load.stop.clone()));
        }
        Ok(load)
    }

    /// Ends the load; what it was told.
    pub async fn end(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        while let Some(ended) = self.callers.join_next().await {
            let ended = ended.unwrap_or_default();
            tally.answered += ended.answered;
            tally.unanswered += ended.unanswered;
        }
        tally
    }

    /// Every key that was asked for so far.
    pub fn keys(&self) -> Vec<Key> {
        let made = self.made.load(Ordering::Relaxed);
        (1..=SHARED).chain(OWN..OWN + made).collect()
    }
}

/// Uses the shared keys. Which act comes next depends on the caller and the count alone.
async fn share(caller: Caller, journal: Journal, turn: u32, stop: Arc<AtomicBool>) -> Tally {
    let mut tally = Tally::default();
    for count in turn.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = count % SHARED + 1;
        let act = match (count / SHARED + turn) % 6 {
            0 => KeyAct::Rotate,
            1 | 4 => KeyAct::Encrypt,
            2 | 5 => KeyAct::Describe,
            _ => journal.newest_ciphertext(key).map_or(KeyAct::Encrypt, KeyAct::Decrypt),
        };
        tally.count(caller.ask(key, act).await.is_some());
        sleep(PACE).await;
    }
    tally
}

/// Makes one key after the other.
async fn make(caller: Caller, made: Arc<AtomicU32>, stop: Arc<AtomicBool>) -> Tally {
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        let key = OWN + made.fetch_add(1, Ordering::Relaxed);
        tally.count(caller.ask(key, KeyAct::Create).await.is_some());
        sleep(PACE).await;
    }
    tally
}

impl Tally {
    fn count(&mut self, answered: bool) {
        if answered {
            self.answered += 1;
        } else {
            self.unanswered += 1;
        }
    }
}
