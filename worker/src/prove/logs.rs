//! I12: the programs' logs contain no personal data, card, payment method or secret.
//!
//! Searches every line of the logs for every known private text. Each text is split into words, and
//! the hash of each of its prefixes is kept in a map. A line then costs one lookup per word,
//! however many customers there are.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use futures::{Stream, TryStreamExt as _};
use reqwest::Url;
use sqlx::PgPool;

use super::privacy::holds_card_number;
use super::{EXAMPLES, Finding, ProveError, Seen};

pub(super) const LOGS: &str = "no card number, name, street, payment method or secret in logs";

/// The maximum part of a line that is checked at once.
const PIECE: u64 = 1 << 20;

/// The overlap of two parts of a long line: longer than any phrase.
const OVERLAP: usize = 4_096;

/// Longer phrases are matched by this many first words.
const WORDS_MAX: usize = 12;

/// Phrases with fewer letters and digits than this are ambiguous and not searched for.
const LETTERS_MIN: usize = 6;

/// Suffixes of environment variables that hold secrets.
const SECRETS: [&str; 5] = ["_SECRET", "_SECRETS", "_PASSWORD", "_KEY", "_TOKEN"];

/// A signed token (JWT) begins with `{"` in Base64, and has three parts.
const TOKEN_BEGINS: &str = "eyJ";

/// Kinds of text that no log may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Email,
    Name,
    Phone,
    Street,
    Account,
    Method,
    Secret,
}

impl What {
    const fn told(self) -> &'static str {
        match self {
            Self::Email => "holds a customer's e-mail address",
            Self::Name => "names a customer",
            Self::Phone => "holds a customer's phone number",
            Self::Street => "names a customer's street",
            Self::Account => "holds the account of a payer",
            Self::Method => "holds a customer's payment method",
            Self::Secret => "holds a secret",
        }
    }

    /// A name of a single word may be an ordinary word of a log.
    const fn words_min(self) -> usize {
        match self {
            Self::Name | Self::Street => 2,
            Self::Email | Self::Phone | Self::Account | Self::Method | Self::Secret => 1,
        }
    }
}

/// The texts that no log may contain.
#[derive(Debug, Default)]
struct Unsaid {
    /// Hashes of all prefixes of all phrases; a complete phrase maps to its kind.
    beginnings: HashMap<u64, Option<What>>,
    /// The number of phrases searched for.
    phrases: u64,
    /// The number of phrases that are too short to search for.
    left_out: u64,
}

impl Unsaid {
    fn add(&mut self, what: What, text: &str) {
        let text = text.to_lowercase();
        let said: Vec<_> = words(&text).take(WORDS_MAX).collect();
        let letters = said.iter().flat_map(|word| word.chars()).count();
        if said.len() < what.words_min() || letters < LETTERS_MIN {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        self.phrases = self.phrases.saturating_add(1);
        let mut hasher = DefaultHasher::new();
        let mut end = None;
        for word in said {
            word.hash(&mut hasher);
            self.beginnings.entry(hasher.finish()).or_insert(None);
            end = Some(hasher.finish());
        }
        if let Some(end) = end {
            self.beginnings.insert(end, Some(what));
        }
    }

    async fn add_all(
        &mut self,
        what: What,
        mut texts: impl Stream<Item = Result<String, sqlx::Error>> + Unpin,
    ) -> Result<(), sqlx::Error> {
        while let Some(text) = texts.try_next().await? {
            self.add(what, &text);
        }
        Ok(())
    }

    /// The reason why a line violates the promise, if it does.
    fn complaint(&self, line: &str) -> Option<&'static str> {
        let lower = unescaped(line).to_lowercase();
        let words: Vec<_> = words(&lower).collect();
        let said = (0..words.len()).find_map(|start| self.begins(words.get(start..)?));
        match said {
            Some(what) => Some(what.told()),
            None if holds_token(line) => Some("holds a signed token"),
            None if holds_card_number(line) => Some("holds what looks like a card number"),
            None => None,
        }
    }

    /// The kind of phrase that these words begin with, if any.
    fn begins(&self, words: &[&str]) -> Option<What> {
        let mut hasher = DefaultHasher::new();
        for word in words {
            word.hash(&mut hasher);
            // No entry: no phrase has this prefix.
            if let Some(what) = self.beginnings.get(&hasher.finish())? {
                return Some(*what);
            }
        }
        None
    }

    async fn read(owner: &PgPool, secrets: &[String]) -> Result<Self, sqlx::Error> {
        let mut unsaid = Self::default();
        for secret in secrets {
            unsaid.add(What::Secret, secret);
        }
        // The keys that sign webhooks, and those in customers' unsubscribe links. Base64 is wrapped
        // after 76 letters.
        let kept_secrets = sqlx::query_scalar!(
            r#"
            select replace(encode(key, 'base64'), E'\n', '') as "text!" from webhooks.secrets
            union all select unsubscribe::text from mail.notifications
            "#
        );
        unsaid.add_all(What::Secret, kept_secrets.fetch(owner)).await?;
        let emails = sqlx::query_scalar!(
            r#"
            select email as "text!" from identity.logins
            union select email from customers.customers where email is not null
            union select email from customers.mail_preferences where email is not null
            "#
        );
        unsaid.add_all(What::Email, emails.fetch(owner)).await?;
        let names = sqlx::query_scalar!(
            r#"
            select name as "text!" from customers.customers where name is not null
            union select name from customers.addresses
            union select payer_name from bank.entries where payer_name is not null
            "#
        );
        unsaid.add_all(What::Name, names.fetch(owner)).await?;
        let phones = sqlx::query_scalar!(
            r#"select phone as "text!" from customers.customers where phone is not null"#
        );
        unsaid.add_all(What::Phone, phones.fetch(owner)).await?;
        let streets = sqlx::query_scalar!(
            r#"
            select line1 as "text!" from customers.addresses
            union select line2 from customers.addresses where line2 is not null
            "#
        );
        unsaid.add_all(What::Street, streets.fetch(owner)).await?;
        let accounts = sqlx::query_scalar!(
            r#"select distinct payer_iban as "text!" from bank.entries where payer_iban is not null"#
        );
        unsaid.add_all(What::Account, accounts.fetch(owner)).await?;
        let methods =
            sqlx::query_scalar!(r#"select distinct method as "text!" from payments.methods"#);
        unsaid.add_all(What::Method, methods.fetch(owner)).await?;
        Ok(unsaid)
    }
}

/// Searches logs for personal data in the database and for the given secrets. `paths` are files,
/// plain or gzipped, or folders with such files.
///
/// `owner` has to see all customers; no program's role does.
pub async fn look_at_logs(
    owner: &PgPool,
    secrets: &[String],
    paths: &[PathBuf],
) -> Result<Finding, ProveError> {
    let unsaid = Unsaid::read(owner, secrets).await?;
    let mut seen = Seen::of(0, Vec::new());
    for path in paths {
        let fails = |source| ProveError::File { path: path.clone(), source };
        for file in files(path).map_err(fails)? {
            look_into(&file, &unsaid, &mut seen)
                .map_err(|source| ProveError::File { path: file.clone(), source })?;
        }
    }
    let Unsaid { phrases, left_out, .. } = unsaid;
    let remark = format!("{phrases} texts are looked for; {left_out} are too short for that");
    Ok(Finding::of("I12", LOGS, "lines", seen).with_remark(Some(remark)))
}

/// The secrets in a program's environment variables: passwords in URLs, the secrets of the API's
/// clients, and every variable named as a secret.
#[must_use]
pub fn secrets_of(variables: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let secrets_in = |(name, value): (String, String)| -> Vec<String> {
        if name == "ORDERSAGA_CLIENTS" {
            let secrets = value.split(',').filter_map(|client| client.splitn(3, ':').nth(2));
            return secrets.map(ToOwned::to_owned).collect();
        }
        if SECRETS.iter().any(|end| name.ends_with(end)) {
            return value.split(',').map(ToOwned::to_owned).collect();
        }
        let password = Url::parse(&value).ok().and_then(|url| Some(url.password()?.to_owned()));
        password.into_iter().collect()
    };
    variables.flat_map(secrets_in).collect()
}

/// The file itself, or all files of the folder.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn look_into(path: &Path, unsaid: &Unsaid, seen: &mut Seen) -> io::Result<()> {
    let file = File::open(path)?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        look_at(BufReader::new(MultiGzDecoder::new(file)), path, unsaid, seen)
    } else {
        look_at(BufReader::new(file), path, unsaid, seen)
    }
}

/// Checks line by line, and long lines in overlapping parts. Reports the line's number, never its
/// content.
fn look_at(mut log: impl BufRead, path: &Path, unsaid: &Unsaid, seen: &mut Seen) -> io::Result<()> {
    let (mut piece, mut line, mut is_told) = (Vec::new(), 0_u64, false);
    loop {
        let is_new = piece.is_empty();
        if log.by_ref().take(PIECE).read_until(b'\n', &mut piece)? == 0 {
            return Ok(());
        }
        if is_new {
            line = line.saturating_add(1);
            seen.looked_at = seen.looked_at.saturating_add(1);
            is_told = false;
        }
        if !is_told && let Some(complaint) = unsaid.complaint(&String::from_utf8_lossy(&piece)) {
            is_told = true;
            seen.violations = seen.violations.saturating_add(1);
            if seen.examples.len() < EXAMPLES {
                seen.examples.push(format!("line {line} of {} {complaint}", path.display()));
            }
        }
        if piece.ends_with(b"\n") {
            piece.clear();
        } else {
            piece.drain(..piece.len().saturating_sub(OVERLAP));
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// Replaces the escapes of JSON and URLs that separate words with a space.
fn unescaped(line: &str) -> String {
    let escapes = ["\\n", "\\r", "\\t", "%40", "%20"];
    if !line.contains(['\\', '%']) {
        return line.to_owned();
    }
    escapes.iter().fold(line.to_owned(), |line, escape| line.replace(escape, " "))
}

fn holds_token(line: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    line.contains(TOKEN_BEGINS)
        && line
            .split(|letter: char| !is_part(letter))
            .any(|word| word.starts_with(TOKEN_BEGINS) && word.matches('.').count() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsaid() -> Unsaid {
        let mut unsaid = Unsaid::default();
        for (what, text) in [
            (What::Email, "ada@example.com"),
            (What::Name, "Ada Lovelace"),
            (What::Name, "Worker"),
            (What::Street, "12 St James's Square"),
            (What::Method, "pm_1Ab2"),
            (What::Secret, "c2VjcmV0cw"),
            (What::Secret, "short"),
        ] {
            unsaid.add(what, text);
        }
        unsaid
    }

    #[test]
    fn what_no_log_may_say_is_found_however_it_is_written() {
        let unsaid = unsaid();
        for (line, complaint) in [
            ("mail to ada@example.com failed", "holds a customer's e-mail address"),
            ("GET /v1/customers?email=Ada%40Example.com", "holds a customer's e-mail address"),
            (r#"{"to":"Ada  Lovelace","at":1}"#, "names a customer"),
            (r#"{"text":"Dear\nADA LOVELACE,"}"#, "names a customer"),
            ("to: 12 St James's Square", "names a customer's street"),
            ("charging pm_1Ab2.", "holds a customer's payment method"),
            ("postgres://worker:c2VjcmV0cw@127.0.0.1/o", "holds a secret"),
            ("Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2ln", "holds a signed token"),
            ("card 4111 1111 1111 1111", "holds what looks like a card number"),
        ] {
            assert_eq!(unsaid.complaint(line), Some(complaint), "{line}");
        }
    }

    #[test]
    fn what_only_resembles_it_is_not_found() {
        let unsaid = unsaid();
        assert_eq!((unsaid.phrases, unsaid.left_out), (5, 2));
        for line in [
            "worker is ready on 127.0.0.1:9464",
            "Ada has decided; Lovelace has not",
            "ada at example.org",
            "c2VjcmV0cwX",
            r#"{"order_id":"41111111-1111-4111-8111-111111111111"}"#,
            "a short eyJ",
            "",
        ] {
            assert_eq!(unsaid.complaint(line), None, "{line}");
        }
    }

    #[test]
    fn a_line_longer_than_any_piece_is_looked_at_whole_and_told_once() {
        let unsaid = unsaid();
        let piece = usize::try_from(PIECE).unwrap();
        // The name crosses the border between two parts.
        let mut log = "well\n".to_owned() + &".".repeat(piece.saturating_sub(5));
        log += "Ada Lovelace\nwell\nAda Lovelace and Ada Lovelace";
        let mut seen = Seen::of(0, Vec::new());
        look_at(log.as_bytes(), Path::new("a.log"), &unsaid, &mut seen).unwrap();
        assert_eq!((seen.looked_at, seen.violations), (4, 2));
        let told = ["line 2 of a.log names a customer", "line 4 of a.log names a customer"];
        assert_eq!(seen.examples, told);
    }

    #[test]
    fn the_secrets_of_a_program_are_known_by_their_variables() {
        let variables = [
            ("DATABASE_URL", "postgres://worker:drowssap@127.0.0.1/ordersaga"),
            ("ORDERSAGA_CLIENTS", "shop:service:first,books:finance:sec:ond"),
            ("STRIPE_WEBHOOK_SECRETS", "whsec_1,whsec_2"),
            ("STRIPE_API_KEY", "sk_live"),
            ("ORDERSAGA_URL", "http://127.0.0.1:8080"),
            ("HOME", "/root"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let secrets = secrets_of(variables.into_iter());
        assert_eq!(secrets, ["drowssap", "first", "sec:ond", "whsec_1", "whsec_2", "sk_live"]);
    }
}
