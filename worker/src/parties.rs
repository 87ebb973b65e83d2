//! The parties that are not the shop's own, as one worker deals with them: an operator's stop is
//! obeyed, and operators are told how it stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use activities::party::{Breaker, Standing};
use domain::Party;
use runtime::{chain, process_name};
use sqlx::PgPool;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How often the worker looks which parties are stopped, and whether there is something to tell.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often it says how a party stands although nothing has changed: it still lives.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How long a worker that ends waits for its last word to be taken.
const FAREWELL: Duration = Duration::from_secs(2);

/// The worker's breakers, one for each party. Clones share them.
#[derive(Clone, Debug)]
pub struct Breakers {
    /// Before the payment provider.
    pub provider: Arc<Breaker>,
    /// Before the carrier.
    pub carrier: Arc<Breaker>,
}

impl Default for Breakers {
    fn default() -> Self {
        Self {
            provider: Arc::new(Breaker::new(Party::PaymentProvider)),
            carrier: Arc::new(Breaker::new(Party::Carrier)),
        }
    }
}

impl Breakers {
    fn of(&self, party: Party) -> &Breaker {
        match party {
            Party::PaymentProvider => &self.provider,
            Party::Carrier => &self.carrier,
        }
    }
}

/// Obeys operators' stops and tells how each party stands, until `stop`. While the database does
/// not answer, all stays as it is.
pub async fn run(db: PgPool, breakers: Breakers, stop: CancellationToken) {
    let mut report = Report { db, breakers, worker: process_name(), told: BTreeMap::new() };
    stop.run_until_cancelled(report.keep_up()).await;
    report.end().await;
}

/// What one worker says, under its name.
struct Report {
    db: PgPool,
    breakers: Breakers,
    worker: String,
    /// What is on record of each party, and since when.
    told: BTreeMap<Party, (Standing, Instant)>,
}

impl Report {
    /// Never ends.
    async fn keep_up(&mut self) {
        let mut due = interval(LOOK_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if let Err(error) = self.look_and_tell().await {
                warn!(
                    error = chain(&error),
                    "cannot check which parties are stopped, nor tell how they stand"
                );
            }
        }
    }

    async fn look_and_tell(&mut self) -> sqlx::Result<()> {
        self.obey().await?;
        for party in Party::all() {
            let standing = self.breakers.of(party).standing();
            if !self.is_told(party, &standing) {
                self.tell(party, &standing).await?;
                self.told.insert(party, (standing, Instant::now()));
            }
        }
        Ok(())
    }

    fn is_told(&self, party: Party, standing: &Standing) -> bool {
        match self.told.get(&party) {
            Some((told, told_at)) => told == standing && told_at.elapsed() < TELL_EVERY,
            None => false,
        }
    }

    async fn obey(&self) -> sqlx::Result<()> {
        let stops = sqlx::query!("select party, stopped_at from operations.stopped_parties")
            .fetch_all(&self.db)
            .await?;
        for party in Party::all() {
            let stop = stops.iter().find(|stop| stop.party == party.name());
            self.breakers.of(party).stop(stop.map(|stop| stop.stopped_at));
        }
        Ok(())
    }

    /// Puts on record how the party stands, and removes what was said of it by workers that are
    /// gone. Rows that another worker removes at this moment are left to it.
    async fn tell(&self, party: Party, standing: &Standing) -> sqlx::Result<()> {
        sqlx::query!(
            r#"
            insert into operations.party_standings (party, worker, state, since, last_failure)
            values ($1, $2, $3, $4, $5)
            on conflict (party, worker) do update set
                state = excluded.state,
                since = excluded.since,
                last_failure = excluded.last_failure,
                seen_at = now()
            "#,
            party.name(),
            self.worker,
            standing.state.name(),
            standing.since,
            standing.last_failure,
        )
        .execute(&self.db)
        .await?;
        sqlx::query!(
            r#"
            delete from operations.party_standings
            where (party, worker) in (
                select party, worker from operations.party_standings
                where party = $1 and seen_at < now() - interval '1 minute'
                for update skip locked
            )
            "#,
            party.name(),
        )
        .execute(&self.db)
        .await?;
        Ok(())
    }

    /// A worker that ends says nothing any more. If this cannot be put on record, others remove
    /// what it has said.
    async fn end(&self) {
        let words =
            sqlx::query!("delete from operations.party_standings where worker = $1", self.worker);
        match timeout(FAREWELL, words.execute(&self.db)).await {
            Ok(Ok(_removed)) => {}
            Ok(Err(error)) => {
                warn!(error = chain(&error), "what this worker said of the parties stays for now");
            }
            Err(_elapsed) => warn!("what this worker said of the parties stays for now"),
        }
    }
}
