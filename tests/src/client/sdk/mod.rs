//! Applications with an OpenTelemetry SDK: the programs below `tests/sdks`, installed from their registries at
//! pinned versions and run with nothing but the environment that a user sets.

pub mod variables;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kit::run_dir::MARKER;
use kit::step::{Output, Runner, Step};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use self::variables::{Protocol, SERVICE_NAME, Variables};
use crate::client::install::{JAVA, MAVEN, MAVEN_JARS, NODE, NPM, NPM_CI, PIP, PIP_INSTALL, PYTHON, Package, Program};
use crate::model::id::TraceId;

/// An application starts, sends and, where its spans are refused, gives up within this on a busy machine.
const RUN_TIMEOUT: Duration = Duration::from_secs(180);

const JAVAC: Program = Program { name: "javac", ..JAVA };
const GO: Program = Program {
    name: "go",
    version: &["version"],
    at_least: (1, 26),
    package: "golang-go",
};

/// An application below `tests/sdks`.
pub(crate) struct Sdk {
    /// Its folder there.
    pub name: &'static str,
    /// What it calls itself in `telemetry.sdk.language`
    /// (opentelemetry.io/docs/specs/semconv/registry/attributes/telemetry).
    pub language: &'static str,
    /// What it speaks if nobody names a protocol.
    pub default: Protocol,
    programs: &'static [Program],
    /// Its files, which decide what is installed.
    files: &'static [&'static str],
    /// Where what it needs comes from.
    registry: &'static str,
    /// The commands that install it, run in a folder with its files.
    install: &'static [&'static [&'static str]],
    /// Variables that say where what was installed is.
    places: &'static [(&'static str, &'static str)],
    /// What starts it in that folder; the number of traces follows.
    start: &'static [&'static str],
}

impl Sdk {
    /// What its registry installs.
    pub fn package(&self) -> Package {
        Package {
            name: self.name,
            programs: self.programs,
            files: self.files,
            registry: self.registry,
            install: self.install,
        }
    }
}

/// All of them, each with what its documentation calls the way without changes of the code.
pub(crate) static ALL: [Sdk; 4] = [
    Sdk {
        name: "python",
        language: "python",
        // opentelemetry-distro sets it; the specification asks for http/protobuf.
        default: Protocol::Grpc,
        programs: &[PYTHON, PIP],
        files: &["app.py", "requirements.txt"],
        registry: "PyPI",
        install: PIP_INSTALL,
        places: &[("PYTHONPATH", "lib")],
        start: &["python3", "lib/bin/opentelemetry-instrument", "python3", "app.py"],
    },
    Sdk {
        name: "javascript",
        language: "nodejs",
        default: Protocol::HttpProtobuf,
        programs: &[NODE, NPM],
        files: &["app.js", "package.json", "package-lock.json"],
        registry: "npm",
        install: NPM_CI,
        // The others ask the metadata services of clouds who they are, at addresses that aren't this machine's.
        places: &[("OTEL_NODE_RESOURCE_DETECTORS", "env,host,os,process")],
        start: &[
            "node",
            "--require",
            "@opentelemetry/auto-instrumentations-node/register",
            "app.js",
        ],
    },
    Sdk {
        name: "java",
        language: "java",
        default: Protocol::HttpProtobuf,
        programs: &[JAVA, JAVAC, MAVEN],
        files: &["App.java", "pom.xml", "SHA256SUMS"],
        registry: "Maven Central",
        install: &[
            MAVEN_JARS,
            &["sha256sum", "--check", "--strict", "SHA256SUMS"],
            // `java App.java` would be one command less, but the agent doesn't start in the compiler's process.
            &["javac", "-cp", CLASS_PATH, "-d", ".", "App.java"],
        ],
        places: &[("CLASSPATH", CLASS_PATH)],
        // Half the processor time for a program that ends at once: no second compiler, no parallel collector.
        start: &[
            "java",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-javaagent:lib/opentelemetry-javaagent.jar",
            "App",
        ],
    },
    Sdk {
        name: "go",
        language: "go",
        default: Protocol::HttpProtobuf,
        programs: &[GO],
        files: &["go.mod", "go.sum", "main.go"],
        registry: "the Go module proxy",
        install: &[&[
            "env",
            "CGO_ENABLED=0",
            "GOWORK=off",
            "go",
            "build",
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
            "-o",
            "app",
            ".",
        ]],
        places: &[],
        start: &["./app"],
    },
];

const CLASS_PATH: &str = ".:lib/opentelemetry-api.jar:lib/opentelemetry-common.jar:lib/opentelemetry-context.jar";

/// One span of each trace that an application makes.
pub(crate) struct Shape {
    pub name: &'static str,
    pub kind: SpanKind,
    pub parent: Option<&'static str>,
}

/// The spans of each trace, as all applications make them.
pub(crate) const SHAPES: [Shape; 4] = [
    Shape {
        name: "place order",
        kind: SpanKind::Server,
        parent: None,
    },
    Shape {
        name: "reserve stock",
        kind: SpanKind::Internal,
        parent: Some("place order"),
    },
    Shape {
        name: "SELECT stock",
        kind: SpanKind::Client,
        parent: Some("reserve stock"),
    },
    Shape {
        name: "charge card",
        kind: SpanKind::Client,
        parent: Some("place order"),
    },
];

/// The attribute of the root span that counts the traces of a run, from 1.
pub(crate) const ORDER: &str = "shop.order";

/// An application that can be run.
pub(crate) struct Installed {
    pub sdk: &'static Sdk,
    /// Where its registry installed it.
    pub folder: PathBuf,
}

/// What an application said.
pub(crate) struct Said {
    /// The ids of its traces, in order.
    pub ids: Vec<TraceId>,
    pub output: Output,
}

impl Installed {
    /// Runs it to its end: it makes so many traces under this name.
    pub fn run(
        &self,
        runner: &Runner,
        run: &Path,
        service: &str,
        variables: &Variables,
        traces: usize,
    ) -> Result<Said> {
        let step = clean(format!("{service} with {variables}"), run)?;
        let places = self.sdk.places.iter().map(|(name, value)| format!("{name}={value}"));
        let variables = variables.0.iter().map(|(name, value)| format!("{name}={value}"));
        let step = step
            .arg(format!("{SERVICE_NAME}={service}"))
            .args(places.chain(variables))
            .args(self.sdk.start.iter().copied())
            .arg(traces.to_string())
            .cwd(&self.folder)
            .timeout(RUN_TIMEOUT);
        let output = runner.try_run(&step)?;
        let ids = output.stdout.lines().filter_map(|line| line.strip_prefix("trace "));
        let ids = ids.map(str::parse).collect::<Result<_>>();
        Ok(Said {
            ids: ids.with_context(|| format!("what {service} printed: {}", output.stdout))?,
            output,
        })
    }
}

/// `env -i`: a program gets none of our variables but the path, the home and the marker of the run, whose
/// end it doesn't outlive. Its own variables and itself follow as arguments.
pub(crate) fn clean(name: String, run: &Path) -> Result<Step> {
    let mut step = Step::new(name, "env")
        .arg("-i")
        .arg(format!("{MARKER}={}", run.display()));
    for name in ["PATH", "HOME"] {
        let value = std::env::var(name).with_context(|| format!("reading the variable {name}"))?;
        step = step.arg(format!("{name}={value}"));
    }
    Ok(step)
}
