//! The client against servers in this process: scripted ones over memory, on paused time, for what it does when
//! nodes fail; and TLS over loopback for whom it believes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_update,
    reason = "helpers of tests fail by panicking, and one macro fills responses of one field and of many"
)]

mod scripted;

mod failover;
mod floors;
mod shares;
mod tls;
mod writes;
