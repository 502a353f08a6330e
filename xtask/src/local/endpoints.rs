//! Where a running stack is reached, as people and other programs read it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use stack_tests::backend::Endpoints;
use stack_tests::client::sdk::variables::Variables;

use crate::ctx::Ctx;

const FILE: &str = "endpoints.json";

/// Addresses by component and port name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Whether the Collector takes TLS only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    tls: bool,
    /// The tenant in whose name the chart's own test asks, where Tempo has tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(flatten)]
    ports: BTreeMap<String, BTreeMap<String, SocketAddr>>,
}

impl Shown {
    /// The endpoints of a stack, whose Collector may take TLS only.
    pub fn new(endpoints: &Endpoints, tls: bool) -> Shown {
        let mut shown: BTreeMap<String, BTreeMap<String, SocketAddr>> = BTreeMap::new();
        for ((component, port), address) in &endpoints.0 {
            shown
                .entry(component.to_string())
                .or_default()
                .insert(port.clone(), *address);
        }
        Shown {
            tls,
            tenant: None,
            ports: shown,
        }
    }

    /// The same where Tempo asks for a tenant.
    pub fn for_tenant(self, tenant: Option<String>) -> Shown {
        Shown { tenant, ..self }
    }

    /// The address of one port.
    pub fn get(&self, component: &str, port: &str) -> Option<SocketAddr> {
        self.ports.get(component)?.get(port).copied()
    }

    /// Writes them to the run folder, for `status` and for another `up`.
    pub fn write(&self, run: &Path) -> Result<()> {
        let file = run.join(FILE);
        let text = serde_json::to_string_pretty(self).context("writing JSON")?;
        // Whole or not at all: another process may read at any time.
        let temp = run.join("endpoints.json.new");
        fs_err::write(&temp, text)?;
        Ok(fs_err::rename(&temp, &file)?)
    }

    /// Reads them from a run folder; none if its stack isn't ready yet.
    pub fn read(run: &Path) -> Result<Option<Shown>> {
        let file = run.join(FILE);
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(Some(
                serde_json::from_str(&text).with_context(|| format!("parsing {}", file.display()))?,
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
        }
    }

    /// Prints them, with how to send and how to ask.
    pub fn print(&self, ctx: &Ctx) -> Result<()> {
        ctx.print(self, self.text())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (component, ports) in &self.ports {
            for (port, address) in ports {
                text.push_str(&format!("{component:<16} {port:<16} {address}\n"));
            }
        }
        let receiver = |port| self.get("otel-collector", port);
        if let Some(variables) = Variables::to(receiver("otlp-http"), receiver("otlp-grpc")) {
            for (n, (name, value)) in variables.0.iter().enumerate() {
                let secure = if self.tls {
                    value.replacen("http://", "https://", 1)
                } else {
                    value.clone()
                };
                let lead = if n == 0 { "send traces with" } else { "" };
                text.push_str(&format!("{lead:<16} {name}={secure}\n"));
            }
        }
        if let Some(query) = self.get("tempo", "http") {
            let tenant = self.tenant.iter().map(|id| format!(" --header 'X-Scope-OrgID: {id}'"));
            let tenant: String = tenant.collect();
            text.push_str(&format!("find them with   curl http://{query}/api/search{tenant}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use stack_tests::backend::Component;

    use super::*;

    fn shown(ports: &[(Component, &str, &str)]) -> String {
        let ports = ports.iter();
        let ports =
            ports.map(|(component, port, address)| ((*component, (*port).to_owned()), address.parse().unwrap()));
        Shown::new(&Endpoints(ports.collect()), false).text()
    }

    #[test]
    fn an_sdk_is_told_the_protocol_of_the_receiver_that_there_is() {
        let grpc = (Component::OtelCollector, "otlp-grpc", "127.0.0.1:4317");
        let http = (Component::OtelCollector, "otlp-http", "127.0.0.1:4318");
        assert!(shown(&[grpc, http]).ends_with(&lines("http://127.0.0.1:4318", "http/protobuf")));
        assert!(shown(&[grpc]).ends_with(&lines("http://127.0.0.1:4317", "grpc")));
        assert!(!shown(&[(Component::Tempo, "http", "127.0.0.1:3200")]).contains("OTEL_"));
    }

    #[test]
    fn an_sdk_is_told_of_tls_and_another_up_reads_it() {
        let ports = [(
            (Component::OtelCollector, "otlp-http".to_owned()),
            "127.0.0.1:4318".parse().unwrap(),
        )];
        let secure = Shown::new(&Endpoints(ports.into()), true);
        assert!(secure.text().contains("=https://127.0.0.1:4318"), "{}", secure.text());
        let folder = tempfile::tempdir().unwrap();
        secure.write(folder.path()).unwrap();
        assert_eq!(Shown::read(folder.path()).unwrap().unwrap(), secure);
    }

    fn lines(endpoint: &str, protocol: &str) -> String {
        format!(
            "send traces with OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}\n                 OTEL_EXPORTER_OTLP_PROTOCOL={protocol}\n"
        )
    }
}
