//! Step 3: Maya's agent gets its envelope.

use remit_common::envelope::RawPresentation;

use crate::commands::envelope;
use crate::demo::Stage;
use crate::demo::stage::Held;
use crate::example;
use crate::failure::{Exit, Failure};

pub(super) async fn play(stage: &mut Stage) -> Result<(), Failure> {
    stage.story.step("Maya's agent gets an envelope: one task, one customer, one contract, one hour");
    let from = stage.now();
    let task = envelope::parse_task(std::path::Path::new("task.toml"), example::TASK)?;
    let key = stage.new_key()?;
    let presentation = envelope::issue(&stage.admin, &task, key.public()).await?;
    let got = format!("{} bytes, signed by the issuers; it holds no credential", presentation.len());
    stage.check(from, "issue", "a root for the agent's key", got, true);

    let from = stage.now();
    let (_, directory) = stage.trust().await?;
    let caused = |error: &dyn std::error::Error| Failure::caused(Exit::Failed, error);
    let raw = RawPresentation::parse(&presentation).map_err(|error| caused(&error))?;
    let chain = raw.verify(&stage.file.mesh_id, directory.issuers()).map_err(|error| caused(&error))?;
    let effective = chain.effective();
    let authority = effective.authority();
    let minutes = authority.expires.since(authority.not_before).as_secs() / 60;
    let got = format!(
        "{} of {}, {} grants, {minutes} minutes, valid under the directory's issuers",
        authority.delegator,
        authority.tenant,
        authority.scope.grants().count(),
    );
    let ok = authority.delegator.as_str().contains("maya")
        && minutes == 60
        && effective.check_time(stage.context.now()).is_ok();
    stage.check(from, "verify", "Maya's, three grants, 60 minutes", got, ok);
    stage.maya = Some(Held { key: std::sync::Arc::new(key), presentation });
    Ok(())
}
