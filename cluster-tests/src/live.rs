//! Real server processes under real faults, driven with the SDK: what the simulator cannot show, because there the
//! kernel, the disk and the clock are not real. Called by `tests/live_*.rs`; histories go to the invariants that the
//! simulator uses too.
//!
//! The binary is the one beside the test's own (`cargo build -p keyclave` makes it), or `KEYCLAVE_BINARY`.
//!
//! Deliberately absent: repeatability of what happens. What happens differs from run to run; what must hold of it
//! does not.

mod failure;

mod ports;

mod place;

mod process;

mod disk;

mod cluster;

mod journal;

mod load;

mod judge;

pub use cluster::{Cluster, SHARES_NEEDED};
pub use disk::{Disk, on_disks};
pub use failure::LiveError;
pub use journal::{Caller, Journal};
pub use judge::{untouched_trails, verdict, verdict_under_load};
pub use load::{Load, Tally};
pub use place::Place;
pub use ports::free;
pub use process::{Node, Server, until};

use std::fmt;
use std::io::Write;

/// Says, past the test runner's capture, that a fault was really made, or why it was not.
pub fn say(line: fmt::Arguments<'_>) {
    // A run whose standard error is closed has nobody to read it.
    let _ = writeln!(std::io::stderr(), "live: {line}");
}
