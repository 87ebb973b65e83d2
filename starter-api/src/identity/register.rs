//! Registers a customer with the shop's own issuer.

use domain::{CustomerId, composed};
use unicode_normalization::UnicodeNormalization as _;
use uuid::Uuid;

use crate::error::{Kind, OrProblem, Problem, Rules};
use crate::identity::EmbeddedIssuer;

impl EmbeddedIssuer {
    /// Registers a customer by e-mail address and password.
    ///
    /// **Errors.** 409 if the address is registered, 422 if address or password break a rule.
    pub(crate) async fn register(
        &self,
        email: &str,
        password: String,
    ) -> Result<CustomerId, Problem> {
        const DOING: &str = "registering a customer";
        let mut rules = Rules::default();
        let email = rules.check("/email", normalized_email(email));
        rules.check("/password", check_password(&password));
        let email = rules.kept(email)?;

        let hash = self.passwords.hash(password).await?;
        let customer_id = CustomerId::parse(Uuid::now_v7().to_string())
            .map_err(|error| Problem::internal(DOING, &error))?;
        let entered = sqlx::query!(
            "with login as (
             insert into identity.logins (customer_id, email, password_hash) values ($1, $2, $3)
             on conflict (email) do nothing
             returning customer_id, email
         )
         insert into customers.customers (customer_id, email)
         select customer_id, email from login
         on conflict (customer_id) do update set email = excluded.email",
            customer_id.as_str(),
            email,
            hash,
        )
        .execute(self.database())
        .await
        .or_problem(DOING)?;
        if entered.rows_affected() == 0 {
            return Err(Problem::new(
                Kind::EmailTaken,
                "This e-mail address is registered already. Sign in with POST /v1/sessions.",
            ));
        }
        Ok(customer_id)
    }
}

/// Normalises an e-mail address for comparison: lower case, in Unicode NFC. Whether it can be
/// reached is not checked; only sending a message could tell.
pub(crate) fn normalized_email(text: &str) -> Result<String, &'static str> {
    let email: String = text.trim().nfc().flat_map(char::to_lowercase).nfc().collect();
    let is_shaped = email
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    let is_plain = !email.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    if is_shaped && is_plain && email.len() <= 254 {
        Ok(email)
    } else {
        Err("an e-mail address of at most 254 characters, such as ada@example.org")
    }
}

/// Checks that a password is long enough to be hard to guess, and short enough to hash, in its
/// normalised form.
pub(super) fn check_password(password: &str) -> Result<(), &'static str> {
    let password = composed(password);
    let fits = password.chars().count() >= 12 && password.len() <= 256;
    fits.then_some(()).ok_or("a password of 12 characters or more, at most 256 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_its_length_in_each_form_of_unicode() {
        for letter in ["\u{e9}", "e\u{301}"] {
            assert!(check_password(&letter.repeat(11)).is_err(), "{letter:?}");
            assert!(check_password(&letter.repeat(12)).is_ok(), "{letter:?}");
            assert!(check_password(&letter.repeat(128)).is_ok(), "{letter:?}");
            assert!(check_password(&letter.repeat(129)).is_err(), "{letter:?}");
        }
    }

    #[test]
    fn an_address_is_the_same_in_each_form_of_unicode_and_in_any_case() {
        for address in
            ["Ren\u{c9}@example.org", " rene\u{301}@EXAMPLE.org", "RENE\u{301}@example.org"]
        {
            assert_eq!(normalized_email(address), Ok("ren\u{e9}@example.org".to_owned()));
        }
    }
}
