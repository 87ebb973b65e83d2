//! The books as an hledger journal.
//!
//! `hledger check --strict` requires every account and commodity to be declared. Payees are not
//! declared, so `hledger check payees` reports every transaction.

use std::io::{self, Write};

use domain::ledger::Account;
use rust_decimal::Decimal;

use super::accounts::name;
use super::books::{Balance, Books, Entry, Transaction};

const OPENING: &str = "\
; The books of a shop, written by `ordersaga export`.
; The last part of an account's name, in lower case, is the account's id in the shop.
; What does not balance, or does not come to the balances at the end, is found by:
; hledger -f FILE check --strict

decimal-mark .

";

pub(super) fn opening(books: &Books, out: &mut impl Write) -> io::Result<()> {
    out.write_all(OPENING.as_bytes())?;
    for currency in books.decimals.keys() {
        let mut sample = books.written(Decimal::ONE_THOUSAND, currency);
        // hledger rejects the directive without a decimal mark.
        if !sample.contains('.') {
            sample.push('.');
        }
        writeln!(out, "commodity {sample} {currency}")?;
    }
    for account in Account::ALL {
        writeln!(out, "account {}", name(account))?;
    }
    Ok(())
}

pub(super) fn transaction(
    books: &Books,
    one: &Transaction,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "\n{} * ({}) {}", one.day, one.number, plain(&one.title()))?;
    writeln!(out, "    ; key:{}", plain(&one.key))?;
    if let Some(order) = one.order_id {
        writeln!(out, "    ; order:{order}")?;
    }
    if let Some(reversed) = one.reverses {
        writeln!(out, "    ; reverses:{reversed}")?;
    }
    for Entry { account, amount, currency } in &one.entries {
        let amount = books.written(*amount, currency);
        writeln!(out, "    {:<29}  {amount:>14} {currency}", name(*account))?;
    }
    Ok(())
}

/// A zero transaction whose entries carry the balance assertions.
pub(super) fn closing(books: &Books, out: &mut impl Write) -> io::Result<()> {
    let Some(day) = &books.last_day else { return Ok(()) };
    writeln!(out, "\n{day} * balances as the shop adds them up")?;
    for Balance { account, currency, amount } in &books.balances {
        let (nothing, amount) =
            (books.written(Decimal::ZERO, currency), books.written(*amount, currency));
        let (account, amount) = (name(*account), format!("{amount:>14} {currency}"));
        writeln!(out, "    {account:<29}  {nothing} {currency} = {amount}")?;
    }
    Ok(())
}

/// Removes characters that are syntax in hledger, which has no escapes: `;` begins a comment, `|`
/// ends a payee, and `,` ends a tag.
fn plain(text: &str) -> String {
    let is_special = |letter: char| letter.is_control() || matches!(letter, ';' | '|' | ',');
    text.replace(is_special, "_")
}
