//! The smallest stack that the clients can be tried against: the real Tempo and Collector, with
//! configurations of this test's own, in a temporary folder.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use charts::tools::Toolbox;
use charts::workspace::Workspace;
use kit::step::{Cancel, Runner};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stack_tests::client::tempo::Client;
use stack_tests::model::door::Doors;
use stack_tests::ports::Ports as FreePorts;
use stack_tests::wait::{Look, wait_for};

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running Tempo and Collector; both are killed when it is dropped.
pub struct Stack {
    dir: tempfile::TempDir,
    pub tempo: Client,
    pub doors: Doors,
    /// The Collector's health check.
    health: String,
    programs: [Program; 2],
    /// Nobody else is handed these ports while the programs run, nor while one is stopped.
    _ports: FreePorts,
}

const TEMPO: usize = 0;
const COLLECTOR: usize = 1;

struct Program {
    name: &'static str,
    binary: PathBuf,
    args: Vec<String>,
    log: PathBuf,
    child: Child,
}

impl Stack {
    /// Starts both and waits until both are ready.
    pub async fn start() -> Stack {
        let workspace = Workspace::find().unwrap();
        let cache = Toolbox::default_cache().unwrap();
        let runner = Runner::new(Cancel::default(), false);
        let toolbox = Toolbox::read(workspace.root(), cache, runner, false).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let free = FreePorts::default();
        let ports = Ports::choose(&free);
        let tempo_config = write(dir.path(), "tempo.yaml", &ports.tempo_config(dir.path()));
        let collector_config = write(dir.path(), "collector.yaml", &ports.collector_config(dir.path()));
        let programs = [
            Program::start(&toolbox, dir.path(), "tempo", format!("-config.file={tempo_config}")),
            Program::start(&toolbox, dir.path(), "otelcol", format!("--config={collector_config}")),
        ];
        let mut stack = Stack {
            tempo: Client::new(&format!("http://{}", ports.tempo_http)).unwrap(),
            health: format!("http://{}/", ports.collector_health),
            doors: ports.doors,
            programs,
            dir,
            _ports: free,
        };
        stack.wait_until_ready().await;
        stack
    }

    /// Kills Tempo, if it runs, and starts it again on the same data.
    pub async fn restart_tempo(&mut self) {
        self.programs[TEMPO].restart();
        self.wait_until_ready().await;
    }

    /// Kills Tempo.
    pub fn kill_tempo(&mut self) {
        self.programs[TEMPO].end();
    }

    /// Waits until the Collector has ended by itself, and starts it and Tempo again.
    pub async fn restart_after_a_crash(&mut self) {
        let given_up = Instant::now() + PATIENCE;
        while self.programs[COLLECTOR].child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < given_up, "the Collector still runs\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.programs.iter_mut().for_each(Program::restart);
        self.wait_until_ready().await;
    }

    /// Whether both programs still run.
    pub fn alive(&mut self) -> bool {
        self.programs.iter_mut().all(|p| p.child.try_wait().unwrap().is_none())
    }

    /// What both programs wrote.
    pub fn logs(&self) -> String {
        let log = |p: &Program| {
            format!(
                "--- {}\n{}",
                p.name,
                std::fs::read_to_string(&p.log).unwrap_or_default()
            )
        };
        self.programs.iter().map(log).collect()
    }

    /// The folder with everything.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits for both. A program that ended won't come up: that fails at once, with what it wrote.
    async fn wait_until_ready(&mut self) {
        let cancel = Cancel::default();
        let waited = wait_for("Tempo and the Collector", PATIENCE, &cancel, || {
            assert!(self.alive(), "a program ended:\n{}", self.logs());
            let (tempo, health) = (self.tempo.clone(), self.health.clone());
            async move {
                if let Err(words) = tempo.ready().await? {
                    return Ok(Look::NotYet(words));
                }
                let status = reqwest::get(health).await?.status();
                Ok(if status.is_success() {
                    Look::Found(())
                } else {
                    Look::NotYet(status.to_string())
                })
            }
        });
        let waited = waited.await;
        waited.unwrap_or_else(|error| panic!("{error:#}\n{}", self.logs()));
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for program in &mut self.programs {
            program.end();
        }
    }
}

impl Program {
    fn start(toolbox: &Toolbox, dir: &Path, name: &'static str, arg: String) -> Program {
        let binary = toolbox.get(name).unwrap().path;
        let log = dir.join(format!("{name}.log"));
        let args = vec![arg];
        Program {
            child: spawn(&binary, &args, &log),
            name,
            binary,
            args,
            log,
        }
    }

    fn restart(&mut self) {
        self.end();
        self.child = spawn(&self.binary, &self.args, &self.log);
    }

    /// SIGKILL: Tempo doesn't stop on SIGTERM once it has answered a query.
    fn end(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn spawn(binary: &Path, args: &[String], log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    Command::new(binary)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

struct Ports {
    tempo_http: SocketAddr,
    tempo_grpc: SocketAddr,
    tempo_otlp: SocketAddr,
    tempo_memberlist: SocketAddr,
    collector_health: SocketAddr,
    collector_metrics: SocketAddr,
    doors: Doors,
}

impl Ports {
    fn choose(free: &FreePorts) -> Ports {
        let port = || SocketAddr::from(([127, 0, 0, 1], free.free().unwrap()));
        Ports {
            tempo_http: port(),
            tempo_grpc: port(),
            tempo_otlp: port(),
            tempo_memberlist: port(),
            collector_health: port(),
            collector_metrics: port(),
            doors: Doors {
                otlp_grpc: port(),
                otlp_http: port(),
                jaeger_grpc: port(),
                jaeger_thrift_http: port(),
                jaeger_thrift_compact: port(),
                jaeger_thrift_binary: port(),
            },
        }
    }

    fn tempo_config(&self, dir: &Path) -> String {
        format!(
            r#"
server: {{http_listen_address: 127.0.0.1, http_listen_port: {http}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc}}}
distributor:
  receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "{otlp}", max_recv_msg_size_mib: 10}}}}}}}}
  retry_after_on_resource_exhausted: 5s
ingester:
  trace_idle_period: 1s
  flush_check_period: 1s
  lifecycler: {{min_ready_duration: 0s}}
memberlist: {{bind_addr: [127.0.0.1], bind_port: {memberlist}}}
storage:
  trace:
    backend: local
    blocklist_poll: 1s
    wal: {{path: {dir}/tempo/wal}}
    local: {{path: {dir}/tempo/blocks}}
overrides:
  defaults:
    ingestion: {{rate_limit_bytes: 100000000, burst_size_bytes: 200000000, max_traces_per_user: 1000000}}
usage_report: {{reporting_enabled: false}}
"#,
            http = self.tempo_http.port(),
            grpc = self.tempo_grpc.port(),
            otlp = self.tempo_otlp,
            memberlist = self.tempo_memberlist.port(),
            dir = dir.display(),
        )
    }

    fn collector_config(&self, dir: &Path) -> String {
        format!(
            r#"
extensions:
  health_check: {{endpoint: "{health}"}}
  file_storage: {{directory: {dir}/queue, create_directory: true}}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "{otlp_grpc}", max_recv_msg_size_mib: 8}}
      http: {{endpoint: "{otlp_http}", max_request_body_size: 8388608}}
  jaeger:
    protocols:
      grpc: {{endpoint: "{jaeger_grpc}", max_recv_msg_size_mib: 8}}
      thrift_http: {{endpoint: "{thrift_http}", max_request_body_size: 8388608}}
      thrift_compact: {{endpoint: "{compact}"}}
      thrift_binary: {{endpoint: "{binary}"}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: 800, spike_limit_mib: 160}}
  filter:
    error_mode: ignore
    traces:
      span:
        - trace_id == TraceID(0x00000000000000000000000000000000)
        - span_id == SpanID(0x0000000000000000)
exporters:
  otlp_grpc:
    endpoint: "{tempo}"
    tls: {{insecure: true}}
    compression: none
    retry_on_failure: {{initial_interval: 500ms, max_interval: 2s, max_elapsed_time: 0s}}
    sending_queue:
      storage: file_storage
      sizer: bytes
      queue_size: 500000000
      batch: {{flush_timeout: 200ms, min_size: 1000000, max_size: 9437184}}
service:
  extensions: [health_check, file_storage]
  telemetry:
    metrics:
      readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]
  pipelines:
    traces: {{receivers: [otlp, jaeger], processors: [memory_limiter, filter], exporters: [otlp_grpc]}}
"#,
            health = self.collector_health,
            metrics = self.collector_metrics.port(),
            tempo = self.tempo_otlp,
            otlp_grpc = self.doors.otlp_grpc,
            otlp_http = self.doors.otlp_http,
            jaeger_grpc = self.doors.jaeger_grpc,
            thrift_http = self.doors.jaeger_thrift_http,
            compact = self.doors.jaeger_thrift_compact,
            binary = self.doors.jaeger_thrift_binary,
            dir = dir.display(),
        )
    }
}
