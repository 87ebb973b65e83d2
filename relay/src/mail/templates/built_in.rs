//! The built-in templates. A test compares them with the files in `relay/templates/mail`.

macro_rules! built_in {
    ($($locale:literal: [$($file:literal),+ $(,)?];)+) => {
        &[$($((
            concat!($locale, "/", $file),
            include_str!(concat!("../../../templates/mail/", $locale, "/", $file)),
        ),)+)+]
    };
}

/// By their names, such as `en/confirmed.txt`.
pub(super) const BUILT_IN: &[(&str, &str)] = built_in! {
    "en": [
        "back-in-stock.html",
        "back-in-stock.subject.txt",
        "back-in-stock.txt",
        "cancelled.html",
        "cancelled.subject.txt",
        "cancelled.txt",
        "confirmed.html",
        "confirmed.subject.txt",
        "confirmed.txt",
        "delivered.html",
        "delivered.subject.txt",
        "delivered.txt",
        "formats.json",
        "layout.html",
        "payment-declined.html",
        "payment-declined.subject.txt",
        "payment-declined.txt",
        "payment-needed.html",
        "payment-needed.sms.txt",
        "payment-needed.subject.txt",
        "payment-needed.txt",
        "refunded.html",
        "refunded.subject.txt",
        "refunded.txt",
        "rejected.html",
        "rejected.subject.txt",
        "rejected.txt",
        "shipped.html",
        "shipped.sms.txt",
        "shipped.subject.txt",
        "shipped.txt",
    ];
    "de": [
        "back-in-stock.html",
        "back-in-stock.subject.txt",
        "back-in-stock.txt",
        "cancelled.html",
        "cancelled.subject.txt",
        "cancelled.txt",
        "confirmed.html",
        "confirmed.subject.txt",
        "confirmed.txt",
        "delivered.html",
        "delivered.subject.txt",
        "delivered.txt",
        "formats.json",
        "layout.html",
        "payment-declined.html",
        "payment-declined.subject.txt",
        "payment-declined.txt",
        "payment-needed.html",
        "payment-needed.sms.txt",
        "payment-needed.subject.txt",
        "payment-needed.txt",
        "refunded.html",
        "refunded.subject.txt",
        "refunded.txt",
        "rejected.html",
        "rejected.subject.txt",
        "rejected.txt",
        "shipped.html",
        "shipped.sms.txt",
        "shipped.subject.txt",
        "shipped.txt",
    ];
};
