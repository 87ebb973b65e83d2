//! Passwords and secrets, stored as argon2id hashes. Hashing is deliberately slow, so the number of
//! concurrent hashes is limited.
//!
//! Keyboards differ in how they encode `é`: as one character or as two. A password is normalised to
//! Unicode NFC before it is hashed, as RFC 8265 requires, so that it is the same from every device.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use unicode_normalization::UnicodeNormalization as _;

use crate::error::Problem;

/// How long to wait for a slot before the request is answered with 503.
const PLACE_TIMEOUT: Duration = Duration::from_secs(3);

/// The hash to verify against if there is no such account, so that the response takes equally long.
/// It is the hash of no known password.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$b3JkZXJzYWdhLWRlY295$\
                     vXyyIxLm1VP0gdP1wSbM2qJVlPgzX3vWcG8GbGl7gXk";

/// Hashes with argon2id at OWASP's parameters (19 MiB, 2 passes): about 20 ms each.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    places: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        Self { places: Arc::new(Semaphore::new(cores)) }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("too many passwords are being checked")]
struct TooMany;

impl Passwords {
    /// Computes the hash to store for a password.
    pub(super) async fn hash(&self, password: String) -> Result<String, Problem> {
        const DOING: &str = "hashing a password";
        let password: String = password.nfc().collect();
        let hash = move || Argon2::default().hash_password(password.as_bytes());
        let hash = self.run_limited(DOING, hash).await?;
        hash.map(|hash| hash.to_string()).map_err(|error| Problem::internal(DOING, &error))
    }

    /// Whether the password matches the hash. Without a hash the answer is no, after the same time.
    pub(super) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, Problem> {
        const DOING: &str = "checking a password";
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| DECOY.to_owned());
        let check = move || {
            let hash = PasswordHash::new(&hash)?;
            let same =
                |form: &String| Argon2::default().verify_password(form.as_bytes(), &hash).is_ok();
            Ok(forms(&password).iter().any(same))
        };
        let same = self.run_limited(DOING, check).await?;
        let same = same
            .map_err(|error: argon2::password_hash::phc::Error| Problem::internal(DOING, &error))?;
        Ok(same && known)
    }

    async fn run_limited<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = timeout(PLACE_TIMEOUT, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(Problem::unavailable(doing, &TooMany)) };
        let work = spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        work.await.map_err(|error| Problem::internal(doing, &error))
    }
}

/// The forms in which a password may have been hashed: NFC and, for hashes from before
/// normalisation was introduced, as typed on different devices. Most passwords have one form.
fn forms(password: &str) -> Vec<String> {
    let mut forms = vec![password.nfc().collect()];
    for form in [password.to_owned(), password.nfd().collect()] {
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_the_same_in_each_form_of_unicode() {
        let (composed, decomposed) = ("caf\u{e9} horse battery", "cafe\u{301} horse battery");
        let passwords = Passwords::default();
        let before = Argon2::default().hash_password(decomposed.as_bytes()).unwrap().to_string();
        let hashes = [
            passwords.hash(composed.to_owned()).await.unwrap(),
            passwords.hash(decomposed.to_owned()).await.unwrap(),
            before,
        ];
        for hash in hashes {
            for typed in [composed, decomposed] {
                let same = passwords.verify(typed.to_owned(), Some(hash.clone())).await.unwrap();
                assert!(same, "{typed:?}");
            }
            let other = passwords.verify("cafe horse battery".to_owned(), Some(hash)).await;
            assert!(!other.unwrap());
        }
        assert_eq!(forms("correct horse"), ["correct horse"]);
    }

    #[tokio::test]
    async fn a_password_is_recognised_and_no_other_is() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(!hash.contains("horse"), "{hash}");
        let same = |password: &str, hash: Option<&String>| {
            passwords.verify(password.to_owned(), hash.cloned())
        };
        assert!(same("correct horse", Some(&hash)).await.unwrap());
        assert!(!same("correct horsf", Some(&hash)).await.unwrap());
        assert!(!same("correct horse", None).await.unwrap());
        assert_ne!(hash, passwords.hash("correct horse".to_owned()).await.unwrap());
    }

    #[tokio::test]
    async fn nobodys_password_costs_what_anybodys_does() {
        let hash = Passwords::default().hash("correct horse".to_owned()).await.unwrap();
        let (decoy, hash) = (PasswordHash::new(DECOY).unwrap(), PasswordHash::new(&hash).unwrap());
        assert_eq!(
            (decoy.algorithm, decoy.version, decoy.params, decoy.hash.unwrap().len()),
            (hash.algorithm, hash.version, hash.params, hash.hash.unwrap().len()),
        );
    }
}
