//! Parses a bank's statements (camt.053) and notifications (camt.054) of ISO 20022.
//!
//! Versions differ in the position of a few elements; both positions are supported. Only what
//! identifies the payer and the purpose of an entry is read. An entry is recognised in another file
//! by the bank's own reference; a statement's entry without one, by the statement and its content.

use std::collections::BTreeMap;
use std::mem;

use chrono::NaiveDate;
use domain::bank::{CreditorReference, Iban};
use domain::{Currency, Money, as_one_line, written_amount};
use sha2::{Digest as _, Sha256};

use super::element::{self, Collect, Element, XmlFault};

/// The most entries of a file.
const ENTRIES_MAX: usize = 100_000;

/// The most transfers in an entry that the bank has booked as a sum.
const DETAILS_MAX: usize = 50_000;

/// The most characters kept of a payer's text.
const REMITTANCE_MAX: usize = 500;
/// A name at a bank has at most 140 characters.
const NAME_MAX: usize = 140;
const ID_MAX: usize = 70;

/// Why a file could not be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CamtFault {
    /// It cannot be read.
    #[error(transparent)]
    Xml(#[from] XmlFault),
    /// It is a message of another type.
    #[error("it is neither a statement (camt.053) nor a notification (camt.054), but {0}")]
    OtherMessage(String),
    /// A mandatory element is missing.
    #[error("{0} is missing or invalid")]
    Missing(&'static str),
    /// An invalid amount, or one that its currency does not allow.
    #[error("`{0}` is no amount")]
    Amount(String),
    /// More entries than one import accepts.
    #[error("it has more than {} entries", ENTRIES_MAX)]
    TooMany,
}

/// A statement or notification of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The bank's id of it.
    pub(crate) id: String,
    pub(crate) account: Iban,
    pub(crate) bookings: Vec<Booking>,
    /// The number of entries without a reference in a notification. They are left to the statement,
    /// because nothing would distinguish them there from others.
    pub(crate) left: u32,
}

/// A booked entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Booking {
    /// The id by which it is recognised.
    pub(crate) name: String,
    pub(crate) transfers: Vec<Transfer>,
}

/// One transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) is_credit: bool,
    pub(crate) amount: Money,
    pub(crate) booked_on: Option<NaiveDate>,
    /// Whether it is an entry whose single transfers do not add up to its amount.
    pub(crate) is_unclear: bool,
    pub(crate) told: Told,
}

/// The details of a transfer, besides its amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) payer_name: Option<String>,
    pub(crate) payer: Option<Iban>,
    pub(crate) remittance: String,
    /// The payer's own reference (end-to-end id); for the shop's transfers, their lines.
    pub(crate) end_to_end: Option<String>,
    /// The shop's references found anywhere in it.
    pub(crate) references: Vec<CreditorReference>,
    /// Whether it returns another transfer.
    pub(crate) is_return: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    Statement,
    Notification,
}

/// Parses a file.
pub(crate) fn read(file: &[u8]) -> Result<Vec<Statement>, CamtFault> {
    let mut collected = Collected::default();
    element::read(file, &mut collected)?;
    if collected.statements.is_empty() {
        return Err(CamtFault::Missing("a statement of an account"));
    }
    Ok(collected.statements)
}

#[derive(Default)]
struct Collected {
    message: Option<Message>,
    /// The number of entries so far.
    count: usize,
    /// The id of the statement being read.
    id: Option<String>,
    account: Option<Iban>,
    bookings: Vec<Booking>,
    left: u32,
    /// Counts its entries without the bank's reference, by equal content.
    alike: BTreeMap<String, u32>,
    statements: Vec<Statement>,
}

impl Collect for Collected {
    type Fault = CamtFault;

    fn message(&mut self, name: &str) -> Result<(), CamtFault> {
        self.message = Some(match name {
            "BkToCstmrStmt" => Message::Statement,
            "BkToCstmrDbtCdtNtfctn" => Message::Notification,
            _ => return Err(CamtFault::OtherMessage(as_one_line(name, 50))),
        });
        Ok(())
    }

    fn piece(&mut self, piece: Element) -> Result<(), CamtFault> {
        match piece.name.as_str() {
            "Id" => self.id = Some(as_one_line(piece.text(), ID_MAX)),
            "Acct" => {
                let number = piece.text_at(&["Id", "IBAN"]);
                self.account = number.and_then(|number| Iban::parse(number).ok());
            }
            "Ntry" => self.take(&piece)?,
            _ => {}
        }
        Ok(())
    }

    fn part(&mut self, name: &str) -> Result<(), CamtFault> {
        let (id, account) = (self.id.take(), self.account.take());
        let (bookings, left) = (mem::take(&mut self.bookings), mem::take(&mut self.left));
        self.alike.clear();
        if matches!(name, "Stmt" | "Ntfctn") {
            let (id, account) = (required_id(id)?, required_account(account)?);
            self.statements.push(Statement { id, account, bookings, left });
        }
        Ok(())
    }
}

fn required_id<T>(id: Option<T>) -> Result<T, CamtFault> {
    id.ok_or(CamtFault::Missing("a statement's number (Id)"))
}

fn required_account<T>(account: Option<T>) -> Result<T, CamtFault> {
    account.ok_or(CamtFault::Missing("the account's IBAN (Acct/Id/IBAN)"))
}

impl Collected {
    /// Takes over an entry, if the bank has booked it.
    fn take(&mut self, entry: &Element) -> Result<(), CamtFault> {
        self.count = self.count.saturating_add(1);
        if self.count > ENTRIES_MAX {
            return Err(CamtFault::TooMany);
        }
        if !is_booked(entry) {
            return Ok(());
        }
        let id = required_id(self.id.as_deref())?;
        let account = required_account(self.account.as_ref())?.as_str();
        let whole = amount(entry)?;
        if whole.is_zero() {
            // A notice of the bank, which moves no money.
            return Ok(());
        }
        let is_credit = is_credit(entry)?;
        let transfers = transfers(entry, whole, is_credit)?;
        let (amount, direction) = (whole.to_string(), if is_credit { "credit" } else { "debit" });
        let name = match (bank_reference(entry), self.message) {
            (Some(reference), _) => digest(&[account, reference, direction, &amount]),
            (None, Some(Message::Statement)) => {
                let content = digest(&[account, id, direction, &amount, &content_of(&transfers)]);
                let number = self.alike.entry(content.clone()).or_default();
                *number = number.saturating_add(1);
                digest(&[&content, &number.to_string()])
            }
            (None, _) => {
                self.left = self.left.saturating_add(1);
                return Ok(());
            }
        };
        self.bookings.push(Booking { name, transfers });
        Ok(())
    }
}

/// Expected and announced entries are not booked.
fn is_booked(entry: &Element) -> bool {
    // A word in older versions, a code in newer ones.
    let status = entry.text_at(&["Sts", "Cd"]).or_else(|| entry.text_at(&["Sts"]));
    status == Some("BOOK")
}

fn is_credit(entry: &Element) -> Result<bool, CamtFault> {
    match entry.text_at(&["CdtDbtInd"]) {
        Some("CRDT") => Ok(true),
        Some("DBIT") => Ok(false),
        Some(_) | None => Err(CamtFault::Missing("an entry's direction (CdtDbtInd)")),
    }
}

/// The bank's own reference of an entry. Some banks write a placeholder for none.
fn bank_reference(entry: &Element) -> Option<&str> {
    let reference = entry.text_at(&["AcctSvcrRef"])?;
    let is_none = ["NONREF", "NOTPROVIDED"].contains(&reference.to_ascii_uppercase().as_str());
    (!is_none).then_some(reference)
}

/// An element's amount.
fn amount(element: &Element) -> Result<Money, CamtFault> {
    let found = element.at(&["Amt"]).ok_or(CamtFault::Missing("an amount (Amt)"))?;
    money(found)
}

fn money(found: &Element) -> Result<Money, CamtFault> {
    let wrong = || CamtFault::Amount(as_one_line(found.text(), 50));
    let currency = found.currency.as_deref().and_then(Currency::from_code);
    let (number, currency) = written_amount(found.text()).zip(currency).ok_or_else(wrong)?;
    Money::new(number, currency).and_then(Money::within_reason).map_err(|_wrong| wrong())
}

/// The transfers of an entry. If they do not add up to its amount, a person has to look at the
/// entry.
fn transfers(entry: &Element, whole: Money, is_credit: bool) -> Result<Vec<Transfer>, CamtFault> {
    let details: Vec<_> = entry.all("NtryDtls").flat_map(|it| it.all("TxDtls")).collect();
    if details.len() > DETAILS_MAX {
        return Err(CamtFault::TooMany);
    }
    let is_return = matches!(entry.text_at(&["RvslInd"]), Some("true" | "1"));
    let booked_on = booked_on(entry);
    let transfer = |details: &Element, amount: Money, is_unclear: bool| {
        let mut told = told(details);
        told.is_return |= is_return;
        Transfer { is_credit, amount, booked_on, is_unclear, told }
    };
    match details.as_slice() {
        // Some banks put all details into a line of the entry.
        [] => return Ok(vec![transfer(entry, whole, false)]),
        [single] => return Ok(vec![transfer(single, whole, false)]),
        _several => {}
    }
    let parts: Option<Vec<_>> = details
        .iter()
        .map(|part| Some(transfer(part, detail_amount(part, is_credit)?, false)))
        .collect();
    let parts = parts.filter(|parts| {
        Money::sum(whole.currency(), parts.iter().map(|part| part.amount)) == Ok(whole)
    });
    Ok(parts.unwrap_or_else(|| vec![transfer(entry, whole, true)]))
}

/// The amount of one of several transfers, if it has the same direction as their sum.
fn detail_amount(details: &Element, is_credit: bool) -> Option<Money> {
    let direction = details.text_at(&["CdtDbtInd"]);
    if direction.is_some_and(|direction| (direction == "CRDT") != is_credit) {
        return None;
    }
    let found = details.at(&["Amt"]).or_else(|| details.at(&["AmtDtls", "TxAmt", "Amt"]))?;
    money(found).ok().filter(|amount| !amount.is_zero())
}

fn booked_on(entry: &Element) -> Option<NaiveDate> {
    let text = entry
        .text_at(&["BookgDt", "Dt"])
        .or_else(|| entry.text_at(&["BookgDt", "DtTm"]))
        .or_else(|| entry.text_at(&["ValDt", "Dt"]))?;
    text.get(..10)?.parse().ok()
}

fn told(details: &Element) -> Told {
    let line = |text: &str, length_max| {
        Some(as_one_line(text, length_max)).filter(|line| !line.is_empty())
    };
    let name = details
        .text_at(&["RltdPties", "Dbtr", "Pty", "Nm"])
        .or_else(|| details.text_at(&["RltdPties", "Dbtr", "Nm"]));
    let payer = details.text_at(&["RltdPties", "DbtrAcct", "Id", "IBAN"]);
    let end_to_end = details.text_at(&["Refs", "EndToEndId"]);
    let remittance = remittance_of(details);
    let structured = details
        .all("RmtInf")
        .flat_map(|it| it.all("Strd"))
        .filter_map(|it| it.text_at(&["CdtrRefInf", "Ref"]));
    let mut references: Vec<_> = structured
        .chain(end_to_end)
        .chain([remittance.as_str()])
        .flat_map(CreditorReference::found_in)
        .collect();
    references.sort_unstable();
    references.dedup();
    Told {
        payer_name: name.and_then(|name| line(name, NAME_MAX)),
        payer: payer.and_then(|number| Iban::parse(number).ok()),
        remittance: as_one_line(&remittance, REMITTANCE_MAX),
        end_to_end: end_to_end.and_then(|id| line(id, ID_MAX)),
        references,
        is_return: details.at(&["RtrInf"]).is_some(),
    }
}

/// The payer's text. Banks break it into lines anywhere.
fn remittance_of(details: &Element) -> String {
    let lines = details.all("RmtInf").flat_map(|it| it.all("Ustrd"));
    let lines: Vec<_> = lines.map(Element::text).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        let other = details.text_at(&["AddtlTxInf"]);
        let other = other.or_else(|| details.text_at(&["AddtlNtryInf"]));
        return other.unwrap_or_default().to_owned();
    }
    lines.join("\n")
}

/// The content that distinguishes an entry from others of the same statement. Never change this:
/// earlier entries would not be recognised.
fn content_of(transfers: &[Transfer]) -> String {
    let one = |transfer: &Transfer| {
        let Transfer { amount, booked_on, told, .. } = transfer;
        digest(&[
            &amount.to_string(),
            &booked_on.map(|day| day.to_string()).unwrap_or_default(),
            told.payer_name.as_deref().unwrap_or_default(),
            told.payer.as_ref().map(Iban::as_str).unwrap_or_default(),
            &told.remittance,
            told.end_to_end.as_deref().unwrap_or_default(),
        ])
    };
    transfers.iter().map(one).collect()
}

/// A hash over texts; different lists of texts never hash alike.
fn digest(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(format!("{}:", text.len()));
        hash.update(text);
    }
    format!("{:x}", hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "GB82WEST12345698765432";

    fn statement(entries: &str) -> String {
        file("053", "BkToCstmrStmt", "Stmt", entries)
    }

    fn notification(entries: &str) -> String {
        file("054", "BkToCstmrDbtCdtNtfctn", "Ntfctn", entries)
    }

    fn file(number: &str, message: &str, part: &str, entries: &str) -> String {
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
            <Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.{number}.001.08">
              <{message}>
                <GrpHdr><MsgId>M1</MsgId><CreDtTm>2026-11-02T06:00:00</CreDtTm></GrpHdr>
                <{part}>
                  <Id>S-17</Id>
                  <Acct><Id><IBAN>{ACCOUNT}</IBAN></Id><Ccy>GBP</Ccy></Acct>
                  {entries}
                </{part}>
              </{message}>
            </Document>"#
        )
    }

    fn entry(amount: &str, direction: &str, reference: &str, rest: &str) -> String {
        format!(
            r#"<Ntry>
              <Amt Ccy="GBP">{amount}</Amt><CdtDbtInd>{direction}</CdtDbtInd>
              <Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-11-01</Dt></BookgDt>
              {reference}{rest}
            </Ntry>"#
        )
    }

    fn transfer_of(name: &str, text: &str) -> String {
        format!(
            "<TxDtls><Refs><EndToEndId>E1</EndToEndId></Refs><RltdPties>
             <Dbtr><Pty><Nm>{name}</Nm></Pty></Dbtr>
             <DbtrAcct><Id><IBAN>DE89 3704 0044 0532 0130 00</IBAN></Id></DbtrAcct></RltdPties>
             <RmtInf>{text}</RmtInf></TxDtls>"
        )
    }

    fn details(parts: &str) -> String {
        format!("<NtryDtls>{parts}</NtryDtls>")
    }

    fn one(text: &str) -> Statement {
        let mut statements = read(text.as_bytes()).unwrap();
        assert_eq!(statements.len(), 1);
        statements.remove(0)
    }

    fn refused(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    const BANKS_OWN: &str = "<AcctSvcrRef>B-1</AcctSvcrRef>";

    #[test]
    fn a_transfer_is_read_with_its_payer_and_the_reference_that_the_bank_has_broken() {
        let reference = CreditorReference::of("a payment");
        let (head, tail) = reference.as_str().split_at(9);
        let text = format!("<Ustrd>Thank you! {head}</Ustrd><Ustrd>{tail} &amp; more</Ustrd>");
        let details = details(&transfer_of("Ada &#x4C;.", &text));
        let Statement { id, account, bookings, left } =
            one(&statement(&entry("24.30", "CRDT", BANKS_OWN, &details)));
        assert_eq!((id.as_str(), account.as_str(), left), ("S-17", ACCOUNT, 0));
        let [Booking { transfers, .. }] = bookings.as_slice() else { panic!("{bookings:?}") };
        let [Transfer { is_credit, amount, booked_on, is_unclear, told }] = transfers.as_slice()
        else {
            panic!("{transfers:?}")
        };
        assert!(*is_credit && !is_unclear && !told.is_return);
        assert_eq!(amount.to_string(), "24.30 GBP");
        assert_eq!(booked_on.unwrap().to_string(), "2026-11-01");
        assert_eq!(told.payer_name.as_deref(), Some("Ada L."));
        assert_eq!(told.payer.as_ref().map(Iban::as_str), Some("DE89370400440532013000"));
        assert_eq!(told.remittance, format!("Thank you! {head} {tail} & more"));
        assert_eq!(told.end_to_end.as_deref(), Some("E1"));
        assert_eq!(told.references, [reference]);
    }

    #[test]
    fn what_is_not_booked_or_moves_nothing_is_none() {
        let pending = entry("1.00", "CRDT", BANKS_OWN, "").replace("BOOK", "PDNG");
        let notice = entry("0.00", "DBIT", BANKS_OWN, "");
        let older = entry("2.00", "CRDT", BANKS_OWN, "").replace("<Cd>BOOK</Cd>", "BOOK");
        let read = one(&statement(&format!("{pending}{notice}{older}")));
        assert_eq!(read.bookings.len(), 1);
    }

    #[test]
    fn an_entry_is_known_again_in_another_file_by_the_banks_reference() {
        let entry = entry("24.30", "CRDT", BANKS_OWN, "");
        let (told, stated) = (one(&notification(&entry)), one(&statement(&entry)));
        assert_eq!(told.bookings[0].name, stated.bookings[0].name);
        let other = statement(&entry.replace("B-1", "B-2"));
        assert_ne!(one(&other).bookings[0].name, stated.bookings[0].name);
    }

    #[test]
    fn entries_without_a_reference_are_told_by_their_place_in_the_statement_alone() {
        let alike = [entry("5.00", "CRDT", "", ""), entry("5.00", "CRDT", "", "")].concat();
        let read = one(&statement(&alike));
        let names: Vec<_> = read.bookings.iter().map(|booking| booking.name.clone()).collect();
        assert_eq!(names.len(), 2);
        assert_ne!(names[0], names[1], "two customers may pay the same");
        assert_eq!(one(&statement(&alike)), read);
        // In a notification nothing would distinguish them from the statement's.
        let told =
            one(&notification(&alike.replace("<Sts>", "<AcctSvcrRef>NONREF</AcctSvcrRef><Sts>")));
        assert_eq!((told.bookings.len(), told.left), (0, 2));
    }

    #[test]
    fn a_sum_is_its_transfers_if_they_come_to_it() {
        let part = |amount: &str| {
            let amount = format!(r#"<TxDtls><Amt Ccy="GBP">{amount}</Amt>"#);
            transfer_of("Ada", "<Ustrd>x</Ustrd>").replace("<TxDtls>", &amount)
        };
        for (parts, amounts, is_unclear) in [
            (["4.00", "6.00"], vec!["4 GBP", "6 GBP"], false),
            (["4.00", "5.99"], vec!["10 GBP"], true),
            (["10.00", "0.00"], vec!["10 GBP"], true),
        ] {
            let details = details(&parts.map(part).concat());
            let read = one(&statement(&entry("10.00", "CRDT", BANKS_OWN, &details)));
            let transfers = &read.bookings[0].transfers;
            let found: Vec<_> = transfers
                .iter()
                .map(|one| {
                    format!("{} {}", one.amount.amount().normalize(), one.amount.currency().code())
                })
                .collect();
            assert_eq!(found, amounts);
            assert!(transfers.iter().all(|one| one.is_unclear == is_unclear));
        }
    }

    #[test]
    fn a_transfer_that_comes_back_is_told_from_one_of_a_customer() {
        let returned = transfer_of("Ada", "").replace("</TxDtls>", "<RtrInf/></TxDtls>");
        let reversal = "<RvslInd>true</RvslInd>";
        for rest in [details(&returned), reversal.to_owned()] {
            let read = one(&statement(&entry("24.30", "CRDT", BANKS_OWN, &rest)));
            assert!(read.bookings[0].transfers[0].told.is_return, "{rest}");
        }
    }

    #[test]
    fn a_file_that_is_torn_at_any_place_is_refused_whole() {
        let details = details(&transfer_of("Ada", "<Ustrd>x</Ustrd>"));
        let whole = statement(&entry("24.30", "CRDT", BANKS_OWN, &details));
        assert!(read(whole.as_bytes()).is_ok());
        let end = whole.trim_end().len();
        for length in 0..end {
            assert!(read(&whole.as_bytes()[..length]).is_err(), "{}", &whole[..length]);
        }
        let torn = refused(&whole[..whole.find("</Stmt>").unwrap()]);
        assert_eq!(torn, "it ends in the middle, within Stmt: is the file whole?");
    }

    #[test]
    fn a_file_that_declares_entities_is_refused_in_words() {
        let bomb = r#"<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaa">
            <!ENTITY b "&a;&a;&a;&a;">]><Document>&b;</Document>"#;
        assert!(refused(bomb).contains("(DTD)"), "{}", refused(bomb));
        let entity = statement("").replace("<Id>S-17</Id>", "<Id>&b;</Id>");
        assert_eq!(refused(&entity), "it refers to an entity, `&b;`, which is not resolved here");
    }

    #[test]
    fn what_is_too_much_or_something_else_is_refused_in_words() {
        let deep = ["<Ntry>".repeat(40), "</Ntry>".repeat(40)].concat();
        let long = format!("<Ntry><X>{}</X></Ntry>", "x".repeat(5_000));
        let message = statement("").replace("BkToCstmrStmt", "CstmrCdtTrfInitn");
        let no_account = statement(&entry("1.00", "CRDT", BANKS_OWN, "")).replace(ACCOUNT, "1");
        for (text, word) in [
            (statement(&deep), "deep"),
            (statement(&long), "bytes of text"),
            (message, "CstmrCdtTrfInitn"),
            (no_account, "IBAN"),
            (statement(&entry("1,00", "CRDT", BANKS_OWN, "")), "`1,00` is no amount"),
            (statement(&entry("1.001", "CRDT", BANKS_OWN, "")), "`1.001` is no amount"),
            (statement(&entry("1.00", "IN", BANKS_OWN, "")), "CdtDbtInd"),
            (format!("{}<Document/>", statement("")), "second document"),
            (statement("").replace("UTF-8", "ISO-8859-1"), "UTF-8"),
            ("hello".to_owned(), "not XML"),
            (String::new(), "nothing in it"),
            ("<Document/>".to_owned(), "a statement of an account is missing"),
        ] {
            assert!(refused(&text).contains(word), "{word}: {}", refused(&text));
        }
        assert_eq!(read(&[0xff, 0xfe]).unwrap_err().to_string(), "it is not in UTF-8");
        let longest = vec![b' '; element::FILE_MAX];
        assert_ne!(read(&longest), Err(XmlFault::TooLong.into()));
        let too_long = vec![b' '; element::FILE_MAX.saturating_add(1)];
        assert_eq!(read(&too_long), Err(XmlFault::TooLong.into()));
    }
}
