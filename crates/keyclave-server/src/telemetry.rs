//! Log lines: ids and kinds as fields, for people or for collectors, to standard error.
//!
//! Called once by the binary. Deliberately absent: anything secret, and key names above DEBUG; the places that log
//! see to that.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogLevel};

/// Why log lines go nowhere.
#[derive(Debug, thiserror::Error)]
#[error("logging was set up twice")]
pub struct TelemetryError;

/// From now on events are written.
pub fn start(format: LogFormat, level: LogLevel) -> Result<(), TelemetryError> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry();
    let started = match format {
        LogFormat::Text => registry.with(lines.with_ansi(false).with_filter(wanted(level))).try_init(),
        LogFormat::Json => {
            registry.with(lines.json().flatten_event(true).with_filter(wanted(level))).try_init()
        }
    };
    started.map_err(|_| TelemetryError)
}

/// Our own rooms at the level asked for; libraries only where something is wrong, unless everything is wanted.
fn wanted(level: LogLevel) -> Targets {
    let others = if level == LogLevel::Debug { LevelFilter::INFO } else { LevelFilter::ERROR };
    // openraft calls every unreachable peer an error; what stops a node is told by our own rooms.
    let raft = if level == LogLevel::Debug { LevelFilter::INFO } else { LevelFilter::OFF };
    Targets::new().with_default(others).with_target("openraft", raft).with_target("keyclave", filter(level))
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}
