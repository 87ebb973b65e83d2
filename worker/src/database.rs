//! The worker's database: its connections, and the rights that its role needs.

use std::time::Duration;

use activities::party::SANDBOXES;
use runtime::database::{BadUrl, Database, PoolSettings};
use runtime::schema::{Privilege, Right, SchemaFault, SchemaGate, SchemaState};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};

/// Where the shop's database is, and how many of its connections this process may take.
#[derive(Clone, Debug, clap::Args)]
pub struct DatabaseArgs {
    /// The shop's database, as the worker's role: postgres://user:password@host:port/name
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// The most connections of each of the worker's two pools: for single statements and for
    /// transactions
    #[arg(long, env = "WORKER_DATABASE_CONNECTIONS", default_value_t = 6)]
    pub worker_database_connections: u32,
}

impl DatabaseArgs {
    /// The worker's pools, which connect at the first use. No order holds a connection for long.
    pub fn database(&self) -> Result<Database, BadUrl> {
        self.limited().lazy(&self.database_url).map(Database::of)
    }

    /// The pools of a sandbox, which keeps its records in the same database.
    pub fn sandbox_database(&self) -> Result<Database, BadUrl> {
        let settings = PoolSettings { program: SANDBOXES, ..self.limited() };
        settings.lazy(&self.database_url).map(Database::of)
    }

    const fn limited(&self) -> PoolSettings {
        // Below the ten seconds of a patient attempt, so that an abandoned attempt leaves no
        // statement running on its connection.
        let statement_timeout = Some(Duration::from_secs(8));
        // Below the three seconds of a quick attempt: after a longer lock wait, the step is
        // retried.
        let lock_timeout = Some(Duration::from_secs(1));
        PoolSettings { statement_timeout, lock_timeout, ..self.unlimited() }
    }

    /// A pool for commands that read the whole database, without time limits.
    pub fn unlimited_pool(&self) -> Result<PgPool, BadUrl> {
        self.unlimited().lazy(&self.database_url)
    }

    const fn unlimited(&self) -> PoolSettings {
        PoolSettings {
            program: "ordersaga-worker",
            connections: self.worker_database_connections,
            // A quick attempt has three seconds; if no connection is free by then, the step is
            // better retried.
            acquire_timeout: Duration::from_secs(3),
            statement_timeout: None,
            lock_timeout: None,
            // A step that gets a dead connection is retried, as for an unavailable party.
            test_before_acquire: false,
        }
    }
}

/// The rights that every order needs. The tests run with only the worker's rights and cover the
/// rest.
const RIGHTS: &[Right] = &[
    Right { privilege: Privilege::Update, object: "orders.orders" },
    Right { privilege: Privilege::Insert, object: "orders.order_events" },
    Right { privilege: Privilege::Insert, object: "outbox.messages" },
    Right { privilege: Privilege::Update, object: "inventory.stock" },
    Right { privilege: Privilege::Delete, object: "orders.launches" },
    Right { privilege: Privilege::Select, object: "payments.methods" },
    Right { privilege: Privilege::Insert, object: "payments.charges" },
    Right { privilege: Privilege::Select, object: "payments.refund_requests" },
    Right { privilege: Privilege::Select, object: "payments.disputes" },
    Right { privilege: Privilege::Insert, object: "ledger.entries" },
    Right { privilege: Privilege::Execute, object: "ledger.close_books" },
    Right { privilege: Privilege::Execute, object: "fraud.count_order" },
    Right { privilege: Privilege::Insert, object: "fraud.screenings" },
    Right { privilege: Privilege::Update, object: "finance.runs" },
    Right { privilege: Privilege::Insert, object: "shipping.shipments" },
    Right { privilege: Privilege::Select, object: "operations.paused_queues" },
    Right { privilege: Privilege::Select, object: "operations.stopped_parties" },
    Right { privilege: Privilege::Delete, object: "operations.party_standings" },
    Right { privilege: Privilege::Execute, object: "operations.sweep" },
    Right { privilege: Privilege::Update, object: "inbox.events" },
    Right { privilege: Privilege::Insert, object: "inbox.feeds" },
    Right { privilege: Privilege::Execute, object: "payments.reverse_refund" },
    Right { privilege: Privilege::Execute, object: "payments.record_outside_refund" },
];

/// Checks whether the worker can work with the database.
#[must_use]
pub fn schema_gate() -> SchemaGate {
    SchemaGate::new(RIGHTS)
}

/// Checks the gate on a dedicated connection: its error says what is wrong, whereas the pool would
/// only report a timeout.
pub async fn reach(pool: &PgPool, gate: &SchemaGate) -> Result<SchemaState, SchemaFault> {
    let options = pool.connect_options();
    options.connect().await?.close().await?;
    gate.check(pool).await
}
