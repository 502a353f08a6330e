//! An nginx that does what Ingresses say, as ingress-nginx does: the paths of all Ingresses of a host in one server,
//! and for each of them what its annotations say.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use charts::manifest::Manifest;
use k8s_openapi::api::networking::v1::Ingress;

use super::{Ca, HOST};
use crate::backend::Stack;
use crate::backend::local::Beside;
use crate::client::credentials::KeyPair;
use crate::env::Env;

const PORT: u16 = 443;
const ANNOTATION: &str = "nginx.ingress.kubernetes.io/";

/// Starts it in front of a stack, with a certificate of this CA.
pub(super) async fn start(env: &Env, program: &Path, stack: &dyn Stack, ca: &Ca) -> Result<Beside> {
    let locations = locations(stack)?;
    let KeyPair { certificate, key } = ca.issue(&[HOST])?;
    let prepare = move |folder: &Path, address: SocketAddr| -> Result<Vec<String>> {
        let servers: String = locations
            .iter()
            .map(|(host, locations)| {
                format!("server {{\nlisten {address} ssl http2;\nserver_name {host};\n{locations}location / {{\nreturn 404;\n}}\n}}\n")
            })
            .collect();
        let at = folder.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "scgi", "uwsgi"]
            .iter()
            .map(|what| format!("{what}_temp_path {at}/{what};\n"))
            .collect();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log {at}/access;\n\
             {temporary}ssl_certificate {at}/tls.crt;\nssl_certificate_key {at}/tls.key;\n{servers}}}\n"
        );
        for (name, text) in [("nginx.conf", &text), ("tls.crt", &certificate), ("tls.key", &key)] {
            fs_err::write(folder.join(name), text)?;
        }
        let config = folder.join("nginx.conf").display().to_string();
        Ok(["-e", "stderr", "-c", config.as_str()].map(str::to_owned).to_vec())
    };
    env.backend.beside("front", program, PORT, Box::new(prepare)).await
}

/// The locations of each host.
fn locations(stack: &dyn Stack) -> Result<BTreeMap<String, String>> {
    let mut hosts: BTreeMap<String, String> = BTreeMap::new();
    let mut seen = 0;
    for manifest in stack.render().manifests.iter().filter(|m| m.kind == "Ingress") {
        seen += 1;
        add(manifest, stack, &mut hosts).with_context(|| format!("reading {}", manifest.id()))?;
    }
    ensure!(seen > 0, "no Ingress is rendered");
    Ok(hosts)
}

fn add(manifest: &Manifest, stack: &dyn Stack, hosts: &mut BTreeMap<String, String>) -> Result<()> {
    let ingress: Ingress = manifest.parse()?;
    let annotations = ingress.metadata.annotations.unwrap_or_default();
    let setting = |name: &str| annotations.get(&format!("{ANNOTATION}{name}"));
    let (module, scheme) = match setting("backend-protocol").map(String::as_str) {
        None | Some("HTTP") => ("proxy", "http"),
        Some("HTTPS") => ("proxy", "https"),
        Some("GRPC") => ("grpc", "grpc"),
        Some("GRPCS") => ("grpc", "grpcs"),
        Some(other) => anyhow::bail!("no backend-protocol {other}"),
    };
    let mut directives = String::new();
    // Without the annotation the limits of ingress-nginx are those of nginx.
    if let Some(size) = setting("proxy-body-size") {
        directives.push_str(&format!("client_max_body_size {size};\n"));
    }
    for time in ["read", "send"] {
        if let Some(seconds) = setting(&format!("proxy-{time}-timeout")) {
            directives.push_str(&format!("{module}_{time}_timeout {seconds}s;\n"));
        }
    }
    let spec = ingress.spec.context("it has no spec")?;
    for rule in spec.rules.unwrap_or_default() {
        let host = hosts.entry(rule.host.context("a rule without a host")?).or_default();
        for path in rule.http.context("a rule without paths")?.paths {
            let service = path.backend.service.context("a path without a Service")?;
            let port = service
                .port
                .and_then(|port| port.number)
                .context("a port without a number")?;
            let namespace = stack.namespace();
            let reached = stack.reach(&format!("http://{}.{namespace}.svc:{port}", service.name))?;
            let address = reached.strip_prefix("http://").context("an address")?;
            let exact = if path.path_type == "Exact" { "= " } else { "" };
            let wanted = path.path.context("a path without a path")?;
            host.push_str(&format!(
                "location {exact}{wanted} {{\n{directives}{module}_pass {scheme}://{address};\n}}\n"
            ));
        }
    }
    Ok(())
}
