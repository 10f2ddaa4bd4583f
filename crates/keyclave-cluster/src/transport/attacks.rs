//! What a member without the keyring, a stranger, or a broken network can do to the transport, and what must come
//! of it. Over the wire in memory with time standing still; what needs TLS itself is in `tls/tests.rs`.

mod calls;
mod flood;
mod keyed;
mod raft;
