//! Releases on GitHub, by its REST API (docs.github.com/rest/releases) and curl.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use charts::project::Project;
use clap::Args;
use kit::failure::Failure;
use kit::run_dir::RunDir;
use kit::step::{Runner, Step};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::AGAIN;
use super::hosted::{Asset, Host, Page, Release};
use super::web;
use crate::package::secret;

/// The variables that GitHub's own programs read a token from, in this order (`gh help environment`).
const TOKENS: [&str; 2] = ["GH_TOKEN", "GITHUB_TOKEN"];
/// What is kept as it is in a part of an address (RFC 3986 §2.3), and the slash.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');
const QUERY: &AsciiSet = &PATH.add(b'/');
/// What stands for the number of a release in a plan.
const UNKNOWN: &str = "RELEASE";
/// How often a request is made while GitHub asks to wait.
const ATTEMPTS: usize = 4;
/// How long a limit is waited for, in seconds; its main one can last an hour.
const PATIENCE: u64 = 120;

/// Which repository, and who asks.
#[derive(Debug, Clone, Args)]
pub struct GitHubAccess {
    /// The repository on GitHub: OWNER/NAME, or its address [default: `repository` in Cargo.toml].
    #[arg(long, value_name = "REPOSITORY", env = "GITHUB_REPOSITORY")]
    repository: Option<String>,
    /// A file whose first line is a token with the permission `contents: write` [default: the variable GH_TOKEN,
    /// else GITHUB_TOKEN].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The address of the REST API; of GitHub Enterprise Server: https://HOST/api/v3.
    #[arg(
        long,
        value_name = "URL",
        env = "GITHUB_API_URL",
        default_value = "https://api.github.com"
    )]
    api: String,
    /// How long one request may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

impl GitHubAccess {
    /// `OWNER/NAME` of the repository that the command line or GitHub Actions names; none if neither does.
    pub fn named(&self) -> Result<Option<String>> {
        let named = self.repository.as_deref().filter(|name| !name.is_empty());
        named.map(repository).transpose()
    }

    /// Means this repository from now on.
    pub fn name(&mut self, repository: &str) {
        self.repository = Some(repository.to_owned());
    }

    /// Where people find repositories: `https://github.com`, or a GitHub Enterprise Server.
    pub fn website(&self) -> String {
        let api = self.api.trim_end_matches('/');
        api.trim_end_matches("/api/v3").replacen("://api.", "://", 1)
    }

    /// The token; none where nobody gave one.
    pub fn token(&self) -> Result<Option<String>> {
        let given = secret(self.token_file.as_deref(), TOKENS[0])?.filter(|token| !token.is_empty());
        let token = given.or_else(|| std::env::var(TOKENS[1]).ok().filter(|token| !token.is_empty()));
        match token {
            Some(token) if !token.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '\\') => Err(
                Failure::usage("the token for GitHub has characters that no token has", TOKEN_REMEDY),
            ),
            token => Ok(token),
        }
    }
}

const TOKEN_REMEDY: &str = "give one with --token-file or GH_TOKEN; `gh auth token` prints yours";

/// `OWNER/NAME` of that, or of the repository's address.
pub fn repository(text: &str) -> Result<String> {
    let path = match (text.split_once("://"), text.split_once(':')) {
        (Some((_, rest)), _) => rest.split_once('/').map_or("", |(_, path)| path),
        // As git and ssh write it: git@github.com:OWNER/NAME.git
        (None, Some((_, path))) => path,
        (None, None) => text,
    };
    let path = path.trim_end_matches('/').trim_end_matches(".git");
    let fits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    match path.split_once('/') {
        Some((owner, name)) if fits(owner) && fits(name) => Ok(path.to_owned()),
        _ => Err(Failure::usage(
            format!("{text} is not a repository on GitHub"),
            "write it as OWNER/NAME or https://github.com/OWNER/NAME",
        )),
    }
}

/// A repository on GitHub.
pub struct GitHub {
    api: String,
    /// `OWNER/NAME`.
    pub repository: String,
    token: String,
    timeout: Duration,
    runner: Runner,
    quiet: bool,
    temp: RunDir,
}

/// What is read of a release; the description of the API names it `release`.
#[derive(Debug, Deserialize)]
struct Told {
    id: u64,
    tag_name: String,
    html_url: String,
    upload_url: String,
    draft: bool,
    #[serde(default)]
    immutable: bool,
    assets: Vec<ToldAsset>,
}

#[derive(Debug, Deserialize)]
struct ToldAsset {
    id: u64,
    name: String,
    label: Option<String>,
    state: String,
    digest: Option<String>,
}

impl From<Told> for Release {
    fn from(told: Told) -> Release {
        // GitHub renames a file with a plus sign, for example; its label is the name that it was uploaded under.
        let name = |asset: &ToldAsset| asset.label.clone().filter(|label| !label.is_empty());
        let asset = |asset: ToldAsset| Asset {
            id: asset.id.to_string(),
            name: name(&asset).unwrap_or(asset.name),
            whole: asset.state == "uploaded",
            sha256: asset.digest.and_then(|d| d.strip_prefix("sha256:").map(str::to_owned)),
        };
        Release {
            id: told.id.to_string(),
            tag: told.tag_name,
            url: told.html_url,
            upload: told.upload_url.split('{').next().unwrap_or_default().to_owned(),
            draft: told.draft,
            immutable: told.immutable,
            assets: told.assets.into_iter().map(asset).collect(),
        }
    }
}

/// What goes with a request.
enum Body<'a> {
    None,
    Json(Value),
    File(&'a Path),
}

/// What came back.
struct Response {
    status: u16,
    /// The last answer's, after redirections.
    head: String,
    body: String,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.next_back().map(|(_, value)| value.trim())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.parse().ok()
    }

    /// How many seconds GitHub asks to wait, where it limits the rate
    /// (docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api).
    fn wait(&self) -> Option<u64> {
        if ![403, 429].contains(&self.status) {
            return None;
        }
        if let Some(seconds) = self.number("retry-after") {
            return Some(seconds);
        }
        if self.number("x-ratelimit-remaining") == Some(0) {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let now = now.map_or(0, |now| now.as_secs());
            return Some(self.number("x-ratelimit-reset")?.saturating_sub(now));
        }
        (self.status == 429 || self.body.contains("secondary rate limit")).then_some(60)
    }

    /// The address of the next page (RFC 8288).
    fn next(&self) -> Option<String> {
        let links = self.header("link")?.split(',');
        let next = links.filter_map(|link| link.trim().strip_prefix('<')?.split_once('>'));
        let mut next = next.filter(|(_, how)| how.contains("rel=\"next\""));
        next.next().map(|(url, _)| url.to_owned())
    }

    /// What GitHub says is wrong, on one line.
    fn why(&self) -> String {
        let Ok(said) = serde_json::from_str::<Value>(&self.body) else {
            return format!("status {}", self.status);
        };
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let errors = said["errors"].as_array().cloned().unwrap_or_default();
        let one = |error: &Value| {
            let words = ["resource", "field", "code", "message"].map(|key| text(error, key));
            words
                .into_iter()
                .filter(|w| !w.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let all = [text(&said, "message")].into_iter().chain(errors.iter().map(one));
        let all: Vec<String> = all.filter(|text| !text.is_empty()).collect();
        format!("status {}, {}", self.status, all.join("; "))
    }

    fn says(&self, code: &str) -> bool {
        let said = serde_json::from_str::<Value>(&self.body).unwrap_or_default();
        let errors = said["errors"].as_array().into_iter().flatten();
        errors.into_iter().any(|error| error["code"] == code)
    }
}

impl GitHub {
    /// A repository; nothing is asked yet. Errors of [`kit::failure::Kind::Usage`]: no repository, no token, an
    /// address to which a token would go without TLS.
    pub fn open(access: &GitHubAccess, project: &Project) -> Result<GitHub> {
        let set = || project.publication.repository.as_deref().map(repository).transpose();
        let named = match access.named()? {
            None => set()?,
            named => named,
        };
        let repository = named.ok_or_else(|| {
            Failure::usage(
                "which repository on GitHub is meant?",
                "name it with --repository, or as `repository` in [workspace.metadata.xtask] of Cargo.toml",
            )
        })?;
        let api = access.api.trim_end_matches('/').to_owned();
        let host = web::host_of(&api);
        let here = ["127.0.0.1", "localhost", "[::1]"];
        if !api.starts_with("https://") && !here.iter().any(|name| host.split(':').next() == Some(name)) {
            return Err(Failure::usage(
                format!("--api {api} would send the token without TLS"),
                "write it as https://HOST/PATH",
            ));
        }
        let token = match access.token()? {
            Some(token) => token,
            // A plan asks nobody.
            None if project.runner.plans() => String::new(),
            None => return Err(Failure::usage("there is no token for GitHub", TOKEN_REMEDY)),
        };
        Ok(GitHub {
            api,
            repository,
            token,
            timeout: Duration::from_secs(access.timeout),
            runner: project.runner.clone(),
            quiet: project.options.quiet,
            temp: RunDir::temporary("github")?,
        })
    }

    fn url(&self, path: &str) -> String {
        format!(
            "{}/repos/{}/{}",
            self.api,
            self.repository,
            utf8_percent_encode(path, PATH)
        )
    }

    fn step(&self, name: &str, method: &str, url: &str, accept: &str, body: &Body) -> Result<Step> {
        let file = |name: &str| self.temp.path().join(name);
        let mut step = Step::new(format!("GitHub: {name}"), "curl")
            .args(["--silent", "--show-error", "--request", method])
            .args(["--header", &format!("Accept: {accept}")])
            .args(["--header", "X-GitHub-Api-Version: 2022-11-28"])
            .args(["--write-out", "%{http_code}", "--dump-header"])
            .path_arg(&file("head"))
            .arg("--output")
            .path_arg(&file("body"));
        if method == "GET" {
            // The token stays here where it leads elsewhere: curl sends a header of its user to one host only.
            step = step.arg("--location");
        }
        let (kind, sent) = match body {
            Body::None => (None, PathBuf::new()),
            Body::Json(json) => {
                let sent = file("sent.json");
                fs_err::write(&sent, json.to_string())?;
                (Some("application/json"), sent)
            }
            Body::File(sent) => (Some("application/octet-stream"), sent.to_path_buf()),
        };
        if let Some(kind) = kind {
            let header = format!("Content-Type: {kind}");
            step = step.args(["--header", &header, "--data-binary", &format!("@{}", sent.display())]);
        }
        // Through standard input: others can read arguments.
        let login = format!("header = \"Authorization: Bearer {}\"\n", self.token);
        Ok(step
            .args(["--config", "-"])
            .arg(url)
            .stdin(login)
            .timeout(self.timeout)
            .hint("install curl, or raise --timeout"))
    }

    /// Asks, and waits where GitHub limits the rate and the wait is short.
    fn ask(&self, name: &str, method: &str, url: &str, accept: &str, body: Body) -> Result<Response> {
        let step = self.step(name, method, url, accept, &body)?;
        let host = web::host_of(url);
        for attempt in 1.. {
            for file in ["head", "body"].map(|name| self.temp.path().join(name)) {
                fs_err::write(file, "")?;
            }
            let output = self.runner.try_run(&step)?;
            if self.runner.plans() {
                break;
            }
            if !output.success() {
                let trusted = "name the certificates of its authority in the variable CURL_CA_BUNDLE";
                return Err(web::unreachable(&step.name, host, &output, trusted));
            }
            let read = |name: &str| fs_err::read(self.temp.path().join(name));
            let head = String::from_utf8_lossy(&read("head")?).replace("\r\n", "\n");
            let response = Response {
                status: output.stdout.trim().parse().context("curl printed no status")?,
                head: head.trim_end().rsplit("\n\n").next().unwrap_or_default().to_owned(),
                body: String::from_utf8_lossy(&read("body")?).into_owned(),
            };
            match response.wait() {
                None => return Ok(response),
                Some(seconds) if seconds <= PATIENCE && attempt < ATTEMPTS => self.pause(seconds)?,
                Some(seconds) => {
                    return Err(Failure::environment(
                        format!("{}: {host} limits the rate of requests for {seconds} s more", step.name),
                        format!("wait that long, then {AGAIN}"),
                    ));
                }
            }
        }
        Ok(Response {
            status: 0,
            head: String::new(),
            body: String::new(),
        })
    }

    fn pause(&self, seconds: u64) -> Result<()> {
        if !self.quiet {
            kit::progress::say(format_args!(
                "GitHub limits the rate of requests: going on in {seconds} s"
            ));
        }
        let until = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < until {
            self.runner.cancel().check()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The error of an answer that is none of the expected ones.
    fn refused(&self, name: &str, response: &Response) -> anyhow::Error {
        let what = format!("GitHub: {name}: {}", response.why());
        let remedy = match response.status {
            401 => format!("the token is unknown or has expired: {TOKEN_REMEDY}"),
            403 => format!(
                "the token needs the permission `contents: write` for {}",
                self.repository
            ),
            404 => format!(
                "check that {} exists, and that the token may read and write it",
                self.repository
            ),
            301 | 302 | 307 | 308 => format!("{} has moved: name its new address with --repository", self.repository),
            422 if response.says("already_exists") => format!("somebody else was faster: {AGAIN}"),
            422 => format!(
                "push the commit and its branch to {} first; otherwise mend what it says",
                self.repository
            ),
            _ => format!("look at githubstatus.com, then {AGAIN}"),
        };
        Failure::environment(what, remedy)
    }

    /// What a request with this status answers.
    fn call<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        (method, url, body): (&str, &str, Body),
        expected: u16,
    ) -> Result<Option<(T, Option<String>)>> {
        let response = self.ask(name, method, url, "application/vnd.github+json", body)?;
        if self.runner.plans() {
            return Ok(None);
        }
        if response.status != expected {
            return Err(self.refused(name, &response));
        }
        let parsed = serde_json::from_str(&response.body);
        let parsed = parsed.with_context(|| format!("GitHub: {name}: the answer can't be read"))?;
        Ok(Some((parsed, response.next())))
    }

    /// All parts of a list, page by page. The next page must be at the same host: the token goes there.
    fn pages<T: serde::de::DeserializeOwned>(&self, name: &str, first: String) -> Result<Vec<T>> {
        let (mut parts, mut url) = (Vec::new(), first);
        while let Some((part, next)) = self.call(name, ("GET", &url, Body::None), 200)? {
            parts.push(part);
            match next {
                Some(next) if next.starts_with(&format!("{}/", self.api)) => url = next,
                Some(next) => {
                    let what = format!("GitHub: {name}: the next page is elsewhere: {next}");
                    return Err(Failure::environment(what, "check the address that --api names"));
                }
                None => break,
            }
        }
        Ok(parts)
    }

    /// The names of the secrets, or of the `variables`, of an environment.
    pub fn names(&self, environment: &str, kind: &str) -> Result<Vec<String>> {
        let url = self.url(&format!("environments/{environment}/{kind}"));
        let pages: Vec<Value> = self.pages(&format!("the {kind} of the environment {environment}"), url)?;
        let entries = pages
            .iter()
            .flat_map(|page| page[kind].as_array().cloned().unwrap_or_default());
        Ok(entries
            .filter_map(|entry| entry["name"].as_str().map(str::to_owned))
            .collect())
    }
}

impl Host for GitHub {
    fn releases(&self) -> Result<Vec<Release>> {
        let url = format!("{}?per_page=100", self.url("releases"));
        let pages: Vec<Vec<Told>> = self.pages("the releases", url)?;
        Ok(pages.into_iter().flatten().map(Release::from).collect())
    }

    fn tagged(&self, tag: &str) -> Result<Option<String>> {
        #[derive(Deserialize)]
        struct Commit {
            sha: String,
        }
        let name = format!("the commit of the tag {tag}");
        let url = self.url(&format!("commits/tags/{tag}"));
        let response = self.ask(&name, "GET", &url, "application/vnd.github+json", Body::None)?;
        match response.status {
            // Of a repository without commits: 409.
            0 | 404 | 409 | 422 => Ok(None),
            200 => {
                let commit: Commit = serde_json::from_str(&response.body).with_context(|| format!("GitHub: {name}"))?;
                Ok(Some(commit.sha))
            }
            _ => Err(self.refused(&name, &response)),
        }
    }

    fn draft(&self, page: &Page) -> Result<Release> {
        let name = format!("begin the release {} as a draft", page.tag);
        let url = self.url("releases");
        let told = self.call::<Told>(&name, ("POST", &url, Body::Json(text(page, true))), 201)?;
        let planned = || Release {
            id: UNKNOWN.to_owned(),
            tag: page.tag.clone(),
            url: String::new(),
            upload: format!("{url}/{UNKNOWN}/assets"),
            draft: true,
            immutable: false,
            assets: Vec::new(),
        };
        Ok(told.map_or_else(planned, |(told, _)| told.into()))
    }

    fn upload(&self, release: &Release, file: &Path, name: &str) -> Result<()> {
        if self.api.starts_with("https://") && !release.upload.starts_with("https://") {
            let what = format!("GitHub names {} for uploads, which has no TLS", release.upload);
            return Err(Failure::environment(what, "check the address that --api names"));
        }
        let encoded = utf8_percent_encode(name, QUERY);
        let url = format!("{}?name={encoded}&label={encoded}", release.upload);
        let name = format!("upload {name}");
        self.call::<ToldAsset>(&name, ("POST", &url, Body::File(file)), 201)?;
        Ok(())
    }

    fn download(&self, asset: &Asset, to: &Path) -> Result<()> {
        let name = format!("download {}", asset.name);
        let url = self.url(&format!("releases/assets/{}", asset.id));
        let response = self.ask(&name, "GET", &url, "application/octet-stream", Body::None)?;
        if response.status != 200 {
            return Err(self.refused(&name, &response));
        }
        fs_err::copy(self.temp.path().join("body"), to)?;
        Ok(())
    }

    fn remove(&self, asset: &Asset) -> Result<()> {
        let name = format!("delete {} of the draft", asset.name);
        let url = self.url(&format!("releases/assets/{}", asset.id));
        let response = self.ask(&name, "DELETE", &url, "application/vnd.github+json", Body::None)?;
        match response.status {
            0 | 204 | 404 => Ok(()),
            _ => Err(self.refused(&name, &response)),
        }
    }

    fn publish(&self, release: &Release, page: &Page) -> Result<String> {
        let name = format!("publish the release {}", page.tag);
        let url = self.url(&format!("releases/{}", release.id));
        let told = self.call::<Told>(&name, ("PATCH", &url, Body::Json(text(page, false))), 200)?;
        Ok(told.map_or_else(String::new, |(told, _)| told.html_url))
    }
}

fn text(page: &Page, draft: bool) -> Value {
    let mut text = json!({
        "tag_name": page.tag,
        "target_commitish": page.commit,
        "name": page.title,
        "body": page.notes,
        "draft": draft,
        "prerelease": page.candidate,
    });
    if !draft {
        // A release of an older line must not become the latest one: `legacy` leaves that to dates and versions.
        text["make_latest"] = if page.candidate { "false" } else { "legacy" }.into();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_named_by_its_path_or_its_address() {
        for text in [
            "a/b.c",
            "https://github.com/a/b.c",
            "https://github.com/a/b.c.git/",
            "git@github.com:a/b.c.git",
        ] {
            assert_eq!(repository(text).unwrap(), "a/b.c", "{text}");
        }
        for text in ["", "a", "a/b/c", "https://github.com/a", "a/b?c", "/b"] {
            assert!(repository(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_says_how_long_to_wait_and_another_refusal_does_not() {
        let said = |status, head: &str, body: &str| {
            let (head, body) = (head.to_owned(), body.to_owned());
            Response { status, head, body }.wait()
        };
        let wait = |status, head| said(status, head, "");
        assert_eq!(wait(429, "HTTP/2 429\nRetry-After: 7"), Some(7));
        assert_eq!(wait(403, "x-ratelimit-remaining: 0\nx-ratelimit-reset: 5"), Some(0));
        assert_eq!(wait(429, ""), Some(60));
        assert_eq!(wait(403, "x-ratelimit-remaining: 12"), None);
        let secondary = r#"{"message": "You have exceeded a secondary rate limit."}"#;
        assert_eq!(said(403, "", secondary), Some(60));
        assert_eq!(wait(404, "retry-after: 7"), None);
    }
}
