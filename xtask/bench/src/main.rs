//! Acknowledged writes of Keyclave and of etcd, side by side: both with three nodes on loopback, on one disk, over
//! TLS 1.3, asked in turns by as many clients, in one run.
//!
//! `cargo xtask bench` builds the release binary and starts this. Where etcd can neither be found nor fetched the
//! comparison is skipped and the reason printed. Deliberately absent: a verdict; the ratios are printed with the
//! machine's load.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool whose output is its purpose"
)]

mod ask;

mod keyclave;

mod etcd;

mod load;

mod failure;

use std::process::ExitCode;

use ask::Ask;
use etcd::cluster::EtcdCluster;
use etcd::find;
use failure::BenchError;
use keyclave::KeyclaveCluster;
use load::Figure;

const USAGE: &str =
    "usage: bench-etcd --keyclave PATH --scratch DIR [--seconds N] [--rounds N] [--clients N,N,…]";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(ask) = Ask::parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match compare(&ask).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-etcd: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn compare(ask: &Ask) -> Result<(), BenchError> {
    let etcd = match find::find(&ask.scratch).await {
        Ok(binaries) => binaries,
        Err(reason) => {
            println!("skipped: {reason}");
            return Ok(());
        }
    };
    println!(
        "etcd {}; a put has {} bytes; a Keyclave write makes a key",
        etcd.version,
        etcd::put::VALUE_BYTES
    );
    let theirs = EtcdCluster::start(&etcd, &ask.scratch).await?;
    let ours = KeyclaveCluster::start(&ask.keyclave).await?;
    let rows = measure(ask, &ours, &theirs).await;
    // Its servers are no children of this process: they are stopped whatever came out.
    ours.stop().await;
    print_rows(&rows?);
    Ok(())
}

async fn measure(ask: &Ask, ours: &KeyclaveCluster, theirs: &EtcdCluster) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::new();
    for clients in &ask.clients {
        let mut row = Row { clients: *clients, ours: Vec::new(), theirs: Vec::new() };
        for round in 0..ask.rounds {
            // In turns, and who begins changes, so that a disturbance hits both alike.
            if round % 2 == 0 {
                row.ours.push(told("keyclave", *clients, ours.writes(*clients, ask.seconds).await?));
            }
            row.theirs.push(told("etcd", *clients, theirs.puts(*clients, ask.seconds).await?));
            if round % 2 == 1 {
                row.ours.push(told("keyclave", *clients, ours.writes(*clients, ask.seconds).await?));
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

/// All rounds with one number of clients.
struct Row {
    clients: usize,
    ours: Vec<Figure>,
    theirs: Vec<Figure>,
}

fn told(who: &str, clients: usize, figure: Figure) -> Figure {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    println!(
        "{who:<8} {clients:>4} clients {:>9.1}/s  p50 {:>8.2} ms  p99 {:>8.2} ms  failed {}  load {load}",
        figure.per_second, figure.p50_ms, figure.p99_ms, figure.failed
    );
    figure
}

fn print_rows(rows: &[Row]) {
    println!(
        "\nmedians of all rounds; the ratio is of writes a second, least to most over the rounds in brackets"
    );
    for row in rows {
        let (ours, theirs) = (Figure::median(&row.ours), Figure::median(&row.theirs));
        let ratios =
            row.ours.iter().zip(&row.theirs).map(|(ours, theirs)| ours.per_second / theirs.per_second);
        let (least, most) =
            ratios.fold((f64::MAX, 0.0_f64), |(least, most), one| (least.min(one), most.max(one)));
        println!(
            "{:>4} clients: keyclave {:>8.1}/s p50 {:>7.2} p99 {:>7.2} ms   etcd {:>8.1}/s p50 {:>7.2} p99 {:>7.2} \
             ms   ratio {:.2} ({least:.2}-{most:.2})",
            row.clients,
            ours.per_second,
            ours.p50_ms,
            ours.p99_ms,
            theirs.per_second,
            theirs.p50_ms,
            theirs.p99_ms,
            ours.per_second / theirs.per_second,
        );
    }
}
