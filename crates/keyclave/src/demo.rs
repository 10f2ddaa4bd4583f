//! `keyclave demo`: a real cluster of three server processes on this machine, and everything that it promises, step
//! by step, each of which can fail.
//!
//! Deliberately absent: anything that is simulated or known beforehand. The servers are this very binary, and what is
//! compared came out of them.

pub(crate) mod steps;

mod story;

pub(crate) mod failover;

mod outage;

mod search;

mod remains;

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::Output;
use crate::arguments::serving::DemoArguments;
use crate::failure::Failure;
use crate::local::cluster::Cluster;
use crate::local::place::Place;
use crate::output::{self, Shown};

use steps::Steps;

/// Longer than any machine should need; a demo that hangs says so.
const DEMO_MAX: Duration = Duration::from_secs(300);

/// Runs all steps; what fails ends it.
pub(crate) async fn run(arguments: DemoArguments, output: Output) -> Result<Shown, Failure> {
    let of = |kind| signal(kind).map_err(|error| Failure::from_error("SIGNAL", &error));
    let (mut interrupt, mut terminate) = (of(SignalKind::interrupt())?, of(SignalKind::terminate())?);
    let mut cluster = Cluster::new(Place::fresh()?)?;
    let mut steps = Steps::new(output);
    steps.say(&format!("Three real servers on this machine, in {}\n", cluster.place.root().display()));
    let told = tokio::select! {
        told = tokio::time::timeout(DEMO_MAX, story::tell(&mut cluster, &mut steps, arguments.keep)) => {
            told.unwrap_or_else(|_| Err(Failure::failed("TIMEOUT", "the demo takes too long")))
        }
        _ = interrupt.recv() => Err(Failure::failed("INTERRUPTED", "the demo was interrupted")),
        _ = terminate.recv() => Err(Failure::failed("INTERRUPTED", "the demo was told to end")),
    };
    match told {
        Ok(()) if arguments.keep => remains::left_running(&mut cluster, &steps).await,
        Ok(()) => Ok(steps.finished()),
        Err(failure) => {
            output::failure(&failed(failure, &mut cluster), output);
            Ok(steps.failed())
        }
    }
}

/// Logs are of no use if they are removed with the servers: they stay, and the failure says where.
fn failed(failure: Failure, cluster: &mut Cluster) -> Failure {
    cluster.place.keep();
    let directories: Vec<_> = cluster.place.directories().map(|path| path.display().to_string()).collect();
    let (root, all) = (cluster.place.root().display(), directories.join(" "));
    failure.next(format!("read the servers' logs, {root}/n*.log; then remove {all}"))
}
