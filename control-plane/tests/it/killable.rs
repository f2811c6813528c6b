//! What of a voter runs, to be ended all at once.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::future::BoxFuture;
use remit_common::net::env::{Env, Spawn};
use remit_common::net::tasks::TaskHandle;

/// Tasks and blocking work that can be killed together, the way SIGKILL does it.
pub(crate) struct Killable {
    spawn: Arc<dyn Spawn>,
    tasks: Mutex<Vec<tokio::task::AbortHandle>>,
    /// Blocking work holds it while it runs: what is killed must not write on beside the one that is started next.
    killed: Arc<RwLock<bool>>,
}

impl Killable {
    /// The environment, with all that is started in it in one's hand.
    pub(crate) fn of(env: Env) -> (Arc<Self>, Env) {
        let spawn = Arc::clone(&env.spawn);
        let killable = Arc::new(Self { spawn, tasks: Mutex::default(), killed: Arc::default() });
        let env = Env { spawn: Arc::<Self>::clone(&killable), ..env };
        (killable, env)
    }

    /// Ends all tasks. What writes just now writes to its end, which is waited for; what was still to come never does.
    pub(crate) fn kill(&self) {
        for task in self.tasks.lock().unwrap().drain(..) {
            task.abort();
        }
        *self.killed.write().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl Spawn for Killable {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        let handle = self.spawn.spawn(name, task);
        self.tasks.lock().unwrap().push(handle.abort_handle());
        handle
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let killed = Arc::clone(&self.killed);
        self.spawn.run_blocking(Box::new(move || {
            let killed = killed.read().unwrap_or_else(PoisonError::into_inner);
            if !*killed {
                work();
            }
        }))
    }
}
