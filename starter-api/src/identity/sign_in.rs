//! Signs a customer in with the shop's own issuer.

use crate::error::{OrProblem, Problem};
use crate::identity::attempts::Attempt;
use crate::identity::register::normalized_email;
use crate::identity::role::Role;
use crate::identity::{EmbeddedIssuer, IssuedToken, refusal};

impl EmbeddedIssuer {
    /// Issues a token to the customer with this e-mail address and password.
    ///
    /// **Errors.** 401, the same for an unknown address and for a wrong password, and after the
    /// same time. 429 after too many wrong passwords in a row.
    pub(crate) async fn sign_in(
        &self,
        email: &str,
        password: String,
    ) -> Result<IssuedToken, Problem> {
        let normalized = normalized_email(email).unwrap_or_default();
        // Input that is not an e-mail address is counted as typed.
        let account = if normalized.is_empty() { email } else { &normalized };
        let attempt = Attempt::count(self.database(), account).await?;
        let login = sqlx::query!(
            "select customer_id, password_hash from identity.logins where email = $1",
            normalized,
        )
        .fetch_optional(self.database())
        .await
        .or_problem("looking up a customer")?;
        let (customer, hash) = login.map(|login| (login.customer_id, login.password_hash)).unzip();
        let is_right = self.passwords.verify(password, hash).await?;
        let customer = customer.filter(|_customer| is_right).ok_or_else(refusal::sign_in_failed)?;
        attempt.forgive().await?;
        self.issue(&customer, Role::Customer, |_every_scope| true).await
    }
}
