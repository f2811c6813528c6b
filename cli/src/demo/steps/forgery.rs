//! Step 6: what is forged is refused, by the control plane and by an edge that listens to a liar.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use remit_chaos::launcher::StrayEdge;
use remit_chaos::liar::{Answered, Told, Vouches};
use remit_common::bundle::SignedBundle;
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::{EdgeId, LogIndex, VoterId};
use remit_common::net::env::Env;
use remit_common::revocation::{Cut, CutKind, REVOCATIONS_PATH, Revocation, Revocations};
use remit_common::shard::{ShardAad, seal};
use remit_common::sync::published::{
    PublishedBundle, PublishedObject, PublishedRevocations, PublishedShard, PublishedState,
};
use remit_common::time::Timestamp;
use remit_common::trust::activation::{Activation, activations_digest};
use remit_common::trust::directory::SignedDirectory;
use remit_common::trust::role::RoleContent;
use remit_common::trust::root::{Root, SignedRoot};
use zeroize::Zeroizing;

use crate::commands::status::edge_status;
use crate::commands::{bundle, credential};
use crate::demo::Stage;
use crate::demo::hostile::Hostile;
use crate::failure::{Exit, Failure};
use crate::local;

/// For the stray edge to start, connect, fetch, and say yes or no.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// What is expected of an edge that is sent other bytes than it asked for: no bundle gets as far as a refusal.
const HANGS_UP: &str = "hangs up on who sends other bytes than were asked for";
/// The liar's activations begin here: far above what the real log has reached.
const LIES_FROM: LogIndex = LogIndex(1_000_000);

/// The bundles of this step.
struct Bundles {
    /// Genuine, and active by the time the forgeries begin.
    second: SignedBundle,
    /// Genuine once, and replaced.
    first: SignedBundle,
    /// Signed by one administrator.
    by_one: SignedBundle,
    /// Signed by two, then a word of its manifest was changed.
    changed_manifest: SignedBundle,
    /// Signed by two, then a rule was changed.
    changed_rule: SignedBundle,
}

pub(super) async fn play(stage: &mut Stage) -> Result<(), Failure> {
    stage.story.step("Forged policy is refused, by the control plane and by an edge that listens to a liar");
    let bundles = prepare(stage)?;
    let from = stage.now();
    let second = bundles.second.digest();
    let pushed = bundle::push(&stage.admin, bundles.second.to_bytes()).await?;
    local::wait_running(&stage.context, &stage.admin, &second, |_, _| ()).await?;
    stage.active = Some(second);
    let got = format!("version {} runs at every edge", pushed.version);
    stage.check(from, "a genuine successor", "version 2 runs at every edge", got, pushed.version.0 == 2);
    at_the_control_plane(stage, &bundles).await;
    at_an_edge(stage, &bundles).await
}

fn prepare(stage: &Stage) -> Result<Bundles, Failure> {
    let caused = |error: &dyn std::error::Error| Failure::caused(Exit::Failed, error);
    let build = |version: u64, signers: usize| -> Result<SignedBundle, Failure> {
        // Rules of their own: an edge need not fetch what it has already, and would not notice what is forged.
        let mut source = stage.source.clone();
        let rules = source.files.entry("policies/limits.cedar".to_owned()).or_default();
        rules.extend(format!("// version {version}\n").into_bytes());
        let mut bundle = local::build(&stage.context, &stage.file, &source, Some(version))?;
        local::sign(&stage.context, &mut bundle, stage.file.keys.policy.iter().take(signers))?;
        Ok(bundle)
    };
    let (envelope, files) = {
        let genuine = build(3, 2)?;
        let (envelope, files) = genuine.parts();
        (envelope.clone(), files.to_vec())
    };
    let mut later = envelope.clone();
    later.payload = replace(&later.payload, b"\"version\":3", b"\"version\":9");
    let mut looser = files.clone();
    for file in &mut looser {
        *file = replace(file, b"forbid", b"permit");
    }
    Ok(Bundles {
        second: build(2, 2)?,
        first: SignedBundle::parse(&stage.first).map_err(|error| caused(&error))?,
        by_one: build(3, 1)?,
        changed_manifest: SignedBundle::from_parts(later, files),
        changed_rule: SignedBundle::from_parts(envelope, looser),
    })
}

/// Replaces every occurrence of one text by another of the same length.
fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(from) {
            out.extend_from_slice(to);
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

async fn at_the_control_plane(stage: &mut Stage, bundles: &Bundles) {
    for (name, bundle, expected) in [
        ("signed by one administrator", &bundles.by_one, "not_enough_signatures"),
        ("version 1 again", &bundles.first, "rollback"),
        ("a manifest changed after signing", &bundles.changed_manifest, "not_enough_signatures"),
        ("a rule changed after signing", &bundles.changed_rule, "file_mismatch"),
    ] {
        let from = stage.now();
        let (got, ok) = match bundle::push(&stage.admin, bundle.to_bytes()).await {
            Ok(pushed) => (format!("accepted as entry {}", pushed.index), false),
            Err(failure) => {
                let reason = failure.reason.clone().unwrap_or_default();
                (format!("refused as {reason}: {}", failure.message), reason == expected)
            }
        };
        stage.check(from, &format!("control plane: {name}"), &format!("refused as {expected}"), got, ok);
    }
}

async fn at_an_edge(stage: &mut Stage, bundles: &Bundles) -> Result<(), Failure> {
    let caused = |error: &dyn std::error::Error| Failure::caused(Exit::Failed, error);
    let from = stage.now();
    let victim = stage.file.voters.first().cloned().ok_or_else(|| Failure::new(Exit::Failed, "there is no voter"))?;
    let addr = stage.mesh.spare_port()?;
    let id = EdgeId::new("stray-1").map_err(|error| caused(&error))?;
    let stray = stage.mesh.add_stray(&id, vec![(victim.id, addr)])?;
    let (root, _) = stage.trust().await?;
    let env = stage.context.env.clone();
    let mut allies = BTreeMap::new();
    for voter in &stage.file.voters {
        allies.insert(voter.id, crate::files::read_key(&env, &voter.dir.join("beacon.key"))?);
    }
    let (allies, tenant) = (Arc::new(allies), stage.file.tenant.clone());
    let forger = Forger { env, stray, root: Arc::new(root), allies, tenant };
    let mut hostile =
        Hostile::start(&stage.context.env, &stage.file, &victim, addr, forger.bundle(0, &bundles.second))?;
    stage.mesh.start_strays().await?;
    let all = stage.file.voters.len();
    stage.story.say(format!(
        "the keys of all {all} voters are stolen, and with voter {}'s certificate they speak to edge {id}",
        victim.id
    ));

    // What the administrators signed it takes, whoever brings it: so the connection works, and the rest is refused
    // for what it is.
    let second = bundles.second.digest();
    let answer = hostile.answer(ANSWER_WITHIN, |answer| matches!(answer, Answered::Active(_))).await;
    let ok = answer == Some(Answered::Active(second));
    stage.check(from, "the edge, offered the genuine version 2", "runs it", describe(answer.as_ref()), ok);

    let lies = [
        ("a bundle signed by one administrator", forger.bundle(1, &bundles.by_one), "not_enough_signatures"),
        ("version 1 again", forger.bundle(2, &bundles.first), "rollback"),
        ("a manifest changed after signing", forger.bundle(3, &bundles.changed_manifest), "not_enough_signatures"),
        ("a rule changed after signing", forger.changed_file(4, &bundles.changed_rule)?, HANGS_UP),
        ("a credential sealed by a stranger", forger.shard(stage, &bundles.second)?, "shard"),
        ("a root signed by a stranger", forger.root(stage, &bundles.second)?, "trust"),
        ("a revocation that nobody asked for", forger.revocation(stage, &bundles.second)?, "revocation"),
    ];
    for (name, lie, expected) in lies {
        let from = stage.now();
        hostile.forget();
        hostile.say(lie);
        let wanted = |answer: &Answered| match answer {
            Answered::Refused { .. } | Answered::Active(_) => true,
            Answered::HungUp => expected == HANGS_UP,
        };
        let answer = hostile.answer(ANSWER_WITHIN, wanted).await;
        let ok = match &answer {
            Some(Answered::Refused { code, .. }) => code == expected,
            Some(Answered::HungUp) => expected == HANGS_UP,
            Some(Answered::Active(_)) | None => false,
        };
        let expected = if expected == HANGS_UP { expected.to_owned() } else { format!("refused as {expected}") };
        stage.check(from, &format!("the edge: {name}"), &expected, describe(answer.as_ref()), ok);
    }

    let from = stage.now();
    let status = edge_status(&stage.http, &forger.stray.entry.ops).await.unwrap_or_default();
    let version = status.get("bundle_version").and_then(serde_json::Value::as_u64);
    let epoch = status.get("revocation_epoch").and_then(serde_json::Value::as_u64);
    let got = format!("bundle version {}, revocation epoch {}", number(version), number(epoch));
    stage.check(
        from,
        "the edge afterwards",
        "bundle version 2, revocation epoch 0",
        got,
        (version, epoch) == (Some(2), Some(0)),
    );
    Ok(())
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "unknown".to_owned(), |number| number.to_string())
}

fn describe(answer: Option<&Answered>) -> String {
    match answer {
        Some(Answered::Active(digest)) => format!("runs {digest}"),
        Some(Answered::Refused { code, detail }) => format!("refused as {code}: {detail}"),
        Some(Answered::HungUp) => HANGS_UP.to_owned(),
        None => format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
    }
}

/// Makes what a stolen voter could say.
struct Forger {
    env: Env,
    stray: StrayEdge,
    root: Arc<Root>,
    allies: Arc<BTreeMap<VoterId, SigningKey>>,
    tenant: remit_common::id::TenantId,
}

impl Forger {
    /// An activation of this bundle, under a genuine directory.
    fn bundle(&self, number: u64, bundle: &SignedBundle) -> Told {
        self.lie(number, &PublishedBundle::new(bundle), &Revocations::new(), |_| ())
    }

    /// The same, with other bytes under the digest of a genuine file.
    fn changed_file(&self, number: u64, changed: &SignedBundle) -> Result<Told, Failure> {
        let mut published = PublishedBundle::new(changed);
        let manifest =
            changed.dangerous_unverified_manifest().map_err(|error| Failure::caused(Exit::Failed, &error))?;
        for (object, entry) in published.files.iter_mut().zip(&manifest.files) {
            object.object.digest = entry.sha256;
        }
        Ok(self.lie(number, &published, &Revocations::new(), |_| ()))
    }

    fn shard(&self, stage: &Stage, running: &SignedBundle) -> Result<Told, Failure> {
        let name = local::credential()?;
        let caused = |error: &dyn std::error::Error| Failure::caused(Exit::Failed, error);
        let directory = SignedDirectory::parse(&self.stray.directory).map_err(|error| caused(&error))?;
        let directory = directory.verify(&self.root, stage.context.now()).map_err(|error| caused(&error))?;
        let id = &self.stray.entry.id;
        let edge = directory.edge(id);
        let edge = edge.ok_or_else(|| Failure::new(Exit::Failed, "the stray edge is not listed"))?;
        let aad = ShardAad {
            mesh: &stage.file.mesh_id,
            tenant: &self.tenant,
            edge: id,
            sealing_key: edge.sealing.id(),
            credential: &name,
            version: 1,
            profile: credential::profile_of(&stage.policy, &name)?,
        };
        let stranger = stage.new_key()?;
        let secret = remit_common::crypto::secret::Secret::new(b"ak_live_forged".to_vec());
        let bytes = seal(&aad, &edge.sealing, &secret, &stranger, &Zeroizing::new(self.env.random()))
            .map_err(|error| Failure::caused(Exit::Failed, &error))?;
        let shard = PublishedShard { version: 1, bytes: bytes.into() };
        let (edge, tenant, name) = (id.clone(), self.tenant.clone(), name.clone());
        Ok(self.lie(0, &PublishedBundle::new(running), &Revocations::new(), |state| {
            state.set_shard(edge.clone(), tenant.clone(), name.clone(), shard.clone());
        }))
    }

    fn root(&self, stage: &Stage, running: &SignedBundle) -> Result<Told, Failure> {
        let caused = |error: &dyn std::error::Error| Failure::caused(Exit::Failed, error);
        let (stranger, another) = (stage.new_key()?, stage.new_key()?);
        let mut content = self.root.content().clone();
        let own = |key: &SigningKey| RoleContent { keys: vec![*key.public()], threshold: 1 };
        content.version += 1;
        (content.root, content.directory) = (own(&stranger), own(&another));
        let forged = SignedRoot::make(&content, &[&stranger]).map_err(|error| caused(&error))?;
        let document = PublishedObject::new(forged.to_bytes());
        Ok(self.lie(0, &PublishedBundle::new(running), &Revocations::new(), |state| state.add_root(2, &document)))
    }

    /// A stranger's signature under the administrator's name.
    fn revocation(&self, stage: &Stage, running: &SignedBundle) -> Result<Told, Failure> {
        let stranger = stage.new_key()?;
        let administrator = crate::files::read_key(&self.env, &stage.file.keys.admin)?;
        let cut = Cut {
            tenant: self.tenant.clone().into(),
            kind: CutKind::Delegator,
            id: "user:maya@customer-success.example".to_owned(),
        };
        let mut request = stage.admin.sign(&stranger, REVOCATIONS_PATH, cut.to_body());
        request.key = administrator.public().id();
        let until = cut.until(Timestamp::from_secs(request.created));
        let mut set = Revocations::new();
        set.cut(Revocation { cut, until, index: LIES_FROM, request })
            .map_err(|error| Failure::caused(Exit::Failed, &error))?;
        Ok(self.lie(0, &PublishedBundle::new(running), &set, |_| ()))
    }

    fn lie(
        &self,
        number: u64,
        bundle: &PublishedBundle,
        revocations: &Revocations,
        forge: impl Fn(&mut PublishedState),
    ) -> Told {
        let mut state = PublishedState::new(PublishedRevocations::new(revocations.clone()), Vec::new());
        state.set_directory(2, &PublishedObject::new(self.stray.directory.clone()));
        let number = LogIndex(LIES_FROM.0 + number);
        let activation = Activation { number, tenant: self.tenant.clone(), ring: 0, manifest: bundle.manifest };
        let activations: Digest = activations_digest([&activation], &BTreeMap::new());
        state.activate(activation, bundle);
        forge(&mut state);
        Told {
            state: Arc::new(state),
            activations,
            directory: 2,
            root: 1,
            document: Arc::clone(&self.root),
            signed: Arc::default(),
            allies: Arc::clone(&self.allies),
            vouches: Vouches::InTurns,
            ticks_from: LIES_FROM,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn texts_are_replaced_everywhere() {
        assert_eq!(super::replace(b"forbid forbid x", b"forbid", b"permit"), b"permit permit x");
        assert_eq!(super::replace(b"for", b"forbid", b"permit"), b"for");
    }
}
