//! The real programs as judges: `tempo -config.verify=true` and `otelcol validate`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use charts::program::{Program, ProgramKind};
use charts::tools::Installed;
use kit::step::{Output, Runner, Step};
use semver::Version;
use serde_yaml::Value;

use super::{Judgement, collector, judge_keys, normalise, table};
use crate::rules::{Finding, Problem, Subject};

/// The name of findings of the real programs.
pub(crate) const RULE: &str = "config-verified";

/// Stands for what a Secret holds.
const FROM_A_SECRET: &str = "from-a-secret";

/// What Tempo logs above its warnings.
const TEMPO_HEADING: &str = "-- CONFIGURATION WARNINGS --";

/// The real programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Tempo.
    pub tempo: Installed,
    /// The Collector.
    pub collector: Installed,
}

impl Programs {
    fn of(&self, kind: ProgramKind) -> &Installed {
        match kind {
            ProgramKind::Tempo => &self.tempo,
            ProgramKind::Collector => &self.collector,
        }
    }
}

/// Whether the real program, which is of another version, may judge a configuration of this version.
///
/// Tempo: the same line, or the next one if its keys agree. The Collector: since the exporters'
/// names changed in 0.144.
fn may_judge(kind: ProgramKind, real: &Version, wanted: &Version) -> bool {
    let line = |version: &Version| (version.major, version.minor);
    match kind {
        ProgramKind::Tempo => wanted.major == real.major && matches!(wanted.minor.checked_sub(real.minor), Some(0 | 1)),
        ProgramKind::Collector => line(wanted) >= (0, 144),
    }
}

/// Judges one configuration by the list of keys and, where it may, by the real program.
/// `folder` is a folder of this configuration's own.
pub fn judge(
    subject: &Subject,
    program: &Program,
    programs: &Programs,
    runner: &Runner,
    folder: &Path,
) -> Result<(Vec<Finding>, Judgement)> {
    let mut findings = judge_keys(subject, program);
    let mut judgement = Judgement {
        program: program.id(),
        by: vec!["key list".into()],
    };
    let real = programs.of(program.kind);
    let agrees = program.version.as_ref().is_some_and(|wanted| {
        may_judge(program.kind, &real.version, wanted)
            && table(program.kind).judge(&real.version, &normalise(program)).is_empty()
    });
    let lacking = (program.kind == ProgramKind::Collector)
        .then(|| collector::not_built(&program.config))
        .flatten();
    if let Some(why) = lacking {
        judgement.by.push(why.into());
    } else if agrees {
        let step = step(program, real, folder)?;
        judgement.by.push(format!("{} {}", real.name, real.version));
        let output = runner.try_run(&step)?;
        findings.extend(complaints(program.kind, &output).into_iter().map(|complaint| {
            let message = format!(
                "{} as {} {} reads it: {complaint}",
                program.id(),
                real.name,
                real.version
            );
            let remedy = "correct the template that renders the key, or the value behind it";
            subject.finding(RULE, Problem::new(program.config_map, &["data"], message), remedy)
        }));
    }
    Ok((findings, judgement))
}

/// The call of the real program, with the configuration adapted to this machine below `folder`.
pub fn step(program: &Program, real: &Installed, folder: &Path) -> Result<Step> {
    let file = folder.join("config.yaml");
    let text = serde_yaml::to_string(&adapted(program, folder)?).context("writing a configuration")?;
    // What comes from a Secret only needs to be there.
    let secret = folder.join(FROM_A_SECRET);
    fs_err::write(&secret, FROM_A_SECRET)?;
    fs_err::write(&file, reading(&text, &secret))?;
    let name = format!("{} {} verifies {}", real.name, real.version, program.config_map.id());
    let mut step = Step::new(name, &real.path).timeout(Duration::from_secs(60));
    step = match program.kind {
        // Without `=true` the flag takes nothing and the program starts.
        ProgramKind::Tempo => step
            .arg(format!("-config.file={}", file.display()))
            .arg("-config.verify=true"),
        ProgramKind::Collector => step.arg("validate").arg(format!("--config={}", file.display())),
    };
    for var in program.container.spec.env.iter().flatten() {
        step = step.env(&var.name, var.value.as_deref().unwrap_or(FROM_A_SECRET));
    }
    Ok(step)
}

/// A configuration whose `${file:…}` all name this file.
fn reading(text: &str, file: &Path) -> String {
    let mut parts = text.split("${file:");
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once('}').unwrap_or_default();
        changed.push_str(&format!("${{file:{}}}{rest}", file.display()));
    }
    changed
}

/// The configuration with the folders that must exist moved below `folder`.
fn adapted(program: &Program, folder: &Path) -> Result<Value> {
    let mut config = program.config.clone();
    let Some(Value::Mapping(extensions)) = config.get_mut("extensions") else {
        return Ok(config);
    };
    for (id, extension) in extensions.iter_mut() {
        let id = id.as_str().unwrap_or_default();
        if !id.starts_with("file_storage") {
            continue;
        }
        let queue = folder.join(id.replace('/', "-"));
        fs_err::create_dir_all(&queue)?;
        let queue = queue.to_string_lossy().into_owned();
        match extension {
            Value::Mapping(settings) => {
                settings.insert("directory".into(), queue.into());
            }
            other => *other = Value::Mapping([(Value::from("directory"), Value::from(queue))].into_iter().collect()),
        }
    }
    Ok(config)
}

/// What the program complains about; empty if it accepts the configuration.
fn complaints(kind: ProgramKind, output: &Output) -> Vec<String> {
    if output.success() {
        return Vec::new();
    }
    let lines = || output.stderr.lines().chain(output.stdout.lines()).map(str::trim);
    let found: Vec<String> = match kind {
        ProgramKind::Tempo => lines()
            .filter(|line| line.contains("level=warn") || line.contains("level=error"))
            .filter(|line| !line.contains(TEMPO_HEADING))
            .map(|line| line.split_once(" msg=").map_or(line, |(_, message)| message).to_owned())
            .collect(),
        ProgramKind::Collector => Vec::new(),
    };
    if found.is_empty() {
        vec![output.tail().lines().map(str::trim).collect::<Vec<_>>().join("; ")]
    } else {
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_judges_its_own_line_and_the_next_one() {
        let tempo = |wanted: &str| {
            may_judge(
                ProgramKind::Tempo,
                &Version::new(2, 9, 0),
                &Version::parse(wanted).unwrap(),
            )
        };
        assert_eq!(
            ["2.3.0", "2.9.3", "2.10.8", "3.0.3"].map(tempo),
            [false, true, true, false]
        );
        let collector = |wanted: &str| {
            may_judge(
                ProgramKind::Collector,
                &Version::new(0, 155, 0),
                &Version::parse(wanted).unwrap(),
            )
        };
        assert_eq!(
            ["0.89.0", "0.143.0", "0.144.0", "0.160.0"].map(collector),
            [false, false, true, true]
        );
    }
}
