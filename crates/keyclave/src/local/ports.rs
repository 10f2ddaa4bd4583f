//! Ports that are free on loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::failure::Failure;

/// Below the range from which the kernel takes ports for outgoing connections: one of those could take the port of a
/// node that is down for a moment, or connect to itself there.
const LEAST: u16 = 20_000;
/// Where that range begins on most machines.
const MOST: u16 = 32_000;

/// `count` different addresses on which nothing listens at this moment.
pub(crate) fn free(count: usize) -> Result<Vec<SocketAddr>, Failure> {
    let range = usize::from(MOST - LEAST);
    // Processes that look at the same time begin at different places.
    let begin = std::process::id() as usize * 37 % range;
    let addresses = (0..range).map(|step| LEAST + ((begin + step) % range) as u16);
    let free: Vec<_> = addresses
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .filter(|address| is_free(*address))
        .take(count)
        .collect();
    if free.len() == count {
        return Ok(free);
    }
    Err(Failure::failed(
        "PORTS",
        format!("fewer than {count} ports from {LEAST} to {MOST} are free on 127.0.0.1"),
    ))
}

/// Whether nothing listens there.
pub(crate) fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_use_are_passed_over() {
        let first = free(1).unwrap()[0];
        let _held = TcpListener::bind(first).unwrap();
        let others = free(9).unwrap();
        assert!(!others.contains(&first));
        assert_eq!(others.iter().collect::<std::collections::BTreeSet<_>>().len(), 9);
    }
}
