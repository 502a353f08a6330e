//! Service ports as addresses of this machine.
//!
//! A TCP port is a listener on the loopback address; each connection is carried by the API server to a
//! ready pod behind the Service, as `kubectl port-forward` does, and the pods take turns. UDP can't go that way: a NodePort
//! Service is made beside the release's and reached at a node's address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::{ListParams, PostParams};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::connection::Connection;
use super::pods;
use crate::backend::{Component, Endpoints};

/// A node on this machine or in this network answers sooner.
const NODE_ANSWERS: Duration = Duration::from_secs(2);
/// The part of a Service's name that marks the one made for UDP.
const UDP_SUFFIX: &str = "-e2e-udp";

type Carried = Arc<Mutex<Vec<(Component, AbortHandle)>>>;

/// The listeners of a stack. Dropping them ends all connections.
#[derive(Default)]
pub(crate) struct Forwards {
    listeners: Vec<AbortHandle>,
    carried: Carried,
}

impl Forwards {
    /// Makes every port of these Services reachable, but for headless ones: those only name pods.
    pub async fn open(
        connection: &Connection,
        namespace: &str,
        services: &[(Component, Service)],
    ) -> Result<(Forwards, Endpoints)> {
        let mut forwards = Forwards::default();
        let mut endpoints = Endpoints::default();
        for (component, service) in services {
            let spec = service.spec.clone().unwrap_or_default();
            if spec.cluster_ip.as_deref() == Some("None") {
                continue;
            }
            for port in spec.ports.iter().flatten().filter(|port| !is_udp(port)) {
                let address = forwards.listen(connection, namespace, *component, &spec, port).await?;
                endpoints.0.insert((*component, name(port)), address);
            }
            if spec.ports.iter().flatten().any(is_udp) {
                endpoints
                    .0
                    .extend(udp(connection, namespace, *component, service).await?);
            }
        }
        Ok((forwards, endpoints))
    }

    /// Ends the connections to a component: its pod is gone, and nobody may go on talking to it.
    pub fn reset(&self, component: Component) {
        let mut carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner);
        carried.retain(|(to, task)| {
            if *to == component {
                task.abort();
            }
            *to != component && !task.is_finished()
        });
    }

    async fn listen(
        &mut self,
        connection: &Connection,
        namespace: &str,
        component: Component,
        spec: &ServiceSpec,
        port: &ServicePort,
    ) -> Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("listening on 127.0.0.1")?;
        let address = listener.local_addr().context("asking for the port")?;
        let pods: Api<Pod> = connection.api(namespace);
        let selector = selector(spec)?;
        let target = port.target_port.clone().unwrap_or(IntOrString::Int(port.port));
        let carried = self.carried.clone();
        let turns = Arc::new(AtomicUsize::default());
        let accepting = tokio::spawn(async move {
            // Ends with the listener; a connection that can't be made is the client's to notice.
            while let Ok((stream, _)) = listener.accept().await {
                let (pods, selector, target) = (pods.clone(), selector.clone(), target.clone());
                let turn = turns.fetch_add(1, Ordering::Relaxed);
                let task = tokio::spawn(async move {
                    let _ = carry(stream, &pods, &selector, &target, turn).await;
                });
                let mut carried = carried.lock().unwrap_or_else(PoisonError::into_inner);
                carried.retain(|(_, task)| !task.is_finished());
                carried.push((component, task.abort_handle()));
            }
        });
        self.listeners.push(accepting.abort_handle());
        Ok(address)
    }
}

impl Drop for Forwards {
    fn drop(&mut self) {
        self.listeners.iter().for_each(AbortHandle::abort);
        let carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner);
        carried.iter().for_each(|(_, task)| task.abort());
    }
}

/// One connection, from its first byte to its last. `turn` chooses among the pods that are ready.
async fn carry(
    mut stream: TcpStream,
    pods: &Api<Pod>,
    selector: &str,
    target: &IntOrString,
    turn: usize,
) -> Result<()> {
    // Small messages back and forth: waiting for more to send would make each slower.
    stream.set_nodelay(true).context("setting up a connection")?;
    let list = pods
        .list(&ListParams::default().labels(selector))
        .await
        .context("listing pods")?;
    // Where a port has a name, a Service leads to those of its pods that have one of that name.
    let ready: Vec<(&Pod, u16)> = list
        .iter()
        .filter(|pod| pods::is_ready(pod))
        .filter_map(|pod| Some((pod, container_port(pod, target).ok()?)))
        .collect();
    let next = turn.checked_rem(ready.len()).context("no pod is ready")?;
    let (pod, port) = *ready.get(next).context("no pod is ready")?;
    let name = pod.metadata.name.as_deref().context("a pod has a name")?;
    let mut forwarder = pods.portforward(name, &[port]).await.context("forwarding")?;
    let mut there = forwarder.take_stream(port).context("a forwarded port has a stream")?;
    let carried = tokio::io::copy_bidirectional(&mut stream, &mut there).await;
    forwarder.abort();
    carried.map(|_| ()).context("carrying bytes")
}

fn container_port(pod: &Pod, target: &IntOrString) -> Result<u16> {
    let number = match target {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut ports = containers.flat_map(|c| c.ports.iter().flatten());
            ports.find(|p| p.name.as_ref() == Some(name)).map(|p| p.container_port)
        }
    };
    let number = number.with_context(|| format!("the pod has no port {target:?}"))?;
    u16::try_from(number).with_context(|| format!("{number} is not a port"))
}

/// The UDP ports of a Service, at the address of a node. None where this machine has no way there.
async fn udp(
    connection: &Connection,
    namespace: &str,
    component: Component,
    service: &Service,
) -> Result<BTreeMap<(Component, String), SocketAddr>> {
    let made = node_port_service(connection, namespace, service).await?;
    let ports = made.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let ports: Vec<(&ServicePort, u16)> = ports
        .filter_map(|port| Some((port, u16::try_from(port.node_port?).ok()?)))
        .collect();
    // Whether a datagram arrived nobody says, so a TCP port of the same Service tells whether there is
    // a way: a refusal is an answer too, of a Service without a ready pod.
    let tcp = ports.iter().find(|(port, _)| !is_udp(port)).map(|(_, number)| *number);
    let Some(node) = reachable_node(connection, tcp).await? else {
        return Ok(BTreeMap::new());
    };
    let reached = ports.into_iter().filter(|(port, _)| is_udp(port));
    Ok(reached
        .map(|(port, number)| ((component, name(port)), SocketAddr::new(node, number)))
        .collect())
}

async fn node_port_service(connection: &Connection, namespace: &str, service: &Service) -> Result<Service> {
    let spec = service.spec.clone().unwrap_or_default();
    let mut ports: Vec<ServicePort> = spec.ports.unwrap_or_default();
    for port in &mut ports {
        port.node_port = None;
    }
    let name = service.metadata.name.as_deref().unwrap_or_default();
    // A Service's name has at most 63 characters.
    let name: String = name.chars().take(63 - UDP_SUFFIX.len()).collect();
    let object = Service {
        metadata: ObjectMeta {
            name: Some(format!("{}{UDP_SUFFIX}", name.trim_end_matches('-'))),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            type_: Some("NodePort".into()),
            selector: spec.selector,
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    let api: Api<Service> = connection.api(namespace);
    let name = object.metadata.name.clone().unwrap_or_default();
    if let Some(there) = api.get_opt(&name).await.context("looking for the Service for UDP")? {
        return Ok(there);
    }
    api.create(&PostParams::default(), &object)
        .await
        .context("making a Service for UDP")
}

async fn reachable_node(connection: &Connection, port: Option<u16>) -> Result<Option<IpAddr>> {
    let Some(port) = port else { return Ok(None) };
    let nodes: Api<Node> = connection.global();
    let nodes = nodes.list(&ListParams::default()).await.context("listing nodes")?;
    let addresses: Vec<IpAddr> = nodes
        .iter()
        .flat_map(|node| node.status.iter().flat_map(|s| s.addresses.iter().flatten()))
        .filter(|address| address.type_ == "InternalIP")
        .filter_map(|address| address.address.parse().ok())
        .collect();
    for address in addresses {
        match tokio::time::timeout(NODE_ANSWERS, TcpStream::connect((address, port))).await {
            Ok(Ok(_)) => return Ok(Some(address)),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Ok(Some(address)),
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Ok(None)
}

fn selector(spec: &ServiceSpec) -> Result<String> {
    let Some(labels) = spec.selector.as_ref().filter(|s| !s.is_empty()) else {
        bail!("a Service selects no pods");
    };
    Ok(pods::selector(labels))
}

fn is_udp(port: &ServicePort) -> bool {
    port.protocol.as_deref() == Some("UDP")
}

fn name(port: &ServicePort) -> String {
    port.name.clone().unwrap_or_else(|| port.port.to_string())
}
