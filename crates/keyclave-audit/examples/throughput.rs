//! Records per second into a real directory, given as the only argument: how many callers, how fast, how many syncs.
//!
//! Run by hand; compare the same machine only. `cargo run --release -p keyclave-audit --example throughput DIR`.

#![allow(clippy::print_stdout, reason = "a figure for whoever runs it")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyclave_audit::directory::Directory;
use keyclave_audit::open::{OpenTrail, Tampering};
use keyclave_audit::record::{Body, Class, OK, Phase, RecordDraft, Source, Who};
use keyclave_audit::segment_key::{NoKeys, SegmentKey, SegmentKeyId};
use keyclave_audit::trail::Trail;
use keyclave_audit::verify::{Expectation, verify};
use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::secret::Secret;
use keyclave_types::ids::{ClusterId, NodeId, RequestId};
use keyclave_types::request::TokenId;
use keyclave_types::threads::Threads;
use keyclave_types::time::UnixMillis;

const RUN: Duration = Duration::from_secs(3);

struct Pool;

impl Threads for Pool {
    fn run(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let place = std::env::args().nth(1).ok_or("expected a directory")?;
    for callers in [1, 16, 64, 256, 1024] {
        let path = Path::new(&place).join(format!("{callers}-callers"));
        measure(&path, callers).await?;
    }
    Ok(())
}

async fn measure(path: &Path, callers: u64) -> Result<(), Box<dyn Error>> {
    let open = OpenTrail {
        files: Directory::make(path)?,
        threads: Arc::new(Pool),
        entropy: Entropy::from_seed([1; 32]),
        cluster: ClusterId::from_bytes([1; 16]),
        node: NodeId::new(1).ok_or("one is a node")?,
        now: UnixMillis(0),
        tampering: Tampering::Alarm,
    };
    let (trail, task, _) = open.open()?;
    let task = tokio::spawn(task.run());
    let secret = Secret::from_fn("segment key", |bytes| bytes.fill(7));
    trail.give_key(SegmentKey { id: SegmentKeyId([7; 16]), secret }).await?;
    let begin = Instant::now();
    let running: Vec<_> = (0..callers).map(|_| tokio::spawn(call(trail.clone()))).collect();
    let (mut records, mut slowest) = (0, Duration::ZERO);
    for caller in running {
        let (count, worst) = caller.await??;
        records += count;
        slowest = slowest.max(worst);
    }
    let seconds = begin.elapsed().as_secs_f64();
    drop(trail);
    task.await??;
    let begin = Instant::now();
    let report = verify(&Directory::at(path), &NoKeys, &Expectation::default())?;
    let verified = begin.elapsed().as_secs_f64();
    println!(
        "{callers:5} callers: {:8.0} records/s, slowest {:6.1} ms; verified {} records at {:8.0}/s, untouched: {}",
        records as f64 / seconds,
        slowest.as_secs_f64() * 1000.0,
        report.records,
        report.records as f64 / verified,
        report.is_untouched(),
    );
    Ok(())
}

async fn call(trail: Trail) -> Result<(u64, Duration), keyclave_audit::trail::TrailError> {
    let (begin, mut count, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    while begin.elapsed() < RUN {
        let asked = Instant::now();
        trail.record(draft(count)).await?;
        slowest = slowest.max(asked.elapsed());
        count += 1;
    }
    Ok((count, slowest))
}

fn draft(number: u64) -> RecordDraft {
    let subject = "billing/api".parse().ok();
    let who = subject.map_or(Who::Nobody, |subject| Who::Service { subject, token: TokenId([5; 12]) });
    let mut body = Body::new("Encrypt", who, Source::LocalSocket);
    body.key = "app/payments/card-numbers".parse().ok();
    body.associated_data = Some([9; 32]);
    body.bytes_in = 1024;
    RecordDraft {
        time: UnixMillis(number),
        request: RequestId::at(number, [7; 8]),
        class: Class::Use,
        phase: Phase::Done,
        outcome: OK,
        body,
    }
}
