//! `s3`: the documented example against a real S3 server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use charts::render::{merge, set};
use serde_yaml::Value;

use super::{Access, values};
use crate::backend::{Bucket, Component, ObjectStore, Stack, StackSpec};
use crate::client::engine::{Engine, tempo_config};
use crate::client::tempo::span_count;
use crate::env::Env;
use crate::model::corpus::{Corpus, Sample};
use crate::model::door::Door;
use crate::wait::{Look, wait_for};

const READY: Duration = Duration::from_secs(60);
const FOUND: Duration = Duration::from_secs(20);
pub(crate) const ACCESS_KEY: &str = "e2e-access-key";
pub(crate) const SECRET_KEY: &str = "e2e-secret-key";

pub(super) async fn run(env: &Env) -> Result<()> {
    let example = Example::read(env)?;
    let server = example.server(env).await?;
    let good = example.values(server.as_ref(), &example.bucket)?;
    let sample = Corpus::from_now(env.seed)?.sample(0);

    let stack = env.start(&example.spec(good.clone(), SECRET_KEY)).await?;
    stack.wait_ready(READY).await?;
    stored(env, stack.as_ref(), server.as_ref(), &sample).await?;
    no_secret_in_sight(env, stack.as_ref()).await?;
    env.finish(stack).await?;

    // Another release: nothing of the first one's volumes is there.
    let fresh = env.start(&example.spec(good, SECRET_KEY)).await?;
    fresh.wait_ready(READY).await?;
    let access = Access::new(fresh.as_ref())?;
    let found = access
        .tempo
        .wait_for_trace(sample.id, span_count(&sample.traces), FOUND, &env.cancel)
        .await;
    let detail = found.as_ref().map_or_else(
        |e| format!("{e:#}"),
        |f| format!("found after {} ms", f.elapsed.as_millis()),
    );
    env.recorder.check(
        "a fresh Tempo with an empty volume finds the old traces",
        found.is_ok(),
        detail,
    );
    env.finish(fresh).await?;

    let wrong_key = example.spec(example.values(server.as_ref(), &example.bucket)?, "not-the-key");
    refused(env, "a wrong key", &wrong_key, "signature we calculated does not match").await?;
    let no_bucket = example.spec(example.values(server.as_ref(), "no-such-bucket")?, SECRET_KEY);
    refused(
        env,
        "a missing bucket",
        &no_bucket,
        "no-such-bucket: The specified bucket does not exist",
    )
    .await
}

/// `values-s3-example.yaml`, and the Secret that its head tells the user to make.
pub(crate) struct Example {
    values: Value,
    pub bucket: String,
    secret: String,
    engine: Engine,
}

impl Example {
    /// A real S3 server with its bucket.
    pub async fn server(&self, env: &Env) -> Result<Arc<dyn ObjectStore>> {
        let bucket = Bucket {
            name: &self.bucket,
            access_key: ACCESS_KEY,
            secret_key: SECRET_KEY,
        };
        env.object_store(&bucket).await
    }

    pub fn read(env: &Env) -> Result<Example> {
        let file = env.workspace.root().join("charts/tempo-stack/values-s3-example.yaml");
        let text = fs_err::read_to_string(&file)?;
        let values: Value = serde_yaml::from_str(&text).with_context(|| format!("parsing {}", file.display()))?;
        let s3 = charts::manifest::lookup(&values, &["tempo", "storage", "s3"]).context("the example configures S3")?;
        let text = |key: &str| s3.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok(Example {
            bucket: text("bucket").context("the example names a bucket")?,
            secret: text("existingSecret").context("the example names a Secret")?,
            values,
            engine: env.engine()?,
        })
    }

    /// The example with its endpoint replaced by the server's.
    pub fn values(&self, server: &dyn ObjectStore, bucket: &str) -> Result<Value> {
        let mut stack = self.values.clone();
        set(
            &mut stack,
            &["tempo", "storage", "s3", "endpoint"],
            server.endpoint().into(),
        );
        set(&mut stack, &["tempo", "storage", "s3", "bucket"], bucket.into());
        let mut umbrella = values("{}")?;
        set(&mut umbrella, &["tempo-stack"], stack);
        // Blocks of seconds, so that one is in the bucket soon.
        merge(&mut umbrella, tempo_config(&self.engine.short_blocks(3))?);
        Ok(umbrella)
    }

    pub fn spec(&self, values: Value, secret_key: &str) -> StackSpec {
        let secret = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {}}}\nstringData:\n  AWS_ACCESS_KEY_ID: {ACCESS_KEY}\n  AWS_SECRET_ACCESS_KEY: {secret_key}\n",
            self.secret
        );
        StackSpec {
            objects: secret,
            ..StackSpec::new(values)
        }
    }
}

async fn stored(env: &Env, stack: &dyn Stack, server: &dyn ObjectStore, sample: &Sample) -> Result<()> {
    let access = Access::new(stack)?;
    let outcome = access.sender.send(Door::OtlpGrpc, &sample.traces).await?;
    env.recorder.check("taken", outcome.is_acked(), outcome.to_string());
    access
        .tempo
        .wait_for_trace(sample.id, span_count(&sample.traces), FOUND, &env.cancel)
        .await?;
    let in_bucket = wait_for("a block in the bucket", FOUND, &env.cancel, || async {
        let objects = server.objects().await?;
        let complete =
            objects.iter().any(|o| o.ends_with("meta.json")) && objects.iter().any(|o| o.ends_with("data.parquet"));
        Ok(if complete {
            Look::Found(objects.len())
        } else {
            Look::NotYet(format!("{objects:?}"))
        })
    })
    .await;
    let detail = in_bucket.as_ref().map_or_else(
        |e| format!("{e:#}"),
        |o| format!("{} objects after {:.1} s", o.value, o.elapsed.as_secs_f64()),
    );
    env.recorder
        .check("blocks appear in the bucket", in_bucket.is_ok(), detail);
    Ok(())
}

/// The key is in the Secret and nowhere else.
async fn no_secret_in_sight(env: &Env, stack: &dyn Stack) -> Result<()> {
    let mut places = Vec::new();
    if stack
        .render()
        .manifests
        .iter()
        .any(|m| m.kind != "Secret" && m.text.contains(SECRET_KEY))
    {
        places.push("a manifest");
    }
    for component in Component::ALL {
        if stack.logs(component).await?.contains(SECRET_KEY) {
            places.push("a log");
        }
    }
    env.recorder.check(
        "the key is in no manifest and no log",
        places.is_empty(),
        format!("{places:?}"),
    );
    Ok(())
}

async fn refused(env: &Env, what: &str, spec: &StackSpec, says: &str) -> Result<()> {
    let stack = env.start(spec).await?;
    let (ok, detail) = match stack.wait_ready(READY).await {
        Ok(()) => (false, "it became ready".to_owned()),
        Err(error) => {
            let said = format!("{error:#}");
            (said.contains(says), said)
        }
    };
    env.recorder
        .check(format!("{what} ends in a failure that names it"), ok, detail);
    env.finish(stack).await
}
