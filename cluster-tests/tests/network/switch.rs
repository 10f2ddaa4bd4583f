//! The switch: a thread per port that reads, one that delivers what is due. Which packets are lost follows from a
//! seed and their order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::CALLERS;

/// Packets under way; more are lost, as in a full queue.
const UNDER_WAY_MAX: usize = 20_000;
/// More than any packet has.
const PACKET_BYTES_MAX: usize = 2_048;
/// Between two looks whether the switch is still needed.
const LOOK: Duration = Duration::from_millis(200);
const SEED: u64 = 0x6b63_6c69_7665;

/// What packets between nodes meet. Those from and to callers pass untouched.
#[derive(Clone, Copy, Default)]
pub(crate) struct Weather {
    /// Of a hundred packets so many are lost.
    pub(crate) loss_percent: u64,
    /// How long the others take, and up to as much again.
    pub(crate) delay_ms: u64,
}

/// What the switch has done.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counted {
    /// Packets lost or cut.
    pub(crate) dropped: u64,
    /// Packets that were let through.
    pub(crate) passed: u64,
}

/// See the module's page.
#[derive(Default)]
pub(crate) struct Switch {
    inner: Mutex<Inner>,
    due: Condvar,
}

/// When a packet is due, its number, where it goes, and the packet.
type UnderWay = (Instant, u64, u8, Vec<u8>);

#[derive(Default)]
struct Inner {
    ports: BTreeMap<u8, Arc<File>>,
    weather: Weather,
    cut: BTreeSet<(u8, u8)>,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    packets: u64,
    counted: Counted,
}

impl Switch {
    /// One more port.
    pub(crate) fn attach(self: &Arc<Self>, port: u8, tun: File) -> io::Result<()> {
        let tun = Arc::new(tun);
        self.lock().ports.insert(port, Arc::clone(&tun));
        let switch = Arc::downgrade(self);
        std::thread::Builder::new().spawn(move || read_on(&switch, port, &tun)).map(drop)
    }

    /// Begins to deliver.
    pub(crate) fn run(self: &Arc<Self>) {
        let switch = Arc::downgrade(self);
        std::thread::spawn(move || deliver_on(&switch));
    }

    pub(crate) fn becomes(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    pub(crate) fn cut(&self, one: u8, other: u8) {
        self.lock().cut.extend([(one, other), (other, one)]);
    }

    pub(crate) fn cut_one_way(&self, from: u8, to: u8) {
        self.lock().cut.insert((from, to));
    }

    pub(crate) fn mend(&self) {
        self.lock().cut.clear();
    }

    pub(crate) fn counted(&self) -> Counted {
        self.lock().counted
    }

    fn take(&self, from: u8, packet: &[u8]) {
        // An IPv4 header: the last byte of the destination is the port.
        let (Some(0x40), Some(&to)) = (packet.first().map(|first| first & 0xf0), packet.get(19)) else {
            return;
        };
        let mut inner = self.lock();
        inner.packets += 1;
        let between_nodes = from != CALLERS && to != CALLERS;
        let chance = mixed(SEED ^ inner.packets);
        let weather = if between_nodes { inner.weather } else { Weather::default() };
        let lost = chance % 100 < weather.loss_percent
            || inner.cut.contains(&(from, to))
            || inner.under_way.len() >= UNDER_WAY_MAX;
        if lost {
            inner.counted.dropped += 1;
            return;
        }
        inner.counted.passed += 1;
        let delay_us = weather.delay_ms * 1_000 + chance / 100 % (weather.delay_ms * 1_000 + 1);
        let due = Instant::now() + Duration::from_micros(delay_us);
        let order = inner.packets;
        inner.under_way.push(Reverse((due, order, to, packet.to_vec())));
        self.due.notify_one();
    }

    /// The next packet that is due, and where it goes; none after a while without one.
    fn next(&self) -> Option<(Arc<File>, Vec<u8>)> {
        let mut inner = self.lock();
        let now = Instant::now();
        match inner.under_way.peek().map(|Reverse((due, ..))| *due) {
            Some(due) if due <= now => {
                let Reverse((_, _, to, packet)) = inner.under_way.pop()?;
                Some((Arc::clone(inner.ports.get(&to)?), packet))
            }
            due => {
                let rest = due.map_or(LOOK, |due| due - now).min(LOOK);
                drop(self.due.wait_timeout(inner, rest));
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when the device is gone or nobody needs the switch any more.
fn read_on(switch: &Weak<Switch>, port: u8, mut tun: &File) {
    let mut packet = [0; PACKET_BYTES_MAX];
    while let Ok(length) = tun.read(&mut packet) {
        let Some(switch) = switch.upgrade() else { return };
        switch.take(port, packet.get(..length).unwrap_or_default());
    }
}

fn deliver_on(switch: &Weak<Switch>) {
    while let Some(switch) = switch.upgrade() {
        if let Some((tun, packet)) = switch.next() {
            // A device that is gone takes its packets with it.
            let _ = (&*tun).write_all(&packet);
        }
    }
}

/// SplitMix64's last step.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
