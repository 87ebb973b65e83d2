//! Outside parties as one worker sees them: applies an operator's decision to stop a party, and
//! reports the state of each party to operators.

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

/// How often the worker checks which parties are stopped, and whether a state has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often it reports an unchanged state, as a heartbeat.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How long a stopping worker waits for its final report to be written.
const FAREWELL: Duration = Duration::from_secs(2);

/// The worker's circuit breakers, one for each party. Clones share them.
#[derive(Clone, Debug)]
pub struct Breakers {
    /// In front of the payment provider.
    pub provider: Arc<Breaker>,
    /// In front of the carrier.
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

/// Applies operators' stops and reports each party's state, until `stop`. While the database does
/// not answer, nothing changes.
pub async fn run(db: PgPool, breakers: Breakers, stop: CancellationToken) {
    let mut report = Report { db, breakers, worker: process_name(), told: BTreeMap::new() };
    stop.run_until_cancelled(report.keep_up()).await;
    report.end().await;
}

/// The reports of one worker, under its name.
struct Report {
    db: PgPool,
    breakers: Breakers,
    worker: String,
    /// The last reported state of each party, and when it was reported.
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
                    "cannot check which parties are stopped, nor report their state"
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

    /// Records the party's state, and deletes reports of workers that are gone. Rows that another
    /// worker is deleting are skipped.
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

    /// Deletes this worker's reports on shutdown. If that fails, other workers delete them.
    async fn end(&self) {
        let words =
            sqlx::query!("delete from operations.party_standings where worker = $1", self.worker);
        match timeout(FAREWELL, words.execute(&self.db)).await {
            Ok(Ok(_removed)) => {}
            Ok(Err(error)) => {
                warn!(
                    error = chain(&error),
                    "this worker's reports on parties could not be deleted; other workers will"
                );
            }
            Err(_elapsed) => {
                warn!("this worker's reports on parties could not be deleted; other workers will");
            }
        }
    }
}
