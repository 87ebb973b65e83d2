//! The shop's bank: customers transfer money, and the bank delivers files of the transfers, some
//! twice and one truncated at first. An accountant imports each file, retrying until it succeeds,
//! and assigns the transfers that cannot be matched automatically.

mod camt;
mod payto;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::ChaosError;
use super::checks::Check;
use super::provider::asked_for;
use super::records::Received;
use crate::ordersaga::Ordersaga;
use crate::plan::Twist;
use crate::prove::ordersaga;
use camt::Message;
use payto::Payto;

/// A transfer to the shop's account.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Transfer {
    /// The bank's reference.
    name: String,
    currency: String,
    amount: Decimal,
    /// The remittance text, by which it is found on record.
    text: String,
    /// The amount that the shop has to return.
    goes_back: Decimal,
}

/// The bank.
pub(super) struct Bank {
    iban: String,
    /// The folder for its files.
    folder: PathBuf,
    account: Mutex<Account>,
}

/// The bank's transfers, and the results of its files.
#[derive(Debug, Default)]
struct Account {
    transfers: Vec<Transfer>,
    /// How many of them have been in a file.
    given: usize,
    files: usize,
    twice: usize,
    torn: usize,
    /// Files whose import had a wrong result.
    complaints: Vec<String>,
}

/// The result of importing a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    TakenIn,
    /// Rejected because it is truncated.
    RefusedAsTorn,
}

/// The result of running `ordersaga bank`.
enum Came {
    /// It has finished, and may have left something to a person.
    Done { is_content: bool, text: String },
    /// It has failed with this message.
    Failed(String),
}

const BETWEEN_FILES: Duration = Duration::from_secs(1);
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// A command that takes longer is killed and retried.
const TRY_LASTS: Duration = Duration::from_secs(30);

/// How long an import is retried.
const PATIENCE: Duration = Duration::from_mins(3);

/// One in this many files is delivered twice.
const TWICE_ONE_IN: usize = 3;

/// The file that is truncated when first delivered.
const TORN: usize = 2;

/// The error for a truncated file.
const IS_TORN: &str = "it ends in the middle";

/// What a customer transfers too much: one pound, one euro.
const TOO_MUCH: Decimal = Decimal::ONE;

impl Bank {
    /// A bank that holds this account, and writes its files to this folder.
    pub(super) fn at(iban: String, folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { iban, folder, account: Mutex::default() })
    }

    /// The customer of an order transfers the requested amount, or a variation of it.
    pub(super) async fn customer_pays(&self, shop: &Ordersaga, order: &str, twist: Twist) {
        // A customer who has cancelled does not pay.
        if twist == Twist::Cancelled {
            return;
        }
        let Some(link) = asked_for(shop, order, None).await else { return };
        let Some(asked) = Payto::read(&link) else { return };
        if twist == Twist::PaidInParts {
            self.receives(&asked, asked.half(), Decimal::ZERO, &asked.reference);
            let rest = asked_for(shop, order, Some(&link)).await;
            if let Some(rest) = rest.as_deref().and_then(Payto::read) {
                self.receives(&rest, rest.amount, Decimal::ZERO, &rest.reference);
            }
        } else if twist == Twist::PaidTooMuch {
            let amount = asked.amount.saturating_add(TOO_MUCH);
            self.receives(&asked, amount, TOO_MUCH, &asked.reference);
        } else if twist == Twist::WrongReference {
            let text = format!("{} invoice {order}", asked.reference_with_a_slip());
            self.receives(&asked, asked.amount, Decimal::ZERO, &text);
        } else {
            // An undeliverable order is paid before that is known.
            let is_taken_back = twist == Twist::Undeliverable;
            let goes_back = if is_taken_back { asked.amount } else { Decimal::ZERO };
            self.receives(&asked, asked.amount, goes_back, &asked.reference);
        }
    }

    fn receives(&self, asked: &Payto, amount: Decimal, goes_back: Decimal, text: &str) {
        let mut account = self.account();
        let name = format!("T{}", account.transfers.len());
        let text = format!("{text} {name}");
        let currency = asked.currency.clone();
        account.transfers.push(Transfer { name, currency, amount, text, goes_back });
    }

    /// Delivers a file of new transfers every second until `enough`, all transfers have been in a
    /// file and all are assigned; and finally a statement of all.
    pub(super) async fn give_files_until(
        &self,
        enough: impl Future<Output = ()>,
    ) -> Result<(), ChaosError> {
        let (mut enough, mut is_enough) = (pin!(enough), false);
        let mut last_done = Instant::now();
        loop {
            tokio::select! {
                () = &mut enough, if !is_enough => is_enough = true,
                () = sleep(BETWEEN_FILES) => {}
            }
            let new = self.new_transfers();
            if !new.is_empty() {
                self.give(&new).await?;
            }
            if decide().await? {
                last_done = Instant::now();
                if is_enough && new.is_empty() {
                    break;
                }
            }
            give_up_after_patience(last_done, "it is known of each transfer whose it is")?;
        }
        let statement = camt::file(Message::Statement, 0, &self.iban, &self.account().transfers);
        self.is_taken_as(Fate::TakenIn, "statement.xml", &statement).await
    }

    /// Delivers a file with these transfers.
    async fn give(&self, new: &[Transfer]) -> Result<(), ChaosError> {
        let number = self.account().files.saturating_add(1);
        let whole = camt::file(Message::Notification, number, &self.iban, new);
        let name = format!("{number}.xml");
        if number == TORN {
            self.is_taken_as(Fate::RefusedAsTorn, "torn.xml", camt::torn(&whole)).await?;
            self.account().torn = 1;
        }
        self.is_taken_as(Fate::TakenIn, &name, &whole).await?;
        if number.checked_rem(TWICE_ONE_IN) == Some(0) {
            self.is_taken_as(Fate::TakenIn, &name, &whole).await?;
            let mut account = self.account();
            account.twice = account.twice.saturating_add(1);
        }
        let mut account = self.account();
        account.files = number;
        account.given = account.given.saturating_add(new.len());
        Ok(())
    }

    async fn is_taken_as(&self, fate: Fate, name: &str, text: &str) -> Result<(), ChaosError> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        let found = imported(&path).await?;
        if found != fate {
            self.account().complaints.push(format!("{name} was {found:?}, and not {fate:?}"));
        }
        Ok(())
    }

    fn new_transfers(&self) -> Vec<Transfer> {
        let account = self.account();
        account.transfers.iter().skip(account.given).cloned().collect()
    }

    /// Whether each transfer is recorded once and booked once, and the surplus is returned, or
    /// everything if the order is rejected.
    pub(super) fn on_record(&self, received: &[Received]) -> Check {
        let account = self.account();
        let mut complaints = account.complaints.clone();
        complaints.extend(not_as_it_came(&account.transfers, received));
        let Account { transfers, files, twice, torn, .. } = &*account;
        let transfers = transfers.len();
        if transfers == 0 || *torn == 0 || *twice == 0 {
            complaints.push("too few transfers were made, which shows nothing".to_owned());
        }
        Check {
            promise: "each transfer is booked once, and what the shop may not keep goes back",
            looked_at: format!("{transfers} in {files} files, {twice} twice, {torn} torn"),
            complaints,
        }
    }

    /// Must not be held across an await.
    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Transfers that are not recorded as sent, or recorded and never sent.
fn not_as_it_came(transfers: &[Transfer], received: &[Received]) -> Vec<String> {
    let mut by_text = BTreeMap::<&str, Vec<&Received>>::new();
    for one in received {
        by_text.entry(&one.text).or_default().push(one);
    }
    let mut complaints = Vec::new();
    for Transfer { text, amount, goes_back, .. } in transfers {
        let on_record = by_text.remove(text.as_str()).unwrap_or_default();
        let is_right = |one: &&Received| {
            (one.amount, one.given_back, one.bookings) == (*amount, *goes_back, 1)
        };
        if on_record.len() != 1 || !on_record.iter().all(is_right) {
            complaints.push(format!("{amount} ({text}) is on record as {on_record:?}"));
        }
    }
    complaints.extend(by_text.into_values().map(|strays| format!("never came: {strays:?}")));
    complaints
}

/// Imports a file, retrying until it succeeds.
async fn imported(path: &Path) -> Result<Fate, ChaosError> {
    let (began, path) = (Instant::now(), path.to_string_lossy());
    loop {
        match run(&["import", path.as_ref()]).await? {
            Came::Done { .. } => return Ok(Fate::TakenIn),
            Came::Failed(why) if why.contains(IS_TORN) => return Ok(Fate::RefusedAsTorn),
            Came::Failed(_) => sleep(BETWEEN_TRIES).await,
        }
        give_up_after_patience(began, "a file of the bank's is imported")?;
    }
}

/// Assigns each unmatched transfer. Returns whether there was none.
async fn decide() -> Result<bool, ChaosError> {
    let Came::Done { is_content, text } = run(&["unassigned"]).await? else { return Ok(false) };
    for (entry, order) in waiting(&text) {
        assign(entry, order).await?;
    }
    Ok(is_content)
}

/// Assigns a transfer, retrying until it succeeds, which also signals its order.
async fn assign(entry: &str, order: Uuid) -> Result<(), ChaosError> {
    let (began, order) = (Instant::now(), order.to_string());
    while let Came::Failed(_) = run(&["assign", entry, &order]).await? {
        give_up_after_patience(began, "it is said whose a transfer is")?;
        sleep(BETWEEN_TRIES).await;
    }
    Ok(())
}

/// The unmatched transfers in a listing, each with the order that its customer has named.
fn waiting<'a>(list: &'a str) -> Vec<(&'a str, Uuid)> {
    let one = |line: &'a str| {
        let entry = line.strip_prefix("transfer ")?.split_whitespace().next()?;
        let order = line.split_whitespace().find_map(|word| word.parse::<Uuid>().ok())?;
        Some((entry, order))
    };
    list.lines().filter_map(one).collect()
}

/// Runs `ordersaga bank` once.
async fn run(arguments: &[&str]) -> io::Result<Came> {
    let mut program = ordersaga(&[&["bank"][..], arguments].concat())?;
    program.stdin(Stdio::null()).kill_on_drop(true);
    let Ok(output) = timeout(TRY_LASTS, program.output()).await else {
        return Ok(Came::Failed("it did not end".to_owned()));
    };
    let output = output?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(match output.status.code() {
        Some(code @ (0 | 1)) => Came::Done { is_content: code == 0, text: said(&output.stdout) },
        Some(_) | None => Came::Failed(said(&output.stderr)),
    })
}

fn give_up_after_patience(since: Instant, what: &'static str) -> Result<(), ChaosError> {
    if since.elapsed() > PATIENCE {
        return Err(ChaosError::Never { what, seconds: PATIENCE.as_secs() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(text: &str, goes_back: u32) -> Transfer {
        Transfer {
            name: "T0".to_owned(),
            currency: "GBP".to_owned(),
            amount: Decimal::from(24),
            text: text.to_owned(),
            goes_back: Decimal::from(goes_back),
        }
    }

    fn received(text: &str, given_back: u32, bookings: u32) -> Received {
        let (amount, given_back) = (Decimal::from(24), Decimal::from(given_back));
        Received { text: text.to_owned(), amount, given_back, bookings }
    }

    #[test]
    fn what_is_on_record_otherwise_than_it_came_is_found() {
        let came = [transfer("RF1 T0", 0), transfer("RF2 T1", 1)];
        let right = || vec![received("RF1 T0", 0, 1), received("RF2 T1", 1, 1)];
        assert_eq!(not_as_it_came(&came, &right()), Vec::<String>::new());
        for wrong in [
            vec![],
            vec![received("RF1 T0", 0, 1); 2],
            vec![received("RF1 T0", 0, 0)],
            vec![received("RF1 T0", 1, 1)],
            vec![Received { amount: Decimal::from(25), ..received("RF1 T0", 0, 1) }],
        ] {
            let on_record = [wrong, vec![received("RF2 T1", 1, 1)]].concat();
            assert_eq!(not_as_it_came(&came, &on_record).len(), 1, "{on_record:?}");
        }
        let stray = [right(), vec![received("RF3 T9", 0, 1)]].concat();
        assert_eq!(not_as_it_came(&came, &stray).len(), 1);
    }

    #[test]
    fn a_person_finds_the_order_in_what_the_customer_wrote() {
        let order = Uuid::from_u128(7);
        let list = format!(
            "transfer 12  24.30 GBP  unknown  Ada  DE89370400440532013000  \"RF18 invoice {order} \
             T3\"  there is no reference in it\n\
             transfer 13  1.00 GBP  unknown  Ada  unknown  \"thanks\"  there is no reference in it\n\
             2 transfers wait for a decision\n"
        );
        assert_eq!(waiting(&list), [("12", order)]);
    }
}
