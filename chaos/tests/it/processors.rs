//! Many runs, each on one processor, and what is wrong with them.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Gives each of `runs` to `play`, as many at a time as there are processors. Every fault is printed when it is found.
pub(crate) fn play_all<T: Sync>(runs: &[T], play: impl Fn(&T) -> Vec<String> + Sync) -> Vec<String> {
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::SeqCst)) {
            for fault in play(run) {
                println!("{fault}");
                faults.lock().unwrap().push(fault);
            }
        }
    };
    let jobs = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 1..jobs {
            scope.spawn(work);
        }
        work();
    });
    faults.into_inner().unwrap()
}
