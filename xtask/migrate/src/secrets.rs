//! Secrets in clear, which must not reach a file that people commit.

use serde_yaml::Value;

/// How a key ends whose value is a secret, in lower case and without separators.
const SECRET_KEYS: [&str; 12] = [
    "accesskey",
    "accesskeyid",
    "secretkey",
    "sessiontoken",
    "password",
    "passwd",
    "apikey",
    "token",
    "accountkey",
    "clientsecret",
    "authorization",
    "credentials",
];
/// What the name of an environment variable holds whose value is a secret.
const SECRET_NAMES: [&str; 5] = ["KEY", "SECRET", "TOKEN", "PASSW", "CREDENTIAL"];

/// Takes out what holds a secret, and tells the paths where it was. References such as `${NAME}` and
/// `valueFrom` hold none.
pub(crate) fn take_out(value: &mut Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Mapping(map) => map.retain(|key, value| {
            let key = key.as_str().unwrap_or_default();
            let path = crate::convert::join(path, key);
            let secret = is_secret(key, value);
            if secret {
                found.push(path);
            } else {
                take_out(value, &path, found);
            }
            !secret
        }),
        Value::Sequence(items) => {
            let mut index = 0;
            items.retain_mut(|item| {
                let name = item.get("name").and_then(Value::as_str);
                let path = format!("{path}[{}]", name.map_or_else(|| index.to_string(), str::to_owned));
                index += 1;
                let secret = is_variable(item) || is_object(item) || is_text(item);
                if secret {
                    found.push(path);
                } else {
                    take_out(item, &path, found);
                }
                !secret
            });
        }
        _ => {}
    }
}

fn is_secret(key: &str, value: &Value) -> bool {
    let key = key.rsplit('.').next().unwrap_or_default();
    let given = match value {
        Value::String(text) => is_given(text),
        Value::Number(_) => true,
        _ => false,
    };
    given && is_secret_key(key) || is_object(value) || is_text(value)
}

fn is_secret_key(key: &str) -> bool {
    let key: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_lowercase();
    SECRET_KEYS.iter().any(|end| key.ends_with(end))
}

/// Neither empty nor a reference such as `${NAME}`, `$(NAME)` or `$NAME` nor a template.
fn is_given(text: &str) -> bool {
    let name = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b"_0123456789".contains(&b))
    };
    let reference = text.strip_prefix('$').is_some_and(|rest| {
        (rest.starts_with('{') && rest.ends_with('}')) || (rest.starts_with('(') && rest.ends_with(')')) || name(rest)
    });
    !(text.is_empty() || reference || text.contains("{{"))
}

fn is_variable(item: &Value) -> bool {
    let text = |key| item.get(key).and_then(Value::as_str);
    let (Some(name), Some(value)) = (text("name"), text("value")) else {
        return false;
    };
    let name = name.to_uppercase();
    let file = value.starts_with('/')
        && ["FILE", "PATH", "DIR", "CREDENTIALS"]
            .iter()
            .any(|end| name.ends_with(end));
    is_given(value) && !file && SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// A Secret of Kubernetes, as a map or as the text of one.
fn is_object(value: &Value) -> bool {
    match value {
        Value::String(text) => text
            .lines()
            .any(|line| line.trim_start_matches(['-', ' ']).trim_end() == "kind: Secret"),
        value => value.get("kind").and_then(Value::as_str) == Some("Secret") && value.get("apiVersion").is_some(),
    }
}

/// An address with a password, or an assignment such as `--password=…`.
fn is_text(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    text.split_whitespace().any(|word| {
        let address = word
            .split_once("://")
            .and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@'));
        let password = address.and_then(|(user, _)| user.split_once(':'));
        let assigned = word.split_once('=').filter(|(key, _)| is_secret_key(key));
        password.is_some_and(|(_, password)| is_given(password)) || assigned.is_some_and(|(_, value)| is_given(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_references_to_them_stay() {
        let text = "
            s3: {access_key: /AKIA, secret_key: '${KEY}', session_token: $ecret, bucket: b}
            cache: {password: 12345, password_file: /run/p, existingSecret: s}
            env:
              - {name: AWS_SECRET_ACCESS_KEY, value: hush}
              - {name: GOOGLE_APPLICATION_CREDENTIALS, value: /var/key.json}
              - {name: TOKEN, valueFrom: {secretKeyRef: {name: s, key: k}}}
            args: {storage.trace.s3.secret_key: hush, mode: all}
            command: [run, --api-key=hush, --level=info]
            url: https://me:hush@example.com/write
            headers: {Authorization: Basic hush}
            objects: [{apiVersion: v1, kind: Secret, stringData: {a: hush}}, {apiVersion: v1, kind: ConfigMap}]
            texts: [\"kind: Secret\\ndata: {a: hush}\"]";
        let mut value: Value = serde_yaml::from_str(text).unwrap();
        let mut found = Vec::new();
        take_out(&mut value, "", &mut found);
        let wanted = "
            s3: {secret_key: '${KEY}', bucket: b}
            cache: {password_file: /run/p, existingSecret: s}
            env:
              - {name: GOOGLE_APPLICATION_CREDENTIALS, value: /var/key.json}
              - {name: TOKEN, valueFrom: {secretKeyRef: {name: s, key: k}}}
            args: {mode: all}
            command: [run, --level=info]
            headers: {}
            objects: [{apiVersion: v1, kind: ConfigMap}]
            texts: []";
        assert_eq!(value, serde_yaml::from_str::<Value>(wanted).unwrap());
        assert_eq!(found.len(), 10, "{found:?}");
        assert!(found.contains(&"env[AWS_SECRET_ACCESS_KEY]".to_owned()));
    }
}
