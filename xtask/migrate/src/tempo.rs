//! What takes another form here: parts of Tempo's configuration, and credentials.

use charts::render::set;
use serde_yaml::{Mapping, Value};

use crate::convert::{Walk, get, take};
use crate::generator;
use crate::report::Report;
use crate::table::Fate;

/// The Secret that the chart's README makes.
const SECRET: &str = "tempo-s3";
/// The same for a key of Azure.
const AZURE_SECRET: &str = "tempo-azure";
/// Where the charts of Grafana have Tempo's receivers.
const RECEIVERS: &str = "tempo.receivers";
/// Where the charts of Grafana send metrics when they aren't told (values.yaml of grafana-community/tempo 2.2.4).
const REMOTE_WRITE: &str = "http://prometheus.monitoring:9090/api/v1/write";
/// Parts of Tempo's configuration by which several processes find each other.
const BETWEEN_PROCESSES: [&str; 8] = [
    "memberlist",
    "distributor.ring",
    "compactor.ring",
    "metrics_generator.ring",
    "querier.frontend_worker",
    "ingester.lifecycler",
    "metrics_generator.storage.path",
    "metrics_generator.traces_storage.path",
];

/// Makes a map of a configuration that is a text and no template.
pub(crate) fn parse_text(source: &mut Value, path: &str) {
    let Some(text) = get(source, path).and_then(Value::as_str) else {
        return;
    };
    if !text.contains("{{")
        && let Ok(map @ Value::Mapping(_)) = crate::yaml::read(text)
    {
        set(source, &path.split('.').collect::<Vec<_>>(), map);
    }
}

/// The key and the value, where ours takes another form of it.
pub(crate) fn change(path: &str, ours: &str, value: &Value) -> Option<(String, Value)> {
    match (ours, value) {
        // The stores that the chart has no values for are still Tempo's.
        ("tempo.storage.backend", Value::String(backend))
            if !["local", "s3", "gcs", "azure"].contains(&backend.as_str()) =>
        {
            Some(("tempo.config.storage.trace.backend".to_owned(), value.clone()))
        }
        ("tempo.persistence.accessMode", Value::Sequence(modes)) => Some((ours.to_owned(), modes.first()?.clone())),
        // The name of a Secret or of a ConfigMap.
        ("tempo.extraEnvFrom", Value::String(name)) if !name.is_empty() => {
            let kind = if path.ends_with("Secret") {
                "secretRef"
            } else {
                "configMapRef"
            };
            let mut item = Value::Null;
            set(&mut item, &[kind, "name"], name.as_str().into());
            Some((ours.to_owned(), Value::Sequence(vec![item])))
        }
        // YAML reads 2.9 as a number.
        ("tempo.image.tag", Value::Number(tag)) => Some((ours.to_owned(), tag.to_string().into())),
        _ => None,
    }
}

impl Walk<'_> {
    /// A receiver of Tempo's own: there is a map for one that is on, and a null for one that is off.
    pub(crate) fn receiver(&mut self, path: &str, value: &Value, ours: &str) {
        self.put(path, &(!value.is_null() && value != &Value::Bool(false)).into(), ours);
        let name = ours
            .trim_start_matches("otelCollector.receivers.")
            .trim_end_matches(".enabled");
        for (key, value) in value.as_mapping().into_iter().flatten() {
            let key = key.as_str().unwrap_or_default();
            let port = value
                .as_str()
                .and_then(|address| address.rsplit_once(':')?.1.parse::<u16>().ok());
            match port {
                Some(port) if key == "endpoint" => {
                    self.put(&format!("{path}.endpoint"), &port.into(), &format!("otelCollector.service.ports.{name}"));
                }
                _ => self.report.nowhere(
                    &format!("{path}.{key}"),
                    "Only whether a receiver is on, and its port, are carried over; set the rest in otelCollector.config.receivers.",
                ),
            }
        }
    }

    /// The receivers of a configuration, where those that aren't named are off, and a null is one with its defaults.
    fn receivers(&mut self, value: &Value) {
        for path in self.table.rules_below(RECEIVERS) {
            let (Some(inside), Some(Fate::Here(ours))) = (path.strip_prefix(RECEIVERS), self.table.rule(&path)) else {
                continue;
            };
            match get(value, inside.trim_start_matches('.')) {
                Some(Value::Null) => self.receiver(&path, &Mapping::new().into(), &ours),
                Some(value) => self.receiver(&path, value, &ours),
                None => self.receiver(&path, &Value::Null, &ours),
            }
        }
        let others = value
            .as_mapping()
            .into_iter()
            .flatten()
            .filter_map(|(key, _)| key.as_str());
        for key in others.filter(|key| !["otlp", "jaeger"].contains(key)) {
            self.visit(&format!("{RECEIVERS}.{key}"), &Mapping::new().into(), Fate::Open);
        }
    }

    /// The settings of the metrics generator, which count only where it is on.
    pub(crate) fn generator(&mut self, path: &str, value: &Value, fate: &Fate) {
        let Fate::Here(ours) = fate else { return };
        if get(value, "enabled") != Some(&Value::Bool(true)) {
            return self
                .report
                .nowhere(path, "It is off there, so its settings have no effect.");
        }
        let mut value = value.clone();
        let url = take(&mut value, "remoteWriteUrl").unwrap_or_else(|| REMOTE_WRITE.into());
        take(&mut value, "enabled");
        let targets = get(&value, "storage.remote_write").and_then(Value::as_sequence);
        if targets.is_none_or(Vec::is_empty) {
            let target: Mapping = [("url".into(), url)].into_iter().collect();
            set(
                &mut value,
                &["storage", "remote_write"],
                Value::Sequence(vec![target.into()]),
            );
        }
        for (key, value) in value.as_mapping().into_iter().flatten() {
            let key = key.as_str().unwrap_or_default();
            self.visit(&format!("{path}.{key}"), value, Fate::Here(format!("{ours}.{key}")));
        }
    }

    /// The whole of Tempo's configuration.
    pub(crate) fn configuration(&mut self, path: &str, value: &Value) {
        let mut rest = value.clone();
        if !rest.is_mapping() {
            if !rest.is_null() {
                self.report.nowhere(
                    path,
                    "It is a template, or no map, and nothing in it is taken over: write what differs, such as storage and retention, into the keys here or, as a map, into tempo.config.",
                );
            }
            return;
        }
        self.inside = true;
        if let Some(receivers) = take(&mut rest, "distributor.receivers") {
            self.receivers(&receivers);
        }
        for (part, theirs) in &self.table.rules.inside {
            if let Some(value) = take(&mut rest, part) {
                self.visit(theirs, &value, Fate::Open);
            }
        }
        for part in BETWEEN_PROCESSES {
            if take(&mut rest, part).is_some() {
                self.report.nowhere(
                    &format!("{path}.{part}"),
                    "The chart sets by which paths and addresses the one process works.",
                );
            }
        }
        self.put(path, &rest, "tempo.config");
    }
}

/// The credentials of the store, which the chart takes from a Secret.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    given: bool,
    /// A key of Azure was in clear.
    azure: bool,
    /// The Secret and its two keys, where the values name them.
    secret: Option<[String; 3]>,
}

impl Credentials {
    /// Looks for credentials in what is left, and among what was taken out.
    pub(crate) fn read(&mut self, source: &Value, secrets: &[String]) {
        let of_s3 = |path: &String| {
            path.contains("trace.s3.") || path.contains("AWS_ACCESS_KEY_ID") || path.contains("AWS_SECRET_ACCESS_KEY")
        };
        let s3 = [
            "tempo.storage.trace.s3",
            "config.storage.trace.s3",
            "tempo.configuration.storage.trace.s3",
        ];
        let s3 = s3.into_iter().find_map(|path| get(source, path));
        let named = |key| {
            s3.and_then(|s3| s3.get(key))
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let (access, secret) = (named("access_key"), named("secret_key"));
        self.given = secrets.iter().any(of_s3) || access.is_some() || secret.is_some();
        self.azure = secrets
            .iter()
            .any(|path| path.contains("trace.azure.") || path.contains("AZURE_STORAGE_KEY"));
        let variables = get(source, "tempo.extraEnv").or_else(|| get(source, "ingester.extraEnvVars"));
        let reference = |text: Option<&str>| {
            let name = text?
                .trim_start_matches(['$', '{'])
                .trim_end_matches('}')
                .split(':')
                .next()?
                .to_owned();
            let all = variables?.as_sequence()?;
            let variable = all
                .iter()
                .find(|item| item.get("name").and_then(Value::as_str) == Some(&name))?;
            let from = get(variable, "valueFrom.secretKeyRef")?;
            Some((
                from.get("name")?.as_str()?.to_owned(),
                from.get("key")?.as_str()?.to_owned(),
            ))
        };
        if let (Some((secret, access)), Some((other, key))) = (reference(access), reference(secret))
            && secret == other
        {
            self.secret = Some([secret, access, key]);
        }
    }

    pub(crate) fn apply(&self, values: &mut Value, report: &mut Report) {
        let backend = get(values, "tempo.storage.backend").and_then(Value::as_str);
        if self.azure && backend == Some("azure") {
            set(
                values,
                &["tempo", "storage", "azure", "existingSecret"],
                AZURE_SECRET.into(),
            );
            report.remarks.push(format!(
                "tempo.storage.azure.existingSecret names {AZURE_SECRET}: make this Secret before the installation, with \
                 `kubectl create secret generic {AZURE_SECRET} --from-literal=AZURE_STORAGE_KEY=…`"
            ));
            return;
        }
        if !self.given || backend != Some("s3") {
            return;
        }
        let s3 = ["tempo", "storage", "s3"];
        let mut put = |path: &[&str], text: &str| set(values, &[&s3[..], path].concat(), text.into());
        match &self.secret {
            Some([secret, access, key]) => {
                put(&["existingSecret"], secret);
                put(&["existingSecretKeys", "accessKey"], access);
                put(&["existingSecretKeys", "secretKey"], key);
            }
            None => {
                put(&["existingSecret"], SECRET);
                report.remarks.push(format!(
                    "tempo.storage.s3.existingSecret names {SECRET}: make this Secret before the installation, with \
                     `kubectl create secret generic {SECRET} --from-literal=AWS_ACCESS_KEY_ID=… --from-literal=AWS_SECRET_ACCESS_KEY=…`"
                ));
            }
        }
    }
}

/// What values need only here: a path that can be written, and no field that the Service's type doesn't have.
pub(crate) fn repair(values: &mut Value, report: &mut Report) {
    generator::lift(values, report);
    let generator = ["tempo", "config", "metrics_generator"];
    let switched = get(values, "tempo.metricsGenerator.enabled").is_some();
    if !switched && get(values, &generator.join(".")).is_some() {
        for (part, folder) in [("storage", "wal"), ("traces_storage", "traces")] {
            set(
                values,
                &[&generator[..], &[part, "path"]].concat(),
                format!("/var/tempo/generator/{folder}").into(),
            );
        }
    }
    for component in ["tempo", "otelCollector"] {
        let service = format!("{component}.service");
        let kind = get(values, &format!("{service}.type"))
            .and_then(Value::as_str)
            .unwrap_or("ClusterIP")
            .to_owned();
        for (field, kinds) in [
            ("loadBalancerSourceRanges", &["LoadBalancer"][..]),
            ("externalTrafficPolicy", &["LoadBalancer", "NodePort"]),
        ] {
            if !kinds.contains(&kind.as_str()) && take(values, &format!("{service}.{field}")).is_some() {
                report.nowhere(
                    &format!("{service}.{field}"),
                    &format!("It has no effect on a Service of the type {kind}."),
                );
            }
        }
    }
}
