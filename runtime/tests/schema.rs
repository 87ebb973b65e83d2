//! The check that a program and a database fit together, for each way in which they may not.

#![cfg(test)]

use runtime::chain;
use runtime::database::DatabaseFault;
use runtime::schema::{
    MIGRATIONS, Migrated, Privilege, Right, SchemaFault, SchemaGate, SchemaState, migrate,
};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Executor as _, PgPool};

const RIGHTS: &[Right] = &[
    Right { privilege: Privilege::Select, object: "operations.paused_queues" },
    Right { privilege: Privilege::Update, object: "inventory.stock" },
];

fn gate() -> SchemaGate {
    SchemaGate::new(RIGHTS)
}

fn newest() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap()
}

async fn change(owner: &PgPool, statement: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(statement.into())).execute(owner).await.unwrap();
}

/// The database as a program's role sees it.
fn seen_by(role: &'static str, owner: &PgPool) -> PgPool {
    let options = PgConnectOptions::clone(&owner.connect_options()).options([("role", role)]);
    owner.options().clone().connect_lazy_with(options)
}

async fn refusal(gate: &SchemaGate, database: &PgPool) -> String {
    chain(&gate.check(database).await.unwrap_err())
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_migrated_database_fits_the_roles_of_worker_and_starter(owner: PgPool) {
    for role in ["ordersaga_worker", "ordersaga_starter"] {
        let state = gate().check(&seen_by(role, &owner)).await;
        assert_eq!(state.unwrap(), SchemaState::Current, "{role}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_database_lacks_is_the_deployments_fault(owner: PgPool) {
    let starter = seen_by("ordersaga_starter", &owner);
    for (database, statement) in [
        (&owner, "select from orders.no_such_table"),
        (&owner, "select no_such_column from orders.orders"),
        (&owner, "select orders.no_such_function()"),
        (&starter, "select method from payments.methods"),
    ] {
        let error = sqlx::raw_sql(statement).execute(database).await.unwrap_err();
        assert_eq!(DatabaseFault::of(&error), DatabaseFault::Misdeployed, "{error}");
    }
}

/// Like a pooler that is configured to ignore settings that it cannot keep for each client.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn settings_that_do_not_reach_the_database_are_told(owner: PgPool) {
    let asked = [("statement_timeout", "8000"), ("lock_timeout", "1000")];
    let options = PgConnectOptions::clone(&owner.connect_options()).options(asked);
    let passed_on = owner.options().clone().connect_lazy_with(options.clone());
    assert_eq!(gate().check(&passed_on).await.unwrap(), SchemaState::Current);
    let dropped = owner.options().clone().after_connect(|connection, _| {
        Box::pin(async move { connection.execute("set lock_timeout = 0").await.map(|_| ()) })
    });
    let dropped = dropped.connect_lazy_with(options);
    let told = refusal(&gate(), &dropped).await;
    assert!(told.contains("settings for lock_timeout, so a proxy"), "{told}");
}

#[sqlx::test(migrations = false)]
async fn a_database_that_was_never_migrated_lacks_everything(owner: PgPool) {
    change(&owner, include_str!("empty.sql")).await;
    let Err(SchemaFault::Behind { missing }) = gate().check(&owner).await else {
        panic!("it counts as migrated")
    };
    assert_eq!(missing.len(), MIGRATIONS.iter().count());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_database_that_lacks_a_migration_says_how_to_get_it(owner: PgPool) {
    change(&owner, format!("delete from _sqlx_migrations where version = {}", newest())).await;
    let lacks = format!("the database lacks migration {}: run `ordersaga migrate`", newest());
    assert_eq!(refusal(&gate(), &owner).await, lacks);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_migration_that_was_not_completed_is_missing(owner: PgPool) {
    let unfinished = "update _sqlx_migrations set success = false where version =";
    change(&owner, format!("{unfinished} {}", newest())).await;
    let lacks = format!("the database lacks migration {}: run `ordersaga migrate`", newest());
    assert_eq!(refusal(&gate(), &owner).await, lacks);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_migration_whose_text_differs_is_told_apart(owner: PgPool) {
    change(&owner, "update _sqlx_migrations set checksum = 'other' where version = 1").await;
    let Err(SchemaFault::Changed { versions }) = gate().check(&owner).await else {
        panic!("it counts as the same")
    };
    assert_eq!(versions, [1]);
}

async fn add_migration_of_a_later_release(owner: &PgPool) -> i64 {
    let later = newest().checked_add(1).unwrap();
    let values = format!("values ({later}, 'of a later release', true, 'later', 1)");
    let columns = "version, description, success, checksum, execution_time";
    change(owner, format!("insert into _sqlx_migrations ({columns}) {values}")).await;
    later
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_database_that_is_ahead_is_used(owner: PgPool) {
    let later = add_migration_of_a_later_release(&owner).await;
    let state = gate().check(&owner).await.unwrap();
    assert_eq!(state, SchemaState::Ahead { unknown: vec![later] });
}

/// Sets the schema floor, in a table that no release has yet.
async fn set_floor(owner: &PgPool, minimum: i64) {
    change(owner, "create table operations.schema_floor (minimum bigint not null)").await;
    change(owner, format!("insert into operations.schema_floor values ({minimum})")).await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_program_below_the_floor_is_too_old_and_one_at_the_floor_is_not(owner: PgPool) {
    set_floor(&owner, newest()).await;
    assert_eq!(gate().check(&owner).await.unwrap(), SchemaState::Current);

    let later = add_migration_of_a_later_release(&owner).await;
    change(&owner, format!("update operations.schema_floor set minimum = {later}")).await;
    let Err(SchemaFault::TooOld { known, minimum }) = gate().check(&owner).await else {
        panic!("it may run")
    };
    assert_eq!((known, minimum), (newest(), later));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_floor_that_cannot_be_read_is_a_missing_right(owner: PgPool) {
    set_floor(&owner, 1).await;
    let said = refusal(&gate(), &seen_by("ordersaga_worker", &owner)).await;
    assert!(said.contains("select on operations.schema_floor"), "{said}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn missing_rights_are_named_whatever_is_missing(owner: PgPool) {
    const RIGHTS: &[Right] = &[
        Right { privilege: Privilege::Select, object: "operations.paused_queues" },
        Right { privilege: Privilege::Delete, object: "operations.paused_queues" },
        // No right on the schema, no such table, no such function.
        Right { privilege: Privilege::Select, object: "identity.clients" },
        Right { privilege: Privilege::Insert, object: "orders.nowhere" },
        Right { privilege: Privilege::Execute, object: "ledger.book_movement" },
        Right { privilege: Privilege::Execute, object: "ledger.nothing" },
    ];
    let said = refusal(&SchemaGate::new(RIGHTS), &seen_by("ordersaga_worker", &owner)).await;
    assert_eq!(
        said,
        "the program's role lacks the right to delete on operations.paused_queues, \
         select on identity.clients, insert on orders.nowhere, execute on ledger.book_movement, \
         execute on ledger.nothing: run `ordersaga migrate`, or grant it"
    );
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_list_of_migrations_that_cannot_be_read_is_a_missing_right(owner: PgPool) {
    change(&owner, "revoke select on _sqlx_migrations from ordersaga_worker").await;
    let said = refusal(&gate(), &seen_by("ordersaga_worker", &owner)).await;
    assert!(said.contains("select on _sqlx_migrations"), "{said}");
}

#[sqlx::test(migrations = false)]
async fn migrating_applies_everything_once_and_leaves_a_newer_database_alone(owner: PgPool) {
    change(&owner, include_str!("empty.sql")).await;
    let options = PgConnectOptions::clone(&owner.connect_options());
    let first = migrate(&options).await.unwrap();
    assert_eq!(first.applied.len(), MIGRATIONS.iter().count());
    let nothing = Migrated { applied: Vec::new(), unknown: Vec::new() };
    assert_eq!(migrate(&options).await.unwrap(), nothing);

    let later = add_migration_of_a_later_release(&owner).await;
    let rolled_back = migrate(&options).await.unwrap();
    assert_eq!(rolled_back, Migrated { applied: Vec::new(), unknown: vec![later] });
}
