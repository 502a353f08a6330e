//! The environment variables that lead an OpenTelemetry SDK to the Collector
//! (opentelemetry.io/docs/specs/otel/protocol/exporter, "Configuration Options").

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// Where an SDK sends.
pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// How it sends.
pub const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
/// What the application calls itself.
pub(crate) const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// How an SDK sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Protobuf over gRPC.
    Grpc,
    /// Protobuf over HTTP.
    HttpProtobuf,
}

impl Protocol {
    /// The value of the variable.
    pub fn value(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::HttpProtobuf => "http/protobuf",
        }
    }

    /// The name of the Collector's port for it.
    pub(crate) fn port(self) -> &'static str {
        match self {
            Protocol::Grpc => "otlp-grpc",
            Protocol::HttpProtobuf => "otlp-http",
        }
    }

    /// What the Collector's metrics call it, in the label `transport`.
    pub(crate) fn transport(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::HttpProtobuf => "http",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.value())
    }
}

impl FromStr for Protocol {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Protocol> {
        let all = [Protocol::Grpc, Protocol::HttpProtobuf];
        let found = all.into_iter().find(|protocol| protocol.value() == text);
        found.with_context(|| format!("{PROTOCOL} is {text:?}, and the Collector speaks grpc and http/protobuf"))
    }
}

/// Variables by name, as they are set for an application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(pub BTreeMap<String, String>);

impl Variables {
    /// What leads an SDK to a Collector with these receivers: over HTTP, which most SDKs do by themselves, else
    /// over gRPC. None if it has neither.
    pub fn to(http: Option<SocketAddr>, grpc: Option<SocketAddr>) -> Option<Variables> {
        let over = |protocol| move |address| Variables::over(protocol, format!("http://{address}"));
        http.map(over(Protocol::HttpProtobuf))
            .or_else(|| grpc.map(over(Protocol::Grpc)))
    }

    fn over(protocol: Protocol, endpoint: String) -> Variables {
        // SDKs differ in the protocol that they choose by themselves: it has to be named with the port.
        let both = [(ENDPOINT, endpoint), (PROTOCOL, protocol.value().to_owned())];
        Variables(both.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// What the lines `export OTEL_NAME=value` of a text set.
    pub(crate) fn exported(text: &str) -> Result<Variables> {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("export "));
        let pairs = lines.filter_map(|line| line.split_once('='));
        let pairs = pairs.filter(|(name, _)| name.starts_with("OTEL_"));
        let mut variables = Variables::default();
        for (name, value) in pairs {
            if variables.0.insert(name.to_owned(), value.to_owned()).is_some() {
                bail!("{name} is exported twice");
            }
        }
        Ok(variables)
    }

    pub(crate) fn get(&self, name: &str) -> Result<&str> {
        let value = self.0.get(name).map(String::as_str);
        value.with_context(|| format!("{name} is not among the variables: {self}"))
    }

    /// With the endpoint replaced.
    pub(crate) fn at(mut self, endpoint: String) -> Variables {
        self.0.insert(ENDPOINT.into(), endpoint);
        self
    }

    /// Without a variable.
    pub(crate) fn without(mut self, name: &str) -> Variables {
        self.0.remove(name);
        self
    }
}

/// As a shell would set them in front of a command.
impl fmt::Display for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&pairs.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_preferred_and_the_protocol_always_named() {
        let (http, grpc) = ("127.0.0.1:4318".parse().ok(), "127.0.0.1:4317".parse().ok());
        for (http, shown) in [
            (
                http,
                "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            ),
            (
                None,
                "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
            ),
        ] {
            assert_eq!(Variables::to(http, grpc).unwrap().to_string(), shown);
        }
        assert_eq!(Variables::to(None, None), None);
    }

    #[test]
    fn exports_are_read_out_of_prose_and_refused_if_they_contradict_each_other() {
        let text = "An SDK sends there with\n  export OTEL_A=http://a:1\nexport PATH=/x\nexport OTEL_B=grpc\n";
        assert_eq!(
            Variables::exported(text).unwrap().to_string(),
            "OTEL_A=http://a:1 OTEL_B=grpc"
        );
        assert!(Variables::exported("export OTEL_A=1\nexport OTEL_A=2").is_err());
    }
}
