//! Step 1: two of three administrators sign the policy, and every edge runs it.

use crate::commands::bundle;
use crate::demo::Stage;
use crate::failure::Failure;
use crate::local;

pub(super) async fn play(stage: &mut Stage) -> Result<(), Failure> {
    stage.story.step("Two of three administrators sign the policy; every edge runs it");
    let from = stage.now();
    let mut signed = local::build(&stage.context, &stage.file, &stage.source, None)?;
    let keys: Vec<_> = stage.file.keys.policy.iter().take(2).cloned().collect();
    local::sign(&stage.context, &mut signed, &keys)?;
    let (digest, container) = (signed.digest(), signed.to_bytes());
    stage.first.clone_from(&container);
    let pushed = bundle::push(&stage.admin, container).await?;
    let got = format!("version {} accepted, active as of log entry {}", pushed.version, pushed.number);
    stage.check(from, "push", "version 1 is accepted and activated", got, pushed.version.0 == 1);

    let mut arrivals = Vec::new();
    let began = stage.now();
    let (context, admin) = (&stage.context, &stage.admin);
    let clock = context.env.clone();
    let tell = |running: usize, all: usize| {
        arrivals.push(format!("{running} of {all} after {} ms", clock.now().boot.since(began).as_millis()));
    };
    let edges = local::wait_running(context, admin, &digest, tell).await?;
    for arrival in &arrivals {
        stage.story.say(format!("edges that run version 1: {arrival}"));
    }
    let running = edges.edges.iter().filter(|edge| local::runs(edge, &digest)).count();
    let all = stage.file.edges.len();
    let got = format!("{running} of {all} edges attest it");
    stage.check(from, "arrival", &format!("{all} of {all} edges attest it"), got, running == all);
    stage.active = Some(digest);
    Ok(())
}
