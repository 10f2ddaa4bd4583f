//! Prints what the ledger costs on this machine's disk: `cargo run --release -p keyclave-ledger --example measure`
//! (an argument names the directory; otherwise a temporary one). Deliberately absent: judging the figures.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyclave_ledger::digest::LatticeHash;
use keyclave_ledger::ledger::{Entry, Ledger};
use keyclave_ledger::log_store::LogStore;
use keyclave_ledger::sled_disk::SledDisk;
use keyclave_types::ids::RecordId;
use keyclave_types::position::Revision;
use keyclave_types::transaction::{Change, LeaderId, Record, Transaction};

const LEADER: LeaderId = LeaderId { term: 1, node: 1 };
/// A sealed record of usual size.
const BLOB_BYTES: usize = 300;
const RECORDS: u64 = 100_000;
const WRITES: u64 = 1_000_000;

type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    let temporary = tempfile::tempdir()?;
    let directory = std::env::args().nth(1).map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    lattice_hash();
    log(&directory.join("log"))?;
    records(&directory.join("records"))?;
    space(&directory.join("space"))
}

fn lattice_hash() {
    let (mut hash, record) = (LatticeHash::default(), record(1));
    let began = Instant::now();
    (0..RECORDS).for_each(|n| hash.add(&id(n), &record));
    let each = began.elapsed().as_secs_f64() * 1e6 / RECORDS as f64;
    println!("lattice hash: {each:.2} us a record of {BLOB_BYTES} bytes ({:?})", hash.digest());
}

fn log(directory: &Path) -> Done {
    let log = LogStore::new(Arc::new(SledDisk::open(directory)?));
    let mut index = 0;
    for bytes in [400, 4_000, 60_000] {
        let mut times = Vec::new();
        for _ in 0..500 {
            index += 1;
            let entry = [(index, vec![7; bytes])];
            let began = Instant::now();
            log.append(entry)?;
            times.push(began.elapsed());
        }
        println!("append and sync of one entry of {bytes} bytes: {}", percentiles(times));
    }
    let began = Instant::now();
    log.purge_to(index, b"id".to_vec())?;
    println!("purge of {index} entries: {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn records(directory: &Path) -> Done {
    let mut writer = Writer { ledger: Ledger::open(Arc::new(SledDisk::open(directory)?))?, index: 0 };
    for first in (0..RECORDS).step_by(512) {
        writer.apply(first..(first + 512).min(RECORDS))?;
    }
    for transactions in [1, 512] {
        let mut times = Vec::new();
        for round in 0..1_000 / (transactions / 8 + 1) {
            let ids = (0..transactions).map(|n| (round * 7_919 + n * 104_729) % RECORDS);
            times.push(writer.apply(ids)?);
        }
        println!("apply of an entry of {transactions} overwriting transactions: {}", percentiles(times));
    }
    let ids = RECORDS..RECORDS + 1_000;
    let times = ids.map(|n| writer.apply([n])).collect::<Result<_, _>>()?;
    println!("apply of an entry of 1 creating transaction: {}", percentiles(times));
    snapshot(&writer.ledger, &directory.with_extension("target"))?;
    writer.ledger.sync()?;
    drop(writer);
    let began = Instant::now();
    let disk = Arc::new(SledDisk::open(directory)?);
    let opened = began.elapsed();
    let ledger = Ledger::open(disk)?;
    let all = began.elapsed();
    println!(
        "opening {RECORDS} records: {:.0} ms, of which sled {:.0} ms",
        all.as_secs_f64() * 1e3,
        opened.as_secs_f64() * 1e3
    );
    let began = Instant::now();
    let (_, records) = ledger.read_everything()?;
    println!("reading all {}: {:.0} ms", records.len(), began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn snapshot(source: &Ledger<SledDisk>, directory: &Path) -> Done {
    let target = Ledger::open(Arc::new(SledDisk::open(directory)?))?;
    let (capture, began) = (source.capture(), Instant::now());
    let mut installing = target.begin_install()?;
    let (mut after, mut chunks) = (None, 0);
    while let Some((chunk, last)) = capture.chunk(after)? {
        installing.add(&chunk)?;
        after = Some(last);
        chunks += 1;
    }
    let at = capture.at();
    installing.finish(at.index, Vec::new(), at.digest)?;
    println!("snapshot out and in, {chunks} chunks: {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn space(directory: &Path) -> Done {
    let disk = Arc::new(SledDisk::open(directory)?);
    let log = LogStore::new(Arc::clone(&disk));
    let mut writer = Writer { ledger: Ledger::open(disk)?, index: 0 };
    let began = Instant::now();
    for first in (0..WRITES).step_by(128) {
        let ids = (first..first + 128).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % RECORDS);
        log.append([(writer.index + 1, vec![7; 128 * 400])])?;
        writer.apply(ids)?;
        if writer.index.is_multiple_of(100) {
            log.purge_to(writer.index - 50, b"id".to_vec())?;
        }
    }
    writer.ledger.sync()?;
    let per_second = WRITES as f64 / began.elapsed().as_secs_f64();
    let live = writer.ledger.read_everything()?.1.len() as u64 * (BLOB_BYTES as u64 + 24) + 50 * 128 * 400;
    let on_disk = fs::metadata(directory.join("store-1/db"))?.len();
    println!(
        "{WRITES} writes in entries of 128, logged, synced and applied: {per_second:.0} a second; \
         {:.1} MB on disk, {:.1} for each live byte",
        on_disk as f64 / 1e6,
        on_disk as f64 / live as f64
    );
    Ok(())
}

struct Writer {
    ledger: Ledger<SledDisk>,
    index: u64,
}

impl Writer {
    /// One entry with a transaction for each id; how long applying it took.
    fn apply(&mut self, ids: impl IntoIterator<Item = u64>) -> Result<Duration, Box<dyn Error>> {
        self.index += 1;
        let revision = self.index * 1_000;
        let transactions: Vec<_> = (revision..).zip(ids).map(|(revision, n)| put(n, revision)).collect();
        let entry =
            Entry { index: self.index, leader: LEADER, transactions: &transactions, mark: vec![7; 200] };
        let began = Instant::now();
        self.ledger.apply(entry)?;
        Ok(began.elapsed())
    }
}

fn put(n: u64, revision: u64) -> Transaction {
    let record = record(revision);
    let change = Change::Put { revision: record.revision, blob: record.blob };
    Transaction {
        decided_under: LEADER,
        expects: BTreeMap::new(),
        changes: BTreeMap::from([(id(n), change)]),
    }
}

fn record(revision: u64) -> Record {
    Record { revision: Revision(revision), blob: vec![7; BLOB_BYTES] }
}

/// Spread over all ids as pseudorandom ones are.
fn id(n: u64) -> RecordId {
    RecordId::sealed(u128::from(n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_be_bytes())
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 100).map_or(0, Duration::as_micros);
    format!("p50 {} us, p99 {} us", at(50), at(99))
}
