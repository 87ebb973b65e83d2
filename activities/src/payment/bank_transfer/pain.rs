//! A payment list as XML: `pain.001.001.09` of ISO 20022.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use chrono::{DateTime, SecondsFormat, Utc};
use domain::{Money, MoneyError, as_one_line};
use quick_xml::escape::escape;
use rust_decimal::Decimal;

use super::list::Line;

/// A party's name has at most 70 characters on a transfer, and the text 140.
const NAME_MAX: usize = 70;
const TEXT_MAX: usize = 140;

/// The header of a list.
pub(super) struct Header<'a> {
    pub(super) message_id: &'a str,
    pub(super) created_at: DateTime<Utc>,
    pub(super) holder: &'a str,
    pub(super) iban: &'a str,
}

/// Why no message could be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoMessage {
    #[error("the lines do not add up")]
    Sum(#[from] MoneyError),
    #[error("it cannot be written")]
    Written(#[from] fmt::Error),
}

/// The message: a block per currency, with a transfer per line.
pub(super) fn message(header: &Header<'_>, lines: &[Line]) -> Result<String, NoMessage> {
    let mut by_currency = BTreeMap::<&str, Vec<&Line>>::new();
    for line in lines {
        by_currency.entry(line.amount.currency().code()).or_default().push(line);
    }
    // The sum over all currencies, as the message format requires.
    let mut amounts = lines.iter().map(|line| line.amount.amount());
    let sum = amounts.try_fold(Decimal::ZERO, Decimal::checked_add);
    let sum = sum.ok_or(MoneyError::OutOfRange)?;
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    writeln!(
        xml,
        "<Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.001.001.09\">\n<CstmrCdtTrfInitn>"
    )?;
    writeln!(
        xml,
        "<GrpHdr><MsgId>{}</MsgId><CreDtTm>{}</CreDtTm><NbOfTxs>{}</NbOfTxs><CtrlSum>{sum}</CtrlSum>\
         <InitgPty><Nm>{}</Nm></InitgPty></GrpHdr>",
        escape(header.message_id),
        header.created_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        lines.len(),
        name(header.holder),
    )?;
    for (currency, lines) in by_currency {
        block(&mut xml, header, currency, &lines)?;
    }
    writeln!(xml, "</CstmrCdtTrfInitn>\n</Document>")?;
    Ok(xml)
}

fn block(
    xml: &mut String,
    header: &Header<'_>,
    currency: &str,
    lines: &[&Line],
) -> Result<(), NoMessage> {
    let Some(first) = lines.first() else { return Ok(()) };
    let sum = Money::sum(first.amount.currency(), lines.iter().map(|line| line.amount))?;
    // At most 35 characters. The last ones distinguish one list from another.
    let end = header.message_id.get(12..).unwrap_or(header.message_id);
    let is_sepa = currency == "EUR";
    let level = if is_sepa { "<PmtTpInf><SvcLvl><Cd>SEPA</Cd></SvcLvl></PmtTpInf>" } else { "" };
    writeln!(
        xml,
        "<PmtInf><PmtInfId>{currency}-{}</PmtInfId><PmtMtd>TRF</PmtMtd><NbOfTxs>{}</NbOfTxs>\
         <CtrlSum>{}</CtrlSum>{level}<ReqdExctnDt><Dt>{}</Dt></ReqdExctnDt>\
         <Dbtr><Nm>{}</Nm></Dbtr><DbtrAcct><Id><IBAN>{}</IBAN></Id></DbtrAcct>\
         <DbtrAgt><FinInstnId><Othr><Id>NOTPROVIDED</Id></Othr></FinInstnId></DbtrAgt>\
         <ChrgBr>{}</ChrgBr>",
        escape(end),
        lines.len(),
        sum.amount(),
        header.created_at.date_naive(),
        name(header.holder),
        escape(header.iban),
        if is_sepa { "SLEV" } else { "SHAR" },
    )?;
    for line in lines {
        writeln!(
            xml,
            "<CdtTrfTxInf><PmtId><EndToEndId>{}</EndToEndId></PmtId>\
             <Amt><InstdAmt Ccy=\"{currency}\">{}</InstdAmt></Amt>\
             <Cdtr><Nm>{}</Nm></Cdtr><CdtrAcct><Id><IBAN>{}</IBAN></Id></CdtrAcct>\
             <RmtInf><Ustrd>{}</Ustrd></RmtInf></CdtTrfTxInf>",
            escape(&*line.end_to_end),
            line.amount.amount(),
            name(&line.name),
            escape(&*line.iban),
            escape(&*as_one_line(&line.text, TEXT_MAX)),
        )?;
    }
    writeln!(xml, "</PmtInf>")?;
    Ok(())
}

fn name(text: &str) -> String {
    escape(as_one_line(text, NAME_MAX)).into_owned()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use domain::Currency;

    use super::*;

    fn line(number: u32, amount: &str, currency: Currency, name: &str) -> Line {
        Line {
            end_to_end: format!("ordersaga-{number}"),
            amount: Money::new(amount.parse().unwrap(), currency).unwrap(),
            name: name.to_owned(),
            iban: "DE89370400440532013000".to_owned(),
            text: "refund order 1".to_owned(),
        }
    }

    #[test]
    fn a_list_has_a_block_for_each_currency_whose_sums_are_its_lines() {
        let header = Header {
            message_id: "0192f3a4b5c6d7e8f9a0b1c2d3e4f5a6",
            created_at: DateTime::from_timestamp(1_793_534_400, 0).unwrap(),
            holder: "Tea & Sons",
            iban: "GB82WEST12345698765432",
        };
        let lines = [
            line(1, "5.70", Currency::EUR, "Ada <Lovelace>"),
            line(2, "24.30", Currency::GBP, "Grace"),
            line(3, "4.30", Currency::EUR, "Kurt"),
        ];
        let xml = message(&header, &lines).unwrap();
        for text in [
            "<MsgId>0192f3a4b5c6d7e8f9a0b1c2d3e4f5a6</MsgId>",
            "<CreDtTm>2026-11-01T12:00:00Z</CreDtTm><NbOfTxs>3</NbOfTxs><CtrlSum>34.30</CtrlSum>",
            "<InitgPty><Nm>Tea &amp; Sons</Nm></InitgPty>",
            "<PmtInfId>EUR-d7e8f9a0b1c2d3e4f5a6</PmtInfId>",
            "<NbOfTxs>2</NbOfTxs><CtrlSum>10.00</CtrlSum><PmtTpInf><SvcLvl><Cd>SEPA</Cd></SvcLvl>",
            "<NbOfTxs>1</NbOfTxs><CtrlSum>24.30</CtrlSum><ReqdExctnDt><Dt>2026-11-01</Dt>",
            "<EndToEndId>ordersaga-3</EndToEndId></PmtId><Amt><InstdAmt Ccy=\"EUR\">4.30</InstdAmt>",
            "<Nm>Ada &lt;Lovelace&gt;</Nm>",
        ] {
            assert_eq!(xml.matches(text).count(), 1, "{text}: {xml}");
        }
        assert_eq!(xml.matches("<Ustrd>refund order 1</Ustrd>").count(), 3);
        assert_eq!(message(&header, &lines).unwrap(), xml);
    }
}
