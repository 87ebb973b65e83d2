//! Throttles password guessing: five attempts in a row per account, then a delay that doubles from
//! 15 seconds to 15 minutes, no matter how many IP addresses the guesses come from.

use ring::digest::{SHA256, digest};
use sqlx::PgPool;

use crate::error::{OrProblem, Problem};
use crate::identity::refusal;

/// A sign-in attempt, counted before the password is checked.
#[must_use = "a successful attempt has to be forgiven"]
pub(super) struct Attempt<'a> {
    database: &'a PgPool,
    address_hash: Vec<u8>,
}

impl<'a> Attempt<'a> {
    /// Counts an attempt on the account with this e-mail address, whether or not it exists.
    ///
    /// **Errors.** 429 during the delay; the password must not be checked then, or the delay would
    /// cost an attacker nothing.
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
        // `None` if a concurrent request has counted the attempt that it has to wait for.
        let wait = counted.wait_seconds.and_then(|seconds| u16::try_from(seconds).ok());
        Err(refusal::sign_in_delayed(wait.unwrap_or(1).max(1)))
    }

    /// Resets the count after a correct password.
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
