//! The relay's database: its pool, and the rights that its role needs.

use std::time::Duration;

use runtime::database::{BadUrl, PoolSettings};
use runtime::schema::{Privilege, Right, SchemaGate};
use sqlx::PgPool;

/// Where the shop's database is, and how many of its connections this process may take.
#[derive(Clone, Debug, clap::Args)]
pub struct RelayDatabaseArgs {
    /// The shop's database, as the relay's role: postgres://user:password@host:port/name
    #[arg(long, env = "RELAY_DATABASE_URL", hide_env_values = true)]
    pub relay_database_url: Option<String>,
    /// The most connections of the relay to the database at once
    #[arg(long, env = "RELAY_DATABASE_CONNECTIONS", default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub relay_database_connections: u32,
}

/// The relay has no database.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum NoDatabase {
    /// The setting is missing.
    #[error("RELAY_DATABASE_URL is not set")]
    NotNamed,
    /// The setting is invalid.
    #[error("RELAY_DATABASE_URL")]
    Bad(#[from] BadUrl),
}

impl RelayDatabaseArgs {
    /// The relay's pool, which connects at the first use.
    pub fn pool(&self) -> Result<PgPool, NoDatabase> {
        let url = self.relay_database_url.as_deref().ok_or(NoDatabase::NotNamed)?;
        Ok(self.settings().lazy(url)?)
    }

    const fn settings(&self) -> PoolSettings {
        PoolSettings {
            program: "ordersaga-relay",
            connections: self.relay_database_connections,
            acquire_timeout: Duration::from_secs(5),
            // A backlog of millions is scanned once.
            statement_timeout: Some(Duration::from_mins(1)),
            lock_timeout: Some(Duration::from_secs(5)),
            test_before_acquire: true,
        }
    }
}

/// The rights that every sink needs. The tests run with only the relay's rights and cover the rest.
const RIGHTS: &[Right] = &[
    Right { privilege: Privilege::Select, object: "outbox.messages" },
    Right { privilege: Privilege::Insert, object: "outbox.sinks" },
    Right { privilege: Privilege::Update, object: "outbox.progress" },
    Right { privilege: Privilege::Insert, object: "outbox.readers" },
    Right { privilege: Privilege::Delete, object: "outbox.parked" },
    Right { privilege: Privilege::Execute, object: "outbox.read" },
    Right { privilege: Privilege::Execute, object: "outbox.take_shards" },
    Right { privilege: Privilege::Execute, object: "outbox.is_restored" },
];

/// Checks whether the relay can work with the database.
#[must_use]
pub fn schema_gate() -> SchemaGate {
    SchemaGate::new(RIGHTS)
}
