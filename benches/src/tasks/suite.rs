//! A suite as data: what humans asked for, the calls that do it, and attackers' calls.

use anyhow::{Context as _, Result, bail};
use remit_common::id::ToolName;
use remit_common::policy::ToolCall;
use remit_common::policy::json::{self, Mode};
use serde::Deserialize;

/// What a human wrote. All that the rule gets of a task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Prompt(String);

impl Prompt {
    /// The prompt with this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Calls that do a task. Nothing of the rule takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution(pub Vec<ToolCall>);

/// What a human asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct UserTask {
    /// Its name in the suite.
    pub id: String,
    /// What was asked.
    pub prompt: Prompt,
    /// What does it.
    pub solution: Solution,
}

/// What an attacker wants from the agent, by text that it reads on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Attack {
    /// Its name in the suite.
    pub id: String,
    /// What reaches it.
    pub calls: Vec<ToolCall>,
}

/// A tool as the suite describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// The names of its parameters, sorted.
    pub parameters: Vec<String>,
    /// Those that a call must carry, sorted.
    pub required: Vec<String>,
}

/// A suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// Its tools.
    pub tools: Vec<Described>,
    /// What humans ask for.
    pub tasks: Vec<UserTask>,
    /// What attackers want.
    pub attacks: Vec<Attack>,
}

#[derive(Deserialize)]
struct SuiteFile {
    suite: String,
    tools: Vec<ToolEntry>,
    tasks: Vec<TaskEntry>,
}

#[derive(Deserialize)]
struct ToolEntry {
    name: String,
    parameters: Parameters,
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(default)]
    properties: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    required: Vec<String>,
}

#[derive(Deserialize)]
struct TaskEntry {
    id: String,
    kind: String,
    prompt: Prompt,
    #[serde(default)]
    calls: Vec<CallEntry>,
}

#[derive(Deserialize)]
struct CallEntry {
    function: String,
    #[serde(default)]
    args: serde_json::Map<String, serde_json::Value>,
}

impl CallEntry {
    fn read(&self) -> Result<ToolCall> {
        // As an edge reads them: bytes, once, by the strict parser.
        let arguments = json::parse(&serde_json::to_vec(&self.args)?, Mode::Arguments)?;
        Ok(ToolCall { tool: ToolName::new(&self.function)?, arguments })
    }
}

impl From<ToolEntry> for Described {
    fn from(entry: ToolEntry) -> Self {
        let ToolEntry { name, parameters: Parameters { properties, mut required } } = entry;
        let mut parameters: Vec<String> = properties.into_iter().map(|(name, _)| name).collect();
        parameters.sort();
        required.sort();
        Self { name, parameters, required }
    }
}

impl Suite {
    /// Reads a suite.
    ///
    /// # Errors
    /// When the bytes are not one.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let SuiteFile { suite, tools, tasks: entries } =
            serde_json::from_slice(bytes).context("not a suite of tasks")?;
        let (mut tasks, mut attacks) = (Vec::new(), Vec::new());
        for TaskEntry { id, kind, prompt, calls } in entries {
            let calls: Result<Vec<_>> = calls.iter().map(CallEntry::read).collect();
            let calls = calls.with_context(|| format!("a call of `{id}`"))?;
            match kind.as_str() {
                "user" => tasks.push(UserTask { id, prompt, solution: Solution(calls) }),
                "injection" => attacks.push(Attack { id, calls }),
                other => bail!("`{id}` is of the kind `{other}`; there are `user` and `injection`"),
            }
        }
        Ok(Self { name: suite, tools: tools.into_iter().map(Described::from).collect(), tasks, attacks })
    }
}
