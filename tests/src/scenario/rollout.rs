//! `rollout`: a configuration that can't work is reported in the program's own words, soon.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::values;
use crate::backend::StackSpec;
use crate::env::Env;

/// Longer than anything here may take: an error before it is no timeout.
const READY: Duration = Duration::from_secs(60);

/// A way to break the configuration, and what the program is expected to say.
struct Case {
    what: &'static str,
    values: String,
    says: &'static str,
    /// Needs a port of the machine that another program has taken.
    shares_ports: bool,
}

pub(super) async fn run(env: &Env) -> Result<()> {
    let occupied = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("occupying a port")?;
    let port = occupied.local_addr().context("asking for the occupied port")?.port();
    let cases = [
        Case {
            what: "an unknown key in Tempo's configuration",
            values: "{tempo-stack: {tempo: {config: {nonsense: 1}}}}".into(),
            says: "field nonsense not found",
            shares_ports: false,
        },
        Case {
            what: "an unknown key in the Collector's configuration",
            values: "{tempo-stack: {otelCollector: {config: {nonsense: {}}}}}".into(),
            says: "has invalid keys: nonsense",
            shares_ports: false,
        },
        Case {
            what: "a port of Tempo in use",
            values: format!("{{tempo-stack: {{tempo: {{service: {{ports: {{http: {port}}}}}}}}}}}"),
            says: "address already in use",
            shares_ports: true,
        },
        Case {
            what: "a port of the Collector in use",
            values: format!("{{tempo-stack: {{otelCollector: {{service: {{ports: {{otlpHttp: {port}}}}}}}}}}}"),
            says: "address already in use",
            shares_ports: true,
        },
        Case {
            what: "a file that Tempo can't read",
            values: "{tempo-stack: {tempo: {config: {overrides: {per_tenant_override_config: /etc/tempo/none.yaml}}}}}".into(),
            says: "none.yaml: no such file",
            shares_ports: false,
        },
        Case {
            what: "a file that the Collector can't read",
            values: "{tempo-stack: {otelCollector: {config: {receivers: {otlp: {protocols: {grpc: {tls: {cert_file: /etc/otelcol/none.pem, key_file: /etc/otelcol/none.key}}}}}}}}}".into(),
            says: "none.",
            shares_ports: false,
        },
    ];
    for case in cases {
        if case.shares_ports && !env.backend.shares_ports() {
            env.recorder
                .skip(case.what, "every pod has ports of its own: nothing else can take one");
            continue;
        }
        broken(env, case).await?;
    }
    // The same stack without the mistakes: what was reported was the mistake and not the start.
    let stack = env.start(&StackSpec::new(values("{}")?)).await?;
    let ready = stack.wait_ready(READY).await;
    let detail = ready.as_ref().err().map(|error| format!("{error:#}"));
    env.recorder
        .check("without a mistake it starts", ready.is_ok(), detail.unwrap_or_default());
    env.finish(stack).await
}

async fn broken(env: &Env, case: Case) -> Result<()> {
    let begun = Instant::now();
    let stack = env.start(&StackSpec::new(values(&case.values)?)).await?;
    let outcome = stack.wait_ready(READY).await;
    let elapsed = begun.elapsed();
    let (ok, detail) = match outcome {
        Ok(()) => (false, "it became ready".to_owned()),
        Err(error) => {
            let said = format!("{error:#}");
            (said.contains(case.says) && elapsed < READY, said)
        }
    };
    env.recorder.measure(
        case.what,
        (elapsed.as_secs_f64() * 10.0).round() / 10.0,
        "s",
        ok,
        detail,
    );
    env.finish(stack).await
}
