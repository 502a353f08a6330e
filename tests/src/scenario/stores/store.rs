//! `s3`, `s3-tls`, `gcs`, `azure`: blocks in a bucket of a real object store. The first is the documented example.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use charts::render::{merge, set};
use serde_json::json;
use serde_yaml::Value;

use crate::backend::{Bucket, Component, Kept, ObjectStore, Session, Stack, StackSpec, Store};
use crate::client::engine::{Engine, tempo_config};
use crate::client::install::{Missing, NODE, NPM, NPM_CI, PIP, PIP_INSTALL, PYTHON, Package, Program};
use crate::client::tempo::span_count;
use crate::env::Env;
use crate::model::corpus::{Corpus, Sample};
use crate::model::door::Door;
use crate::scenario::{Access, values};
use crate::wait::{Look, wait_for};

const READY: Duration = Duration::from_secs(60);
/// A query of a store that is slow to answer on a busy machine takes its time.
const FOUND: Duration = Duration::from_secs(60);
/// A block is marked and deleted in cycles of five seconds, of which a busy machine takes its time.
const GONE: Duration = Duration::from_secs(60);
pub(crate) const ACCESS_KEY: &str = "e2e-access-key";
pub(crate) const SECRET_KEY: &str = "e2e-secret-key";
const ACCOUNT: &str = "e2eaccount";
/// Keys of an account are base64.
const ACCOUNT_KEY: &str = "ZTJlLWFjY291bnQta2V5";

const KMS_KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/traces";
/// A store whose certificate is in the Secret of the credentials.
const PRIVATE: &str = "{tempo: {storage: {backend: s3, s3: {region: us-east-1, forcePathStyle: true, \
                       existingSecret: tempo-s3, caSecret: tempo-s3}}}}";

const MOTO: Package = Package {
    name: "moto",
    // With an older one it needs more packages than are pinned.
    programs: &[
        Program {
            at_least: (3, 11),
            ..PYTHON
        },
        PIP,
    ],
    files: &["requirements.txt"],
    registry: "PyPI",
    install: PIP_INSTALL,
};
const AZURITE: Package = Package {
    name: "azurite",
    programs: &[NODE, NPM],
    files: &["package.json", "package-lock.json"],
    registry: "npm",
    install: NPM_CI,
};

pub(in crate::scenario) async fn s3(env: &Env) -> Result<()> {
    run(env, Example::read(env)?).await
}

pub(in crate::scenario) async fn s3_tls(env: &Env) -> Result<()> {
    private_authority(env, Example::of(env, Store::S3Tls, PRIVATE, "tempo-s3")?).await?;
    match env.install("stores", &MOTO).await? {
        Ok(folder) => aws(env, Example::of(env, Store::Aws(folder), PRIVATE, "tempo-s3")?).await,
        Err(Missing(why)) => {
            let what = "a session token, encryption, a storage class and tags reach the store";
            env.recorder.skip(what, why);
            Ok(())
        }
    }
}

/// Tempo talks to a store whose certificate it is told to trust, and not to one that it isn't.
async fn private_authority(env: &Env, mut example: Example) -> Result<()> {
    let server = example.connect(env).await?;
    let good = example.values(server.as_ref(), &example.bucket)?;
    let sample = Corpus::from_now(env.seed)?.sample(0);
    let stack = env.start(&example.spec(good.clone(), example.key())).await?;
    stack.wait_ready(READY).await?;
    stored(env, stack.as_ref(), server.as_ref(), &sample).await?;
    env.finish(stack).await?;

    let stranger = example.spec(with_s3(good, "{caSecret: ''}")?, example.key());
    let what = "a store of an unknown authority";
    refused(env, what, &stranger, "certificate signed by unknown authority").await
}

/// Temporary credentials are let in, and what else is asked of the store arrives there.
async fn aws(env: &Env, mut example: Example) -> Result<()> {
    let server = example.connect(env).await?;
    let token = "existingSecretKeys: {sessionToken: AWS_SESSION_TOKEN}";
    let good = with_s3(
        example.values(server.as_ref(), &example.bucket)?,
        &format!("{{{token}, storageClass: STANDARD_IA, tags: {{team: traces, cost: shared}}}}"),
    )?;
    let corpus = Corpus::from_now(env.seed)?;
    let (old, new) = (corpus.sample(0), corpus.sample(1));
    let spec = |sse: &str| -> Result<StackSpec> {
        let values = with_s3(good.clone(), &format!("{{sse: {sse}}}"))?;
        Ok(example.spec(values, example.key()))
    };

    let by_kms = format!("{{type: SSE-KMS, kmsKeyId: \"{KMS_KEY}\"}}");
    let stack = env.start(&spec(&by_kms)?).await?;
    stack.wait_ready(READY).await?;
    stored(env, stack.as_ref(), server.as_ref(), &old).await?;
    no_secret_in_sight(env, stack.as_ref(), example.key()).await?;
    env.finish(stack).await?;
    let kept = server.kept().await?;
    let ours = |kept: &Kept| kept.storage_class == "STANDARD_IA" && kept.tags == 2;
    let by_kms =
        |kept: &Kept| kept.encryption.as_deref() == Some("aws:kms") && kept.kms_key.as_deref() == Some(KMS_KEY);
    env.recorder.check(
        "the store is told of every object which key encrypts it, its storage class and its tags",
        !kept.is_empty() && kept.iter().all(|kept| ours(kept) && by_kms(kept)),
        format!("{kept:?}"),
    );

    let fresh = env.start(&spec("{type: SSE-S3}")?).await?;
    fresh.wait_ready(READY).await?;
    let what = "a fresh Tempo with an empty volume finds the old traces";
    found(env, fresh.as_ref(), &old, what).await?;
    let outcome = Access::new(fresh.as_ref())?
        .sender
        .send(Door::OtlpGrpc, &new.traces)
        .await?;
    env.recorder.check("taken", outcome.is_acked(), outcome.to_string());
    let by_store = wait_for("a block with the store's own key", FOUND, &env.cancel, || async {
        let kept = server.kept().await?;
        let by_store =
            |kept: &&Kept| kept.name.ends_with("data.parquet") && kept.encryption.as_deref() == Some("AES256");
        Ok(match kept.iter().filter(by_store).count() {
            0 => Look::NotYet(format!("{kept:?}")),
            blocks => Look::Found(blocks),
        })
    })
    .await;
    let name = "with SSE-S3 the store is told to encrypt with its own key";
    env.recorder
        .worked(name, &by_store, |blocks| format!("{} blocks", blocks.value));
    env.finish(fresh).await?;

    let wrong = example.spec(good, "another-token");
    refused(env, "a wrong session token", &wrong, "token is malformed").await
}

/// Values of the umbrella with more below `tempo.storage.s3`.
fn with_s3(mut umbrella: Value, s3: &str) -> Result<Value> {
    let more = format!("{{tempo-stack: {{tempo: {{storage: {{s3: {s3}}}}}}}}}");
    merge(&mut umbrella, values(&more)?);
    Ok(umbrella)
}

pub(in crate::scenario) async fn gcs(env: &Env) -> Result<()> {
    let stack = "{tempo: {storage: {backend: gcs, gcs: {insecure: true, prefix: team-a}}}}";
    run(env, Example::of(env, Store::Gcs, stack, "tempo-gcs")?).await
}

pub(in crate::scenario) async fn azure(env: &Env) -> Result<()> {
    let folder = match env.install("stores", &AZURITE).await? {
        Ok(folder) => folder,
        Err(Missing(why)) => {
            env.recorder.skip("blocks in a container of Azure", why);
            return Ok(());
        }
    };
    let script = folder.join("node_modules/azurite/dist/src/blob/main.js");
    let prefix = if env.engine()?.deletes_from_folders_at_azure() {
        "team-a"
    } else {
        "''"
    };
    let stack = format!(
        "{{tempo: {{storage: {{backend: azure, azure: {{account: {ACCOUNT}, existingSecret: tempo-azure, prefix: {prefix}}}}}}}}}"
    );
    run(env, Example::of(env, Store::Azure(script), &stack, "tempo-azure")?).await
}

async fn run(env: &Env, mut example: Example) -> Result<()> {
    let server = example.connect(env).await?;
    let good = example.values(server.as_ref(), &example.bucket)?;
    let sample = Corpus::from_now(env.seed)?.sample(0);

    let stack = env.start(&example.spec(good.clone(), example.key())).await?;
    stack.wait_ready(READY).await?;
    stored(env, stack.as_ref(), server.as_ref(), &sample).await?;
    if example.uses_key() {
        no_secret_in_sight(env, stack.as_ref(), example.key()).await?;
    }
    stack.restart_container(Component::Tempo).await?;
    stack.wait_ready(READY).await?;
    found(env, stack.as_ref(), &sample, "a restarted Tempo finds the traces").await?;
    env.finish(stack).await?;

    // Another release: nothing of the first one's volumes is there.
    let fresh = env.start(&example.spec(good.clone(), example.key())).await?;
    fresh.wait_ready(READY).await?;
    let what = "a fresh Tempo with an empty volume finds the old traces";
    found(env, fresh.as_ref(), &sample, what).await?;
    env.finish(fresh).await?;

    let mut short = good;
    merge(
        &mut short,
        values("{tempo-stack: {tempo: {retention: {period: 10s}}}}")?,
    );
    merge(&mut short, tempo_config(env.engine()?.quick_retention())?);
    let deletes = env.start(&example.spec(short, example.key())).await?;
    deletes.wait_ready(READY).await?;
    emptied(env, server.as_ref()).await?;
    env.finish(deletes).await?;

    let [wrong_key, no_bucket] = example.complaints();
    refused(env, "a wrong key", &example.with_wrong_key(server.as_ref())?, wrong_key).await?;
    let missing = example.spec(example.values(server.as_ref(), "no-such-bucket")?, example.key());
    refused(env, "a missing bucket", &missing, no_bucket).await
}

/// Values of the chart with a store, and the Secret that they name.
pub(crate) struct Example {
    store: Store,
    values: Value,
    pub bucket: String,
    secret: String,
    /// Of the server, if only we know it.
    certificate: Option<String>,
    /// That the server gave.
    session: Option<Session>,
    engine: Engine,
}

impl Example {
    /// `values-s3-example.yaml`, with the Secret that its head tells the user to make.
    pub fn read(env: &Env) -> Result<Example> {
        let file = env.workspace.root().join("charts/tempo-stack/values-s3-example.yaml");
        let text = fs_err::read_to_string(&file)?;
        let values: Value = serde_yaml::from_str(&text).with_context(|| format!("parsing {}", file.display()))?;
        let s3 = charts::manifest::lookup(&values, &["tempo", "storage", "s3"]).context("the example configures S3")?;
        let text = |key: &str| s3.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok(Example {
            store: Store::S3,
            bucket: text("bucket").context("the example names a bucket")?,
            secret: text("existingSecret").context("the example names a Secret")?,
            values,
            certificate: None,
            session: None,
            engine: env.engine()?,
        })
    }

    fn of(env: &Env, store: Store, stack: &str, secret: &str) -> Result<Example> {
        Ok(Example {
            store,
            values: values(stack)?,
            bucket: "tempo-traces".into(),
            secret: secret.into(),
            certificate: None,
            session: None,
            engine: env.engine()?,
        })
    }

    /// The same, and from then on the Secret holds what only that server knows.
    async fn connect(&mut self, env: &Env) -> Result<Arc<dyn ObjectStore>> {
        let server = self.server(env).await?;
        self.certificate = server.certificate().map(str::to_owned);
        self.session = server.session().cloned();
        Ok(server)
    }

    /// A real server of the store with its bucket.
    pub async fn server(&self, env: &Env) -> Result<Arc<dyn ObjectStore>> {
        let access_key = match &self.store {
            Store::Azure(_) => ACCOUNT,
            Store::S3 | Store::S3Tls | Store::Aws(_) | Store::Gcs => ACCESS_KEY,
        };
        let bucket = Bucket {
            store: self.store.clone(),
            name: &self.bucket,
            access_key,
            secret_key: self.key(),
        };
        env.object_store(&bucket).await
    }

    /// The values with the place of the store replaced by the server's.
    pub fn values(&self, server: &dyn ObjectStore, bucket: &str) -> Result<Value> {
        let address = server.endpoint();
        let ([place, name], address) = match &self.store {
            Store::S3 | Store::S3Tls | Store::Aws(_) => (["endpoint", "bucket"], address),
            Store::Gcs => (["endpoint", "bucket"], format!("http://{address}/storage/v1/")),
            Store::Azure(_) => (["endpointSuffix", "container"], address),
        };
        let mut stack = self.values.clone();
        for (key, value) in [(place, address.as_str()), (name, bucket)] {
            set(&mut stack, &["tempo", "storage", self.section(), key], value.into());
        }
        let mut umbrella = values("{}")?;
        set(&mut umbrella, &["tempo-stack"], stack);
        // Blocks of seconds, so that one is in the bucket soon.
        merge(&mut umbrella, tempo_config(&self.engine.short_blocks(3))?);
        Ok(umbrella)
    }

    pub fn spec(&self, values: Value, key: &str) -> StackSpec {
        let mut data = BTreeMap::new();
        match &self.store {
            Store::S3 | Store::S3Tls => {
                data.insert("AWS_ACCESS_KEY_ID", ACCESS_KEY);
                data.insert("AWS_SECRET_ACCESS_KEY", key);
            }
            Store::Aws(_) => {
                let session = self.session.as_ref();
                data.insert("AWS_ACCESS_KEY_ID", session.map_or("", |session| &session.access_key));
                data.insert(
                    "AWS_SECRET_ACCESS_KEY",
                    session.map_or("", |session| &session.secret_key),
                );
                data.insert("AWS_SESSION_TOKEN", key);
            }
            Store::Gcs => drop(data.insert("key.json", key)),
            Store::Azure(_) => drop(data.insert("AZURE_STORAGE_KEY", key)),
        }
        data.extend(self.certificate.as_deref().map(|pem| ("ca.crt", pem)));
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.secret},
            "stringData": data,
        });
        StackSpec {
            objects: secret.to_string(),
            ..StackSpec::new(values)
        }
    }

    fn section(&self) -> &'static str {
        match &self.store {
            Store::S3 | Store::S3Tls | Store::Aws(_) => "s3",
            Store::Gcs => "gcs",
            Store::Azure(_) => "azure",
        }
    }

    /// Of the credentials, what nobody else may see.
    fn key(&self) -> &str {
        match &self.store {
            Store::Azure(_) => ACCOUNT_KEY,
            Store::Aws(_) => self.session.as_ref().map_or("", |session| &session.token),
            Store::S3 | Store::S3Tls | Store::Gcs => SECRET_KEY,
        }
    }

    /// Whether the server asks who one is: that of GCS takes everybody.
    fn uses_key(&self) -> bool {
        self.store != Store::Gcs
    }

    fn with_wrong_key(&self, server: &dyn ObjectStore) -> Result<StackSpec> {
        let mut wrong = self.values(server, &self.bucket)?;
        if self.store == Store::Gcs {
            // What is in the file never comes to the server, but Tempo has to find and read it.
            let gcs = format!("{{insecure: false, existingSecret: {}}}", self.secret);
            merge(
                &mut wrong,
                values(&format!("{{tempo-stack: {{tempo: {{storage: {{gcs: {gcs}}}}}}}}}"))?,
            );
        }
        // Another key, in base64.
        Ok(self.spec(wrong, "bm90LXRoZS1rZXk="))
    }

    /// What Tempo says of a wrong key, and of a bucket that isn't there.
    fn complaints(&self) -> [&'static str; 2] {
        match &self.store {
            Store::S3 | Store::S3Tls | Store::Aws(_) => [
                "signature we calculated does not match",
                "no-such-bucket: The specified bucket does not exist",
            ],
            Store::Gcs => ["credentials", "bucket doesn't exist"],
            Store::Azure(_) => ["AuthorizationFailure", "ContainerNotFound"],
        }
    }
}

pub(in crate::scenario) async fn found(env: &Env, stack: &dyn Stack, sample: &Sample, what: &str) -> Result<()> {
    let access = Access::new(stack)?;
    let found = access
        .tempo
        .wait_for_trace(sample.id, span_count(&sample.traces), FOUND, &env.cancel)
        .await;
    env.recorder.worked(what, &found, |found| {
        format!("found after {} ms", found.elapsed.as_millis())
    });
    Ok(())
}

/// Retention deletes the blocks of the stacks before.
async fn emptied(env: &Env, server: &dyn ObjectStore) -> Result<()> {
    let gone = wait_for("the blocks gone from the bucket", GONE, &env.cancel, || async {
        let objects = server.objects().await?;
        let left = objects.iter().filter(|o| o.ends_with("data.parquet")).count();
        Ok(match left {
            0 => Look::Found(()),
            _ => Look::NotYet(format!("{left} blocks are left")),
        })
    })
    .await;
    env.recorder
        .worked("retention deletes blocks from the bucket", &gone, |gone| {
            format!("after {:.1} s", gone.elapsed.as_secs_f64())
        });
    Ok(())
}

pub(in crate::scenario) async fn stored(
    env: &Env,
    stack: &dyn Stack,
    server: &dyn ObjectStore,
    sample: &Sample,
) -> Result<()> {
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
    env.recorder
        .worked("blocks appear in the bucket", &in_bucket, |objects| {
            format!("{} objects after {:.1} s", objects.value, objects.elapsed.as_secs_f64())
        });
    Ok(())
}

/// The key is in the Secret and nowhere else.
async fn no_secret_in_sight(env: &Env, stack: &dyn Stack, key: &str) -> Result<()> {
    let mut places = Vec::new();
    if stack
        .render()
        .manifests
        .iter()
        .any(|m| m.kind != "Secret" && m.text.contains(key))
    {
        places.push("a manifest");
    }
    for component in Component::ALL {
        if stack.logs(component).await?.contains(key) {
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
