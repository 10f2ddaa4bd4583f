//! What is counted and measured, as Prometheus reads it (OpenMetrics text). `docs/metrics.md` lists it, and a test here
//! holds the two together.
//!
//! Counted by admission and the pipeline, read by [`crate::monitoring`]. Labels are methods, codes and kinds of
//! callers. Deliberately absent: names of keys, callers and addresses, which belong into the trail.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use keyclave_proto::Rpc;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;
use tonic::{Code, Status};

/// Upper ends of what a call's duration is counted under, in seconds.
const DURATIONS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// One process's metrics.
pub(crate) struct Metrics {
    registry: Registry,
    calls: Family<Labels<3>, Counter>,
    durations: Family<Labels<2>, Histogram, fn() -> Histogram>,
    records_missing: Counter,
    calls_under_way: Family<Labels<1>, Gauge>,
    body_bytes: Family<Labels<1>, Gauge>,
    connections: Family<Labels<1>, Gauge>,
    member: Gauge,
    unsealed: Gauge,
    leading: Gauge,
    applied_index: Gauge,
    audit_sequence: Gauge,
    resident_bytes: Gauge,
    open_files: Gauge,
}

/// How things stand when they are asked for.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Standing {
    /// Kind of caller, calls under way, bytes of their bodies.
    pub(crate) callers: [(&'static str, usize, usize); 5],
    /// Listener and open connections.
    pub(crate) connections: [(&'static str, usize); 3],
    /// Whether this node belongs to a cluster.
    pub(crate) member: bool,
    /// Whether it serves.
    pub(crate) unsealed: bool,
    /// Whether it leads.
    pub(crate) leading: bool,
    /// How far its ledger is.
    pub(crate) applied_index: u64,
    /// The number of its last audit record.
    pub(crate) audit_sequence: u64,
}

impl Metrics {
    /// All at zero; `records_missing` is counted by the pipeline.
    pub(crate) fn new(records_missing: Counter) -> Self {
        let mut registry = Registry::default();
        let new = Self {
            calls: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            records_missing,
            calls_under_way: Family::default(),
            body_bytes: Family::default(),
            connections: Family::default(),
            member: Gauge::default(),
            unsealed: Gauge::default(),
            leading: Gauge::default(),
            applied_index: Gauge::default(),
            audit_sequence: Gauge::default(),
            resident_bytes: Gauge::default(),
            open_files: Gauge::default(),
            registry: Registry::default(),
        };
        let own = registry.sub_registry_with_prefix("keyclave");
        own.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        own.register("calls", "Calls that were answered, by gRPC code", new.calls.clone());
        own.register_with_unit(
            "call_duration",
            "Time from a call's headers to the end of its answer",
            Unit::Seconds,
            new.durations.clone(),
        );
        own.register("calls_under_way", "Calls that are not answered yet", new.calls_under_way.clone());
        own.register_with_unit(
            "request_body",
            "Bytes of request bodies that are held, of at most 64 MiB for known callers",
            Unit::Bytes,
            new.body_bytes.clone(),
        );
        own.register("connections", "Open connections", new.connections.clone());
        own.register("member", "1 if this node belongs to a cluster", new.member.clone());
        own.register("unsealed", "1 if this node holds the keys and serves", new.unsealed.clone());
        own.register("leading", "1 if this node leads the cluster", new.leading.clone());
        own.register(
            "ledger_applied_index",
            "Index up to which the ledger is applied",
            new.applied_index.clone(),
        );
        own.register("audit_sequence", "Number of this node's last audit record", new.audit_sequence.clone());
        own.register(
            "audit_records_missing",
            "Audit records that were not durable in time, whose calls were not answered",
            new.records_missing.clone(),
        );
        registry.register_with_unit(
            "process_resident_memory",
            "Memory of the process that is resident",
            Unit::Bytes,
            new.resident_bytes.clone(),
        );
        registry.register("process_open_fds", "Open file descriptors of the process", new.open_files.clone());
        Self { registry, ..new }
    }

    /// A call was answered.
    fn answered(&self, service: &'static str, method: &'static str, code: Code, took: Duration) {
        let [service, method] = [("service", service), ("method", method)];
        self.calls.get_or_create(&[service, method, ("code", word(code))]).inc();
        self.durations.get_or_create(&[service, method]).observe(took.as_secs_f64());
    }

    /// Everything, as text.
    pub(crate) fn render(&self, standing: &Standing) -> String {
        for (caller, calls, bytes) in standing.callers {
            self.calls_under_way.get_or_create(&[("caller", caller)]).set(number(calls as u64));
            self.body_bytes.get_or_create(&[("caller", caller)]).set(number(bytes as u64));
        }
        for (listener, count) in standing.connections {
            self.connections.get_or_create(&[("listener", listener)]).set(number(count as u64));
        }
        self.member.set(standing.member.into());
        self.unsealed.set(standing.unsealed.into());
        self.leading.set(standing.leading.into());
        self.applied_index.set(number(standing.applied_index));
        self.audit_sequence.set(number(standing.audit_sequence));
        self.resident_bytes.set(number(resident_bytes()));
        self.open_files.set(number(open_files()));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// One call from its headers to the end of its answer, counted when it is dropped.
pub(crate) struct Measured {
    metrics: Arc<Metrics>,
    /// None for what is no RPC of ours.
    rpc: Option<&'static Rpc>,
    begun: Instant,
    code: Code,
}

impl Measured {
    /// A call of `rpc` begins.
    pub(crate) fn begin(metrics: &Arc<Metrics>, rpc: Option<&'static Rpc>) -> Self {
        // Whoever goes before the end has cancelled it.
        Self { metrics: metrics.clone(), rpc, begun: Instant::now(), code: Code::Cancelled }
    }

    /// The headers, or the trailers, of the answer.
    pub(crate) fn saw(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.code = status.code();
        }
    }

    /// It was refused before anything of it was looked at.
    pub(crate) fn refused(&mut self, status: &Status) {
        self.code = status.code();
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let (service, method) = self.rpc.map_or(("Other", "Other"), |rpc| (rpc.service, rpc.method));
        self.metrics.answered(service, method, self.code, self.begun.elapsed());
    }
}

fn number(unsigned: u64) -> i64 {
    i64::try_from(unsigned).unwrap_or(i64::MAX)
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0_u64).saturating_mul(1024)
}

fn open_files() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

/// A code as it stands in the gRPC specification.
fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn rendered() -> String {
        let metrics = Metrics::new(Counter::default());
        metrics.answered("KeyService", "GetKey", Code::NotFound, Duration::from_millis(3));
        metrics.render(&Standing {
            callers: [("open", 1, 2), ("health", 0, 0), ("known", 3, 4), ("local", 0, 0), ("watch", 0, 0)],
            connections: [("clients", 5), ("socket", 6), ("monitoring", 7)],
            applied_index: u64::MAX,
            ..Standing::default()
        })
    }

    /// What a scraper gets, to the letter, for what is not the machine's.
    #[test]
    fn golden_lines_stay() {
        let text = rendered();
        for line in [
            "keyclave_calls_total{service=\"KeyService\",method=\"GetKey\",code=\"NOT_FOUND\"} 1",
            "keyclave_call_duration_seconds_bucket{le=\"0.005\",service=\"KeyService\",method=\"GetKey\"} 1",
            "keyclave_calls_under_way{caller=\"known\"} 3",
            "keyclave_request_body_bytes{caller=\"known\"} 4",
            "keyclave_connections{listener=\"clients\"} 5",
            "keyclave_unsealed 0",
            "keyclave_ledger_applied_index 9223372036854775807",
            "keyclave_audit_records_missing_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn the_machine_is_seen() {
        assert!(resident_bytes() > 1024 * 1024 && open_files() > 2);
    }

    #[test]
    fn the_page_lists_every_metric_and_nothing_else() {
        let page = include_str!("../../../docs/metrics.md");
        let cells = |line: &str| -> Vec<String> {
            line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
        };
        let listed: BTreeSet<(String, String, String)> = page
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(cells)
            .map(|cells| (cells[0].clone(), cells[1].clone(), cells[3].clone()))
            .collect();
        let text = rendered();
        let about = |kind: &str| -> Vec<(String, String)> {
            let said = text.lines().filter_map(|line| line.strip_prefix(kind)?.split_once(' '));
            said.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
        };
        let helps = about("# HELP ");
        let shown: BTreeSet<(String, String, String)> = about("# TYPE ")
            .into_iter()
            .map(|(name, kind)| {
                let help = helps.iter().find(|(other, _)| *other == name).map(|(_, help)| help.clone());
                (name, kind, help.unwrap().trim_end_matches('.').to_owned())
            })
            .collect();
        assert_eq!(listed, shown);
        assert!(shown.len() >= 14);
    }
}
