//! Changes a customer's password with the shop's own issuer.

use domain::CustomerId;

use crate::error::{Breach, OrProblem, Problem, Rules};
use crate::identity::EmbeddedIssuer;
use crate::identity::attempts::Attempt;
use crate::identity::register::check_password;

impl EmbeddedIssuer {
    /// Replaces a customer's password, if the current one is right.
    ///
    /// **Errors.** 404 without such a customer, 422 if the current password is wrong or the new one
    /// breaks a rule, 429 after too many wrong passwords in a row.
    pub(crate) async fn change_password(
        &self,
        customer: &CustomerId,
        present: String,
        new: String,
    ) -> Result<(), Problem> {
        let mut rules = Rules::default();
        let fits = rules.check("/new_password", check_password(&new));
        rules.kept(fits)?;
        let (email, present_hash) = self.login(customer).await?;

        let attempt = Attempt::count(self.database(), &email).await?;
        if !self.passwords.verify(present, Some(present_hash.clone())).await? {
            return Err(wrong_password());
        }
        attempt.forgive().await?;
        let hash = self.passwords.hash(new).await?;
        // Of two concurrent changes, the second one finds that the hash has changed, and fails.
        let changed = sqlx::query!(
            "update identity.logins set password_hash = $3
         where customer_id = $1 and password_hash = $2",
            customer.as_str(),
            present_hash,
            hash,
        )
        .execute(self.database())
        .await
        .or_problem("changing a password")?;
        if changed.rows_affected() == 0 {
            return Err(wrong_password());
        }
        tracing::info!(customer = customer.as_str(), "a customer has changed their password");
        Ok(())
    }

    /// The customer's e-mail address and password hash.
    async fn login(&self, customer: &CustomerId) -> Result<(String, String), Problem> {
        let login = sqlx::query!(
            "select email, password_hash from identity.logins where customer_id = $1",
            customer.as_str(),
        )
        .fetch_optional(self.database())
        .await
        .or_problem("looking up a customer")?;
        login
            .map(|login| (login.email, login.password_hash))
            .ok_or_else(Problem::customer_not_found)
    }
}

fn wrong_password() -> Problem {
    Problem::invalid(vec![Breach {
        pointer: "/present_password".to_owned(),
        detail: "this is not the present password".to_owned(),
    }])
}
