//! Customers' mail preferences, and the articles they wait for.

use chrono::{DateTime, Utc};
use domain::{CustomerId, MailTemplate};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::app::App;
use crate::app::customers::visible;
use crate::app::products::parse_sku;
use crate::error::{OrProblem, Problem, Rules};
use crate::identity::{Caller, normalized_email};

/// A customer's mail preferences. Personal data: visible to the customer and to staff only.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MailPreferences {
    /// The customer.
    #[schema(example = "17850")]
    customer_id: String,
    /// The address for mails: the one set by the shop's own programs, or else the one the customer
    /// registered with. Without an address, the customer gets no mails.
    email: Option<String>,
    /// The locale of mails; if absent, that of the country an order goes to.
    #[schema(example = "de")]
    locale: Option<String>,
    /// Mails that are not sent.
    switched_off: Vec<MailTemplate>,
    /// Articles that the customer waits for.
    waits: Vec<Wait>,
}

/// An article that a customer waits for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Wait {
    /// The article's number.
    #[schema(example = "71053")]
    sku: String,
    /// Since when.
    since: DateTime<Utc>,
}

/// A change of mail preferences, unchecked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PreferencesInput<'a> {
    pub(crate) email: Option<&'a str>,
    pub(crate) locale: Option<&'a str>,
    pub(crate) switched_off: &'a [MailTemplate],
}

/// The customer's preferences, if the caller may see them. By default all mails are sent.
pub(crate) async fn read(
    app: &App,
    caller: &Caller,
    customer_id: &str,
) -> Result<MailPreferences, Problem> {
    let customer_id = visible(caller, customer_id)?;
    on_record(&app.database, &customer_id).await
}

/// Replaces the customer's preferences. Omitted fields are deleted, except for the address: only
/// the shop's own programs set or delete it, so that a customer cannot make the shop write to
/// somebody else.
///
/// **Repeats.** Idempotent.
///
/// **Errors.** 422 if a mail cannot be switched off, or if a customer sets an address.
pub(crate) async fn update(
    app: &App,
    caller: &Caller,
    customer_id: &str,
    input: PreferencesInput<'_>,
) -> Result<MailPreferences, Problem> {
    let customer_id = visible(caller, customer_id)?;
    let mut rules = Rules::default();
    let is_staff = caller.customer().is_none();
    let email = rules.check_given("/email", input.email.map(normalized_email));
    if input.email.is_some() && !is_staff {
        rules.broken("/email", "only the shop's own programs say where else mails go");
    }
    let locale = rules.check_given("/locale", input.locale.map(check_locale));
    for (place, template) in input.switched_off.iter().enumerate() {
        if !template.can_be_switched_off() {
            let why = "a mail that every order needs cannot be switched off";
            rules.broken(format!("/switched_off/{place}"), why);
        }
    }
    rules.kept(Some(()))?;
    let mut switched_off: Vec<_> =
        input.switched_off.iter().map(|template| template.name().to_owned()).collect();
    switched_off.sort_unstable();
    switched_off.dedup();
    sqlx::query!(
        "insert into customers.mail_preferences as known (customer_id, email, locale, switched_off)
         values ($1, $2, $3, $4)
         on conflict (customer_id) do update
         set email = case when $5 then excluded.email else known.email end,
             locale = excluded.locale, switched_off = excluded.switched_off, updated_at = now()",
        customer_id.as_str(),
        email,
        locale,
        &switched_off,
        is_staff,
    )
    .execute(&app.database)
    .await
    .or_problem("changing what a customer wants of mails")?;
    on_record(&app.database, &customer_id).await
}

/// Notifies the customer once when the article is available again.
///
/// **Repeats.** Idempotent.
///
/// **Errors.** 404 if there is no such article.
pub(crate) async fn wait_for(
    app: &App,
    caller: &Caller,
    customer_id: &str,
    sku: &str,
) -> Result<MailPreferences, Problem> {
    const DOING: &str = "waiting for an article";
    let customer_id = visible(caller, customer_id)?;
    let sku = parse_sku(sku)?;
    let is_sold = sqlx::query_scalar!(
        r#"select exists (select from catalog.products where sku = $1) as "is_sold!""#,
        sku.as_str(),
    );
    if !is_sold.fetch_one(&app.database).await.or_problem(DOING)? {
        return Err(Problem::product_not_found());
    }
    sqlx::query!(
        "insert into mail.waits (customer_id, sku) values ($1, $2) on conflict do nothing",
        customer_id.as_str(),
        sku.as_str(),
    )
    .execute(&app.database)
    .await
    .or_problem(DOING)?;
    on_record(&app.database, &customer_id).await
}

/// Ends the wait for an article. A notification that is not sent yet is withdrawn.
///
/// **Repeats.** Idempotent.
pub(crate) async fn wait_no_more(
    app: &App,
    caller: &Caller,
    customer_id: &str,
    sku: &str,
) -> Result<MailPreferences, Problem> {
    let customer_id = visible(caller, customer_id)?;
    let sku = parse_sku(sku)?;
    sqlx::query!(
        "update mail.waits set withdrawn_at = now()
         where customer_id = $1 and sku = $2 and withdrawn_at is null",
        customer_id.as_str(),
        sku.as_str(),
    )
    .execute(&app.database)
    .await
    .or_problem("waiting for an article no more")?;
    on_record(&app.database, &customer_id).await
}

async fn on_record(
    database: &PgPool,
    customer_id: &CustomerId,
) -> Result<MailPreferences, Problem> {
    const DOING: &str = "reading what a customer wants of mails";
    let row = sqlx::query!(
        r#"select coalesce(preference.email, customer.email) as email,
               preference.locale as "locale?", preference.switched_off as "switched_off?"
           from (values ($1::text)) as asked (customer_id)
           left join customers.customers as customer using (customer_id)
           left join customers.mail_preferences as preference using (customer_id)"#,
        customer_id.as_str(),
    )
    .fetch_one(database)
    .await
    .or_problem(DOING)?;
    let waits = sqlx::query_as!(
        Wait,
        "select sku, created_at as since from mail.waits
         where customer_id = $1 and told_at is null and withdrawn_at is null order by sku",
        customer_id.as_str(),
    )
    .fetch_all(database)
    .await
    .or_problem(DOING)?;
    // A template that only another release knows is left out.
    let switched_off = row.switched_off.unwrap_or_default();
    let switched_off = switched_off.iter().filter_map(|name| name.parse().ok()).collect();
    Ok(MailPreferences {
        customer_id: customer_id.as_str().to_owned(),
        email: row.email,
        locale: row.locale,
        switched_off,
        waits,
    })
}

/// A language, optionally with a country.
fn check_locale(text: &str) -> Result<String, &'static str> {
    let (language, country) = text.split_once('-').unwrap_or((text, "GB"));
    let is_language = language.len() == 2 && language.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_country = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase());
    let is_locale = is_language && is_country;
    is_locale.then(|| text.to_owned()).ok_or("a locale, such as de or de-AT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_is_a_language_and_perhaps_a_country() {
        for locale in ["de", "de-AT", "en"] {
            assert_eq!(check_locale(locale).as_deref(), Ok(locale));
        }
        for wrong in ["", "d", "DE", "de-", "de-at", "de_AT", "de-AT-x", "../../etc", "deu"] {
            assert!(check_locale(wrong).is_err(), "{wrong}");
        }
    }
}
