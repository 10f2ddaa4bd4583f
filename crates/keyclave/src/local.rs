//! Server processes on this machine, each with a directory of its own: what `dev`, `demo` and `bench` stand on.

pub(crate) mod place;

pub(crate) mod ports;

pub(crate) mod process;

pub(crate) mod told;

pub(crate) mod wait;

pub(crate) mod cluster;
