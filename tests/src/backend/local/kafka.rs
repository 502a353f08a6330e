//! A broker of Apache Kafka as a process of this machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kit::step::{Cancel, Runner};

use super::companion::{Companion, Start};
use crate::client::sdk::clean;

const PORT: u16 = 9092;
const CONTROLLER_PORT: u16 = 9093;
/// A command of Kafka on a busy two-core machine.
const COMMAND: Duration = Duration::from_secs(60);
/// 16 bytes, which base64 writes in 22 letters.
const CLUSTER: &str = "dGVtcG8tc3RhY2stZTJlMQ";
const SERVER: &str = "server.properties";
const CLIENT: &str = "client.properties";

/// A folder of a cluster is formatted once, before its first broker starts
/// (kafka.apache.org/documentation/#kraft_storage).
const FORMAT_AND_RUN: &str = r#"
java -Xmx64m -XX:TieredStopAtLevel=1 -cp "$1" kafka.tools.StorageTool format --ignore-formatted --cluster-id "$2" --config "$3" &&
exec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$1" kafka.Kafka "$3"
"#;

/// Who may use the broker, by SASL with the mechanism PLAIN.
#[derive(Debug, Clone, Copy)]
pub struct Credentials {
    /// The name.
    pub username: &'static str,
    /// The password.
    pub password: &'static str,
}

/// One Kafka that is broker and controller. Topics are made by whoever needs them. Dropping it stops it.
pub struct Broker {
    companion: Companion,
    class_path: String,
    runner: Runner,
}

impl Broker {
    /// Starts it with the jars that are installed in a folder, and waits until it takes connections.
    pub(super) async fn start(
        installed: &Path,
        credentials: Credentials,
        runs: &Path,
        runner: &Runner,
    ) -> Result<Broker> {
        let class_path = installed.join("lib/*").display().to_string();
        let companion = Companion::start(
            "kafka",
            Path::new("sh"),
            PORT,
            runs,
            runner.cancel(),
            |folder, address| {
                let server = folder.join(SERVER);
                fs_err::write(&server, server_properties(folder, address, &credentials))?;
                fs_err::write(folder.join(CLIENT), client_properties(&credentials))?;
                let server = server.display().to_string();
                Ok(Start::default().args(["-c", FORMAT_AND_RUN, "kafka", &class_path, CLUSTER, &server]))
            },
        );
        Ok(Broker {
            companion: companion.await?,
            class_path,
            runner: runner.clone(),
        })
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddr {
        self.companion.address()
    }

    /// What it wrote to its log.
    pub fn log(&self) -> Result<String> {
        Ok(fs_err::read_to_string(self.companion.folder().join("log"))?)
    }

    /// Runs a command of Kafka with the credentials, as its script of the same purpose does, and returns what it
    /// printed: `org.apache.kafka.tools.TopicCommand` is what `kafka-topics.sh` runs.
    pub async fn command(&self, class: &'static str, args: &[&str]) -> Result<String> {
        let folder = self.companion.folder();
        let step = clean(class.to_owned(), folder)?
            .args(["java", "-Xmx64m", "-XX:TieredStopAtLevel=1"])
            .args([
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                "-cp",
                &self.class_path,
                class,
            ])
            .args(["--bootstrap-server", &self.address().to_string()])
            .args(["--command-config", &folder.join(CLIENT).display().to_string()])
            .args(args.iter().copied())
            .timeout(COMMAND);
        let runner = self.runner.clone();
        let ran = tokio::task::spawn_blocking(move || runner.run(&step)).await;
        Ok(ran.with_context(|| format!("running {class}"))??.stdout)
    }

    /// Kills it.
    pub async fn stop(&self) -> Result<()> {
        self.companion.shut_down().await
    }

    /// Starts it again, with what it had stored.
    pub async fn start_again(&self, cancel: &Cancel) -> Result<()> {
        self.companion.start_again(cancel).await
    }
}

fn jaas(credentials: &Credentials, users: &str) -> String {
    let Credentials { username, password } = credentials;
    format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required \
         username=\"{username}\" password=\"{password}\"{users};"
    )
}

/// kafka.apache.org/documentation/#brokerconfigs
fn server_properties(folder: &Path, address: SocketAddr, credentials: &Credentials) -> String {
    let (host, port) = (address.ip(), address.port());
    let data: PathBuf = folder.join("data");
    let Credentials { username, password } = credentials;
    let jaas = jaas(credentials, &format!(" user_{username}=\"{password}\""));
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{CONTROLLER_PORT}
controller.listener.names=CONTROLLER
listeners=SASL_PLAINTEXT://{host}:{port},CONTROLLER://{host}:{CONTROLLER_PORT}
listener.security.protocol.map=SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config={jaas}
log.dirs={}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
",
        data.display()
    )
}

fn client_properties(credentials: &Credentials) -> String {
    format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={}\n",
        jaas(credentials, "")
    )
}
