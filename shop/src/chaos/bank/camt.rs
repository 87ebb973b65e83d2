//! The bank's files in ISO 20022: notifications (camt.054) and statements (camt.053).

use super::Transfer;

/// The kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Statement,
    Notification,
}

impl Message {
    /// Its number in the standard, and the names of its message and account elements.
    const fn names(self) -> [&'static str; 3] {
        match self {
            Self::Statement => ["053", "BkToCstmrStmt", "Stmt"],
            Self::Notification => ["054", "BkToCstmrDbtCdtNtfctn", "Ntfctn"],
        }
    }
}

/// The account from which all customers transfer.
const PAYER: (&str, &str) = ("Ada Example", "DE89370400440532013000");

/// The file with this number, for the shop's account.
pub(super) fn file(message: Message, number: usize, iban: &str, transfers: &[Transfer]) -> String {
    let [standard, message, part] = message.names();
    let entries: String = transfers.iter().map(entry).collect();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.{standard}.001.08">
<{message}>
<GrpHdr><MsgId>M{number}</MsgId></GrpHdr>
<{part}>
<Id>F{number}</Id>
<Acct><Id><IBAN>{iban}</IBAN></Id></Acct>
{entries}</{part}>
</{message}>
</Document>
"#
    )
}

/// The remittance text is a reference and plain words, so nothing has to be escaped.
fn entry(Transfer { name, currency, amount, text, .. }: &Transfer) -> String {
    let (payer, iban) = PAYER;
    format!(
        r#"<Ntry>
<Amt Ccy="{currency}">{amount}</Amt><CdtDbtInd>CRDT</CdtDbtInd>
<Sts><Cd>BOOK</Cd></Sts><AcctSvcrRef>{name}</AcctSvcrRef>
<NtryDtls><TxDtls><RltdPties><Dbtr><Pty><Nm>{payer}</Nm></Pty></Dbtr>
<DbtrAcct><Id><IBAN>{iban}</IBAN></Id></DbtrAcct></RltdPties>
<RmtInf><Ustrd>{text}</Ustrd></RmtInf></TxDtls></NtryDtls>
</Ntry>
"#
    )
}

/// A truncated file: it ends after the last entry.
pub(super) fn torn(whole: &str) -> &str {
    const LAST: &str = "</Ntry>";
    let end = whole.rfind(LAST).map_or(0, |at| at.saturating_add(LAST.len()));
    whole.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;

    #[test]
    fn a_torn_file_has_all_transfers_and_no_end() {
        let transfer = Transfer {
            name: "T1".to_owned(),
            currency: "GBP".to_owned(),
            amount: Decimal::new(2_430, 2),
            text: "RF18 T1".to_owned(),
            goes_back: Decimal::ZERO,
        };
        for message in [Message::Statement, Message::Notification] {
            let whole = file(message, 1, "GB82WEST12345698765432", std::slice::from_ref(&transfer));
            assert!(whole.contains(r#"<Amt Ccy="GBP">24.30</Amt>"#), "{whole}");
            let torn = torn(&whole);
            assert!(torn.contains("<Ustrd>RF18 T1</Ustrd>"), "{torn}");
            let [_, name, part] = message.names();
            for end in [format!("</{part}>"), format!("</{name}>")] {
                assert!(whole.contains(&end) && !torn.contains(&end), "{end}");
            }
        }
    }
}
