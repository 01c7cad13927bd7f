//! The rewriter: one task that carries out what compaction, separator and callers want rewritten.
//!
//! | step | what | a crash here costs |
//! |--:|---|---|
//! | 1 | ask what to rewrite, in one step; its victims are pinned | nothing |
//! | 2 | rewrite it, see [`crate::rewrite`] | nothing |
//! | 3 | end the run, in one step: pins, reports, when to try again | nothing |
//!
//! A run that failed leaves nothing behind: its victims keep what they hold, its copies never
//! count, and the next run comes after a pause that grows with every failure in a row.
//!
//! When the store ends, the outputs are sealed, so that the next opening need not walk them.

use std::sync::Arc;

use futures::future::FutureExt;

use crate::memory::{RewritePlan, Run, Why};
use crate::rewrite::{Rewritten, rewrite};
use crate::store::Store;

/// Runs until the store ends.
pub(crate) async fn run(store: Arc<Store>) {
    loop {
        if store.is_ending() {
            store.step(|state| {
                state.drop_requests();
                state.close_outputs();
                state.rewriter_ended = true;
                state.calls.writer = true;
            });
            return;
        }
        let now = store.now();
        match store.step(|state| state.plan_rewrite(now)) {
            RewritePlan::Nothing(at) => {
                let timer = async {
                    match at {
                        Some(at) => store.environment.clock.sleep(at.saturating_sub(now)).await,
                        None => futures::future::pending().await,
                    }
                };
                futures::select_biased! {
                    () = store.rewriter_called.notified().fuse() => {}
                    () = timer.fuse() => {}
                }
            }
            RewritePlan::Run(planned) => {
                let rewritten = rewrite(&store, &planned).await;
                end(&store, &planned, rewritten);
            }
        }
    }
}

fn end(store: &Store, run: &Run, rewritten: Rewritten) {
    let now = store.now();
    let Rewritten { report, suspects, damaged, read_failure, write_failure } = rewritten;
    if let Some(error) = &write_failure {
        tracing::warn!(%error, why = ?run.why, "copies could not be written");
    }
    store.step(|state| {
        let report = state.end_run(run, report, (&suspects, &damaged), now);
        state.note_run(write_failure.is_some(), now);
        if run.why == Why::Request {
            let failure = write_failure.or(read_failure);
            state.requested_run_ended(failure.map_or(Ok(report), Err));
        }
    });
}
