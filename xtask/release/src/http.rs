//! HTTP with the certificates, the patience and the credentials of [`Access`].

use std::collections::HashMap;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kit::failure::{Failure, causes};
use kit::step::Cancel;
use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::access::{Access, Login};

/// What to do after most failures.
pub const AGAIN: &str = "run the same command again: what is done already is not done twice";
/// More than any chart or document has.
const LARGEST: u64 = 256 * 1024 * 1024;

/// A client for one server.
pub struct Http {
    agent: Agent,
    /// The server, `host[:port]`.
    host: String,
    login: Option<Login>,
    patience: Duration,
    cancel: Cancel,
    /// The `Authorization` for each kind of work that the server asked one for.
    tokens: Mutex<HashMap<String, String>>,
}

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// `GET`, `PUT`, …
    pub method: &'static str,
    /// The whole address.
    pub url: String,
    /// `Content-Type` of the body.
    pub content_type: Option<&'static str>,
    /// `Accept`, where the server has a choice.
    pub accept: Option<&'static str>,
    /// What is sent along.
    pub body: Option<Vec<u8>>,
    /// What the work is about, for an error.
    pub what: String,
    /// For which work a token is kept: `path/chart read`, for example.
    pub scope: String,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// `Location`.
    pub location: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    challenge: Option<String>,
}

impl Http {
    /// A client for this host; nothing is asked yet.
    pub fn open(host: &str, access: &Access, cancel: &Cancel) -> Result<Http> {
        let mut roots = RootCerts::PlatformVerifier;
        if let Some(pem) = access.certificates()? {
            let certificates = parse_pem(&pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            let certificates: Vec<Certificate<'static>> = certificates.collect();
            if certificates.is_empty() {
                return Err(Failure::usage(
                    "--ca-file holds no certificate",
                    "name a PEM file with the certificates of the server's authority",
                ));
            }
            roots = RootCerts::new_with_certs(&certificates);
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(access.timeout()))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        Ok(Http {
            agent: config.into(),
            host: host.to_owned(),
            login: access.login(host)?,
            patience: access.timeout(),
            cancel: cancel.clone(),
            tokens: Mutex::default(),
        })
    }

    /// Asks; where the server wants to know who asks, once more with an answer to that.
    pub fn ask(&self, question: &Question) -> Result<Answer> {
        // An index or a registry may lead elsewhere: these credentials are not for there.
        let ours = host_of(&question.url) == self.host;
        let known = self.token(&question.scope).filter(|_| ours);
        let answer = self.send(question, known)?;
        if answer.status != 401 || !ours {
            return Ok(answer);
        }
        let Some(token) = self.answer_challenge(question, answer.challenge.as_deref())? else {
            return Err(self.refused(question, ""));
        };
        if let Ok(mut tokens) = self.tokens.lock() {
            tokens.insert(question.scope.clone(), token.clone());
        }
        let answer = self.send(question, Some(token))?;
        if answer.status == 401 {
            return Err(self.refused(question, ""));
        }
        Ok(answer)
    }

    /// The error of a server that refuses these credentials.
    pub fn refused(&self, question: &Question, why: &str) -> anyhow::Error {
        Failure::environment(
            format!("{}: {} refuses these credentials{why}", question.what, self.host),
            "check --username and --password-file, run `helm registry login`, or ask for the right to push",
        )
    }

    /// The error of any other status.
    pub fn failed(&self, question: &Question, answer: &Answer) -> anyhow::Error {
        let body = String::from_utf8_lossy(&answer.body);
        let body: String = body.trim().chars().take(500).collect();
        match answer.status {
            403 => self.refused(question, &format!(": {body}")),
            status => Failure::environment(
                format!("{}: {} failed with status {status}: {body}", question.what, self.host),
                format!("look at that server (its disk may be full), then {AGAIN}"),
            ),
        }
    }

    fn token(&self, scope: &str) -> Option<String> {
        self.tokens.lock().ok()?.get(scope).cloned()
    }

    /// Sends in a thread of its own, so that Ctrl-C need not wait for a slow server.
    fn send(&self, question: &Question, authorization: Option<String>) -> Result<Answer> {
        self.cancel.check()?;
        let (agent, copy) = (self.agent.clone(), question.clone());
        let (to, from) = mpsc::channel();
        // Nobody listens any more after Ctrl-C.
        std::thread::spawn(move || to.send(exchange(&agent, copy, authorization)));
        loop {
            match from.recv_timeout(Duration::from_millis(50)) {
                Ok(answer) => return answer.map_err(|error| self.unanswered(question, &error)),
                Err(mpsc::RecvTimeoutError::Timeout) => self.cancel.check()?,
                Err(error) => return Err(error).context("asking a server"),
            }
        }
    }

    fn unanswered(&self, question: &Question, error: &ureq::Error) -> anyhow::Error {
        let (what, host, why) = (&question.what, &self.host, causes(error));
        let (what, remedy) = if matches!(error, ureq::Error::Timeout(_)) {
            (
                format!("{what}: {host} gave no answer in {} s", self.patience.as_secs()),
                format!("wait, or raise --timeout, and {AGAIN}"),
            )
        } else if why.contains("certificate") || why.contains("UnknownIssuer") {
            (
                format!("{what}: the certificate of {host} is not trusted: {why}"),
                "name the certificate of its authority with --ca-file".to_owned(),
            )
        } else {
            (
                format!("{what}: {host} can't be reached: {why}"),
                format!("check its address and the network, and {AGAIN}"),
            )
        };
        Failure::environment(what, remedy)
    }

    /// What to say to `WWW-Authenticate`: name and password, or a token that its realm gives for them
    /// (distribution.github.io/distribution/spec/auth/token). None if there is nothing to say.
    fn answer_challenge(&self, question: &Question, challenge: Option<&str>) -> Result<Option<String>> {
        let basic = self.login.as_ref().map(|login| {
            let plain = format!("{}:{}", login.username, login.password);
            format!("Basic {}", STANDARD.encode(plain))
        });
        let challenges = http_auth::parse_challenges(challenge.unwrap_or_default()).unwrap_or_default();
        let Some(bearer) = challenges.iter().find(|c| c.scheme.eq_ignore_ascii_case("bearer")) else {
            return Ok(basic);
        };
        let param = |name: &str| {
            let found = bearer.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        let realm = param("realm").unwrap_or_default();
        let mut url = realm
            .parse::<ureq::http::Uri>()
            .map(|_| realm.clone())
            .context("the realm of a registry")?;
        for (at, name) in ["service", "scope"].into_iter().enumerate() {
            if let Some(value) = param(name) {
                let separator = if at == 0 && !url.contains('?') { '?' } else { '&' };
                url.push_str(&format!("{separator}{name}={}", encoded(&value)));
            }
        }
        let ask = Question {
            method: "GET",
            url,
            what: question.what.clone(),
            ..Question::default()
        };
        let answer = self.send(&ask, basic)?;
        match answer.status {
            200 => {}
            401 | 403 => return Err(self.refused(question, "")),
            _ => return Err(self.failed(&ask, &answer)),
        }
        let answer: Value = serde_json::from_slice(&answer.body).context("the token of a registry")?;
        let token = answer["token"].as_str().or(answer["access_token"].as_str());
        Ok(token.map(|token| format!("Bearer {token}")))
    }
}

fn exchange(agent: &Agent, question: Question, authorization: Option<String>) -> Result<Answer, ureq::Error> {
    let mut request = Request::builder().method(question.method).uri(&question.url);
    let headers = [
        ("accept", question.accept.map(str::to_owned)),
        ("content-type", question.content_type.map(str::to_owned)),
        ("authorization", authorization),
    ];
    for (name, value) in headers {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    let mut response = match question.body {
        Some(body) => agent.run(request.body(body)?)?,
        None => agent.run(request.body(())?)?,
    };
    let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    Ok(Answer {
        status: response.status().as_u16(),
        location: header("location"),
        challenge: header("www-authenticate"),
        body: response.body_mut().with_config().limit(LARGEST).read_to_vec()?,
    })
}

/// A text as part of a query (RFC 3986 §2.1).
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The body of an address on a web server; none if the server says that there is no such thing.
pub fn get(http: &Http, url: &str) -> Result<Option<Vec<u8>>> {
    let question = Question {
        method: "GET",
        url: url.to_owned(),
        what: format!("reading {url}"),
        ..Question::default()
    };
    let answer = http.ask(&question)?;
    match answer.status {
        200 => Ok(Some(answer.body)),
        404 | 410 => Ok(None),
        _ => Err(http.failed(&question, &answer)),
    }
}

/// `host[:port]` of an address.
pub fn host_of(url: &str) -> &str {
    url.split('/').nth(2).unwrap_or_default()
}
