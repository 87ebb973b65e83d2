//! `mail preview` at a terminal.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs `mail preview` with these arguments: the exit code, standard output, and standard error.
fn previewed(arguments: &[&str]) -> (i32, String, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ordersaga"));
    let output = program.env_clear().args(["mail", "preview"]).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_sample_is_shown_as_subject_and_text_or_as_html_in_each_locale() {
    let (code, told, wrong) = previewed(&["shipped"]);
    assert_eq!((code, wrong.as_str()), (0, ""), "{told}");
    let (subject, text) = told.split_once("\n\n").unwrap();
    assert!(subject.starts_with("Your order ") && subject.ends_with(" is on its way"), "{told}");
    assert!(text.starts_with("Hello Ada Example,"), "{told}");

    let (code, told, _) = previewed(&["shipped", "--locale", "de-AT"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.starts_with("Ihre Bestellung ") && told.contains(" ist unterwegs\n\n"), "{told}");

    let (code, html, _) = previewed(&["back-in-stock", "--html", "--locale", "de"]);
    assert_eq!(code, 0, "{html}");
    assert!(html.to_lowercase().starts_with("<!doctype html>"), "{html}");
    assert!(html.contains("WHITE HANGING HEART T-LIGHT HOLDER"), "{html}");
}

#[test]
fn a_shops_own_text_is_shown_and_a_variable_that_does_not_exist_is_told_with_its_place() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mail-templates");
    fs::create_dir_all(folder.join("en")).unwrap();
    let folder_name = folder.to_str().unwrap();
    let write = |text: &str| fs::write(folder.join("en/confirmed.txt"), text).unwrap();

    write("You bought for {{ order.total }}.\n");
    let (code, told, wrong) = previewed(&["confirmed", "--mail-templates", folder_name]);
    assert_eq!((code, wrong.as_str()), (0, ""), "{told}");
    assert!(told.contains("\n\nYou bought for "), "{told}");

    write("Hello,\n\nyou owe {{ order.totl }}.\n");
    // All templates are checked, whichever one is to be shown.
    for template in ["confirmed", "shipped"] {
        let (code, told, wrong) = previewed(&[template, "--mail-templates", folder_name]);
        assert_eq!((code, told.as_str()), (2, ""), "{wrong}");
        let said = "en/confirmed.txt:3: there is no variable `order.totl` in this mail";
        assert!(wrong.contains(said), "{wrong}");
    }
}

#[test]
fn a_mail_that_there_is_not_and_an_order_without_a_database_are_refused() {
    let (code, told, wrong) = previewed(&["packed"]);
    assert_eq!((code, told.as_str()), (2, ""));
    assert!(wrong.contains("no mail is called packed"), "{wrong}");
    let order = ["confirmed", "--order", "5bf1521d-9bb2-5baa-a74d-5f3bb0902d38"];
    let (code, told, wrong) = previewed(&order);
    assert_eq!((code, told.as_str()), (2, ""));
    assert!(wrong.contains("--relay-database-url"), "{wrong}");
}
