//! Several nodes in one process, over a web of calls that can be cut, with tokio's time stopped.

mod attacks;
mod disk;
mod ferry;
mod keys;
mod lab;
mod leading;
mod membership;
mod snapshots;
mod storm;
mod suite;
mod web;
mod writing;
