//! Rules that keep credentials inside Secrets.

use charts::workload::config_map_data;
use serde_yaml::Value;

use super::{Check, Problem, Rule, Scene};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "secret-literal",
        summary: "no credential stands outside a Secret",
        remedy: "put it into a Secret and refer to it by valueFrom.secretKeyRef",
        check: Check::Render(secret_literal),
    },
    Rule {
        name: "no-env-expansion",
        summary: "Tempo's configuration expands nothing but the pod's own address and name, for which Tempo has no flags",
        remedy: "drop -config.expand-env and the ${…}, or write $$ for a dollar sign; Tempo reads AWS_…, AZURE_STORAGE_KEY and GOOGLE_APPLICATION_CREDENTIALS itself",
        check: Check::Render(no_env_expansion),
    },
    Rule {
        name: "variables-exist",
        summary: "every ${env:NAME} and ${file:PATH} in a Collector configuration is a variable of its container, or on one of its volumes",
        remedy: "write ${env:NAME} and set NAME in the container's env, or ${file:PATH} and mount it, and write $$ for a dollar sign",
        check: Check::Render(variables_exist),
    },
];

/// Whether a key or variable of that name holds a credential.
fn names_a_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '.'], "_");
    // Names of files and of Secrets are not credentials; Google's variable names a file, too.
    if ["_file", "_path", "_name", "_url", "google_application_credentials"]
        .iter()
        .any(|end| name.ends_with(end))
    {
        return false;
    }
    let parts = [
        "password",
        "passwd",
        "secret",
        "token",
        "access_key",
        "accesskey",
        "account_key",
        "storage_key",
        "api_key",
        "apikey",
        "credential",
    ];
    parts.iter().any(|part| name.contains(part))
}

/// What begins a reference: to a variable of the Collector, and to a variable or a file of Grafana (its provisioning).
const REFERENCES: [&str; 3] = ["${", "$__env{", "$__file{"];

/// Whether a literal can be one: not empty, no switch or number, no reference.
fn is_literal(value: &str) -> bool {
    let value = value.trim();
    let refers = REFERENCES.iter().any(|begin| value.starts_with(begin));
    !value.is_empty() && !refers && value.parse::<f64>().is_err() && value.parse::<bool>().is_err()
}

/// Paths of all strings in a value whose key names a credential.
fn credentials(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Mapping(map) => {
            for (key, inner) in map {
                let key = key.as_str().unwrap_or_default();
                let path = if path.is_empty() {
                    key.to_owned()
                } else {
                    format!("{path}.{key}")
                };
                match inner.as_str() {
                    Some(text) if names_a_credential(key) && is_literal(text) => found.push(path),
                    _ => credentials(inner, &path, found),
                }
            }
        }
        Value::Sequence(list) => list.iter().for_each(|inner| credentials(inner, path, found)),
        _ => {}
    }
}

fn secret_literal(scene: &Scene, problems: &mut Vec<Problem>) {
    for workload in &scene.workloads {
        for container in &workload.containers {
            for var in container.spec.env.iter().flatten() {
                if names_a_credential(&var.name) && var.value.as_deref().is_some_and(is_literal) {
                    let message = format!("{}: {} is a literal", container.id(), var.name);
                    problems.push(Problem::in_container(workload.manifest, &["env"], message));
                }
            }
        }
    }
    for manifest in scene.of_kind("ConfigMap") {
        for (key, text) in config_map_data(manifest).unwrap_or_default() {
            let mut found = Vec::new();
            if names_a_credential(&key) && is_literal(&text) {
                found.push(key.clone());
            } else if let Ok(value) = serde_yaml::from_str::<Value>(&text) {
                credentials(&value, "", &mut found);
            }
            for path in found {
                let message = format!("key {key}: {path} is a literal");
                problems.push(Problem::new(manifest, &["data"], message));
            }
        }
    }
}

/// Variables that Tempo may expand: what the kubelet knows of a pod, and is no secret.
const OF_THE_POD: [&str; 2] = ["POD_IP", "POD_NAME"];

fn no_env_expansion(scene: &Scene, problems: &mut Vec<Problem>) {
    let programs = scene.programs();
    for program in programs
        .iter()
        .filter(|p| p.kind == charts::program::ProgramKind::Tempo)
    {
        let args = program.container.spec.args.iter().flatten();
        let expands = args
            .into_iter()
            .any(|arg| arg.trim_start_matches('-').starts_with("config.expand-env"));
        let names = references(&program.text).unwrap_or_default();
        // What follows `#` is cut off its value.
        let variable = |name: &'_ String| name.split('#').next().is_some_and(|name| OF_THE_POD.contains(&name));
        let only_the_pod = !names.is_empty() && names.iter().all(variable);
        if expands && !only_the_pod {
            let message = format!("{}: -config.expand-env is on", program.container.id());
            problems.push(Problem::in_container(program.workload.manifest, &["args"], message));
        }
        if !expands && program.text.contains("${") {
            let message = "the configuration holds ${…}, which nothing expands";
            problems.push(Problem::new(program.config_map, &["data"], message));
        }
    }
}

/// The names inside `${…}` of a text, `$$` left out; a dollar sign that begins neither is an error.
fn references(text: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let Some((name, after)) = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
            let shown: String = rest.chars().take(20).collect();
            return Err(format!("${shown}"));
        };
        names.push(name.to_owned());
        rest = after;
    }
    Ok(names)
}

fn variables_exist(scene: &Scene, problems: &mut Vec<Problem>) {
    let programs = scene.programs();
    for program in programs
        .iter()
        .filter(|p| p.kind == charts::program::ProgramKind::Collector)
    {
        let vars = program.container.spec.env.iter().flatten();
        let vars: Vec<&str> = vars.map(|var| var.name.as_str()).collect();
        let mounts = program.container.spec.volume_mounts.iter().flatten();
        let mounts: Vec<&str> = mounts.map(|mount| mount.mount_path.trim_end_matches('/')).collect();
        let is_mounted = |path: &str| {
            let mut below = mounts.iter().filter_map(|mount| path.strip_prefix(mount));
            below.any(|rest| rest.starts_with('/'))
        };
        let mut say = |message: String| problems.push(Problem::new(program.config_map, &["data"], message));
        match references(&program.text) {
            Err(text) => say(format!("{text:?} is neither ${{env:NAME}} nor $$")),
            Ok(names) => {
                for name in names {
                    match name.split_once(':') {
                        // A default after `:-` makes the variable optional.
                        Some(("env", var)) if var.contains(":-") || vars.contains(&var) => {}
                        Some(("env", var)) => say(format!(
                            "${{env:{var}}} is not a variable of {}",
                            program.container.id()
                        )),
                        Some(("file", path)) if is_mounted(path) => {}
                        Some(("file", path)) => say(format!(
                            "${{file:{path}}} is on no volume of {}",
                            program.container.id()
                        )),
                        _ => say(format!("${{{name}}} does not say where it comes from")),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_and_secrets_are_not_credentials() {
        for name in [
            "AWS_SECRET_ACCESS_KEY",
            "AZURE_STORAGE_KEY",
            "storage_account_key",
            "secret_key",
            "api-token",
            "db.password",
        ] {
            assert!(names_a_credential(name), "{name}");
        }
        for name in [
            "bearer_token_file",
            "secretName",
            "tls_key_path",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "endpoint",
        ] {
            assert_eq!(names_a_credential(name), name == "secretName", "{name}");
        }
        assert!(!is_literal("$__env{TOKEN}") && !is_literal("$__file{/run/token}") && is_literal("$token"));
        assert!(!is_literal("${env:TOKEN}") && !is_literal("true") && !is_literal("3") && is_literal("hunter2"));
    }

    #[test]
    fn dollar_signs_are_references_or_doubled() {
        assert_eq!(references("a $$ ${env:A} ${B}"), Ok(vec!["env:A".into(), "B".into()]));
        assert!(references("$FOO").is_err());
    }
}
