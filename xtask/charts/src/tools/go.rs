//! The Go that builds tools: which one is here, and whether it is new enough.

use anyhow::{Context, Result, bail};
use kit::failure::{Failure, Kind};
use kit::step::Step;

use super::{Tool, Toolbox};

/// What decides a build besides the module files.
#[derive(Debug, Clone)]
pub(super) struct Go {
    pub(super) version: String,
    pub(super) target: String,
}

impl Toolbox {
    /// A go command in the tool's module that never changes or bypasses go.mod and go.sum.
    pub(super) fn go_step(&self, name: String, tool: &Tool) -> Step {
        Step::new(name, "go")
            .cwd(&tool.dir)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=readonly -trimpath -buildvcs=false")
            .env("GOWORK", "off")
    }

    pub(super) fn go(&self, tool: &Tool) -> Result<Go> {
        let go = self.any_go(tool)?;
        // With GOTOOLCHAIN=local Go says only in the middle of a build that it is too old.
        match go_line(tool)? {
            Some(needed) if numbers(&go.version) < numbers(&needed) => Err(Failure::tool(
                format!(
                    "{} {} is not on PATH and can't be built: it needs Go {needed}, the Go here is {}",
                    tool.name, tool.file.version, go.version
                ),
                self.install_go()?,
            )),
            _ => Ok(go),
        }
    }

    /// The Go on PATH, whatever its version.
    fn any_go(&self, tool: &Tool) -> Result<Go> {
        let mut known = self
            .go
            .lock()
            .map_err(|_| anyhow::anyhow!("another thread failed while asking for Go"))?;
        if let Some(go) = &*known {
            return Ok(go.clone());
        }
        let remedy = self.install_go()?;
        let missing = |what: String| Failure::tool(what, remedy.as_str());
        let step = self
            .go_step("go env".into(), tool)
            .args(["env", "GOVERSION", "GOOS", "GOARCH"])
            .reads();
        let output = match self.runner.try_run(&step) {
            Ok(output) if output.success() => output,
            Ok(output) => {
                return Err(missing(format!(
                    "{} can't be built: {}",
                    tool.name,
                    output.tail().replace('\n', "; ")
                )));
            }
            Err(error) if kit::failure::kind_of(&error) == Kind::Tool => {
                return Err(missing(format!(
                    "{} {} is not on PATH and can't be built: Go was not found",
                    tool.name, tool.file.version
                )));
            }
            Err(error) => return Err(error),
        };
        let mut lines = output.stdout.lines();
        let (Some(version), Some(os), Some(arch)) = (lines.next(), lines.next(), lines.next()) else {
            bail!("`go env` printed {:?}", output.stdout);
        };
        let go = Go {
            version: version.to_owned(),
            target: format!("{os}/{arch}"),
        };
        *known = Some(go.clone());
        Ok(go)
    }

    /// What to do without a Go that builds every pinned tool.
    fn install_go(&self) -> Result<String> {
        let lines = self.tools.iter().map(go_line).collect::<Result<Vec<_>>>()?;
        let needed = lines.into_iter().flatten().max_by_key(|version| numbers(version));
        let needed = needed.context("no go.mod below ci/tools has a go line")?;
        Ok(format!(
            "install Go {needed} or newer (https://go.dev/dl) and make sure `go version` works"
        ))
    }
}

/// The `go` line of a tool's go.mod.
fn go_line(tool: &Tool) -> Result<Option<String>> {
    let file = tool.dir.join("go.mod");
    let text = fs_err::read_to_string(&file)?;
    let line = text.lines().find_map(|line| line.strip_prefix("go "));
    Ok(line.map(|version| version.trim().to_owned()))
}

/// The numbers of a Go version, to compare: 1, 26 and 8 of `go1.26.8`, 1 and 27 of `go1.27rc1`.
fn numbers(version: &str) -> Vec<u32> {
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    let parts = version.trim_start_matches(|c: char| !c.is_ascii_digit()).split('.');
    parts.map_while(|part| digits(part).parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_compare_by_their_numbers() {
        assert!(numbers("go1.26.8") > numbers("1.26.0"));
        assert!(numbers("go1.9") < numbers("1.21"));
        assert_eq!(numbers("devel go1.27-0a1b"), numbers("go1.27rc1"));
    }
}
