//! What a container sees, and what stands in for it on this machine.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};
use regex::Regex;
use serde_yaml::Value;

use super::super::network::Network;
use super::super::objects::{Objects, Pod, PodService};
use super::{HOST_IP, Hosts};

/// How a pod names itself inside a longer text. `0.0.0.0/0` is a network.
const OWN: [&str; 5] = ["127.0.0.1", "0.0.0.0", "localhost", "[::]", "[::1]"];
/// The same as a whole text.
const OWN_ALONE: [&str; 2] = ["::", "::1"];
/// A host name, with a port or without: `tempo:3200`, `tempo.observability.svc.cluster.local`.
static HOST: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"([a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9-]+)*)(?::([0-9]{1,5}))?").ok());

/// What a container sees, and what stands in for it here.
pub(super) struct World<'a> {
    pub(super) objects: &'a Objects,
    pub(super) namespace: &'a str,
    pub(super) network: &'a Network,
    /// Who looks; none for this machine.
    pub(super) pod: Option<&'a Pod>,
    pub(super) mounts: Vec<(String, PathBuf)>,
    pub(super) replacements: Vec<String>,
    pub(super) hosts: Hosts,
}

impl World<'_> {
    pub(super) fn note(&mut self, line: String) {
        if !self.replacements.contains(&line) {
            self.replacements.push(line);
        }
    }

    /// A file of a ConfigMap or Secret. YAML is changed scalar by scalar, a configuration of nginx as one text; what
    /// is neither stays as it is.
    pub(super) fn document(&mut self, key: &str, text: &str) -> Result<String> {
        if Path::new(key).extension().is_some_and(|e| e == "conf") {
            return self.text(text);
        }
        let is_yaml = Path::new(key).extension().is_some_and(|e| e == "yaml" || e == "yml");
        match serde_yaml::from_str::<Value>(text) {
            Ok(mut value) if is_yaml => {
                self.value(&mut value)?;
                self.loopback(&mut value);
                serde_yaml::to_string(&value).context("writing YAML")
            }
            _ => Ok(text.to_owned()),
        }
    }

    fn value(&mut self, value: &mut Value) -> Result<()> {
        match value {
            Value::String(text) => *text = self.text(text)?,
            Value::Sequence(items) => {
                let mut replaced = Vec::with_capacity(items.len());
                for mut item in std::mem::take(items) {
                    match item.as_str().map(|text| self.peers(text)).transpose()?.flatten() {
                        Some(peers) => replaced.extend(peers.into_iter().map(Value::from)),
                        None => {
                            self.value(&mut item)?;
                            replaced.push(item);
                        }
                    }
                }
                *items = replaced;
            }
            Value::Mapping(map) => map.iter_mut().try_for_each(|(_, item)| self.value(item))?,
            _ => {}
        }
        Ok(())
    }

    /// A Tempo that is all of its modules in one process reaches itself over gRPC at 127.0.0.1, whatever its
    /// configuration says (grafana/tempo, cmd/tempo/main.go, loadConfig). A pod has that address to itself,
    /// the processes of one machine share it: there the port has to be the pod's own.
    fn loopback(&mut self, document: &mut Value) {
        let Some(port) = self.pod.and_then(|pod| pod.loopback_port) else {
            return;
        };
        if document.get("target").is_some_and(|target| target != "all") {
            return;
        }
        if let Some(Value::Mapping(server)) = document.get_mut("server") {
            server.insert("grpc_listen_address".into(), HOST_IP.into());
            server.insert("grpc_listen_port".into(), port.into());
            self.note(format!("gRPC of Tempo's own modules = {HOST_IP}:{port}"));
        }
    }

    /// One scalar: mount paths, the pod itself, then Service names.
    pub(super) fn text(&mut self, text: &str) -> Result<String> {
        let text = self.paths(text);
        let text = self.own_address(&text)?;
        self.services(&text)
    }

    fn own_address(&mut self, text: &str) -> Result<String> {
        let Some(pod) = self.pod else {
            return Ok(text.to_owned());
        };
        let address = self.network.pod(&pod.name)?.to_string();
        if OWN_ALONE.contains(&text) {
            self.note(format!("{text} = {address}"));
            return Ok(address);
        }
        let mut result = text.to_owned();
        for own in OWN {
            // A whole host, and no network as `0.0.0.0/0` is one.
            let ends = if own == "0.0.0.0" { ":, \"'" } else { "/:, \"'" };
            if let Some(replaced) = replace_words(&result, own, &address, "=:, \"'/@", ends) {
                self.note(format!("{own} = {address}"));
                result = replaced;
            }
        }
        Ok(result)
    }

    fn paths(&mut self, text: &str) -> String {
        let mut result = text.to_owned();
        for (mount, host) in self.mounts.clone() {
            let shown = host.display().to_string();
            // A whole path: `/etc/tempo` in `-config.file=/etc/tempo/x`, not in `/my/etc/tempo` or `/etc/tempo2`.
            if let Some(replaced) = replace_words(&result, &mount, &shown, "=:, \"'", "/:, \"'\n") {
                self.note(format!("{mount} = {shown}"));
                result = replaced;
            }
        }
        result
    }

    /// `name:port` of a headless Service as the addresses of its pods; none if the text is anything else.
    fn peers(&mut self, text: &str) -> Result<Option<Vec<String>>> {
        let Some((host, port)) = text.split_once(':') else {
            return Ok(None);
        };
        let Ok(port) = port.parse() else { return Ok(None) };
        let Some(addresses) = self.resolve(host, Some(port))?.filter(|addresses| addresses.len() > 1) else {
            return Ok(None);
        };
        let peers: Vec<String> = addresses.iter().map(|address| format!("{address}:{port}")).collect();
        self.note(format!("{text} = {}", peers.join(", ")));
        Ok(Some(peers))
    }

    pub(super) fn services(&mut self, text: &str) -> Result<String> {
        let Some(pattern) = HOST.as_ref() else {
            return Ok(text.to_owned());
        };
        let mut result = String::new();
        let mut last = 0;
        for found in pattern.captures_iter(text) {
            let (Some(whole), host) = (found.get(0), &found[1]) else {
                continue;
            };
            let port = found.get(2).map(|port| port.as_str());
            // A word alone may mean anything.
            if port.is_none() && !host.contains(".svc") {
                continue;
            }
            let number = port.map(str::parse).transpose();
            let Ok(number) = number else { continue };
            let Some(addresses) = self.resolve(host, number)? else {
                continue;
            };
            let [address] = addresses[..] else {
                // Not replaced: the program asks for it, as it asks the DNS of a cluster.
                self.note(format!("{host} = {addresses:?} in the hosts file"));
                self.hosts.insert(host.to_owned(), addresses);
                continue;
            };
            result.push_str(&text[last..whole.start()]);
            let address = number.map_or_else(|| address.to_string(), |port| format!("{address}:{port}"));
            self.note(format!("{} = {address}", whole.as_str()));
            result.push_str(&address);
            last = whole.end();
        }
        result.push_str(&text[last..]);
        if let Some(unknown) = result
            .split(|c: char| !(c.is_ascii_alphanumeric() || "-._".contains(c)))
            .find(|word| (word.contains(".svc.") || word.ends_with(".svc")) && !self.hosts.contains_key(*word))
        {
            bail!("{unknown} is the name of no Service of this release");
        }
        Ok(result)
    }

    /// The addresses behind a name, as the cluster's DNS gives them; none if it is no name of ours.
    fn resolve(&self, host: &str, port: Option<u16>) -> Result<Option<Vec<Ipv4Addr>>> {
        if let Some(found) = self.resolve_service(host, port)? {
            return Ok(Some(found));
        }
        // `pod.service`, for each pod of a headless one.
        let Some((pod, rest)) = host.split_once('.') else {
            return Ok(None);
        };
        let Some(service) = self.named(rest).filter(|service| service.headless) else {
            return Ok(None);
        };
        let found = self.objects.pods_behind(service).find(|behind| behind.name == pod);
        found.map(|pod| Ok(vec![self.network.pod(&pod.name)?])).transpose()
    }

    fn resolve_service(&self, host: &str, port: Option<u16>) -> Result<Option<Vec<Ipv4Addr>>> {
        let Some(service) = self.named(host) else {
            return Ok(None);
        };
        if service.headless {
            let pods = self.objects.pods_behind(service).map(|pod| self.network.pod(&pod.name));
            return pods.collect::<Result<_>>().map(Some);
        }
        if let Some(port) = port
            && !service.ports.iter().any(|p| p.port == port)
        {
            bail!(
                "Service {} has no port {port}, which {host}:{port} asks for",
                service.name
            );
        }
        let from = self.pod.map(|pod| pod.name.as_str());
        Ok(Some(vec![self.network.service(from, &service.name)?]))
    }

    /// The Service that `name[.namespace[.svc…]]` means.
    fn named(&self, host: &str) -> Option<&PodService> {
        let mut parts = host.splitn(3, '.');
        let (name, namespace, rest) = (parts.next()?, parts.next(), parts.next());
        let service = self.objects.service(name)?;
        let own = service.namespace.as_deref().unwrap_or(self.namespace);
        let elsewhere =
            namespace.is_some_and(|n| n != own) || rest.is_some_and(|r| r != "svc" && !r.starts_with("svc."));
        (!elsewhere).then_some(service)
    }
}

/// The text with a word replaced wherever it stands between these characters, or at an end; none if it
/// doesn't.
fn replace_words(text: &str, word: &str, with: &str, before: &str, after: &str) -> Option<String> {
    let (mut result, mut from, mut found) = (text.to_owned(), 0, false);
    while let Some(at) = result[from..].find(word).map(|at| at + from) {
        let end = at + word.len();
        let starts = result[..at].chars().next_back().is_none_or(|c| before.contains(c));
        let ends = result[end..].chars().next().is_none_or(|c| after.contains(c));
        from = end;
        if starts && ends {
            result.replace_range(at..end, with);
            from = at + with.len();
            found = true;
        }
    }
    found.then_some(result)
}
