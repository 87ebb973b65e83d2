//! What commands print: tables for people, JSON for programs.

use std::fmt::Display;
use std::io::{self, Write as _};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs: the API's own answer, on one line
    Json,
}

/// A column of a table: its title, and where its value is in each item, as a JSON pointer.
pub(crate) type Column = (&'static str, &'static str);

/// Prints a line on standard output, where everything goes that a command was asked for.
pub(crate) fn print(line: impl Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// A table of the items. A column that no item has a value for is left out.
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

/// A value with everything in it, a line each, named by its path.
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

/// Lines begin at the margin, with two spaces between columns.
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
            rows.push((path, text(value)));
        }
    }
}

/// A value in a cell.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(_) => money(value).unwrap_or_else(|| value.to_string()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}

/// An amount with its currency, which reads better than its two fields.
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
