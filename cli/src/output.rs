//! What commands print: tables for people, JSON for programs.
//!
//! Printed text may come from strangers, and a terminal interprets control characters instead of
//! showing them. So each control character is printed as a JSON escape, such as `\u001b`: JSON
//! output stays the same JSON, and a table shows every character.

use std::fmt::{self, Display, Write as _};
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use runtime::console::{Tone, is_coloured, painted, wrapped};
use serde_json::Value;
use worker::prove::PROMISE_COLUMN;

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs: the API's own answer, on one line
    Json,
}

/// A column of a table: its title, and where its value is in each item, as a JSON pointer.
pub(crate) type Column = (&'static str, &'static str);

/// Prints lines on standard output, for a command's result.
pub(crate) fn print(lines: impl Display) -> io::Result<()> {
    let lines = lines.to_string();
    let mut output = io::stdout().lock();
    lines.split('\n').try_for_each(|line| writeln!(output, "{}", Visible(line)))
}

/// Prints the lines of `ordersaga prove`. On a terminal they are wrapped and their verdicts
/// coloured; other programs read one line for each promise.
pub(crate) fn print_verdicts(lines: impl Display) -> io::Result<()> {
    let lines = lines.to_string();
    let mut output = io::stdout().lock();
    let (watched, coloured) = (output.is_terminal(), is_coloured(&output));
    lines.split('\n').try_for_each(|line| {
        let line = Visible(line).to_string();
        let indent = if line.starts_with('I') { PROMISE_COLUMN } else { EXAMPLE_COLUMN };
        let line = if watched { wrapped(&line, indent) } else { line };
        writeln!(output, "{}", if coloured { in_colour(&line) } else { line })
    })
}

/// The column at which the example of a broken promise begins.
const EXAMPLE_COLUMN: usize = 9;

/// Colours a line's verdict: the word after the invariant's number.
fn in_colour(line: &str) -> String {
    let verdicts = [(" holds ", Tone::Good), (" BROKEN ", Tone::Bad)];
    let found = verdicts.into_iter().find(|(word, _)| {
        // Continuation lines and examples are indented.
        line.starts_with('I') && line.split_whitespace().nth(1) == Some(word.trim())
    });
    match found {
        Some((word, tone)) => line.replacen(word, &painted(word, tone), 1),
        None => line.to_owned(),
    }
}

/// Text on one line with its control characters escaped.
pub(crate) struct Visible<T>(pub(crate) T);

impl<T: AsRef<str>> Display for Visible<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().chars().try_for_each(|letter| {
            if is_obeyed(letter) {
                write!(f, "\\u{:04x}", u32::from(letter))
            } else {
                f.write_char(letter)
            }
        })
    }
}

/// Whether a terminal interprets a character: control characters (an escape sequence begins with
/// one), line and paragraph separators, and bidirectional controls. Each has at most four
/// hexadecimal digits.
fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A table of the items. Columns without any value are left out.
pub(crate) fn table(items: &[Value], columns: &[Column]) -> Table {
    let has_value = |pointer: &str| items.iter().any(|item| item.pointer(pointer).is_some());
    let columns: Vec<_> = columns.iter().filter(|(_, pointer)| has_value(pointer)).collect();
    let mut table = empty_table();
    table.set_header(columns.iter().map(|(title, _)| *title));
    for item in items {
        table.add_row(
            columns.iter().map(|(_, pointer)| item.pointer(pointer).map_or_else(String::new, text)),
        );
    }
    aligned(table)
}

/// A table of all fields of a value, each named by its path.
pub(crate) fn details(value: &Value) -> Table {
    let mut table = empty_table();
    let mut rows = Vec::new();
    flatten(String::new(), value, &mut rows);
    for (path, text) in rows {
        table.add_row([path, text]);
    }
    aligned(table)
}

fn empty_table() -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Left-aligns a table, with two spaces between columns.
fn aligned(mut table: Table) -> Table {
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    table
}

fn flatten(path: String, value: &Value, rows: &mut Vec<(String, String)>) {
    let below = |name: &str| {
        if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
    };
    match value {
        Value::Object(fields) if money(value).is_none() => {
            fields.iter().for_each(|(name, value)| flatten(below(name), value, rows));
        }
        Value::Array(items) => {
            let numbered = items.iter().zip(1_usize..);
            numbered.for_each(|(item, number)| flatten(below(&number.to_string()), item, rows));
        }
        Value::Null => {}
        Value::Object(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            rows.push((Visible(path).to_string(), text(value)));
        }
    }
}

/// A value as the text of a table cell.
pub(crate) fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(_) => money(value).unwrap_or_else(|| value.to_string()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    };
    Visible(text).to_string()
}

/// An amount with its currency in one cell.
fn money(value: &Value) -> Option<String> {
    let fields = value.as_object().filter(|fields| fields.len() == 2)?;
    let (amount, currency) = (fields.get("amount")?.as_str()?, fields.get("currency")?.as_str()?);
    Some(format!("{amount} {currency}"))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn trimmed(table: &Table) -> String {
        table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    #[test]
    fn only_a_verdict_is_coloured() {
        let good = in_colour("I1   holds   what holds (2 orders)");
        assert_eq!(good, "I1  \u{1b}[32m holds \u{1b}[0m  what holds (2 orders)");
        assert!(in_colour("I10  BROKEN  it is broken").contains("\u{1b}[31m BROKEN "));
        for plain in [
            "I1   -       holds (nothing to look at)",
            "             holds too",
            "       - BROKEN ",
        ] {
            assert_eq!(in_colour(plain), plain);
        }
    }

    #[test]
    fn a_table_has_the_columns_that_there_are_values_for() {
        let orders = [
            json!({"order_id": "a", "totals": {"total": {"amount": "19.99", "currency": "EUR"}}}),
            json!({"order_id": "b", "note": null}),
        ];
        let columns =
            [("ORDER", "/order_id"), ("TOTAL", "/totals/total"), ("PARCEL", "/status/tracking")];
        expect![[r"
             ORDER  TOTAL
             a      19.99 EUR
             b
        "]]
        .assert_eq(&trimmed(&table(&orders, &columns)));
    }

    /// Clears the screen, sets a colour, reverses the text direction, and starts a new row.
    const MISCHIEF: &str = "\u{1b}[2J\u{9b}31m\u{202e}a\u{2066}b\r\n\tc\u{0}\u{7f}";
    const SHOWN: &str = r"\u001b[2J\u009b31m\u202ea\u2066b\u000d\u000a\u0009c\u0000\u007f";

    #[test]
    fn a_terminal_shows_every_character_of_a_table_and_obeys_none() {
        let money = json!({"amount": MISCHIEF, "currency": "EUR"});
        let item = json!({"reason": MISCHIEF, "total": money, "all": [MISCHIEF]});
        let columns = [("REASON", "/reason"), ("TOTAL", "/total"), ("ALL", "/all")];
        let (table, details) = (table(std::slice::from_ref(&item), &columns), details(&item));
        assert_eq!(table.lines().count(), 2, "{table}");
        assert_eq!(details.lines().count(), 3, "{details}");
        for text in table.lines().chain(details.lines()) {
            assert!(!text.chars().any(is_obeyed), "{text:?}");
        }
        assert!(details.to_string().contains(SHOWN), "{details}");
        assert!(text(&json!({"a": "\u{9b}"})).contains(r"\u009b"));
        let named = json!({"a\u{1b}[2J": {"b\n": 1}});
        assert_eq!(trimmed(&super::details(&named)), "a\\u001b[2J.b\\u000a  1\n");
    }

    #[test]
    fn a_terminal_obeys_nothing_in_json_which_stays_what_it_was() {
        let sent = json!({"reason": MISCHIEF, "\u{9b}": ["\u{202e}", "שלום", "😀"]});
        let printed = Visible(sent.to_string()).to_string();
        assert!(!printed.chars().any(is_obeyed), "{printed:?}");
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), sent);
    }

    #[test]
    fn what_needs_no_care_is_printed_as_it_is() {
        for text in ["", "café", "שלום", "日本語", "👩\u{200d}🚀", r"C:\u001b", "#[x](y) `z`"]
        {
            assert_eq!(Visible(text).to_string(), text);
        }
    }

    #[test]
    fn details_name_everything_by_its_path() {
        let order = json!({
            "order_id": "a",
            "lines": [{"sku": "85123A", "unit_price": {"amount": "2.55", "currency": "GBP"}}],
            "rejection": {"code": "out-of-stock"},
            "discount_code": null,
        });
        expect![[r"
             lines.1.sku         85123A
             lines.1.unit_price  2.55 GBP
             order_id            a
             rejection.code      out-of-stock
        "]]
        .assert_eq(&trimmed(&details(&order)));
    }
}
