//! A real Prometheus beside stacks: it scrapes what their ServiceMonitors name, evaluates their rules and takes
//! what their Tempo writes to it. What Prometheus Operator does with the objects is done here.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use charts::manifest::{Manifest, lookup};
use serde_json::json;
use serde_yaml::Value;

use super::Stack;

/// The port of its API, and of what is written to it.
pub(crate) const PORT: u16 = 9090;
/// The name that it asks for, with a password.
pub(crate) const USER: &str = "tempo";

/// Its files, in one folder.
pub(crate) const CONFIG: &str = "prometheus.yaml";
const RULES: &str = "rules.yaml";
pub(crate) const WEB_CONFIG: &str = "web.yaml";

/// The operation that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Changes.
    Post,
}

/// A Prometheus that runs: it takes remote writes, keeps exemplars, and asks for a password. Dropping it stops
/// and removes it.
#[async_trait]
pub trait Prometheus: Send + Sync {
    /// Host and port as the programs of a stack reach it, without a scheme.
    fn endpoint(&self) -> String;

    /// Writes a file into the folder of its configuration.
    async fn put(&self, file: &str, text: String) -> Result<()>;

    /// The body of a successful answer. `path` begins with a slash and holds the query.
    async fn ask(&self, verb: Verb, path: &str, password: &str) -> Result<String>;

    /// Scrape configurations of the kubelets; none where there is no kubelet.
    fn kubelets(&self) -> Vec<Value> {
        Vec::new()
    }

    /// Lets it look for pods in a namespace.
    async fn admit(&self, _namespace: &str) -> Result<()> {
        Ok(())
    }

    /// Stops it and waits until nothing of it is left.
    async fn shut_down(&self) -> Result<()>;
}

/// Arguments of the program, whose configuration and data are in a folder.
///
/// What it takes from Tempo are counters from before they were scraped, which it ages as it does its own; the
/// features are those that the chart's docs/monitoring.md asks for.
pub(crate) fn arguments(folder: &str, listen: &str) -> Vec<String> {
    vec![
        format!("--config.file={folder}/{CONFIG}"),
        format!("--web.config.file={folder}/{WEB_CONFIG}"),
        format!("--storage.tsdb.path={folder}/data"),
        format!("--web.listen-address={listen}"),
        "--web.enable-remote-write-receiver".into(),
        "--web.enable-lifecycle".into(),
        "--enable-feature=exemplar-storage".into(),
    ]
}

/// The configuration with which it starts: nothing to scrape.
pub(crate) const EMPTY: &str = "scrape_configs: []\n";

/// Who may ask: [`USER`] with this password. Prometheus reads the file at each request.
pub(crate) fn web_config(password: &str) -> Result<String> {
    // The least that bcrypt has: it is asked for at each request, and guards nothing.
    let hash = bcrypt::hash(password, 4).context("hashing the password of Prometheus")?;
    serde_yaml::to_string(&json!({"basic_auth_users": {USER: hash}})).context("writing YAML")
}

/// Configures it for a stack: the targets of its ServiceMonitors and the groups of its PrometheusRules.
pub(crate) async fn watch(prometheus: &dyn Prometheus, stack: &dyn Stack, password: &str) -> Result<()> {
    prometheus.admit(stack.namespace()).await?;
    let manifests = &stack.render().manifests;
    let mut scrapes = scrape_configs(manifests, &stack.discovery()?)?;
    scrapes.extend(prometheus.kubelets());
    let config = json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [RULES],
        "scrape_configs": scrapes,
        // Its exemplars come by remote write.
        "storage": {"exemplars": {"max_exemplars": 100_000}},
    });
    let config = serde_yaml::to_string(&config).context("writing YAML")?;
    prometheus.put(RULES, rules(manifests)?).await?;
    prometheus.put(CONFIG, config).await?;
    prometheus.ask(Verb::Post, "/-/reload", password).await.map(drop)
}

/// The groups of all rules among rendered objects, as a file of Prometheus.
fn rules(manifests: &[Manifest]) -> Result<String> {
    let rules = manifests.iter().filter(|m| m.kind == "PrometheusRule");
    let groups = rules.filter_map(|m| m.get(&["spec", "groups"])?.as_sequence());
    let groups: Vec<&Value> = groups.flatten().collect();
    serde_yaml::to_string(&BTreeMap::from([("groups", groups)])).context("writing YAML")
}

/// One scrape configuration for each endpoint of each ServiceMonitor. `discovery` finds the pods behind all
/// Services, with the labels that Prometheus' service discovery gives to the endpoints of Kubernetes.
fn scrape_configs(manifests: &[Manifest], discovery: &Value) -> Result<Vec<Value>> {
    let mut configs = Vec::new();
    for monitor in manifests.iter().filter(|m| m.kind == "ServiceMonitor") {
        let services = selected(monitor, manifests)?;
        let services: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
        let endpoints = monitor.get(&["spec", "endpoints"]).and_then(Value::as_sequence);
        for endpoint in endpoints.with_context(|| format!("{} has no endpoints", monitor.id()))? {
            configs.push(scrape_config(&monitor.name, &services, endpoint, discovery)?);
        }
    }
    Ok(configs)
}

fn scrape_config(monitor: &str, services: &[&str], endpoint: &Value, discovery: &Value) -> Result<Value> {
    let text = |key| lookup(endpoint, &[key]).and_then(Value::as_str);
    let port = text("port").context("an endpoint names its port")?;
    let keep = |label: &str, regex: &str| json!({"action": "keep", "source_labels": [label], "regex": regex});
    let label = |from: &str, to: &str| json!({"source_labels": [from], "target_label": to});
    let mut relabelings = vec![
        keep("__meta_kubernetes_service_name", &services.join("|")),
        keep("__meta_kubernetes_endpoint_port_name", port),
        // The labels that Prometheus Operator gives to every target (its documentation, "ServiceMonitor").
        label("__meta_kubernetes_namespace", "namespace"),
        label("__meta_kubernetes_service_name", "service"),
        label("__meta_kubernetes_service_name", "job"),
        label("__meta_kubernetes_pod_name", "pod"),
        label("__meta_kubernetes_pod_container_name", "container"),
        json!({"target_label": "endpoint", "replacement": port}),
    ];
    for own in lookup(endpoint, &["relabelings"])
        .and_then(Value::as_sequence)
        .into_iter()
        .flatten()
    {
        relabelings.push(serde_json::to_value(prometheus_keys(own)?).context("a relabeling")?);
    }
    let mut config = json!({
        "job_name": format!("{monitor}/{port}"),
        "metrics_path": text("path").unwrap_or("/metrics"),
        "relabel_configs": relabelings,
    });
    for (key, to) in [("interval", "scrape_interval"), ("scrapeTimeout", "scrape_timeout")] {
        if let Some(value) = text(key) {
            config[to] = value.into();
        }
    }
    let mut config: Value = serde_yaml::to_value(config).context("a scrape configuration")?;
    charts::render::merge(&mut config, discovery.clone());
    Ok(config)
}

/// A relabeling of the operator with the keys of Prometheus: `targetLabel` is `target_label` there.
fn prometheus_keys(relabeling: &Value) -> Result<BTreeMap<String, &Value>> {
    let keys = relabeling.as_mapping().context("a relabeling is a map")?;
    let snake = |key: &str| {
        key.chars().fold(String::new(), |mut text, c| {
            if c.is_ascii_uppercase() {
                text.push('_');
            }
            text.push(c.to_ascii_lowercase());
            text
        })
    };
    Ok(keys
        .iter()
        .filter_map(|(key, value)| Some((snake(key.as_str()?), value)))
        .collect())
}

/// The Services that a ServiceMonitor selects; an error if there is none.
pub(crate) fn selected<'a>(monitor: &Manifest, manifests: &'a [Manifest]) -> Result<Vec<&'a Manifest>> {
    let wanted = monitor
        .get(&["spec", "selector", "matchLabels"])
        .and_then(Value::as_mapping);
    let wanted = wanted.with_context(|| format!("{} selects by labels", monitor.id()))?;
    let services = manifests.iter().filter(|m| m.kind == "Service");
    let selected = services.filter(|service| {
        let labels = service.get(&["metadata", "labels"]).and_then(Value::as_mapping);
        labels.is_some_and(|labels| wanted.iter().all(|(k, v)| labels.get(k) == Some(v)))
    });
    let selected: Vec<&Manifest> = selected.collect();
    if selected.is_empty() {
        bail!("{} selects no Service", monitor.id());
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENDER: &str = "
apiVersion: v1
kind: Service
metadata: {name: tempo, labels: {app: tempo, extra: x}}
---
apiVersion: v1
kind: Service
metadata: {name: other, labels: {app: other}}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: stack-tempo}
spec:
  selector: {matchLabels: {app: tempo}}
  endpoints:
    - {port: http, path: /metrics, interval: 30s, scrapeTimeout: 10s, relabelings: [{targetLabel: job, replacement: tempo}]}
    - {port: disk-metrics, path: /metrics.txt}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: stack}
spec: {groups: [{name: a, rules: []}]}
";

    #[test]
    fn an_endpoint_of_a_monitor_becomes_a_scrape_of_the_services_that_it_selects() {
        let manifests = charts::manifest::parse_all(RENDER).unwrap();
        let discovery = serde_yaml::from_str("{static_configs: []}").unwrap();
        let configs = scrape_configs(&manifests, &discovery).unwrap();
        let first: serde_json::Value = serde_json::to_value(&configs[0]).unwrap();
        assert_eq!(first["job_name"], "stack-tempo/http");
        assert_eq!(
            (&first["scrape_interval"], &first["scrape_timeout"]),
            (&json!("30s"), &json!("10s"))
        );
        assert_eq!(first["static_configs"], json!([]));
        let relabelings = first["relabel_configs"].as_array().unwrap();
        assert_eq!(relabelings[0]["regex"], "tempo");
        assert_eq!(relabelings[1]["regex"], "http");
        assert_eq!(
            relabelings.last().unwrap(),
            &json!({"target_label": "job", "replacement": "tempo"})
        );
        let second: serde_json::Value = serde_json::to_value(&configs[1]).unwrap();
        assert_eq!(second["metrics_path"], "/metrics.txt");
        assert_eq!(configs.len(), 2);
        assert!(rules(&manifests).unwrap().contains("name: a"));
    }

    #[test]
    fn a_monitor_that_selects_nothing_is_an_error() {
        let manifests = charts::manifest::parse_all(&RENDER.replace("{app: tempo}}", "{app: none}}")).unwrap();
        let error = scrape_configs(&manifests, &Value::Null).unwrap_err();
        assert!(format!("{error:#}").contains("selects no Service"), "{error:#}");
    }

    #[test]
    fn the_password_is_kept_as_a_hash() {
        let config: Value = serde_yaml::from_str(&web_config("secret").unwrap()).unwrap();
        let hash = lookup(&config, &["basic_auth_users", USER])
            .and_then(Value::as_str)
            .unwrap();
        assert!(bcrypt::verify("secret", hash).unwrap());
    }
}
