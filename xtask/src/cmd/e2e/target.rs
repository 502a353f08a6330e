//! Which cluster a run goes to, and which images run there.

use anyhow::Result;
use stack_tests::e2e::backend::cluster::{Images, Target};
use stack_tests::failure::{Failure, Kind};

use super::{BackendName, E2eArgs};
use crate::ctx::Ctx;

/// The name of our kind cluster; kind puts `kind-` before it in the context.
const CLUSTER: &str = "tempo-stack";

/// The cluster of the command line; for `--backend kind` ours, where the command line says nothing else.
pub fn find(ctx: &Ctx, args: &E2eArgs) -> Result<(Target, Images)> {
    let mut images = Images::default();
    for image in &args.images {
        images.set(image)?;
    }
    let (context, kubeconfig) = match (&args.context, args.backend) {
        (Some(context), _) => (context.clone(), args.kubeconfig.clone()),
        (None, BackendName::Kind) => {
            let own = ctx.toolbox.cache().join("cluster").join(CLUSTER).join("kubeconfig");
            let file = args.kubeconfig.clone().unwrap_or(own);
            if !file.is_file() {
                let what = format!("no kind cluster of ours is up: there is no {}", file.display());
                return Err(Failure::err(Kind::Environment, what, "run `cargo xtask cluster up`"));
            }
            (format!("kind-{CLUSTER}"), Some(file))
        }
        (None, _) => {
            let what = "--backend context needs --context NAME";
            return Err(Failure::err(Kind::Usage, what, "see `kubectl config get-contexts`"));
        }
    };
    Ok((Target { kubeconfig, context }, images))
}
