use std::env;
use std::path::PathBuf;

use uuid::Uuid;

use super::super::letter::About;
use super::*;

/// A temporary folder with these files, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = env::temp_dir().join(format!("ordersaga-templates-{}", Uuid::now_v7()));
        for (name, text) in files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        Self(folder)
    }

    fn load(&self) -> Result<Templates, TemplateError> {
        Templates::load(Some(&self.0), "en", shop(), &[])
    }

    fn refusal(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn shop() -> Shop {
    Shop {
        name: "The Shop".to_owned(),
        url: Some("https://shop.example".to_owned()),
        order_url: Some("https://shop.example/orders/{order_id}".to_owned()),
        article_url: Some("https://shop.example/articles/{sku}".to_owned()),
        tracking_url: Some("https://carrier.example/{tracking}".to_owned()),
        api_url: Some("https://api.example/".to_owned()),
    }
}

fn built_in() -> Templates {
    let all = [MailTemplate::Shipped, MailTemplate::PaymentNeeded];
    Templates::load(None, "en", shop(), &all).unwrap()
}

fn letter(template: MailTemplate, name: &str) -> Letter {
    let [full, _] = Letter::samples(template).unwrap();
    Letter { customer_name: Some(name.to_owned()), ..full }
}

#[test]
fn everything_in_the_folder_of_templates_comes_with_the_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/mail");
    let mut sources = Sources::new();
    read_folder(&folder, &mut sources).unwrap();
    let there: Vec<_> = sources.keys().map(String::as_str).collect();
    let mut brought: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    brought.sort_unstable();
    assert_eq!(brought, there);
}

#[test]
fn every_mail_is_written_in_every_locale() {
    let templates = built_in();
    for template in MailTemplate::iter() {
        for locale in ["en", "de"] {
            let written =
                templates.write(template, locale, &letter(template, "Ada Example")).unwrap();
            assert!(!written.subject.is_empty() && !written.subject.contains('\n'), "{written:?}");
            assert!(written.text.contains("Ada Example"), "{written:?}");
            assert!(written.html.starts_with("<!doctype html>"), "{written:?}");
            assert!(written.html.contains("Ada Example"), "{written:?}");
            // Only mails that can be switched off have the link.
            let can_be = template.can_be_switched_off();
            assert_eq!(written.text.contains("https://api.example/v1/unsubscribe/"), can_be);
        }
    }
}

#[test]
fn a_confirmation_tells_what_was_bought_and_what_it_costs() {
    let templates = built_in();
    let confirmed = letter(MailTemplate::Confirmed, "Ada");
    let english = templates.write(MailTemplate::Confirmed, "en", &confirmed).unwrap();
    for told in ["6 x WHITE HANGING HEART T-LIGHT HOLDER (85123A): 15.30 GBP", "Total: 21.26 GBP"] {
        assert!(english.text.contains(told), "{}", english.text);
    }
    let german = templates.write(MailTemplate::Confirmed, "de", &confirmed).unwrap();
    assert!(german.text.contains("Summe: 21,26 GBP"), "{}", german.text);
}

#[test]
fn a_name_that_is_markup_is_text_in_both_parts() {
    let templates = built_in();
    let name = "<script>alert(\"1\")</script> {{ shop.name }} & Söhne";
    let written =
        templates.write(MailTemplate::Confirmed, "en", &letter(MailTemplate::Confirmed, name));
    let written = written.unwrap();
    assert!(!written.html.contains("<script>"), "{}", written.html);
    assert!(written.html.contains("&lt;script&gt;"), "{}", written.html);
    assert!(written.text.contains(name), "{}", written.text);
}

#[test]
fn a_name_with_lines_in_it_is_one_line() {
    let templates = built_in();
    let sneaky = letter(MailTemplate::BackInStock, "Ada\r\nBcc: eve@example.org\r\n\r\nbody");
    let sneaky = Letter {
        about: About::Article {
            sku: "85123A".to_owned(),
            name: "HEART\r\nBcc: eve@example.org".to_owned(),
        },
        ..sneaky
    };
    let written = templates.write(MailTemplate::BackInStock, "en", &sneaky).unwrap();
    assert!(!written.subject.contains(['\r', '\n']), "{:?}", written.subject);
    assert!(!written.text.contains("\nBcc:"), "{}", written.text);
}

#[test]
fn an_unknown_variable_is_an_error_at_the_start_with_its_place() {
    let folder = Folder::with(&[("en/confirmed.txt", "Hello,\n\nyou owe {{ order.totl }}.\n")]);
    let refusal = folder.refusal();
    assert!(refusal.contains("en/confirmed.txt:3"), "{refusal}");
    assert!(refusal.contains("order.totl"), "{refusal}");
}

#[test]
fn an_unknown_variable_is_found_where_no_sample_comes_past_it() {
    let text = "{% if order.payment_status == \"never\" %}\n{{ customer.nmae }}{% endif %}\n";
    let refusal = Folder::with(&[("en/shipped.html", text)]).refusal();
    assert!(refusal.contains("en/shipped.html:2"), "{refusal}");
    // The mail about an article has no order.
    let refusal = Folder::with(&[("de/back-in-stock.txt", "{{ order.total }}")]).refusal();
    assert!(refusal.contains("order.total"), "{refusal}");
    let refusal = Folder::with(&[("de/layout.html", "<p>\n{{ why }}</p>")]).refusal();
    assert!(refusal.contains("de/layout.html:2"), "{refusal}");
    let refusal = Folder::with(&[(
        "en/confirmed.txt",
        "{% for l in order.lines %}\n{{ l.price }}{% endfor %}",
    )])
    .refusal();
    assert!(refusal.contains("en/confirmed.txt:2"), "{refusal}");
}

#[test]
fn a_template_that_is_not_well_formed_is_an_error_at_the_start() {
    let refusal = Folder::with(&[("en/cancelled.subject.txt", "a\n{% if order %}")]).refusal();
    assert!(refusal.contains("en/cancelled.subject.txt:"), "{refusal}");
}

#[test]
fn a_shops_own_text_takes_the_place_of_ours_and_the_rest_stays() {
    let folder = Folder::with(&[
        ("en/confirmed.subject.txt", "Cheers, {{ customer.name }}!\n"),
        ("en/.confirmed.txt.swp", "\u{0}"),
    ]);
    let templates = folder.load().unwrap();
    let written = templates
        .write(MailTemplate::Confirmed, "en", &letter(MailTemplate::Confirmed, "Ada"))
        .unwrap();
    assert_eq!(written.subject, "Cheers, Ada!");
    assert!(written.text.contains("It is confirmed"), "{}", written.text);
}

#[test]
fn a_locale_that_is_not_whole_and_a_file_that_is_no_mails_are_errors() {
    let refusal = Folder::with(&[("fr/confirmed.txt", "Bonjour")]).refusal();
    assert!(refusal.contains("fr/formats.json is missing"), "{refusal}");
    let formats = include_str!("../../../templates/mail/en/formats.json");
    let refusal =
        Folder::with(&[("fr/formats.json", formats), ("fr/confirmed.txt", "Bonjour")]).refusal();
    assert!(refusal.contains("fr/confirmed.subject.txt is missing"), "{refusal}");
    let refusal = Folder::with(&[("en/confirmd.txt", "Hello")]).refusal();
    assert!(refusal.contains("confirmd.txt is no file of a mail"), "{refusal}");
    let no_sms = Templates::load(None, "en", shop(), &[MailTemplate::Refunded]).unwrap_err();
    assert_eq!(no_sms.to_string(), "de/refunded.sms.txt is missing");
}

#[test]
fn whoever_wants_another_locale_gets_its_language_or_the_fallback() {
    let templates = built_in();
    assert_eq!(templates.locale(Some("de")), "de");
    assert_eq!(templates.locale(Some("de-AT")), "de");
    assert_eq!(templates.locale(Some("fr")), "en");
    assert_eq!(templates.locale(None), "en");
}

#[test]
fn what_is_named_in_a_link_cannot_leave_its_place() {
    let templates = built_in();
    let article = About::Article { sku: "a/../b?c d".to_owned(), name: "HEART".to_owned() };
    let letter = Letter { about: article, ..letter(MailTemplate::BackInStock, "Ada") };
    let written = templates.write(MailTemplate::BackInStock, "en", &letter).unwrap();
    assert!(
        written.text.contains("https://shop.example/articles/a%2F..%2Fb%3Fc%20d"),
        "{written:?}"
    );
}
