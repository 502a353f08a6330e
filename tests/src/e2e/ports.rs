//! Free ports for stacks that run side by side on one machine.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use rand::RngExt;

use crate::failure::{Failure, Kind};

/// Below the range that Linux takes for outgoing connections, above the ones that services like.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
const ATTEMPTS: usize = 2_000;

/// Hands out ports that nothing listens on, and none of them twice.
#[derive(Debug, Clone, Default)]
pub struct Ports {
    taken: Arc<Mutex<HashSet<u16>>>,
}

impl Ports {
    /// A port that is free for TCP and UDP on all addresses now.
    pub fn free(&self) -> Result<u16> {
        let mut taken = self
            .taken
            .lock()
            .map_err(|_| anyhow::anyhow!("another thread failed while it chose a port"))?;
        let mut random = rand::rng();
        for _ in 0..ATTEMPTS {
            let port = random.random_range(RANGE);
            if !taken.contains(&port) && is_free(port) {
                taken.insert(port);
                return Ok(port);
            }
        }
        Err(Failure::err(
            Kind::Environment,
            format!("no free port between {} and {}", RANGE.start, RANGE.end),
            "see what listens there: `ss -tlnp`",
        ))
    }
}

/// Whether nothing listens on the port, TCP or UDP, on any address.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
        && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        && UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_handed_out_once() {
        let ports = Ports::default();
        let handed: HashSet<u16> = (0..200).map(|_| ports.clone().free().unwrap()).collect();
        assert_eq!(handed.len(), 200);
    }

    #[test]
    fn a_port_in_use_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
