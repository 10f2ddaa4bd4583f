//! Threads as a value: work that waits for the disk runs where the caller of a room says.
//!
//! In the product that is tokio's pool for blocking work; the simulator and the tests run it inline, because a
//! thread that returns at any time would make one seed give two histories.

/// Where work that blocks runs.
pub trait Threads: Send + Sync + 'static {
    /// Runs `work` at some time, once.
    fn run(&self, work: Box<dyn FnOnce() + Send>);
}

/// Runs work at once, on the caller's thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

impl Threads for Inline {
    fn run(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}
