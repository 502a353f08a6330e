//! Which cluster a run goes to, and which images run there.

use anyhow::Result;
use cluster::kind::{Cluster, Wanted};
use kit::failure::Failure;
use stack_tests::backend::cluster::{Images, Target};

use super::{BackendName, E2eArgs};
use crate::ctx::Ctx;

/// A cluster for a run.
pub struct Found {
    pub target: Target,
    /// What runs there.
    pub images: Images,
    /// Whether its network is known to enforce NetworkPolicies.
    pub enforces_policies: bool,
}

/// The cluster that the command line means: for `--backend kind` ours, which is brought up if need be.
pub fn find(ctx: &Ctx, args: &E2eArgs) -> Result<Found> {
    let mut images = Images::default();
    let mut enforces_policies = false;
    let target = match (args.backend, &args.context) {
        (BackendName::Kind, _) => {
            let running = Cluster::named(ctx, &args.cluster)?.up(&Wanted::default())?;
            ctx.say(format!("cluster {} {}", running.name, running.done));
            enforces_policies = running.enforces_policies;
            for (name, image) in running.images {
                images.set(&format!("{name}={image}"))?;
            }
            Target {
                kubeconfig: Some(running.kubeconfig),
                context: running.context,
            }
        }
        (_, Some(context)) => Target {
            kubeconfig: args.kubeconfig.clone(),
            context: context.clone(),
        },
        (_, None) => {
            let what = "--backend context needs --context NAME";
            return Err(Failure::usage(what, "see `kubectl config get-contexts`"));
        }
    };
    // What the command line says wins.
    for image in &args.images {
        images.set(image)?;
    }
    Ok(Found {
        target,
        images,
        enforces_policies,
    })
}

/// Saves the logs of our cluster and of its nodes after a failed scenario.
pub fn logs(ctx: &Ctx, args: &E2eArgs) -> Result<()> {
    let folder = ctx.artifacts("e2e").join("cluster");
    let missing = Cluster::named(ctx, &args.cluster)?.logs(&folder)?;
    ctx.say(format!("logs of cluster {} in {}", args.cluster, folder.display()));
    for line in missing {
        ctx.say(format!("missing: {line}"));
    }
    Ok(())
}
