//! Who reads what: at Tempo's port in the name of a tenant, and by the guarded door as one of its users.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use charts::render::merge;
use serde_yaml::Value;

use super::{FOUND, Proof, Stored, TENANTS, service};
use crate::backend::Component;
use crate::backend::local::NGINX;
use crate::client::credentials::{Credentials, Tls, basic};
use crate::client::install::on_path;
use crate::client::prometheus;
use crate::client::tempo::{Client, Search};
use crate::env::Env;
use crate::scenario::guard::doors::keys::{Ca, Data, htpasswd, one, token};
use crate::scenario::{SEND_TIMEOUT, values};
use crate::wait::{Look, wait_for};

const TOLD: Duration = Duration::from_secs(90);
/// The guarded door, each of whose users reads one tenant, named as the tenant is; [`STRANGER`] has a password, too.
const DOOR: &str = "
tempo-stack:
  queryProxy:
    enabled: true
    replicas: 1
    auth: {existingSecret: readers}
    tls: {enabled: true, existingSecret: readers-tls}
    tenants: {shared: shared, team-a: team-a, team-b: team-b}
  grafana: {datasource: {basicAuth: {user: team-a, passwordVariable: TEMPO_PASSWORD}}}
";
const DOOR_NAME: &str = "observability-tempo-stack-query-proxy";
/// A user without a tenant: nginx's maps compare plain names in any case, so this one must not be taken for team-a.
const STRANGER: &str = "Team-A";

/// The guarded door with the one password of all its users.
pub(super) struct ReadDoor {
    ca: String,
    password: String,
}

impl ReadDoor {
    /// Adds the door to the values, and its Secrets, if this machine has an nginx.
    pub(super) fn add(
        env: &Env,
        wanted: &mut Value,
        secrets: &mut BTreeMap<&'static str, Data>,
    ) -> Result<Option<ReadDoor>> {
        if on_path(NGINX).is_none() {
            let reason = "nginx was not found on PATH (on Debian: nginx-light)";
            env.recorder.skip("tenants by the guarded door", reason);
            return Ok(None);
        }
        merge(wanted, values(DOOR)?);
        let (ca, password) = (Ca::new("tenants")?, token());
        let users = TENANTS.map(|(tenant, ..)| tenant).into_iter().chain([STRANGER]);
        let lines: Vec<String> = users.map(|user| htpasswd(user, &password)).collect::<Result<_>>()?;
        secrets.insert("readers", one("htpasswd", lines.concat()));
        secrets.insert("readers-tls", ca.secret(&[DOOR_NAME])?);
        Ok(Some(ReadDoor { ca: ca.pem(), password }))
    }
}

impl Proof<'_> {
    /// Tempo as a user of the guarded door asks it, who claims to be of another tenant.
    fn by_the_door(&self, door: &ReadDoor, user: &str) -> Result<Client> {
        let address = self.stack.endpoints().get(Component::QueryProxy, "http")?;
        let credentials = Credentials {
            tls: Some(Tls::trusting(door.ca.clone(), DOOR_NAME)),
            authorization: Some(basic(user, &door.password)),
        };
        let claimed = TENANTS
            .map(|(tenant, ..)| tenant)
            .into_iter()
            .find(|tenant| *tenant != user);
        Ok(Client::through(&credentials, address)?.as_tenant(claimed.map(str::to_owned)))
    }

    /// Everybody looks for everybody's traces, in each way in which Tempo can be asked.
    pub(super) async fn reads(&self, stored: &Stored, begun: u64) -> Result<()> {
        let mut ways = Vec::new();
        for (reader, ..) in TENANTS {
            ways.push((reader, "", self.tempo(reader)?));
            if let Some(door) = &self.door {
                ways.push((reader, " by the guarded door", self.by_the_door(door, reader)?));
            }
        }
        for (reader, way, tempo) in ways {
            let own = Search::new(format!("{{ resource.service.name = \"{}\" }}", service(reader)));
            wait_for("a search for what is one's own", FOUND, &self.env.cancel, || async {
                let found = tempo.search(&own).await?.len();
                let all = stored.get(reader).map_or(0, Vec::len);
                Ok(if found == all {
                    Look::Found(())
                } else {
                    Look::NotYet(format!("{found} of {all} traces"))
                })
            })
            .await?;
            let mut crossed = Vec::new();
            let mut asked = 0;
            for (owner, ids) in stored.iter().filter(|(owner, _)| **owner != reader) {
                for id in ids {
                    asked += 1;
                    if tempo.trace(*id).await?.is_some() {
                        crossed.push(format!("{id} of {owner} by id"));
                    }
                }
                asked += 1;
                let theirs = format!("{{ resource.service.name = \"{}\" }}", service(owner));
                if !tempo.search(&Search::new(theirs)).await?.is_empty() {
                    crossed.push(format!("{owner}'s by TraceQL"));
                }
            }
            let services: BTreeSet<String> = tempo
                .tag_values("resource.service.name")
                .await?
                .into_iter()
                .map(|tag| tag.value)
                .collect();
            if services != BTreeSet::from([service(reader)]) {
                crossed.push(format!("the services {services:?} by tags"));
            }
            asked += 1;
            if self.env.engine()?.can_answer_metrics() {
                crossed.extend(self.counts(&tempo, reader, begun).await?);
                asked += TENANTS.len() - 1;
            }
            self.env.recorder.measure(
                format!("{reader} reads what is another's{way}"),
                crossed.len() as f64,
                "answers",
                crossed.is_empty(),
                format!("of {asked}; {}", crossed.join(", ")),
            );
        }
        let (status, _) = self
            .tempo("")?
            .ask("api/search", &[("q", "{}".into())], SEND_TIMEOUT)
            .await?;
        self.env.recorder.check(
            "a query of nobody is refused",
            status == 401,
            format!("status {status}"),
        );
        if let Some(door) = &self.door {
            let stranger = self.by_the_door(door, STRANGER)?;
            let (status, _) = stranger.ask("api/search", &[("q", "{}".into())], SEND_TIMEOUT).await?;
            self.env.recorder.check(
                format!("the guarded door has no tenant for the user {STRANGER}"),
                status == 401,
                format!("status {status}"),
            );
        }
        Ok(())
    }

    /// Waits for what TraceQL counts of a tenant's own spans, and says whose else it counts.
    async fn counts(&self, tempo: &Client, reader: &str, begun: u64) -> Result<Vec<String>> {
        let range = (begun, begun + 300);
        let query = |of: &str| format!("{{ resource.service.name = \"{}\" }} | rate()", service(of));
        let own = query(reader);
        wait_for("TraceQL's rate of one's own spans", TOLD, &self.env.cancel, || async {
            let sum = tempo.sum_of_seconds(&own, range).await?;
            Ok(if sum > 0.0 {
                Look::Found(())
            } else {
                Look::NotYet("none".into())
            })
        })
        .await?;
        let mut crossed = Vec::new();
        for (owner, ..) in TENANTS.iter().filter(|(owner, ..)| *owner != reader) {
            if tempo.sum_of_seconds(&query(owner), range).await? > 0.0 {
                crossed.push(format!("{owner}'s by TraceQL metrics"));
            }
        }
        Ok(crossed)
    }

    /// The series that Tempo makes of spans tell whose they are.
    pub(super) async fn series(&self, client: prometheus::Client<'_>) -> Result<()> {
        let wanted: BTreeSet<Vec<String>> = TENANTS
            .map(|(tenant, ..)| vec![tenant.to_owned(), service(tenant)])
            .into();
        let told = wait_for("series of each tenant", TOLD, &self.env.cancel, || async {
            let sums = client
                .sums("traces_spanmetrics_calls_total", &["tenant", "service"])
                .await?;
            let told: BTreeSet<Vec<String>> = sums.into_keys().collect();
            Ok(if told == wanted {
                Look::Found(())
            } else {
                Look::NotYet(format!("{told:?}"))
            })
        })
        .await;
        let name = "the generator's series are each tenant's own";
        self.env.recorder.worked(name, &told, |_| format!("{wanted:?}"));
        Ok(())
    }
}
