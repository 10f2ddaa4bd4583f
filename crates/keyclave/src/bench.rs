//! `keyclave bench`: how much a cluster does, from outside, over TLS, as callers see it.
//!
//! Starts three servers of this very binary on loopback, or takes the cluster that is named. Deliberately absent:
//! a judgement; the figures say beside them how busy the machine was.

mod load;

mod subject;

mod work;

mod kills;

mod report;

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::bench::{At, BenchArguments, Measure};
use crate::arguments::{Connection, Output};
use crate::failure::Failure;
use crate::output::{self, Shown};

use report::{Report, Row};
use subject::Subject;

/// Measures everything that was asked for.
pub(crate) async fn run(
    arguments: BenchArguments,
    connection: &Connection,
    output: Output,
) -> Result<Shown, Failure> {
    let of = |kind| signal(kind).map_err(|error| Failure::from_error("SIGNAL", &error));
    let (mut interrupt, mut terminate) = (of(SignalKind::interrupt())?, of(SignalKind::terminate())?);
    if cfg!(debug_assertions) {
        output::note("built without optimisation: these figures say nothing about a release");
    }
    let mut subject = Subject::of(connection, &arguments).await?;
    let measured = tokio::select! {
        measured = measure(&mut subject, &arguments) => measured,
        _ = interrupt.recv() => Err(Failure::failed("INTERRUPTED", "the measurement was interrupted")),
        _ = terminate.recv() => Err(Failure::failed("INTERRUPTED", "the measurement was told to end")),
    };
    match measured {
        Ok(report) => Ok(report.shown()),
        Err(failure) => {
            output::failure(&subject.failed(failure), output);
            Ok(Shown::new(String::new(), &serde_json::json!({ "ok": false })).with_status(1))
        }
    }
}

async fn measure(subject: &mut Subject, arguments: &BenchArguments) -> Result<Report, Failure> {
    let mut report = Report::new(subject.node_count());
    for ask in asked(arguments) {
        let clients = subject.clients(ask.at, ask.clients).await?;
        let measured = work::measure(ask.measure, &subject.fresh_prefix(), clients, ask.span).await?;
        let row = Row::new(&ask, &measured);
        output::note(&row.line());
        report.add(row);
    }
    if arguments.measure.contains(&Measure::Failover)
        && let Some(cluster) = subject.own_cluster()
    {
        report.set_failover(kills::measure(cluster, arguments.kills).await?);
    }
    Ok(report)
}

/// One row that is to be measured.
struct Ask {
    measure: Measure,
    at: At,
    clients: u64,
    round: u64,
    span: Duration,
}

/// All rows in the order in which they are measured.
fn asked(arguments: &BenchArguments) -> Vec<Ask> {
    let span = Duration::from_millis(arguments.span.ms);
    let mut asked = Vec::new();
    for round in 1..=arguments.rounds {
        for measure in arguments.measure.iter().copied().filter(|measure| *measure != Measure::Failover) {
            for at in arguments.at.iter().copied() {
                let ask = |clients| Ask { measure, at, clients, round, span };
                asked.extend(arguments.clients.iter().copied().map(ask));
            }
        }
    }
    asked
}
