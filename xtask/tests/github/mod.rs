//! A stand-in for GitHub's REST API that is held to its published description (README.md): it refuses and notes a
//! request that the description doesn't allow, and an answer of its own that it doesn't allow either.

mod description;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::description::allowed;

pub const TOKEN: &str = "ghp_ofTheTests";
pub const REPOSITORY: &str = "team/charts";

/// Answers on three ports, as GitHub does on three hosts: the API, uploads, and where downloads lead to.
pub struct GitHub {
    pub api: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    pub releases: Vec<Value>,
    /// The bytes of each file by its number.
    pub files: BTreeMap<u64, Vec<u8>>,
    /// Tags with their commits.
    pub tags: BTreeMap<String, String>,
    /// The commits that were pushed.
    pub commits: Vec<String>,
    /// Names of the secrets and variables of the environment `release`.
    pub names: BTreeMap<&'static str, Vec<String>>,
    /// Answers instead of what is asked: what its line in `log` begins with, the status and a header.
    pub faults: VecDeque<(&'static str, u16, String)>,
    /// Each request that was answered: `POST releases`.
    pub log: Vec<String>,
    /// What broke the contract.
    violations: Vec<String>,
    cut: Option<(usize, Cut)>,
    shut: bool,
    /// Connections that get no answer.
    held: Vec<TcpStream>,
    writes: usize,
    next: u64,
    ports: [String; 3],
}

/// How a connection ends at the write that is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The write was done, and its answer is lost.
    Done,
    /// A file was begun, and its end never came; anything else was not done.
    Half,
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    headers: Vec<String>,
    body: Vec<u8>,
}

fn answer(status: u16, body: Value) -> Answer {
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    Answer {
        status,
        headers: Vec::new(),
        body,
    }
}

fn refusal(status: u16, message: &str, errors: Value) -> Answer {
    let mut body =
        json!({"message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string()});
    if !errors.is_null() {
        body["errors"] = json!([errors]);
    }
    answer(status, body)
}

impl GitHub {
    pub fn start(commits: &[String]) -> GitHub {
        let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let port = |n: usize| listeners[n].local_addr().unwrap().port();
        let state = State {
            commits: commits.to_vec(),
            next: 1000,
            ports: [
                format!("http://127.0.0.1:{}", port(0)),
                format!("http://127.0.0.1:{}", port(1)),
                format!("http://localhost:{}", port(2)),
            ],
            ..State::default()
        };
        let api = state.ports[0].clone();
        let state = Arc::new(Mutex::new(state));
        for (at, listener) in listeners.into_iter().enumerate() {
            let state = state.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = state.clone();
                    std::thread::spawn(move || serve(stream, at, &state));
                }
            });
        }
        GitHub { api, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Cuts the connection off at a write, from 1, counted from now; none lets all through.
    pub fn cut(&self, at: Option<(usize, Cut)>) {
        let mut state = self.state();
        (state.cut, state.shut, state.writes) = (at, false, 0);
        // Whoever still waits there is gone or ends now.
        state.held.clear();
    }

    pub fn is_shut(&self) -> bool {
        self.state().shut
    }

    /// Ends the test if the contract was broken; the requests since the last call.
    pub fn log(&self) -> Vec<String> {
        let mut state = self.state();
        assert!(state.violations.is_empty(), "{:#?}", state.violations);
        std::mem::take(&mut state.log)
    }

    /// A release made by somebody else.
    pub fn seed(&self, tag: &str, draft: bool) -> u64 {
        let mut state = self.state();
        let release = state.release(json!({"tag_name": tag, "target_commitish": "main", "draft": draft}));
        release["id"].as_u64().unwrap()
    }

    /// A file in a release, by somebody else.
    pub fn seed_file(&self, release: u64, name: &str, bytes: &[u8]) {
        self.state().asset(release, name, name, bytes.to_vec(), true);
    }
}

impl State {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// `CHART-VERSION` of each published release, then of each draft after a question mark; without those of
    /// others, and with the names of their files.
    pub fn shown(&self) -> Vec<String> {
        let ours = self.releases.iter().filter(|r| !r["name"].is_null());
        let one = |release: &Value| {
            let mut files: Vec<&str> = release["assets"]
                .as_array()
                .unwrap()
                .iter()
                .map(|a| a["name"].as_str().unwrap())
                .collect();
            files.sort_unstable();
            let draft = if release["draft"] == true { "?" } else { "" };
            format!("{draft}{}: {}", release["tag_name"].as_str().unwrap(), files.join(" "))
        };
        ours.map(one).collect()
    }

    fn release(&mut self, asked: Value) -> Value {
        let id = self.id();
        let here = format!("{}/repos/{REPOSITORY}/releases/{id}", self.ports[0]);
        let upload = format!(
            "{}/repos/{REPOSITORY}/releases/{id}/assets{{?name,label}}",
            self.ports[1]
        );
        let mut release = json!({
            "url": here, "html_url": format!("https://github.com/{REPOSITORY}/releases/{id}"),
            "assets_url": format!("{here}/assets"), "upload_url": upload, "tarball_url": null, "zipball_url": null,
            "id": id, "node_id": "R", "tag_name": "", "target_commitish": "main", "name": null, "body": null,
            "draft": false, "prerelease": false, "immutable": false, "created_at": "2026-01-01T00:00:00Z",
            "published_at": null, "author": user(), "assets": [],
        });
        merge(&mut release, &asked);
        self.releases.insert(0, release.clone());
        release
    }

    fn asset(&mut self, release: u64, name: &str, label: &str, bytes: Vec<u8>, whole: bool) -> Value {
        let id = self.id();
        let digest = format!(
            "sha256:{}",
            Sha256::digest(&bytes)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
        );
        let asset = json!({
            "url": format!("{}/repos/{REPOSITORY}/releases/assets/{id}", self.ports[0]),
            "browser_download_url": format!("https://github.com/{REPOSITORY}/releases/download/{id}"),
            "id": id, "node_id": "A", "name": name, "label": label, "state": if whole { "uploaded" } else { "starter" },
            "content_type": "application/octet-stream", "size": bytes.len(),
            "digest": digest, "download_count": 0,
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "uploader": user(),
        });
        self.files.insert(id, bytes);
        let release = self.releases.iter_mut().find(|r| r["id"] == release).unwrap();
        release["assets"].as_array_mut().unwrap().push(asset.clone());
        asset
    }

    fn find(&mut self, id: &str) -> Option<&mut Value> {
        self.releases.iter_mut().find(|r| is(r, id))
    }

    /// What an operation answers; `cut` is how the write ends.
    fn run(&mut self, operation: &str, at: &BTreeMap<String, String>, request: &Request, cut: Option<Cut>) -> Answer {
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let missing = || refusal(404, "Not Found", Value::Null);
        if format!("{}/{}", at["owner"], at["repo"]) != REPOSITORY {
            return missing();
        }
        let published = |state: &State, tag: &Value| {
            state
                .releases
                .iter()
                .any(|r| r["tag_name"] == *tag && r["draft"] == false)
        };
        match operation {
            "repos/list-releases" => self.page(request, self.releases.clone(), 30),
            "repos/create-release" => {
                if cut == Some(Cut::Half) {
                    return missing();
                }
                if published(self, &asked["tag_name"]) {
                    return refusal(
                        422,
                        "Validation Failed",
                        json!({"resource": "Release", "code": "already_exists", "field": "tag_name"}),
                    );
                }
                if let Some(why) = self.unknown(&asked) {
                    return why;
                }
                if asked["draft"] != true {
                    self.violations
                        .push(format!("{} is shown before its files are there", asked["tag_name"]));
                }
                let release = self.release(asked);
                answer(201, release)
            }
            "repos/update-release" => {
                if cut == Some(Cut::Half) {
                    return missing();
                }
                if let Some(why) = self.unknown(&asked) {
                    return why;
                }
                let Some(old) = self.find(&at["release_id"]).cloned() else {
                    return missing();
                };
                if old["draft"] == true && published(self, &old["tag_name"]) {
                    return refusal(
                        422,
                        "Validation Failed",
                        json!({"resource": "Release", "code": "already_exists", "field": "tag_name"}),
                    );
                }
                let whole = |r: &Value| r["assets"].as_array().unwrap().iter().all(|a| a["state"] == "uploaded");
                if old["assets"] == json!([]) || !whole(&old) {
                    self.violations
                        .push(format!("{} is shown without all of its files", old["tag_name"]));
                }
                let release = self.find(&at["release_id"]).unwrap();
                merge(release, &asked);
                let release = release.clone();
                let text = |key: &str| release[key].as_str().unwrap().to_owned();
                self.tags.entry(text("tag_name")).or_insert(text("target_commitish"));
                answer(200, release)
            }
            "repos/upload-release-asset" => {
                let Some(release) = self.find(&at["release_id"]).cloned() else {
                    return missing();
                };
                let label = request.query.get("label").cloned().unwrap_or_default();
                let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                let name: String = request.query["name"]
                    .chars()
                    .map(|c| if plain(c) { c } else { '.' })
                    .collect();
                if release["assets"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|a| a["name"] == name.as_str())
                {
                    return refusal(
                        422,
                        "Validation Failed",
                        json!({"resource": "ReleaseAsset", "code": "already_exists", "field": "name"}),
                    );
                }
                let half = cut == Some(Cut::Half);
                let bytes = if half { Vec::new() } else { request.body.clone() };
                let id = release["id"].as_u64().unwrap();
                answer(201, self.asset(id, &name, &label, bytes, !half))
            }
            "repos/get-release-asset" => {
                let id: u64 = at["asset_id"].parse().unwrap();
                let asset = self
                    .releases
                    .iter()
                    .flat_map(|r| r["assets"].as_array().unwrap())
                    .find(|a| a["id"] == id);
                match asset {
                    None => missing(),
                    Some(_) if request.headers["accept"].contains("octet-stream") => Answer {
                        headers: vec![format!("Location: {}/files/{id}", self.ports[2])],
                        ..answer(302, Value::Null)
                    },
                    Some(asset) => answer(200, asset.clone()),
                }
            }
            "repos/delete-release-asset" => {
                for release in &mut self.releases {
                    let hidden = release["draft"] == true;
                    let assets = release["assets"].as_array_mut().unwrap();
                    let before = assets.len();
                    assets.retain(|a| !is(a, &at["asset_id"]) || !hidden && a["state"] == "uploaded");
                    if assets.len() < before {
                        return answer(204, Value::Null);
                    }
                }
                self.violations
                    .push("a file that everybody is shown was to be deleted".to_owned());
                missing()
            }
            "repos/get-commit" => match at["ref"].strip_prefix("tags/").and_then(|tag| self.tags.get(tag)) {
                Some(sha) => answer(200, commit(sha)),
                None => refusal(422, &format!("No commit found for SHA: {}", at["ref"]), Value::Null),
            },
            "actions/list-environment-secrets" => self.listed(request, "secrets"),
            "actions/list-environment-variables" => self.listed(request, "variables"),
            other => panic!("{other} is not answered"),
        }
    }

    fn unknown(&self, asked: &Value) -> Option<Answer> {
        let at = asked["target_commitish"].as_str().unwrap_or("main");
        let known = at == "main" || self.commits.iter().any(|c| c == at);
        let why = json!({"resource": "Release", "code": "invalid", "field": "target_commitish"});
        (!known).then(|| refusal(422, "Validation Failed", why))
    }

    fn listed(&self, request: &Request, kind: &'static str) -> Answer {
        let when = "2026-01-01T00:00:00Z";
        let names = self.names.get(kind).cloned().unwrap_or_default();
        let entry = |name: &String| match kind {
            "secrets" => json!({"name": name, "created_at": when, "updated_at": when}),
            _ => json!({"name": name, "value": "x", "created_at": when, "updated_at": when}),
        };
        let total = names.len();
        let mut page = self.page(request, names.iter().map(entry).collect(), 10);
        let entries: Value = serde_json::from_slice(&page.body).unwrap();
        page.body = json!({"total_count": total, kind: entries}).to_string().into_bytes();
        page
    }

    fn page(&self, request: &Request, all: Vec<Value>, usual: usize) -> Answer {
        let number = |key: &str, usual| request.query.get(key).map_or(usual, |text| text.parse().unwrap());
        let (size, page) = (number("per_page", usual).min(100), number("page", 1));
        let begin = ((page - 1) * size).min(all.len());
        let end = (begin + size).min(all.len());
        let mut answer = answer(200, all[begin..end].to_vec().into());
        if end < all.len() {
            let url = |page: usize| format!("{}{}?per_page={size}&page={page}", self.ports[0], request.path);
            let (next, last) = (url(page + 1), url(all.len().div_ceil(size)));
            answer
                .headers
                .push(format!("Link: <{next}>; rel=\"next\", <{last}>; rel=\"last\""));
        }
        answer
    }
}

fn is(value: &Value, id: &str) -> bool {
    value["id"].as_u64() == id.parse().ok()
}

fn user() -> Value {
    let mut user = json!({"login": "bot", "id": 1, "type": "Bot", "site_admin": false});
    for key in [
        "node_id",
        "avatar_url",
        "gravatar_id",
        "url",
        "html_url",
        "followers_url",
        "following_url",
        "gists_url",
        "starred_url",
        "subscriptions_url",
        "organizations_url",
        "repos_url",
        "events_url",
        "received_events_url",
    ] {
        user[key] = "https://github.com/bot".into();
    }
    user
}

fn commit(sha: &str) -> Value {
    let url = format!("https://github.com/{REPOSITORY}/commit/{sha}");
    let tree = json!({"sha": sha, "url": url});
    json!({
        "sha": sha, "url": url, "node_id": "C", "html_url": url, "comments_url": url, "author": null,
        "committer": null, "parents": [],
        "commit": {"url": url, "author": null, "committer": null, "message": "x", "comment_count": 0, "tree": tree},
    })
}

fn merge(into: &mut Value, asked: &Value) {
    for (key, value) in asked.as_object().unwrap() {
        // What only asks is not part of what is shown.
        if key != "make_latest" {
            into[key] = value.clone();
        }
    }
}

fn serve(mut stream: TcpStream, at: usize, state: &Mutex<State>) {
    let Some(request) = read(&stream) else { return };
    let answer = {
        let mut state = state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match handle(&mut state, at, &request) {
            Some(answer) => answer,
            // Neither an answer nor an end, until the next cut is set.
            None => return state.held.push(stream),
        }
    };
    let mut head = format!(
        "HTTP/1.1 {} X\r\nContent-Length: {}\r\nConnection: close\r\n",
        answer.status,
        answer.body.len()
    );
    for header in answer.headers {
        head.push_str(&format!("{header}\r\n"));
    }
    let _ = stream.write_all(&[head.as_bytes(), b"\r\n", &answer.body].concat());
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, url) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = url.split_once('?').unwrap_or((&url, ""));
    let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    Some(Request {
        method,
        path: decode(path),
        query: pairs.map(|(key, value)| (decode(key), decode(value))).collect(),
        headers,
        body,
    })
}

/// None where the connection is cut off.
fn handle(state: &mut State, at: usize, request: &Request) -> Option<Answer> {
    if state.shut {
        return None;
    }
    if at == 2 {
        if request.headers.contains_key("authorization") {
            state.violations.push("the token went to another host".to_owned());
        }
        let id = request.path.rsplit('/').next().unwrap().parse().unwrap();
        return Some(Answer {
            status: 200,
            headers: Vec::new(),
            body: state.files[&id].clone(),
        });
    }
    let short = request
        .path
        .trim_start_matches(&format!("/repos/{REPOSITORY}/"))
        .to_owned();
    let line = format!("{} {short}", request.method);
    state.log.push(line.clone());
    let operation = match allowed(at, request) {
        Ok(operation) => operation,
        Err(why) => {
            state
                .violations
                .push(format!("{} {}: {why}", request.method, request.path));
            return Some(refusal(400, &why, Value::Null));
        }
    };
    if request.headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return Some(refusal(401, "Bad credentials", Value::Null));
    }
    let faulty = state.faults.front().is_some_and(|(begin, ..)| line.starts_with(begin));
    if let Some((_, status, header)) = faulty.then(|| state.faults.pop_front()).flatten() {
        if status == 502 {
            // As the description of uploads warns.
            state.run(&operation.id, &operation.at, request, Some(Cut::Half));
        }
        let mut answer = refusal(status, "Not now", Value::Null);
        answer.headers.push(header);
        return Some(answer);
    }
    let mut cut = None;
    if request.method != "GET" {
        state.writes += 1;
        cut = state
            .cut
            .filter(|(write, _)| *write == state.writes)
            .map(|(_, cut)| cut);
    }
    let answer = state.run(&operation.id, &operation.at, request, cut);
    if let Err(why) = operation.holds(&answer) {
        state
            .violations
            .push(format!("the stand-in: {} {}: {why}", request.method, request.path));
    }
    state.shut = cut.is_some();
    (!state.shut).then_some(answer)
}
