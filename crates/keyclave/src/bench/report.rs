//! What was measured: a table for people, and the same as one JSON object.

use std::time::Duration;

use serde::Serialize;

use super::Ask;
use super::load::{Measured, percentile};
use super::work::MESSAGE_BYTES;
use crate::arguments::Output;
use crate::output::Shown;
use crate::table::Table;

/// Everything that was measured.
#[derive(Serialize)]
pub(super) struct Report {
    ok: bool,
    nodes: usize,
    /// Cores of the machine that ran the clients.
    cores: usize,
    optimised: bool,
    message_bytes: usize,
    rows: Vec<Row>,
    failover: Option<Failover>,
}

/// One row.
#[derive(Serialize)]
pub(super) struct Row {
    measure: &'static str,
    at: &'static str,
    clients: u64,
    round: u64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    calls: usize,
    failed: u64,
    /// What the first failure was.
    failure: Option<String>,
    /// The machine's runnable tasks over the last minute, this measurement's own among them.
    load_average: Option<f64>,
}

/// How long writes stood still after the leader was killed.
#[derive(Serialize)]
struct Failover {
    kills: usize,
    p50_ms: f64,
    worst_ms: f64,
    ms: Vec<f64>,
}

impl Report {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            ok: true,
            nodes,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            optimised: !cfg!(debug_assertions),
            message_bytes: MESSAGE_BYTES,
            rows: Vec::new(),
            failover: None,
        }
    }

    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(super) fn set_failover(&mut self, in_order: Vec<Duration>) {
        let ms = in_order.iter().copied().map(ms_of).collect();
        let mut ascending = in_order;
        ascending.sort_unstable();
        let (p50, worst) = (percentile(&ascending, 50), percentile(&ascending, 100));
        self.failover =
            Some(Failover { kills: ascending.len(), p50_ms: ms_of(p50), worst_ms: ms_of(worst), ms });
    }

    pub(super) fn shown(&self) -> Shown {
        Shown::new(self.text(), self)
    }

    fn text(&self) -> String {
        let mut text = format!(
            "\n{} nodes, {} cores{}; a write makes a key, a message has {} bytes\n\n",
            self.nodes,
            self.cores,
            if self.optimised { "" } else { ", not optimised" },
            self.message_bytes,
        );
        if !self.rows.is_empty() {
            let mut table =
                Table::new(["", "AT", "CLIENTS", "PER SECOND", "P50 MS", "P99 MS", "FAILED", "LOAD"]);
            self.rows.iter().for_each(|row| table.row(row.cells()));
            text.push_str(&table.lines());
        }
        if let Some(failover) = &self.failover {
            text.push_str(&format!(
                "leader killed {} times: next acknowledged write after {:.2} s (median), {:.2} s (worst)\n",
                failover.kills,
                failover.p50_ms / 1_000.0,
                failover.worst_ms / 1_000.0,
            ));
        }
        text
    }
}

impl Row {
    pub(super) fn new(ask: &Ask, measured: &Measured) -> Self {
        let failure = measured.failure.as_ref().map(|failure| failure.render(Output::Text));
        Self {
            measure: ask.measure.name(),
            at: ask.at.name(),
            clients: ask.clients,
            round: ask.round,
            per_second: tenths(measured.per_second()),
            p50_ms: ms_of(measured.within(50)),
            p99_ms: ms_of(measured.within(99)),
            calls: measured.took.len(),
            failed: measured.failed,
            failure: failure.map(|text| text.trim().to_owned()),
            load_average: load_average(),
        }
    }

    /// The row by itself, as it is shown while others are still measured.
    pub(super) fn line(&self) -> String {
        let [measure, at, clients, per_second, p50, p99, failed, load] = self.cells();
        let failure = self.failure.as_deref().unwrap_or_default();
        format!(
            "{measure:<8} {at:<9} {clients:>4} clients {per_second:>9}/s  p50 {p50} ms  p99 {p99} ms  \
             failed {failed}  load {load}  {failure}"
        )
        .trim_end()
        .to_owned()
    }

    fn cells(&self) -> [String; 8] {
        [
            self.measure.to_owned(),
            self.at.to_owned(),
            self.clients.to_string(),
            format!("{:.1}", self.per_second),
            format!("{:.2}", self.p50_ms),
            format!("{:.2}", self.p99_ms),
            self.failed.to_string(),
            self.load_average.map_or_else(|| "?".to_owned(), |load| format!("{load:.1}")),
        ]
    }
}

/// Milliseconds with two places, which is as exact as anybody may quote them.
fn ms_of(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// How busy the machine was, where the kernel says so.
fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_worst_of_the_kills_are_told_and_their_order_is_kept() {
        let mut report = Report::new(3);
        report.set_failover([2_000, 1_700, 2_600].map(Duration::from_millis).to_vec());
        let object: serde_json::Value = serde_json::from_str(&report.shown().render(Output::Json)).unwrap();
        assert_eq!(object["failover"]["p50_ms"], 2_000.0);
        assert_eq!(object["failover"]["worst_ms"], 2_600.0);
        assert_eq!(object["failover"]["ms"], serde_json::json!([2_000.0, 1_700.0, 2_600.0]));
        assert!(report.text().contains("2.00 s (median), 2.60 s (worst)"));
    }
}
