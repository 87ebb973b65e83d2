//! The books as a beancount file.

use std::io::{self, Write};

use domain::ledger::Account;

use super::accounts::name;
use super::books::{Balance, Books, Entry, Transaction};

const OPENING: &str = "\
; The books of a shop, written by `ordersaga export`.
; The last part of an account's name, in lower case, is the account's id in the shop.
; What does not balance, or does not come to the balances at the end, is found by:
; bean-check FILE

option \"title\" \"The books of a shop\"
";

/// The date on which accounts are opened, before any transaction.
const ALWAYS: &str = "1970-01-01";

pub(super) fn opening(books: &Books, out: &mut impl Write) -> io::Result<()> {
    out.write_all(OPENING.as_bytes())?;
    for currency in books.decimals.keys() {
        writeln!(out, "option \"operating_currency\" \"{currency}\"")?;
    }
    writeln!(out)?;
    for account in Account::ALL {
        let balances = books.balances.iter().filter(|balance| balance.account == account);
        let currencies = balances.map(|balance| balance.currency.as_str()).collect::<Vec<_>>();
        let open = format!("{ALWAYS} open {:<29} {}", name(account), currencies.join(","));
        writeln!(out, "{}", open.trim_end())?;
    }
    Ok(())
}

pub(super) fn transaction(
    books: &Books,
    one: &Transaction,
    out: &mut impl Write,
) -> io::Result<()> {
    write!(out, "\n{} * {}", one.day, quoted(&one.title()))?;
    if let Some(order) = one.order_id {
        write!(out, " ^{order}")?;
    }
    writeln!(out, "\n  transaction: \"{}\"\n  key: {}", one.number, quoted(&one.key))?;
    if let Some(order) = one.order_id {
        writeln!(out, "  order: \"{order}\"")?;
    }
    if let Some(reversed) = one.reverses {
        writeln!(out, "  reverses: \"{reversed}\"")?;
    }
    for Entry { account, amount, currency } in &one.entries {
        let amount = books.written(*amount, currency);
        writeln!(out, "  {:<29}  {amount:>14} {currency}", name(*account))?;
    }
    Ok(())
}

/// A balance assertion applies at the start of its day. `~ 0` because beancount otherwise tolerates
/// a difference of one in the last decimal.
pub(super) fn closing(books: &Books, out: &mut impl Write) -> io::Result<()> {
    let Some(day) = &books.day_after else { return Ok(()) };
    writeln!(out)?;
    for Balance { account, currency, amount } in &books.balances {
        let amount = books.written(*amount, currency);
        writeln!(out, "{day} balance {:<29}  {amount:>14} ~ 0 {currency}", name(*account))?;
    }
    Ok(())
}

/// Quotes and escapes a string for beancount.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', r"\\").replace('"', r#"\""#);
    format!("\"{}\"", escaped.replace(char::is_control, " "))
}
