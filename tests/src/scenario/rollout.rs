//! `rollout`: a configuration that can't work is reported in the program's own words, soon.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::values;
use crate::backend::StackSpec;
use crate::env::Env;

/// Longer than anything here may take: an error before it is no timeout. A Tempo 3.0 whose receiver fails takes a minute
/// to end.
const READY: Duration = Duration::from_secs(120);

/// A way to break the configuration, and what the program is expected to say.
struct Case {
    what: &'static str,
    values: &'static str,
    says: &'static str,
}

pub(super) async fn run(env: &Env) -> Result<()> {
    let cases = [
        Case {
            what: "an unknown key in Tempo's configuration",
            values: "{tempo-stack: {tempo: {config: {nonsense: 1}}}}",
            says: "field nonsense not found",
        },
        Case {
            what: "an unknown key in the Collector's configuration",
            values: "{tempo-stack: {otelCollector: {config: {nonsense: {}}}}}",
            says: "has invalid keys: nonsense",
        },
        Case {
            what: "a port that Tempo has taken twice",
            values: "{tempo-stack: {tempo: {config: {distributor: {receivers: {otlp: {protocols: {http: {endpoint: \"0.0.0.0:3200\"}}}}}}}}}",
            says: "address already in use",
        },
        Case {
            what: "a port that the Collector has taken twice",
            values: "{tempo-stack: {otelCollector: {config: {receivers: {otlp/again: {protocols: {http: {endpoint: \"0.0.0.0:4318\"}}}}, service: {pipelines: {traces: {receivers: [jaeger, otlp, otlp/again]}}}}}}}",
            says: "address already in use",
        },
        Case {
            what: "a file that Tempo can't read",
            values: "{tempo-stack: {tempo: {config: {overrides: {per_tenant_override_config: /etc/tempo/none.yaml}}, disk: {guard: {enabled: false}}}}}",
            says: "none.yaml: no such file",
        },
        Case {
            what: "a file that the Collector can't read",
            values: "{tempo-stack: {otelCollector: {config: {receivers: {otlp: {protocols: {grpc: {tls: {cert_file: /etc/otelcol/none.pem, key_file: /etc/otelcol/none.key}}}}}}}}}",
            says: "none.",
        },
    ];
    for case in cases {
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
    let stack = env.start(&StackSpec::new(values(case.values)?)).await?;
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
