//! A rule that can only deny: calls of a class of agents, with an effect, of tools, towards an upstream. It is written in
//! the id of a cut, so that whoever is on call can stop something that no bundle foresaw, and nothing it says can permit.
//! Clause T-58.

use std::fmt;

use crate::envelope::AgentIdentity;
use crate::id::{AgentClass, ToolName, UpstreamName};
use crate::lattice::{Effect, Effects, ToolPattern};

/// Bytes of a rule.
const RULE_BYTES_MAX: usize = 384;

/// Which calls are forbidden: those that fit everything that is named.
// INVARIANT: something is named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forbid {
    class: Option<AgentClass>,
    effect: Option<Effect>,
    tool: Option<ToolPattern>,
    upstream: Option<UpstreamName>,
}

/// What a forbid looks at in a call.
#[derive(Debug, Clone, Copy)]
pub struct Called<'a> {
    /// The agents of the chain.
    pub agents: &'a [AgentIdentity],
    /// What the tool does to the world.
    pub effects: Effects,
    /// The tool.
    pub tool: &'a ToolName,
    /// Where it is served; `None` for what is no tool.
    pub upstream: Option<&'a UpstreamName>,
}

impl Forbid {
    /// Reads `key=value`, separated by one space, each key once and in this order: `class`, `effect`, `tool` (a pattern),
    /// `upstream`. One spelling for each rule, because it is the key of an entry.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut rule = Self::default();
        if text.len() > RULE_BYTES_MAX {
            return None;
        }
        for pair in text.split(' ') {
            match pair.split_once('=')? {
                ("class", class) => rule.class = Some(AgentClass::new(class).ok()?),
                // No call of a tool hands on.
                ("effect", "delegate") => return None,
                ("effect", effect) => rule.effect = Some(effect.parse().ok()?),
                ("tool", tool) => rule.tool = Some(ToolPattern::new(tool).ok()?),
                ("upstream", upstream) => rule.upstream = Some(UpstreamName::new(upstream).ok()?),
                _ => return None,
            }
        }
        (rule.to_string() == text).then_some(rule)
    }

    /// Whether it forbids this call.
    #[must_use]
    pub fn forbids(&self, called: &Called<'_>) -> bool {
        let Self { class, effect, tool, upstream } = self;
        class.as_ref().is_none_or(|class| called.agents.iter().any(|agent| agent.class == *class))
            && effect.is_none_or(|effect| called.effects.contains(effect))
            && tool.as_ref().is_none_or(|pattern| pattern.matches(called.tool.as_str()))
            && upstream.as_ref().is_none_or(|upstream| Some(upstream) == called.upstream)
    }
}

impl fmt::Display for Forbid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, effect, tool, upstream } = self;
        let pairs = [
            class.as_ref().map(|class| format!("class={class}")),
            effect.map(|effect| format!("effect={}", effect.as_str())),
            tool.as_ref().map(|tool| format!("tool={tool}")),
            upstream.as_ref().map(|upstream| format!("upstream={upstream}")),
        ];
        f.write_str(&pairs.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}
