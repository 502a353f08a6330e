//! A program of a scenario's own that runs beside its stacks.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use kit::step::Cancel;

use super::companion::{Companion, Start};

/// Writes what a program needs into its folder, and says its arguments. It is told its folder and the address at
/// which it is to listen.
pub type Prepare = Box<dyn FnOnce(&Path, SocketAddr) -> Result<Vec<String>> + Send>;

/// A program at an address of its own. Dropping it stops it.
pub struct Beside(Companion);

impl Beside {
    /// Starts it and waits until it takes connections at this port.
    pub async fn start(
        name: &'static str,
        program: &Path,
        port: u16,
        runs: &Path,
        cancel: &Cancel,
        prepare: Prepare,
    ) -> Result<Beside> {
        let started = Companion::start(name, program, port, runs, cancel, |folder, address| {
            Ok(Start::default().args(prepare(folder, address)?))
        });
        Ok(Beside(started.await?))
    }

    /// Where it is reached, from stacks and from here.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}
