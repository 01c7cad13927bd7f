//! One seed of a store that is filled until it is full, relieved, and filled again.
//!
//! Absent on purpose: forks, and openings with faults. The mixture of everything has them.

use std::future::Future;
use std::sync::Arc;

use futures::channel::oneshot;
use futures::future::{BoxFuture, FutureExt, join_all};
use logstor_core::io::Environment;

use super::{Run, Step};
use crate::client::Client;
use crate::plan::Epoch;

impl Run {
    pub(super) fn all_full(&mut self) -> Step {
        let plan = Arc::clone(&self.plan);
        for epoch in &plan.epochs {
            self.note(&format!("epoch {}", epoch.number));
            self.open(&epoch.opening)?;
            self.check()?;
            self.fill_and_relieve(epoch)?;
        }
        self.open(&plan.last)?;
        self.check()?;
        self.last_words()
    }

    fn fill_and_relieve(&mut self, epoch: &Epoch) -> Step {
        let cycles = epoch.cycles;
        if let Some(stop) = epoch.stop {
            self.sim.stop_at(stop);
        }
        let mut clients = self.clients(epoch);
        let environment = self.environment();
        let main = async move {
            for _ in 0..cycles {
                let full;
                (clients, full) = fill(&environment, clients).await;
                let Some(first) = clients.first().filter(|_| full) else { break };
                let target = first.live_bytes() / 2;
                clients = together(&environment, clients, move |mut client| async move {
                    client.relieve(target).await;
                    client
                })
                .await;
                clients = together(&environment, clients, |mut client| async move {
                    client.must_put().await;
                    client
                })
                .await;
            }
        };
        let ended = self.run(main)?;
        self.sim.clear_stops();
        self.count_compaction();
        if ended.is_none() {
            self.count("crashes/in use");
        }
        self.crash(epoch.crash)
    }
}

/// Every client fills, until it finds no room; `true` if one of them came so far.
async fn fill(environment: &Environment, clients: Vec<Client>) -> (Vec<Client>, bool) {
    let of = u64::try_from(clients.len()).expect("there are few clients");
    let shares: Vec<(u64, Client)> = (0..of).zip(clients).collect();
    let filled = together(environment, shares, move |(share, mut client)| async move {
        let full = client.fill(share, of).await;
        (client, full)
    });
    let (clients, full): (Vec<_>, Vec<bool>) = filled.await.into_iter().unzip();
    (clients, full.contains(&true))
}

/// Runs one task for each, and waits for all of them.
fn together<T, R, F>(
    environment: &Environment,
    each: Vec<T>,
    act: impl Fn(T) -> F,
) -> BoxFuture<'static, Vec<R>>
where
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let ends = each.into_iter().map(|one| {
        let (done, ended) = oneshot::channel();
        let acting = act(one);
        let task = async move {
            // Nobody waits any more if the main future was stopped.
            let _ = done.send(acting.await);
        };
        environment.spawn.spawn("client", Box::pin(task));
        ended
    });
    let ends: Vec<_> = ends.collect();
    async move { join_all(ends).await.into_iter().flatten().collect() }.boxed()
}
