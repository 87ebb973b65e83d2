//! How often a password may be guessed: five times in a row, then after a wait that doubles from
//! 15 seconds to 15 minutes, however many addresses the guesses come from.

use aws_lc_rs::digest::{SHA256, digest};
use sqlx::PgPool;

use crate::problem::{OrProblem, Problem};

/// Somebody's attempt to show a password, counted and not yet judged.
#[must_use = "an attempt that was right has to be forgiven"]
pub(super) struct Attempt<'a> {
    database: &'a PgPool,
    address_hash: Vec<u8>,
}

impl<'a> Attempt<'a> {
    /// Counts an attempt on the account of this e-mail address, whether or not there is one.
    ///
    /// **Errors.** 429 while the address has to wait; then the password must not be looked at,
    /// or waiting would cost a guesser nothing.
    pub(super) async fn count(database: &'a PgPool, address: &str) -> Result<Self, Problem> {
        const DOING: &str = "counting an attempt to sign in";
        let address_hash = digest(&SHA256, address.as_bytes()).as_ref().to_vec();
        let counted = sqlx::query!(
            r#"
            with forgotten as (
                delete from identity.sign_in_attempts
                where address_hash in (
                    select address_hash from identity.sign_in_attempts
                    where tried_at < now() - interval '1 day' and address_hash <> $1
                    order by tried_at limit 10
                    for update skip locked
                )
            ), counted as (
                insert into identity.sign_in_attempts as known
                    (address_hash, in_a_row, tried_at, wait_until)
                values ($1, 1, now(), now())
                on conflict (address_hash) do update
                set tried_at = now(),
                    in_a_row = case
                        when known.tried_at < now() - interval '1 day' then 1
                        else least(known.in_a_row, 1000) + 1
                    end,
                    wait_until = case
                        when known.tried_at < now() - interval '1 day' or known.in_a_row < 4
                            then now()
                        else now() + least(
                            interval '15 minutes',
                            interval '15 seconds' * power(2, least(known.in_a_row - 4, 10))
                        )
                    end
                where known.wait_until <= now()
                returning address_hash
            )
            select exists (select from counted) as "counted!",
                (
                    select ceil(extract(epoch from wait_until - now()))::bigint
                    from identity.sign_in_attempts where address_hash = $1
                ) as wait_seconds
            "#,
            address_hash,
        )
        .fetch_one(database)
        .await
        .or_problem(DOING)?;
        if counted.counted {
            return Ok(Self { database, address_hash });
        }
        // None, if the attempt that it has to wait for was counted at this very moment.
        let wait = counted.wait_seconds.and_then(|seconds| u16::try_from(seconds).ok());
        Err(Problem::sign_in_delayed(wait.unwrap_or(1).max(1)))
    }

    /// The password was right: what was wrong before it is forgotten.
    pub(super) async fn forgive(self) -> Result<(), Problem> {
        sqlx::query!(
            "delete from identity.sign_in_attempts where address_hash = $1",
            self.address_hash,
        )
        .execute(self.database)
        .await
        .map(|_forgotten| ())
        .or_problem("forgetting attempts to sign in")
    }
}
