//! A solver: a process of its own for each query, so that no query hears of another, and none outlives its time.

use std::io::ErrorKind;
use std::time::Duration;

use cedar_policy::{RequestEnv, Schema};
use cedar_policy_symcc::err::Error;
use cedar_policy_symcc::solver::{LocalSolver, SolverError};
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicySet, Env, ResetMode};
use remit_common::net::env::deadline;

use super::claims::Query;

/// Where the solver is, and whether there is one.
#[derive(Debug)]
pub(super) struct Solver {
    program: String,
    is_missing: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unsolved {
    /// There is no such program.
    NoSolver,
    /// Time is up.
    Late,
    /// What the solver, or the compiler in front of it, says.
    Failed(String),
}

impl Solver {
    pub(super) fn new(program: &str) -> Self {
        Self { program: program.to_owned(), is_missing: false }
    }

    /// Whether there is such a program.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self.start(Duration::from_secs(1)), Err(SolverError::Io(error)) if error.kind() == ErrorKind::NotFound)
    }

    /// Looks for a request that the query's `new` permits and its `old` does not; `None` is the proof that there is none.
    pub(super) async fn refute(
        &mut self,
        schema: &Schema,
        about: &RequestEnv,
        query: &Query,
        within: Duration,
    ) -> Result<Option<Env>, Unsolved> {
        if self.is_missing {
            return Err(Unsolved::NoSolver);
        }
        let compile = |set| CompiledPolicySet::compile(set, about, schema).map_err(|error| failed(&error));
        let (new, old) = (compile(&query.new)?, compile(&query.old)?);
        let solver = match self.start(within) {
            Ok(solver) => solver,
            Err(SolverError::Io(error)) if error.kind() == ErrorKind::NotFound => {
                self.is_missing = true;
                return Err(Unsolved::NoSolver);
            }
            Err(error) => return Err(Unsolved::Failed(format!("cannot run `{}`: {}", self.program, chain(&error)))),
        };
        let mut compiler =
            CedarSymCompiler::new(solver).map_err(|error| failed(&error))?.with_reset_mode(ResetMode::Comment);
        match deadline(within, compiler.check_implies_with_counterexample_opt(&new, &old)).await {
            Err(_) | Ok(Err(Error::SolverUnknown)) => Err(Unsolved::Late),
            Ok(found) => found.map_err(|error| failed(&error)),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the solver is a program of its own")]
    fn start(&self, within: Duration) -> Result<LocalSolver, SolverError> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(["--lang", "smt"]).arg(format!("--tlimit={}", within.as_millis())).kill_on_drop(true);
        LocalSolver::from_command(&mut command)
    }
}

fn failed(error: &Error) -> Unsolved {
    Unsolved::Failed(format!("cannot be proven: {}", chain(error)))
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
