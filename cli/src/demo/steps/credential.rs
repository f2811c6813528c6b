//! Step 2: the administrator seals the API key; afterwards it is nowhere in clear.

use std::collections::BTreeSet;

use remit_common::text;

use crate::commands::credential;
use crate::commands::decision::fetch_all;
use crate::demo::Stage;
use crate::demo::search::{Needles, Searched};
use crate::failure::Failure;
use crate::local;

pub(super) async fn play(stage: &mut Stage) -> Result<(), Failure> {
    stage.story.step("The acme API key is sealed, once for each edge");
    let from = stage.now();
    let (_, directory) = stage.trust().await?;
    let name = local::credential()?;
    let sealed = credential::seal_and_send(
        &stage.context,
        &stage.admin,
        &stage.file,
        &directory,
        &stage.policy,
        &name,
        &stage.secret,
    )
    .await?;
    let all = stage.file.edges.len();
    let got = format!("{} version {}, sealed to {} edges", sealed.credential, sealed.version, sealed.edges.len());
    stage.check(from, "seal", &format!("{name} version 1, sealed to {all} edges"), got, sealed.edges.len() == all);
    search(stage, "search").await
}

/// Looks for the key in everything that the mesh has written and in everything that agents were told.
pub(super) async fn search(stage: &mut Stage, name: &str) -> Result<(), Failure> {
    let from = stage.now();
    let needles = Needles::new(&stage.secret);
    // A search that cannot find anything proves nothing: it has to find the key where it does stand.
    let mut control = Searched::default();
    let planted = [b"Authorization: Bearer ".as_slice(), stage.secret.expose()].concat();
    needles.search("planted", &planted, &mut control);
    for encoded in [text::base64(&planted), text::base64url(&planted), text::hex(&planted)] {
        needles.search("planted", encoded.as_bytes(), &mut control);
    }
    let spellings: BTreeSet<_> = control.found.iter().map(|(_, spelling)| *spelling).collect();
    let can_find = spellings.len() == 3;

    let mut searched = Searched::default();
    needles.search_folder(&stage.context.env, stage.mesh.folder().path(), &mut searched)?;
    needles.search("what agents were told", &stage.transcript.bytes(), &mut searched);
    let records = fetch_all(&stage.admin, &stage.file.tenant).await?;
    needles.search("decision records", &serde_json::to_vec(&records).unwrap_or_default(), &mut searched);
    let found: Vec<_> = searched.found.iter().map(|(place, spelling)| format!("{place} ({spelling})")).collect();
    let got = if found.is_empty() {
        format!("nowhere in {} bytes of {} files, records and agents' answers", searched.bytes, searched.files)
    } else {
        found.join(", ")
    };
    let ok = found.is_empty() && can_find && searched.files > 10;
    stage.check(from, name, "the key is nowhere in clear, base64 or hex", got, ok);
    Ok(())
}
