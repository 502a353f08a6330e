//! What keeps strangers out, and what must not be kept: doors, tenants, routes, presets, sampling.

mod api_server;
pub(super) mod doors;
pub(super) mod kafka_door;
pub(super) mod kubernetes;
pub(super) mod presets;
pub(super) mod routes;
pub(super) mod sampling;
pub(super) mod tenants;

use crate::env::Env;

/// The places, each a name and a text, that tell one of the secrets.
fn that_tell<'a>(places: &'a [(String, String)], secrets: &[&str]) -> Vec<&'a str> {
    places
        .iter()
        .filter(|(_, text)| secrets.iter().any(|secret| text.contains(secret)))
        .map(|(place, _)| place.as_str())
        .collect()
}

/// Records whether none of the places tells one of the secrets.
fn judge_untold(env: &Env, check: &str, places: &[(String, String)], secrets: &[&str]) {
    let found = that_tell(places, secrets);
    let detail = format!("of {}: {}", places.len(), found.join(", "));
    env.recorder
        .check(check, !places.is_empty() && found.is_empty(), detail);
}
