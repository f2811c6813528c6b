//! From what a human wrote to an envelope. Knows prompts, the rule and the catalogue; solutions are nowhere in reach.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use remit_common::crypto::digest::Digest;
use remit_common::envelope::{AgentIdentity, Authority, EvidenceKind, RootPayload, RootRequest, RootStamp};
use remit_common::id::{AgentClass, AgentId, Delegator, DimensionName, ResourceId, SessionId, TaskId, ToolName};
use remit_common::lattice::{
    ArgumentPointer, Audience, ClassSet, Constraint, Delegation, Demands, Effects, Grant, IdSet, Scalar, Scope,
    SortedMap, ToolPattern,
};
use remit_common::policy::Tool;
use remit_common::time::Timestamp;

use super::prompt::{Named, has_phrase, named, sentences};
use super::rule::{Kind, must_carry, only_reads};
use super::setting::Setting;
use super::suite::Prompt;
use crate::chain::key;

/// When envelopes are issued.
pub(super) fn issued(setting: &Setting) -> Timestamp {
    setting.bundle.manifest().created
}

/// How long they hold.
const LIFE: Duration = Duration::from_secs(3_600);

/// What an envelope says about the tools that it grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constrain {
    /// Which tools they are, and nothing else.
    Tools,
    /// What may go into their sinks, too.
    Sinks,
}

/// What the rule finds in a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Tools that change something and are asked for.
    pub tools: BTreeSet<ToolName>,
    named: BTreeMap<Kind, Named>,
    /// Dimensions that the prompt speaks of.
    spoken_of: BTreeSet<DimensionName>,
}

/// Where a grant lets values go.
#[derive(Debug, Clone, PartialEq, Default)]
struct Sinks {
    ids: SortedMap<DimensionName, IdSet>,
    args: SortedMap<ArgumentPointer, Constraint>,
}

impl Wish {
    /// Reads a prompt.
    #[must_use]
    pub fn read(prompt: &Prompt, setting: &Setting) -> Self {
        let (rule, sentences) = (&setting.rule, sentences(prompt.as_str()));
        let has = |phrases: &[String], sentence: &[String]| phrases.iter().any(|phrase| has_phrase(sentence, phrase));
        let hands_over = sentences.iter().any(|sentence| has(&rule.hands_over, sentence));
        let asked = rule.asks.iter().filter(|asks| {
            let asked = |sentence: &[String]| {
                has(&asks.verbs, sentence) && (asks.objects.is_empty() || has(&asks.objects, sentence))
            };
            hands_over || sentences.iter().any(|sentence| asked(sentence))
        });
        let tools = asked.flat_map(|asks| asks.tools.iter().cloned()).collect();
        let in_arguments = rule.arguments.values().flat_map(BTreeMap::values);
        let kinds: BTreeSet<Kind> = rule.dimensions.values().chain(in_arguments).copied().collect();
        let spoken_of = rule
            .speaks_of
            .iter()
            .filter(|(_, words)| hands_over || sentences.iter().any(|sentence| has(words, sentence)));
        Self {
            tools,
            spoken_of: spoken_of.map(|(dimension, _)| dimension.clone()).collect(),
            named: kinds.into_iter().map(|kind| (kind, named(prompt.as_str(), kind, &rule.no_names))).collect(),
        }
    }

    /// Whether a human may be asked about a value of this kind that the prompt does not name.
    #[must_use]
    pub fn may_ask(&self, kind: Kind) -> bool {
        self.named.get(&kind).is_some_and(|named| !named.closes)
    }

    /// Whether the prompt speaks of what may go into a dimension.
    #[must_use]
    pub fn speaks_of(&self, dimension: &DimensionName) -> bool {
        self.spoken_of.contains(dimension)
    }

    /// Whether the prompt names this value.
    #[must_use]
    pub fn names(&self, kind: Kind, value: &str) -> bool {
        self.named.get(&kind).is_some_and(|named| named.values.contains(value))
    }

    /// The grants of the envelope: every tool that only reads, and what was asked for.
    ///
    /// # Errors
    /// When the catalogue has a name that no pattern can spell.
    pub fn grants(&self, setting: &Setting, constrain: Constrain) -> Result<Vec<Grant>> {
        let mut granted: Vec<(Sinks, Vec<&Tool>)> = Vec::new();
        for tool in setting.catalogue().tools.values() {
            let sinks = match constrain {
                _ if only_reads(tool) => vec![Sinks::default()],
                _ if !self.tools.contains(&tool.name) => Vec::new(),
                Constrain::Tools => each_choice(tool, |_| Some(IdSet::any())),
                Constrain::Sinks => self.sinks(tool, setting),
            };
            for sinks in sinks {
                match granted.iter_mut().find(|(known, _)| *known == sinks) {
                    Some((_, tools)) => tools.push(tool),
                    None => granted.push((sinks, vec![tool])),
                }
            }
        }
        granted.into_iter().map(|(sinks, tools)| grant(&tools, sinks, setting)).collect()
    }

    /// What may go into the sinks of a tool: one answer for every choice of those that a call may leave out.
    fn sinks(&self, tool: &Tool, setting: &Setting) -> Vec<Sinks> {
        let values = |kind: Kind| self.named.get(&kind).map(|named| &named.values).filter(|values| !values.is_empty());
        let mut args = SortedMap::new();
        for (pointer, kind) in setting.rule.arguments_of(&tool.name) {
            // An argument that is constrained has to be there, and one that is not may be anything: without a value
            // for each there is no grant.
            let Some(values) = values(kind) else { return Vec::new() };
            args.insert(pointer, Constraint::one_of(values.iter().map(|value| Scalar::from(value.as_str()))));
        }
        let ids = |name: &DimensionName| {
            let ids = values(*setting.rule.dimensions.get(name)?)?.iter().filter_map(|id| ResourceId::new(id).ok());
            Some(IdSet::In(ids.collect())).filter(|ids| !ids.is_nothing())
        };
        each_choice(tool, ids).into_iter().map(|sinks| Sinks { args: args.clone(), ..sinks }).collect()
    }
}

/// Ids for every dimension that a call of the tool must yield, with each choice of those that it may; nothing if there
/// are none for one that it must. A root closes what it does not mention (clause L-4), so each choice is a grant.
fn each_choice(tool: &Tool, ids: impl Fn(&DimensionName) -> Option<IdSet>) -> Vec<Sinks> {
    let mut choices = vec![Sinks::default()];
    for (name, pointer) in &tool.dimensions {
        let without = if must_carry(tool, pointer) { Vec::new() } else { choices.clone() };
        let Some(ids) = ids(name) else {
            choices = without;
            continue;
        };
        for choice in &mut choices {
            choice.ids.insert(name.clone(), ids.clone());
        }
        choices.extend(without);
    }
    choices
}

fn grant(tools: &[&Tool], Sinks { ids, args }: Sinks, setting: &Setting) -> Result<Grant> {
    let classes: ClassSet = setting.bundle.policy().taxonomy().classes().map(|(_, number)| number).collect();
    Ok(Grant {
        tools: tools.iter().map(|tool| ToolPattern::exact(&tool.name)).collect::<Result<_, _>>()?,
        ids,
        args,
        classes: Some(classes),
        effects: Some(tools.iter().flat_map(|tool| tool.effects.iter()).collect::<Effects>()),
        ..Grant::default()
    })
}

/// The grant that a human's approval of one call makes: this tool, with exactly what was shown.
///
/// # Errors
/// When the catalogue has a name that no pattern can spell.
pub fn approved(
    tool: &Tool,
    ids: SortedMap<DimensionName, IdSet>,
    args: SortedMap<ArgumentPointer, Constraint>,
    setting: &Setting,
) -> Result<Grant> {
    grant(&[tool], Sinks { ids, args }, setting)
}

/// The authority of an assistant that holds these grants, and nothing above it.
///
/// # Errors
/// When no issuer would mint such an envelope: too many grants, or more bytes than a link may have.
pub fn authority(task: &str, grants: Vec<Grant>, setting: &Setting) -> Result<Authority> {
    let (manifest, taxonomy) = (setting.bundle.manifest(), setting.bundle.policy().taxonomy());
    let agent = AgentIdentity {
        id: AgentId::new(&format!("spiffe://{}.example/agent/assistant", manifest.tenant))?,
        class: AgentClass::new("assistant")?,
        attestation: None,
    };
    let request = RootRequest {
        tenant: manifest.tenant.clone(),
        delegator: Delegator::new(&format!("user:owner@{}.example", manifest.tenant))?,
        session: SessionId::new("agent-tasks")?,
        task: TaskId::new(task)?,
        agent: agent.clone(),
        purpose: taxonomy.purpose("assist").context("there is no purpose `assist`")?,
        grants,
        life: LIFE,
        delegation: None,
        audience: Audience::EVERYWHERE,
        demands: Demands::NONE,
        intent: None,
    };
    let stamp = RootStamp {
        issued: issued(setting),
        nonce: [7; 16],
        evidence_kind: EvidenceKind::Admin,
        evidence: Digest([1; 32]),
        catalogue_version: manifest.version.0,
        taxonomy_version: taxonomy.version(),
        min_bundle_version: manifest.version.0,
    };
    RootPayload::build(&request, key(10)?.public(), &stamp).context("no issuer would mint this envelope")?;
    let RootRequest { tenant, delegator, session, task, purpose, grants, audience, demands, .. } = request;
    Ok(Authority {
        tenant,
        delegator,
        session,
        task,
        agent: agent.id.clone(),
        class: agent.class.clone(),
        chain_agents: vec![agent],
        purpose,
        not_before: issued(setting),
        expires: issued(setting).plus(LIFE),
        depth_left: Delegation::NOT.depth_left,
        fanout_max: Delegation::NOT.fanout_max,
        offline: Delegation::NOT.offline,
        chain_depth: 1,
        audience,
        demands,
        scope: Scope::root(grants)?,
        min_bundle_version: manifest.version,
        taxonomy_version: taxonomy.version(),
        catalogue_version: manifest.version.0,
    })
}
