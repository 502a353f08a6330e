//! Where the stack's Services are reached from this machine.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use kit::failure::Failure;

use super::network::Network;
use super::objects::{Objects, PodPort, PodService};
use crate::backend::{Component, Endpoints, Published};

/// Where every port of every Service is reached from this machine.
pub async fn publish(network: &Network, objects: &Objects, published: Published) -> Result<Endpoints> {
    let mut endpoints = Endpoints::default();
    let mut taken = BTreeSet::new();
    let mut services: Vec<&PodService> = objects.services.iter().filter(|service| !service.headless).collect();
    let component = |service: &PodService| {
        let pod = objects.pods_behind(service).next();
        service.component.or_else(|| pod.map(|pod| pod.component))
    };
    // Applications send to the Collector, which has the ports first.
    services.sort_by_key(|service| component(service) != Some(Component::OtelCollector));
    for service in services {
        let Some(component) = component(service) else { continue };
        for port in &service.ports {
            let own = SocketAddr::from((network.service(None, &service.name)?, port.port));
            let localhost = match published {
                Published::OwnAddresses => None,
                Published::Localhost => taken.insert((port.port, port.protocol)).then_some(port.port),
                Published::LocalhostFreePorts => Some(0),
            };
            let address = match localhost {
                None => own,
                Some(number) => {
                    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
                    let opened = network.publish(objects, service, port, listen).await;
                    opened.map_err(|error| cannot_publish(component, port, &error))?
                }
            };
            endpoints.0.insert((component, port.name.clone()), address);
        }
    }
    Ok(endpoints)
}

/// Why a port that was asked for by number can't be had.
fn cannot_publish(component: Component, PodPort { name, port, .. }: &PodPort, error: &io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::AddrInUse {
        return Failure::environment(
            format!("port {port}, which {component} needs for {name}, is taken by another program"),
            format!("see which with `ss -tulnp | grep :{port}` and stop it, or run `cargo xtask up --free-ports`"),
        );
    }
    Failure::environment(
        format!("port {port}, which {component} needs for {name}, can't be listened at: {error}"),
        "choose another with `cargo xtask up --free-ports`",
    )
}
