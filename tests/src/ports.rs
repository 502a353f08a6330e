//! Free ports of 127.0.0.1, and names that one process of the machine has.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use kit::failure::Failure;
use rand::RngExt;

/// Below the range that Linux takes for outgoing connections, above the ones that services like.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
const ATTEMPTS: usize = 2_000;

/// Hands out ports that nothing listens on, and none of them twice on this machine, even while the
/// program that is to listen hasn't started yet or is stopped for a while.
#[derive(Debug, Clone, Default)]
pub struct Ports {
    taken: Arc<Mutex<HashMap<u16, UnixListener>>>,
}

impl Ports {
    /// A port of 127.0.0.1 that is free for TCP and UDP now.
    pub fn free(&self) -> Result<u16> {
        let mut taken = self
            .taken
            .lock()
            .map_err(|_| anyhow::anyhow!("another thread failed while it chose a port"))?;
        let mut random = rand::rng();
        for _ in 0..ATTEMPTS {
            let port = random.random_range(RANGE);
            if let Some(claim) = claim(port).filter(|_| is_free(port)) {
                taken.insert(port, claim);
                return Ok(port);
            }
        }
        Err(Failure::environment(
            format!("no free port between {} and {}", RANGE.start, RANGE.end),
            "see what listens there: `ss -tlnp`",
        ))
    }
}

fn claim(port: u16) -> Option<UnixListener> {
    mark(&format!("port-{port}"))
}

/// Takes a name for as long as the mark lives, for all processes of this machine; none if it is taken. The
/// mark is an abstract socket (unix(7)), known where addresses and ports are: in the network namespace. No
/// file is left behind, and it goes with the process however that ends.
pub fn mark(name: &str) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("tempo-stack-{name}")).ok()?;
    UnixListener::bind_addr(&name).ok()
}

/// Whether nothing listens on the port of 127.0.0.1, TCP or UDP.
pub fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_port_is_handed_out_once() {
        let ports = Ports::default();
        let handed: HashSet<u16> = (0..200).map(|_| ports.clone().free().unwrap()).collect();
        assert_eq!(handed.len(), 200);
    }

    #[test]
    fn a_port_stays_reserved_for_as_long_as_its_ports_live() {
        let ports = Ports::default();
        let port = ports.free().unwrap();
        assert!(is_free(port) && claim(port).is_none());
        drop(ports);
        assert!(claim(port).is_some());
    }

    #[test]
    fn a_port_in_use_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
