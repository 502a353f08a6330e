//! `policies`: what the chart's NetworkPolicies leave open is open, what they close is closed, and without them
//! all of it is open.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, ListParams};

use super::{Lab, documented_command, stack_values};
use crate::backend::cluster::{ClusterStack, Shell};
use crate::backend::{Component, Stack};
use crate::env::Env;
use crate::policy::{End, Labels, Policies, Port};
use crate::scenario::guard::doors::script::sample;
use crate::wait::{Look, wait_for};

const RELEASE: &str = "tempo-stack";
const COMPONENT: &str = "app.kubernetes.io/component";
/// How long the cluster's network may take to follow a policy, in a cluster that is busy.
const FOLLOWS: Duration = Duration::from_secs(60);
/// Those who ask from namespaces of their own; the values name all but the last.
const CLIENTS: [&str; 4] = ["shop", "grafana", "prometheus", "stranger"];
/// The part of a name that stands for a component of the release.
const TEMPO: &str = "tempo";
const COLLECTOR: &str = "otel-collector";
const CANARY: &str = "canary";
const DNS: &str = "kube-dns.kube-system.svc.cluster.local";
const API: &str = "kubernetes.default.svc.cluster.local";

/// Who asks, whom, at which port.
type Path = (&'static str, &'static str, u16);

/// What the programs and those whom the values name need.
const OPEN: [Path; 13] = [
    ("shop", COLLECTOR, 4317),
    ("shop", COLLECTOR, 4318),
    ("shop", COLLECTOR, 14250),
    ("shop", COLLECTOR, 14268),
    ("grafana", TEMPO, 3200),
    ("prometheus", TEMPO, 3200),
    ("prometheus", TEMPO, 3201),
    ("prometheus", COLLECTOR, 8888),
    ("prometheus", CANARY, 3202),
    (COLLECTOR, TEMPO, 4317),
    (COLLECTOR, DNS, 53),
    (TEMPO, DNS, 53),
    ("stranger", DNS, 53),
];

/// What nobody needs. Each has a listener: without policies it is open.
const CLOSED: [Path; 16] = [
    ("shop", TEMPO, 4317),
    ("shop", TEMPO, 3200),
    ("shop", TEMPO, 9095),
    ("shop", COLLECTOR, 8888),
    ("shop", COLLECTOR, 13133),
    ("grafana", TEMPO, 4317),
    ("grafana", TEMPO, 9095),
    ("grafana", COLLECTOR, 4317),
    ("prometheus", COLLECTOR, 4318),
    ("prometheus", TEMPO, 4317),
    ("stranger", COLLECTOR, 4317),
    ("stranger", TEMPO, 3200),
    ("stranger", CANARY, 3202),
    (COLLECTOR, TEMPO, 3200),
    (COLLECTOR, API, 443),
    (TEMPO, API, 443),
];

pub(in super::super) async fn run(env: &Env) -> Result<()> {
    let lab = Lab::open(env, "policies").await?;
    let mut clients = BTreeMap::new();
    for name in CLIENTS {
        clients.insert(name, lab.cluster.shell().await?);
    }
    let proved = prove(env, &lab, &clients).await;
    for client in clients.values() {
        client.remove().await?;
    }
    proved
}

async fn prove(env: &Env, lab: &Lab<'_>, clients: &BTreeMap<&'static str, Shell>) -> Result<()> {
    let values = stack_values(env, &values(clients))?;
    lab.run(lab.helm_with(&["install", RELEASE, "./tempo-stack"], &values)?)
        .await?;
    let stack = lab.ready(RELEASE).await?;
    let net = Net::look(lab, &stack, clients).await?;
    net.judged(env)?;

    let (open, closed) = net
        .settle(env, |open, closed| open.is_empty() && closed.is_empty())
        .await?;
    if closed.len() == CLOSED.len() && !lab.cluster.enforces_policies() {
        env.recorder.skip(
            "enforcement",
            "the cluster's network lets everything through, whatever policies say",
        );
        return env.finish(stack).await;
    }
    env.recorder.check(
        format!("{} paths that somebody needs are open", OPEN.len()),
        open.is_empty(),
        format!("not open: {open:?}"),
    );
    env.recorder.check(
        format!("{} paths that nobody needs are closed", CLOSED.len()),
        closed.is_empty(),
        format!("open: {closed:?}"),
    );

    let readme = env.workspace.root().join("charts/tempo-stack/README.md");
    let words = lab.own(documented_command(&readme, &["helm test tempo-stack", "--namespace"])?);
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["--logs"]).collect();
    let test = lab.try_run(lab.helm(&words)?).await?;
    env.recorder.check(
        "the chart's test sends a span and finds it",
        test.success() && test.stdout.contains("found by TraceQL"),
        test.stderr.lines().last().unwrap_or_default(),
    );
    scraped(env, &net).await;

    let policies: Api<NetworkPolicy> = lab.cluster.connection().api(lab.namespace.name());
    policies
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .context("removing the policies")?;
    let (open, closed) = net
        .settle(env, |open, closed| open.is_empty() && closed.len() == CLOSED.len())
        .await?;
    let still: Vec<_> = CLOSED.iter().filter(|path| !closed.contains(path)).collect();
    env.recorder.check(
        "without policies all of them are open",
        open.is_empty() && still.is_empty(),
        format!("{} paths; not open: {still:?} {open:?}", OPEN.len() + CLOSED.len()),
    );
    env.finish(stack).await
}

/// Values that name the clients by their namespaces.
fn values(clients: &BTreeMap<&'static str, Shell>) -> String {
    let named = |key: &str, who: &str| {
        let namespace = clients.get(who).map(Shell::namespace).unwrap_or_default();
        format!(
            "{key}: {{from: {{{who}: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}}}}}}}"
        )
    };
    format!(
        "{{canary: {{enabled: true, periodSeconds: 2, timeoutSeconds: 5}}, networkPolicy: {{enabled: true, {}, {}, {}}}}}",
        named("ingest", "shop"),
        named("query", "grafana"),
        named("metrics", "prometheus")
    )
}

/// What the canary and the Collector tell the one who may scrape them.
async fn scraped(env: &Env, net: &Net<'_>) {
    let told = wait_for("spans that the canary found", FOLLOWS, &env.cancel, || async {
        let canary = net.get("prometheus", CANARY, 3202, "/metrics.txt").await?;
        let (Some(attempts), Some(failures)) = (
            sample(&canary, "tempo_canary_attempts_total"),
            sample(&canary, "tempo_canary_failures_total"),
        ) else {
            return Ok(Look::NotYet(canary));
        };
        let text = format!("{} of {attempts} spans were found", attempts - failures);
        Ok(if attempts - failures >= 3.0 {
            Look::Found(text)
        } else {
            Look::NotYet(text)
        })
    })
    .await;
    let name = "the canary finds its spans, and tells Prometheus";
    env.recorder.worked(name, &told, |told| told.value.clone());
    let metrics = net.get("prometheus", COLLECTOR, 8888, "/metrics").await;
    let lines = metrics.map_or(0, |text| {
        text.lines().filter(|line| line.starts_with("otelcol_")).count()
    });
    env.recorder
        .check("Prometheus scrapes the Collector", lines > 0, format!("{lines} series"));
}

/// The pods of the release and those around it.
struct Net<'a> {
    stack: &'a ClusterStack,
    clients: &'a BTreeMap<&'static str, Shell>,
    /// Address and labels of a pod of each component.
    pods: BTreeMap<String, (String, Labels)>,
    home: String,
}

impl<'a> Net<'a> {
    async fn look(
        lab: &Lab<'_>,
        stack: &'a ClusterStack,
        clients: &'a BTreeMap<&'static str, Shell>,
    ) -> Result<Net<'a>> {
        let api: Api<Pod> = lab.cluster.connection().api(lab.namespace.name());
        let mut pods = BTreeMap::new();
        for pod in api.list(&ListParams::default()).await.context("listing pods")? {
            let labels = pod.metadata.labels.unwrap_or_default();
            let address = pod.status.and_then(|status| status.pod_ip);
            if let (Some(component), Some(address)) = (labels.get(COMPONENT).cloned(), address) {
                pods.insert(component, (address, labels));
            }
        }
        Ok(Net {
            stack,
            clients,
            pods,
            home: lab.namespace.name().to_owned(),
        })
    }

    fn host(&self, name: &str) -> Result<&str> {
        match self.pods.get(name) {
            Some((address, _)) => Ok(address),
            None => [DNS, API]
                .into_iter()
                .find(|host| *host == name)
                .with_context(|| format!("the release has no pod {name}")),
        }
    }

    fn end(&self, name: &str) -> Result<End> {
        if let Some((_, labels)) = self.pods.get(name) {
            return Ok(End::pod(&self.home, labels.clone()));
        }
        if let Some(client) = self.clients.get(name) {
            return Ok(End::pod(client.namespace(), Labels::new()));
        }
        Ok(match name {
            DNS => End::pod("kube-system", Labels::new()),
            // The API server is at an address of its node.
            _ => End::Address("192.0.2.1".parse()?),
        })
    }

    /// Checks that the lists are what the rendered policies say by the rules of the API.
    fn judged(&self, env: &Env) -> Result<()> {
        let policies = Policies::of(&self.stack.render().manifests)?;
        let mut wrong = Vec::new();
        let open = OPEN.iter().map(|path| (path, true));
        for (path, wanted) in open.chain(CLOSED.iter().map(|path| (path, false))) {
            let (from, to, port) = path;
            if policies.allow(&self.end(from)?, &self.end(to)?, &Port::tcp(*port)) != wanted {
                wrong.push(path);
            }
        }
        env.recorder.check(
            "the rendered policies say so",
            policies.count() > 0 && wrong.is_empty(),
            format!("{} policies; they say otherwise of {wrong:?}", policies.count()),
        );
        Ok(())
    }

    /// Runs a script where somebody is.
    async fn run(&self, who: &str, script: &str) -> Result<String> {
        let printed = match self.clients.get(who) {
            Some(client) => client.run(script).await?,
            None => {
                let component = Component::from_label(who).with_context(|| format!("nobody is called {who}"))?;
                self.stack.beside(component, script).await?
            }
        };
        Ok(printed.stdout)
    }

    /// The answer to a request of HTTP.
    async fn get(&self, from: &str, to: &str, port: u16, path: &str) -> Result<String> {
        let host = self.host(to)?;
        self.run(
            from,
            &format!("printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port}"),
        )
        .await
    }

    /// Tries every path until it is as wanted, or for as long as the network may take. Says which of the open ones
    /// are closed, and which of the closed ones are open.
    async fn settle(&self, env: &Env, wanted: impl Fn(&[Path], &[Path]) -> bool) -> Result<(Vec<Path>, Vec<Path>)> {
        let mut last = (Vec::new(), Vec::new());
        let begun = std::time::Instant::now();
        loop {
            let connected = self.connected().await?;
            let is_open = |path: &Path| connected.contains(path);
            last.0 = OPEN.into_iter().filter(|path| !is_open(path)).collect();
            last.1 = CLOSED.into_iter().filter(is_open).collect();
            if wanted(&last.0, &last.1) || begun.elapsed() > FOLLOWS || env.cancel.is_cancelled() {
                return Ok(last);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// The paths over which a connection came to be.
    async fn connected(&self) -> Result<Vec<Path>> {
        let mut by_asker: BTreeMap<&str, Vec<Path>> = BTreeMap::new();
        for path in OPEN.into_iter().chain(CLOSED) {
            by_asker.entry(path.0).or_default().push(path);
        }
        let mut open = Vec::new();
        for (from, paths) in by_asker {
            let mut script = String::new();
            for (_, to, port) in &paths {
                let host = self.host(to)?;
                script.push_str(&format!(
                    "nc -w 2 {host} {port} -e /bin/true >/dev/null 2>&1; echo $?\n"
                ));
            }
            let printed = self.run(from, &script).await?;
            let codes: Vec<&str> = printed.lines().collect();
            anyhow::ensure!(
                codes.len() == paths.len(),
                "{from} printed {printed:?} for {} paths",
                paths.len()
            );
            open.extend(
                paths
                    .iter()
                    .zip(codes)
                    .filter(|(_, code)| *code == "0")
                    .map(|(path, _)| *path),
            );
        }
        Ok(open)
    }
}
