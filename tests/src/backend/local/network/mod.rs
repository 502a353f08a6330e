//! The network of a stack: a block of loopback addresses of its own, in which every pod has one and every
//! Service one for each pod that asks for it, so that a relay knows who connects.

mod front;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use kit::failure::Failure;
use rand::RngExt;
use tokio::sync::watch;

pub use self::front::Protocol;
use self::front::{Behind, Front, PodState, Pods, Route};
use super::objects::{Objects, PodPort, PodService};
use crate::backend::Fault;
use crate::ports::mark;

/// The second and the third number of a block. 127.0.0.0/16 is left to what machines use it for.
const BLOCKS: (std::ops::RangeInclusive<u8>, std::ops::RangeInclusive<u8>) = (1..=254, 0..=255);
/// Of 65,024 blocks a free one is found soon.
const ATTEMPTS: usize = 1_000;
/// The last number of an address; 255 would be a broadcast anywhere else.
const LAST: u8 = 254;

/// A claimed 127.x.y.0/24 and what is in it. Dropping it ends every connection that it relays.
#[derive(Debug)]
pub struct Network {
    block: (u8, u8),
    plan: Mutex<Plan>,
    pods: watch::Sender<Pods>,
    fronts: Mutex<Vec<Opened>>,
    disturbed: Arc<AtomicU64>,
    /// No other process of this machine takes the block. The kernel lets go of it when this one ends.
    _claim: UnixListener,
}

/// A port by its Service, its name and its number.
type ServicePort = (String, String, u16);

/// A front, and what it stands for.
#[derive(Debug)]
struct Opened {
    front: Front,
    /// The pod that connects; none for this machine.
    from: Option<String>,
    /// None in front of a pod alone.
    port: Option<ServicePort>,
    behind: watch::Sender<Behind>,
}

#[derive(Debug, Default)]
struct Plan {
    used: u8,
    /// Addresses of Services by who asks (nobody: this machine) and name, and whether they are open.
    services: BTreeMap<(Option<String>, String), (Ipv4Addr, bool)>,
}

impl Network {
    /// Claims a block that no other run on this machine has.
    pub fn claim() -> Result<Network> {
        let mut random = rand::rng();
        for _ in 0..ATTEMPTS {
            let block = (random.random_range(BLOCKS.0), random.random_range(BLOCKS.1));
            if let Some(claim) = mark(&format!("net-127.{}.{}", block.0, block.1)) {
                return Ok(Network {
                    block,
                    plan: Mutex::default(),
                    pods: watch::Sender::new(Pods::new()),
                    fronts: Mutex::default(),
                    disturbed: Arc::default(),
                    _claim: claim,
                });
            }
        }
        Err(Failure::environment(
            "no block of loopback addresses is free",
            "see what runs on this machine: `cargo xtask status`",
        ))
    }

    /// An address that nothing else in this network has.
    pub fn address(&self) -> Result<Ipv4Addr> {
        self.next(&mut lock(&self.plan))
    }

    fn next(&self, plan: &mut Plan) -> Result<Ipv4Addr> {
        if plan.used == LAST {
            return Err(Failure::environment(
                format!("the stack needs more than {LAST} addresses"),
                "run fewer replicas on this machine",
            ));
        }
        plan.used += 1;
        Ok(Ipv4Addr::new(127, self.block.0, self.block.1, plan.used))
    }

    /// Gives a pod its address, which it keeps when it is replaced.
    pub fn add_pod(&self, name: &str) -> Result<()> {
        let state = PodState::new(self.address()?);
        self.pods.send_modify(|pods| {
            pods.insert(name.to_owned(), state);
        });
        Ok(())
    }

    /// The address of a pod.
    pub fn pod(&self, name: &str) -> Result<Ipv4Addr> {
        let pods = self.pods.borrow();
        let pod = pods.get(name).with_context(|| format!("there is no pod {name}"))?;
        Ok(pod.address)
    }

    /// The address at which a pod, or this machine, reaches a Service. It relays once [`Network::open`] was
    /// called.
    pub fn service(&self, from: Option<&str>, name: &str) -> Result<Ipv4Addr> {
        let mut plan = lock(&self.plan);
        let key = (from.map(str::to_owned), name.to_owned());
        if let Some((address, _)) = plan.services.get(&key) {
            return Ok(*address);
        }
        let address = self.next(&mut plan)?;
        plan.services.insert(key, (address, false));
        Ok(address)
    }

    /// Lets Services lead where these objects say, as an upgrade leaves them: who was connected stays connected, ports of
    /// Services that are gone close, and those that are new open. An address stays with the name of its Service.
    pub async fn lead(&self, objects: &Objects) -> Result<()> {
        let gone: Vec<Opened> = lock(&self.fronts)
            .extract_if(.., |opened| {
                let Some(port) = &opened.port else { return false };
                let behind = behind(objects, opened.from.as_deref(), port);
                behind.map(|behind| opened.behind.send_replace(behind)).is_none()
            })
            .collect();
        for opened in gone {
            opened.front.close().await;
        }
        {
            let mut plan = lock(&self.plan);
            plan.services.retain(|(_, name), _| objects.service(name).is_some());
            plan.services.values_mut().for_each(|(_, open)| *open = false);
        }
        self.pods.send_modify(|_| {});
        self.open(objects).await
    }

    /// Forgets a pod that is gone for good.
    pub fn remove_pod(&self, name: &str) {
        self.pods.send_modify(|pods| {
            pods.remove(name);
        });
    }

    /// Opens the ports of every Service that somebody asked for.
    pub async fn open(&self, objects: &Objects) -> Result<()> {
        let wanted: Vec<_> = {
            let mut plan = lock(&self.plan);
            let closed = plan.services.iter_mut().filter(|(_, (_, open))| !open);
            closed
                .map(|((from, name), (address, open))| {
                    *open = true;
                    (from.clone(), name.clone(), *address)
                })
                .collect()
        };
        for (from, name, address) in wanted {
            let service = objects.service(&name).with_context(|| format!("no Service {name}"))?;
            for port in &service.ports {
                let listen = SocketAddr::from((address, port.port));
                let of = Some(service_port(service, port));
                let opened = |opened: &Opened| opened.front.address() == listen && opened.port == of;
                if lock(&self.fronts).iter().any(opened) {
                    continue;
                }
                self.relay(objects, service, port, from.clone(), listen)
                    .await
                    .map_err(|error| {
                        Failure::environment(
                            format!("Service {name} can't listen at {listen}: {error}"),
                            format!(
                                "a program that listens at every address has the port: `ss -tulnp | grep :{}`",
                                port.port
                            ),
                        )
                    })?;
            }
        }
        Ok(())
    }

    /// Makes a port of a Service reachable at one more address; port 0 is a free one. Says where.
    pub async fn publish(
        &self,
        objects: &Objects,
        service: &PodService,
        port: &PodPort,
        listen: SocketAddr,
    ) -> std::io::Result<SocketAddr> {
        self.relay(objects, service, port, None, listen).await
    }

    async fn relay(
        &self,
        objects: &Objects,
        service: &PodService,
        port: &PodPort,
        from: Option<String>,
        listen: SocketAddr,
    ) -> std::io::Result<SocketAddr> {
        let behind = leads(objects, from.as_deref(), service, port);
        self.front(listen, port.protocol, from, behind, Some(service_port(service, port)))
            .await
    }

    async fn front(
        &self,
        listen: SocketAddr,
        protocol: Protocol,
        from: Option<String>,
        behind: Behind,
        port: Option<ServicePort>,
    ) -> std::io::Result<SocketAddr> {
        let (sender, receiver) = watch::channel(behind);
        let route = Route {
            from: from.clone(),
            behind: receiver,
            pods: self.pods.subscribe(),
            disturbed: Arc::clone(&self.disturbed),
        };
        let front = Front::open(listen, protocol, route).await?;
        let address = front.address();
        lock(&self.fronts).push(Opened {
            front,
            from,
            port,
            behind: sender,
        });
        Ok(address)
    }

    /// Puts a relay in front of the TCP port of a pod that is ready, so that it can be disturbed; says where.
    pub async fn stand_before(&self, pod: &str, port: u16) -> Result<SocketAddr> {
        let listen = SocketAddr::from((self.address()?, port));
        let behind = Behind {
            pods: vec![pod.to_owned()],
            port,
        };
        self.set_ready(pod, true);
        let opened = self.front(listen, Protocol::Tcp, None, behind, None).await;
        opened.with_context(|| format!("listening at {listen}"))
    }

    /// How often something was done to a connection through a Service: it was ended, held back or answered.
    pub fn disturbed(&self) -> u64 {
        self.disturbed.load(Ordering::Relaxed)
    }

    /// Whether Services send to the pod.
    pub fn set_ready(&self, pod: &str, ready: bool) {
        self.change(pod, |state| state.ready = ready);
    }

    /// Lets a fault happen to what goes through Services to the pod and from it; says whether it is one of the
    /// network.
    pub fn disturb(&self, pod: &str, fault: Fault) -> bool {
        self.change(pod, |state| match fault {
            Fault::CutOff => state.cut_off = true,
            Fault::Slow(delay) => state.delay = delay,
            Fault::Silent => state.silent = true,
            Fault::Breaking(bytes) => state.breaks_after = Some(bytes),
            Fault::Refusing(status) => state.refuses = Some(status),
            Fault::Frozen => {}
        });
        fault != Fault::Frozen
    }

    /// Ends every fault of a pod.
    pub fn recover(&self, pod: &str) {
        self.change(pod, |state| {
            *state = PodState {
                ready: state.ready,
                ..PodState::new(state.address)
            }
        });
    }

    fn change(&self, pod: &str, change: impl FnOnce(&mut PodState)) {
        self.pods.send_if_modified(|pods| {
            let Some(state) = pods.get_mut(pod) else { return false };
            let before = *state;
            change(state);
            *state != before
        });
    }
}

fn service_port(service: &PodService, port: &PodPort) -> ServicePort {
    (service.name.clone(), port.name.clone(), port.port)
}

/// Where a port leads by these objects; none if its Service has none of that name and number any more.
fn behind(objects: &Objects, from: Option<&str>, (service, name, number): &ServicePort) -> Option<Behind> {
    let service = objects.service(service)?;
    let port = service.ports.iter().find(|p| (&p.name, &p.port) == (name, number))?;
    Some(leads(objects, from, service, port))
}

/// A pod that a policy keeps away finds nobody behind the Service.
fn leads(objects: &Objects, from: Option<&str>, service: &PodService, port: &PodPort) -> Behind {
    Behind {
        pods: objects
            .pods_serving(service, port)
            .filter(|pod| objects.may_reach(from, pod, port))
            .map(|pod| pod.name.clone())
            .collect(),
        port: port.target,
    }
}

/// Nothing that panics holds it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_networks_have_no_address_in_common_and_one_has_none_twice() {
        let (one, two) = (Network::claim().unwrap(), Network::claim().unwrap());
        assert_ne!(one.block, two.block);
        one.add_pod("a").unwrap();
        let addresses = [
            one.pod("a").unwrap(),
            one.service(None, "tempo").unwrap(),
            one.service(Some("a"), "tempo").unwrap(),
            one.address().unwrap(),
        ];
        assert!(addresses.iter().all(|address| address.is_loopback()));
        assert_eq!(addresses.map(|address| address.octets()[3]), [1, 2, 3, 4]);
        assert_eq!(one.service(None, "tempo").unwrap(), addresses[1]);
    }

    #[test]
    fn a_block_is_free_again_when_its_network_is_gone() {
        let network = Network::claim().unwrap();
        let name = format!("net-127.{}.{}", network.block.0, network.block.1);
        assert!(mark(&name).is_none());
        drop(network);
        assert!(mark(&name).is_some());
    }

    #[test]
    fn a_network_that_is_full_says_so() {
        let network = Network::claim().unwrap();
        for _ in 0..LAST {
            network.address().unwrap();
        }
        assert!(network.address().is_err());
    }
}
