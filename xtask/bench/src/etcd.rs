//! etcd's side: its binaries, a cluster of three, and a client that puts.

pub(crate) mod find;

mod certificates;

pub(crate) mod cluster;

pub(crate) mod put;
