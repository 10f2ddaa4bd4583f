//! Log lines: ids and kinds as fields, for people or for collectors, to standard error.
//!
//! Called once by the binary. Deliberately absent: anything secret, and key names above DEBUG; the places that log
//! see to that.

use tracing::level_filters::LevelFilter;

use crate::config::{LogFormat, LogLevel};

/// Why log lines go nowhere.
#[derive(Debug, thiserror::Error)]
#[error("logging was set up twice")]
pub struct TelemetryError;

/// From now on events are written.
pub fn start(format: LogFormat, level: LogLevel) -> Result<(), TelemetryError> {
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(filter(level))
        .with_target(false);
    let started = match format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| TelemetryError)
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}
