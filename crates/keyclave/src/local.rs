//! Server processes on this machine, each with a directory of its own: what `dev` and `demo` stand on.

pub(crate) mod place;

pub(crate) mod ports;

pub(crate) mod process;

pub(crate) mod wait;
