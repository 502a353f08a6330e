//! How a client gets in where a receiver asks for more than spans: TLS, and who sends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use charts::manifest::{Manifest, lookup};
use k8s_openapi::api::core::v1::Pod;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_yaml::Value;
use tonic::transport::{Certificate, Endpoint, Identity};

/// What a client knows and shows. The default is a client in plain text that shows nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    /// How it talks TLS; none: plain text.
    pub tls: Option<Tls>,
    /// The value of the header, or the metadata, `authorization`.
    pub authorization: Option<String>,
}

/// What a client needs for TLS.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    /// The name that the server's certificate must have.
    pub name: String,
    /// The CA of the server's certificate, in PEM, or several.
    pub ca: String,
    /// The certificate that it shows, for mutual TLS.
    pub identity: Option<KeyPair>,
}

/// A certificate and its private key, both in PEM.
#[derive(Debug, Clone)]
pub(crate) struct KeyPair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Tls {
    /// A client that shows no certificate.
    pub fn trusting(ca: String, name: impl Into<String>) -> Tls {
        Tls {
            name: name.into(),
            ca,
            identity: None,
        }
    }
}

/// The value of the header `authorization` for a user's name and password (RFC 7617).
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

impl Credentials {
    /// What the chart's own test shows, from the Secrets that are rendered with it: an `extraObjects` of the values
    /// may hold them. A client in plain text where the receivers ask for nothing.
    ///
    /// An error if they ask and there is no test, or if a Secret isn't rendered.
    pub fn rendered(manifests: &[Manifest]) -> Result<Credentials> {
        let config = manifests
            .iter()
            .find(|m| m.kind == "ConfigMap" && m.name.ends_with("-otel-collector"));
        let config = config
            .and_then(|m| m.get_str(&["data", "config.yaml"]))
            .unwrap_or_default();
        let config: Value = serde_yaml::from_str(config).context("reading the Collector's configuration")?;
        let receivers = lookup(&config, &["receivers"]);
        let asks = |block: &str| receivers.is_some_and(|receivers| names(receivers, block));
        if !asks("tls") && !asks("auth") {
            return Ok(Credentials::default());
        }
        let test = manifests.iter().find(|m| m.kind == "Pod" && m.name.ends_with("-test"));
        let test = test.context(
            "the receivers ask for TLS or a credential, and no helm test shows one: set helmTest.enabled, and what \
             helmTest.client needs",
        )?;
        let pod = test.parse::<Pod>()?.spec.context("the test has a spec")?;
        let file = |volume: &str, path: &str| -> Result<Option<String>> {
            let mut volumes = pod.volumes.iter().flatten();
            let Some(volume) = volumes.find(|v| v.name == volume) else {
                return Ok(None);
            };
            let source = volume.secret.as_ref().context("the test mounts Secrets")?;
            let name = source.secret_name.as_deref().unwrap_or_default();
            let secret = manifests.iter().find(|m| m.kind == "Secret" && m.name == name);
            let secret = secret.with_context(|| format!("Secret {name} is not among extraObjects"))?;
            let item = source.items.iter().flatten().find(|item| item.path == path);
            let key = &item
                .with_context(|| format!("volume {} has no {path}", volume.name))?
                .key;
            let text = secret.get_str(&["stringData", key]);
            let text = text.with_context(|| format!("Secret {name} has no stringData.{key}"))?;
            Ok(Some(text.to_owned()))
        };
        let shown = file("door-credentials", "credentials")?;
        let first = |text: String| text.split_whitespace().next().unwrap_or_default().to_owned();
        let basic = pod.containers.iter().flat_map(|c| c.env.iter().flatten());
        let basic = basic
            .into_iter()
            .any(|v| v.name == "AUTH" && v.value.as_deref() == Some("basic"));
        let authorization = shown.map(first).map(|text| match basic {
            true => format!("Basic {}", STANDARD.encode(text)),
            false => format!("Bearer {text}"),
        });
        let Some(ca) = file("door-ca", "ca.crt")? else {
            return Ok(Credentials {
                tls: None,
                authorization,
            });
        };
        let identity = match (
            file("door-certificate", "tls.crt")?,
            file("door-certificate", "tls.key")?,
        ) {
            (Some(certificate), Some(key)) => Some(KeyPair { certificate, key }),
            _ => None,
        };
        let service = manifests.iter().find(|m| m.kind == "Service" && serves_spans(m));
        let name = service.context("the Collector has a Service")?.name.clone();
        Ok(Credentials {
            tls: Some(Tls { name, ca, identity }),
            authorization,
        })
    }

    /// The gRPC endpoint at an address.
    pub fn endpoint(&self, address: SocketAddr) -> Result<Endpoint> {
        let scheme = self.scheme();
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).context("a gRPC address")?;
        let Some(tls) = &self.tls else { return Ok(endpoint) };
        let mut config = tonic::transport::ClientTlsConfig::new()
            .domain_name(&tls.name)
            .ca_certificate(Certificate::from_pem(&tls.ca));
        if let Some(KeyPair { certificate, key }) = &tls.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        endpoint.tls_config(config).context("TLS for gRPC")
    }

    /// The URL of an HTTP server at an address, without a slash at its end, and a client that gets in there.
    pub fn http(&self, address: SocketAddr) -> Result<(String, reqwest::Client)> {
        let mut headers = HeaderMap::new();
        if let Some(authorization) = &self.authorization {
            let mut value = HeaderValue::from_str(authorization).context("the header authorization")?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder()
            // Everything that it talks to is on this machine.
            .no_proxy()
            .connect_timeout(Duration::from_secs(2))
            .default_headers(headers)
            .tls_backend_preconfigured(self.rustls()?);
        let mut host = address.to_string();
        if let Some(tls) = &self.tls {
            builder = builder.resolve(&tls.name, address);
            host = format!("{}:{}", tls.name, address.port());
        }
        let client = builder.build().context("making an HTTP client")?;
        Ok((format!("{}://{host}", self.scheme()), client))
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The configuration for reqwest, which has no provider of its own here. In plain text nothing of it counts.
    fn rustls(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        if let Some(tls) = &self.tls {
            for ca in CertificateDer::pem_slice_iter(tls.ca.as_bytes()) {
                roots.add(ca.context("reading the CA")?).context("taking the CA")?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("the versions of TLS")?
            .with_root_certificates(roots);
        let Some(KeyPair { certificate, key }) = self.tls.as_ref().and_then(|tls| tls.identity.as_ref()) else {
            return Ok(config.with_no_client_auth());
        };
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<_, _>>()
            .context("reading the client's certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("reading the client's key")?;
        config
            .with_client_auth_cert(chain, key)
            .context("taking the client's certificate")
    }
}

/// An HTTP client in plain text that shows nothing.
pub(crate) fn http_client() -> Result<reqwest::Client> {
    // The address only matters for TLS.
    Ok(Credentials::default().http(SocketAddr::from(([127, 0, 0, 1], 0)))?.1)
}

/// Whether a key of that name is anywhere in a configuration.
fn names(value: &Value, key: &str) -> bool {
    let Value::Mapping(map) = value else { return false };
    map.iter()
        .any(|(name, inner)| name.as_str() == Some(key) || names(inner, key))
}

/// Whether a Service is the one that clients send to.
fn serves_spans(service: &Manifest) -> bool {
    let ports = service.get(&["spec", "ports"]).and_then(Value::as_sequence);
    let named = |port: &Value| port.get("name").and_then(Value::as_str) == Some("otlp-grpc");
    let of_collector =
        service.get_str(&["metadata", "labels", "app.kubernetes.io/component"]) == Some("otel-collector");
    of_collector && ports.into_iter().flatten().any(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use charts::manifest::parse_all;

    const RENDER: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: s-otel-collector}
data: {config.yaml: "receivers: {otlp: {protocols: {grpc: {tls: {cert_file: c}, auth: {authenticator: a}}}}}"}
---
apiVersion: v1
kind: Service
metadata: {name: traces, labels: {app.kubernetes.io/component: otel-collector}}
spec: {ports: [{name: otlp-grpc, port: 4317}]}
---
apiVersion: v1
kind: Secret
metadata: {name: tokens}
stringData: {tokens: "one two\nthree"}
---
apiVersion: v1
kind: Secret
metadata: {name: tls}
stringData: {ca.crt: CA}
---
apiVersion: v1
kind: Pod
metadata: {name: s-test}
spec:
  containers: [{name: t, env: [{name: AUTH, value: bearer}]}]
  volumes:
  - {name: door-ca, secret: {secretName: tls, items: [{key: ca.crt, path: ca.crt}]}}
  - {name: door-credentials, secret: {secretName: tokens, items: [{key: tokens, path: credentials}]}}
"#;

    fn rendered(text: &str) -> Result<Credentials> {
        Credentials::rendered(&parse_all(text).unwrap())
    }

    #[test]
    fn what_the_test_shows_is_what_clients_show() {
        let credentials = rendered(RENDER).unwrap();
        assert_eq!(credentials.authorization.unwrap(), "Bearer one");
        let tls = credentials.tls.unwrap();
        assert_eq!((tls.name.as_str(), tls.ca.as_str()), ("traces", "CA"));
        let basic = rendered(&RENDER.replace("value: bearer", "value: basic")).unwrap();
        assert_eq!(basic.authorization.unwrap(), "Basic b25l");
    }

    #[test]
    fn receivers_that_ask_for_nothing_are_told_nothing() {
        let open = RENDER.replace("tls: {cert_file: c}, auth: {authenticator: a}", "endpoint: e");
        let credentials = rendered(&open).unwrap();
        assert!(credentials.tls.is_none() && credentials.authorization.is_none());
    }

    #[test]
    fn a_secret_that_is_not_rendered_is_named() {
        let error = rendered(&RENDER.replace("metadata: {name: tokens}", "metadata: {name: other}")).unwrap_err();
        assert!(
            format!("{error:#}").contains("Secret tokens is not among extraObjects"),
            "{error:#}"
        );
    }
}
