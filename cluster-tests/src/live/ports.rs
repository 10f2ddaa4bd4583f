//! Ports that are free on loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::LiveError;

/// Below the range from which the kernel takes ports for outgoing connections.
const LEAST: u16 = 10_000;
const MOST: u16 = 20_000;

/// `count` different addresses on which nothing listens at this moment.
pub fn free(count: usize) -> Result<Vec<SocketAddr>, LiveError> {
    let range = usize::from(MOST - LEAST);
    // Processes that look at the same time begin at different places.
    let begin = std::process::id() as usize * 37 % range;
    let ports = (LEAST..MOST).cycle().skip(begin).take(range);
    let addresses = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let free: Vec<_> = addresses.filter(|at| TcpListener::bind(at).is_ok()).take(count).collect();
    if free.len() == count {
        return Ok(free);
    }
    Err(LiveError::system("finding free ports")(std::io::ErrorKind::AddrInUse.into()))
}
