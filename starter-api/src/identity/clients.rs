//! Clients: programs and staff that authenticate with a secret. The settings list them; the secrets
//! are stored as hashes.

use std::str::FromStr;

use domain::CustomerId;
use sqlx::PgPool;

use crate::error::{OrProblem, Problem};
use crate::identity::passwords::Passwords;
use crate::identity::role::Role;

/// The minimum length of a secret; a shorter one could be guessed.
const SECRET_LENGTH_MIN: usize = 16;

/// A program or staff member, with the secret that gets them a token.
#[derive(Clone)]
pub struct Client {
    id: String,
    role: Role,
    secret: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// A client's entry is invalid. The message repeats nothing of it, because it contains a secret.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "a client is name:role:secret, with a role of service, operator or finance, and a secret of \
     {SECRET_LENGTH_MIN} characters or more"
)]
pub struct InvalidClient;

impl FromStr for Client {
    type Err = InvalidClient;

    fn from_str(entry: &str) -> Result<Self, InvalidClient> {
        let mut parts = entry.trim().splitn(3, ':');
        let mut part = || parts.next().ok_or(InvalidClient);
        let (id, role, secret) = (part()?, part()?, part()?);
        let id = CustomerId::parse(id).map_err(|_not_a_name| InvalidClient)?.to_string();
        let role = role.parse().map_err(|_unknown| InvalidClient)?;
        let fits = secret.len() >= SECRET_LENGTH_MIN && role != Role::Customer;
        let client = Self { id, role, secret: secret.to_owned() };
        fits.then_some(client).ok_or(InvalidClient)
    }
}

/// Replaces all stored clients with these.
///
/// **Repeats.** A secret that is already stored is not hashed again, so that concurrent starters
/// agree.
pub(super) async fn enter(
    database: &PgPool,
    passwords: &Passwords,
    wanted: &[Client],
) -> Result<(), Problem> {
    const DOING: &str = "entering the clients that the settings name";
    for client in wanted {
        let known = recognise(database, passwords, &client.id, &client.secret).await?;
        if known == Some(client.role) {
            continue;
        }
        let hash = passwords.hash(client.secret.clone()).await?;
        sqlx::query!(
            "insert into identity.clients (client_id, role, secret_hash) values ($1, $2, $3)
             on conflict (client_id) do update
             set role = excluded.role, secret_hash = excluded.secret_hash, entered_at = now()",
            client.id,
            client.role.as_str(),
            hash,
        )
        .execute(database)
        .await
        .or_problem(DOING)?;
    }
    let ids: Vec<_> = wanted.iter().map(|client| client.id.clone()).collect();
    sqlx::query!("delete from identity.clients where client_id <> all ($1)", &ids)
        .execute(database)
        .await
        .or_problem(DOING)?;
    Ok(())
}

/// The role of the client with this id, if the secret matches.
pub(super) async fn recognise(
    database: &PgPool,
    passwords: &Passwords,
    id: &str,
    secret: &str,
) -> Result<Option<Role>, Problem> {
    // An invalid id is replaced by an empty one, because some text cannot be sent to a text column.
    let id = CustomerId::parse(id).map_or_else(|_not_a_name| String::new(), String::from);
    let known =
        sqlx::query!("select role, secret_hash from identity.clients where client_id = $1", id)
            .fetch_optional(database)
            .await
            .or_problem("looking up a client")?;
    let (role, hash) = known.map(|known| (known.role, known.secret_hash)).unzip();
    let same = passwords.verify(secret.to_owned(), hash).await?;
    // A CHECK constraint lists the roles; a row with another one matches no client.
    Ok(role.filter(|_role| same).and_then(|role| role.parse().ok()))
}
