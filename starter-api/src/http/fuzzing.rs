//! Fuzzing entry points of HTTP: the parsers of bodies, query strings, paths and headers. Each
//! asserts invariants of accepted input, and of the refusal of anything else.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use domain::screening::RuleSet;
use domain::{Fingerprint, LINES_MAX, is_foreign_id};
use futures::executor::block_on;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;

use crate::app::attention::{AttentionCursor, ResolveAll};
use crate::app::basket::{Basket, BasketInput};
use crate::app::input::{Moment, SearchText, line_of_text};
use crate::app::ledger::parse_account;
use crate::app::orders::cancel::CancelOrder;
use crate::app::orders::filter::OrderCursor;
use crate::app::orders::pay::PayOrder;
use crate::app::orders::place::IdempotencyKey;
use crate::app::orders::place::command::{PlaceOrder, Recipient};
use crate::app::orders::refund::RefundOrder;
use crate::app::orders::resolve::ResolveOrder;
use crate::app::orders::{
    CANCEL_WINDOW_SECONDS_MAX, PATIENCE_SECONDS_MAX, PAYMENT_RETRY_SECONDS_MAX, parse_id,
};
use crate::app::paging::Page;
use crate::app::products::parse_sku;
use crate::app::screening::reviews::ReviewCursor;
use crate::app::webhooks::list::EventCursor;
use crate::app::webhooks::receive;
use crate::app::webhooks::signature::{StripeMode, StripeWebhooks};
use crate::error::{Breach, Kind, Problem, Rules};
use crate::grpc;
use crate::http::customers::update::CustomerRequest;
use crate::http::customers::update_mail::PreferencesRequest;
use crate::http::endpoints::change::ChangeRequest;
use crate::http::endpoints::create::EndpointRequest;
use crate::http::endpoints::deliveries::DeliveriesQuery;
use crate::http::endpoints::list::EndpointsQuery;
use crate::http::endpoints::redeliver::RedeliverRequest;
use crate::http::endpoints::rotate::RotateRequest;
use crate::http::extract::{Body, IdempotencyKeyHeader, PreferWait, Query, visible_ascii, wants};
use crate::http::forwarded::{ProxyHeader, callers};
use crate::http::graphql::GraphqlRequest;
use crate::http::identity::token;
use crate::http::line::{LineRequest, whole_number};
use crate::http::observe::TraceParent;
use crate::http::orders::cancel::{CancelOrderRequest, CancelQuery};
use crate::http::orders::deliver::DeliverOrderRequest;
use crate::http::orders::pay::PayOrderRequest;
use crate::http::orders::place::{OrderRequest, ShipToRequest};
use crate::http::orders::refund::RefundOrderRequest;
use crate::http::orders::resolve::ResolveOrderRequest;
use crate::http::orders::{events, list};
use crate::http::parties::stop::StopRequest;
use crate::http::products::create::ProductRequest;
use crate::http::products::update::TermsRequest;
use crate::http::queues::pause::PauseRequest;
use crate::http::quotes::QuoteRequest;
use crate::http::reconciliation::settle::SettleRequest;
use crate::http::screening::add::EntryRequest;
use crate::http::screening::entries::EntriesQuery;
use crate::http::screening::review::ReviewOrderRequest;
use crate::http::screening::reviews::ReviewsQuery;
use crate::http::screening::rule_sets::activate::ActivateRequest;
use crate::http::screening::rule_sets::add::RuleSetRequest;
use crate::http::screening::rule_sets::list::RuleSetsQuery;
use crate::http::stock::shift::MovementRequest;
use crate::http::webhooks::dismiss::DismissRequest;
use crate::http::{
    attention, conditional, customers, disputes, identity, ledger, mail, page, products,
    reconciliation, relay, stock, webhooks,
};
use crate::identity::fuzzing::caller_of_the_shop;

/// The number of digits of the shortest card number.
const CARD_DIGITS_MIN: usize = 12;

/// The body of `POST /v1/orders`.
///
/// An accepted order keeps every documented limit, has each text as it was sent, and stays the same
/// order when its JSON is formatted differently. A refused one names the rules that it breaks.
pub fn order_body(body: &[u8]) {
    let Some(request) = taken::<OrderRequest>(body) else { return };
    let written_differently = serde_json::from_slice::<Value>(body).ok();
    let again = written_differently.and_then(|json| order_of_json(&json));
    assert_eq!(again, meaning(&request));
}

/// A `PlaceOrderRequest` of gRPC. It has the same fingerprint as the equivalent JSON: a repeat may
/// use the other protocol.
pub fn grpc_message(bytes: &[u8]) {
    let Some((json, order)) = grpc::fuzzing::order(bytes) else { return };
    assert_eq!(order_of_json(&json), Some(order));
}

/// The fingerprint of an order in JSON, or the rules that it breaks; `None` if it cannot be parsed.
fn order_of_json(json: &Value) -> Option<Result<Fingerprint, Vec<Breach>>> {
    taken::<OrderRequest>(json.to_string().as_bytes()).as_ref().and_then(meaning)
}

fn meaning(request: &OrderRequest) -> Option<Result<Fingerprint, Vec<Breach>>> {
    let caller = caller_of_the_shop()?;
    Some(match PlaceOrder::check(&caller, &request.input()) {
        Ok(order) => {
            keeps_limits(&order);
            if let Some(recipient) = &order.recipient {
                keeps_texts(recipient, &request.ship_to);
            }
            Ok(order.fingerprint())
        }
        Err(problem) => {
            names_broken_rules(&problem);
            Err(problem.details().breaches.clone())
        }
    })
}

/// The body of `POST /v1/quotes`.
pub fn quote_body(body: &[u8]) {
    let Some(request) = taken::<QuoteRequest>(body) else { return };
    let basket = BasketInput {
        lines: request.lines.iter().map(LineRequest::input).collect(),
        country: &request.ship_to.country,
        discount_code: request.discount_code.as_deref(),
    };
    let mut rules = Rules::default();
    let checked = Basket::check(&mut rules, &basket);
    match rules.kept(checked) {
        Ok(basket) => assert!((1..=LINES_MAX).contains(&basket.lines.len())),
        Err(problem) => names_broken_rules(&problem),
    }
}

/// The bodies of all other operations; the first byte selects the operation.
pub fn other_body(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    match which {
        b'c' => cancel_body(body),
        b'y' => pay_body(body),
        b'k' => refund_body(body),
        b'D' => is_read::<DeliverOrderRequest>(body),
        b'r' => resolve_body(body),
        b'a' => resolve_all_body(body),
        b'p' => is_read::<ProductRequest>(body),
        b't' => is_read::<TermsRequest>(body),
        b'm' => is_read::<MovementRequest>(body),
        b'u' => is_read::<CustomerRequest>(body),
        b'n' => is_read::<identity::register::Registration>(body),
        b's' => is_read::<identity::sign_in::SignIn>(body),
        b'w' => is_read::<identity::change_password::PasswordChange>(body),
        b'q' => is_read::<PauseRequest>(body),
        b'x' => is_read::<StopRequest>(body),
        b'd' => is_read::<SettleRequest>(body),
        b'i' => is_read::<DismissRequest>(body),
        b'K' => is_read::<relay::WhyRequest>(body),
        b'R' => is_read::<relay::replay::ReplayRequest>(body),
        b'S' => is_read::<relay::skip::SkipRequest>(body),
        b'v' => is_read::<ReviewOrderRequest>(body),
        b'l' => is_read::<EntryRequest>(body),
        b'b' => rule_set_body(body),
        b'j' => is_read::<ActivateRequest>(body),
        b'e' => is_read::<EndpointRequest>(body),
        b'h' => is_read::<ChangeRequest>(body),
        b'o' => is_read::<RotateRequest>(body),
        b'z' => is_read::<RedeliverRequest>(body),
        b'P' => is_read::<PreferencesRequest>(body),
        b'M' => is_read::<mail::skip::SkipRequest>(body),
        b'g' => is_read::<GraphqlRequest>(body),
        b'f' => token_form(body),
        _ => {}
    }
}

/// The query strings of all lists; the first byte selects the list.
///
/// An accepted query is serialised for the link to the next page, and must be parsed as the same
/// query again.
pub fn query_string(bytes: &[u8]) {
    let Some((which, query)) = bytes.split_first() else { return };
    match which {
        b'o' => is_read_back::<list::ListQuery>(query),
        b'e' => is_read_back::<events::ListQuery>(query),
        b'p' => is_read_back::<products::list::ListQuery>(query),
        b's' => is_read_back::<stock::list::ListQuery>(query),
        b'c' => is_read_back::<customers::list::ListQuery>(query),
        b'a' => is_read_back::<attention::list::ListQuery>(query),
        b'r' => is_read_back::<ReviewsQuery>(query),
        b'l' => is_read_back::<EntriesQuery>(query),
        b'v' => is_read_back::<RuleSetsQuery>(query),
        b't' => is_read_back::<ledger::transactions::ListQuery>(query),
        b'b' => is_read_back::<disputes::list::ListQuery>(query),
        b'w' => is_read_back::<webhooks::list::ListQuery>(query),
        b'f' => is_read_back::<reconciliation::list::ListQuery>(query),
        b'k' => is_read_back::<relay::parked::ListQuery>(query),
        b'h' => is_read_back::<EndpointsQuery>(query),
        b'z' => is_read_back::<DeliveriesQuery>(query),
        b'n' => is_read_back::<mail::list::ListQuery>(query),
        b'd' => {
            query_of::<CancelQuery>(query);
        }
        _ => {}
    }
}

thread_local! {
    static WEBHOOKS: Option<StripeWebhooks> =
        StripeWebhooks::new("whsec_of_the_fuzz_targets", StripeMode::Test).ok();
}

/// A webhook: the header `Stripe-Signature` on the first line, and the body after it.
///
/// It is not signed, so it must be refused. Its body is then parsed as if it were signed: of an
/// accepted event, every name can be stored, and it has the configured mode.
pub fn webhook(bytes: &[u8]) {
    const NOW: u64 = 1_793_534_400;
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (header, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    WEBHOOKS.with(|webhooks| {
        let Some(webhooks) = webhooks else { return };
        let unsigned = receive::read(webhooks, Some(header), body, NOW);
        assert_eq!(unsigned.err().map(|problem| problem.kind()), Some(Kind::SignatureRefused));
        let Some(signed) = webhooks.signed(body, NOW) else { return };
        match receive::read(webhooks, Some(signed.as_bytes()), body, NOW) {
            Ok(event) => {
                let names = [&event.id, &event.event_type, &event.object_kind];
                let mut names = names.into_iter().chain(&event.object_id);
                assert!(names.all(|name| is_foreign_id(name)));
                assert!(!event.is_live && !event.is_of_another_account);
                assert!(event.happened_at.timestamp() >= 0);
            }
            Err(problem) => assert!(matches!(
                problem.kind(),
                Kind::MalformedRequest | Kind::EventOfAnotherAccount
            )),
        }
    });
}

/// Short texts: cursors, ids in paths, timestamps, search texts and single-line texts; the first
/// byte selects the kind.
pub fn short_text(bytes: &[u8]) {
    let Some((which, Ok(text))) =
        bytes.split_first().map(|(which, text)| (which, std::str::from_utf8(text)))
    else {
        return;
    };
    match which {
        b'o' => cursor_is_read_back::<OrderCursor>(text),
        b'a' => cursor_is_read_back::<AttentionCursor>(text),
        b'e' => cursor_is_read_back::<EventCursor>(text),
        b'r' => cursor_is_read_back::<ReviewCursor>(text),
        b'm' => cursor_is_read_back::<Moment>(text),
        b'q' => search_text(text),
        b'l' => line(text),
        b'i' => {
            if let Ok(order_id) = parse_id(text) {
                assert_eq!(order_id.to_string(), text.to_ascii_lowercase());
            }
        }
        b's' => {
            if let Ok(sku) = parse_sku(text) {
                assert_eq!(sku.as_str(), text);
            }
        }
        b'b' => {
            if let Ok(account) = parse_account(text) {
                assert_eq!(account.as_str(), text);
            }
        }
        b'k' => key(text),
        _ => {}
    }
}

/// The headers of a request, as lines of `name: value`.
pub fn headers(lines: &[u8]) {
    let mut parts = Request::new(()).into_parts().0;
    parts.headers = lines.split(|byte| *byte == b'\n').filter_map(header_of).collect();
    idempotency_key(&mut parts);
    prefer(&mut parts);
    let headers = &parts.headers;
    for name in ["x-request-id", "traceparent"] {
        let Some(value) = headers.get(name) else { continue };
        let id = visible_ascii(value, 128);
        assert!(id.is_none_or(|id| (1..=128).contains(&id.len())));
        if let Some(TraceParent { trace_id, parent_id }) = TraceParent::read(value) {
            let told = format!("-{trace_id}-{parent_id}-");
            assert!(value.to_str().is_ok_and(|header| header.contains(&told)));
        }
    }
    for (header, name) in
        [(ProxyHeader::XForwardedFor, "x-forwarded-for"), (ProxyHeader::Forwarded, "forwarded")]
    {
        // The nearest proxies are counted from the end, so no element may be lost.
        let commas = headers.get_all(name).iter().map(elements_of).sum::<usize>();
        assert_eq!(callers(headers, header).len(), commas);
    }
    let (stream, json) = ("text/event-stream", "application/json");
    assert!(!(wants(headers, stream, json) && wants(headers, json, stream)));
    if let Ok(seen) = events::last_seen(headers) {
        assert!(seen >= 0);
    }
    conditions(headers);
}

/// Parses the body as the operation does.
///
/// A refusal must not repeat anything that could be a card number.
fn taken<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let mut request = Request::new(axum::body::Body::from(body.to_vec()));
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    match block_on(Body::<T>::from_request(request, &())) {
        Ok(Body(value)) => Some(value),
        Err(problem) => {
            assert!(matches!(problem.kind(), Kind::MalformedRequest | Kind::BodyTooLarge));
            if let Ok(json) = serde_json::from_slice::<Value>(body) {
                repeats_no_card(&json, &problem);
            }
            None
        }
    }
}

fn is_read<T: DeserializeOwned>(body: &[u8]) {
    taken::<T>(body);
}

fn repeats_no_card(json: &Value, problem: &Problem) {
    match json {
        Value::Array(values) => values.iter().for_each(|value| repeats_no_card(value, problem)),
        Value::Object(fields) => fields.values().for_each(|value| repeats_no_card(value, problem)),
        Value::String(text) => tells_nothing_of(text, problem),
        Value::Number(number) => tells_nothing_of(&number.to_string(), problem),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Asserts that no digits of the value that could be a card number are repeated in the refusal,
/// except in the name of a field.
fn tells_nothing_of(value: &str, problem: &Problem) {
    let detail = &problem.details().detail;
    let numbers = value.split(|letter: char| !letter.is_ascii_digit());
    for card in numbers.filter(|number| number.len() >= CARD_DIGITS_MIN) {
        assert!(!detail.contains(card) || detail.starts_with("unknown field "), "{detail}");
    }
}

fn keeps_limits(order: &PlaceOrder) {
    assert!((1..=LINES_MAX).contains(&order.basket.lines.len()));
    assert!(order.cancel_window_seconds.is_none_or(|it| it <= CANCEL_WINDOW_SECONDS_MAX));
    assert!(order.payment_retry_seconds.is_none_or(|it| it <= PAYMENT_RETRY_SECONDS_MAX));
    assert!(order.patience_seconds.is_none_or(|it| (1..=PATIENCE_SECONDS_MAX).contains(&it)));
}

fn keeps_texts(kept: &Recipient, given: &ShipToRequest) {
    let same = |kept: Option<&String>, given: Option<&String>, length_max: usize| {
        let Some(kept) = kept else { return };
        assert!((1..=length_max).contains(&kept.chars().count()));
        assert_eq!(given.map(|given| composed(given)).as_ref(), Some(kept));
    };
    same(Some(&kept.name), given.name.as_ref(), 200);
    same(Some(&kept.line1), given.line1.as_ref(), 200);
    same(kept.line2.as_ref(), given.line2.as_ref(), 200);
    same(kept.city.as_ref(), given.city.as_ref(), 100);
    same(kept.postal_code.as_ref(), given.postal_code.as_ref(), 20);
}

/// A single-line text in its stored form.
fn composed(text: &str) -> String {
    text.trim().nfc().collect()
}

fn names_broken_rules(problem: &Problem) {
    let breaches = &problem.details().breaches;
    assert_eq!(problem.kind(), Kind::InvalidRequest);
    assert!((1..=50).contains(&breaches.len()));
    assert!(breaches.iter().all(|breach| breach.pointer.starts_with('/')));
}

/// A valid order id.
const AN_ORDER: &str = "0190a8f4-5b1e-7c3a-9d2f-1a2b3c4d5e6f";

fn cancel_body(body: &[u8]) {
    let Some(request) = taken::<CancelOrderRequest>(body) else { return };
    is_refused_by_rules(CancelOrder::check(AN_ORDER, &request.reason));
}

fn pay_body(body: &[u8]) {
    let Some(request) = taken::<PayOrderRequest>(body) else { return };
    is_refused_by_rules(PayOrder::check(AN_ORDER, &request.payment_token));
}

fn refund_body(body: &[u8]) {
    let Some(request) = taken::<RefundOrderRequest>(body) else { return };
    is_refused_by_rules(RefundOrder::check(AN_ORDER, &request.input()));
}

fn resolve_body(body: &[u8]) {
    let Some(request) = taken::<ResolveOrderRequest>(body) else { return };
    let ResolveOrderRequest { step, occurrence, decision, why } = request;
    let occurrence = whole_number(&occurrence);
    is_refused_by_rules(ResolveOrder::check(AN_ORDER, &step, occurrence, decision, &why));
}

fn resolve_all_body(body: &[u8]) {
    let Some(request) = taken::<attention::resolve::ResolveAllRequest>(body) else { return };
    let attention::resolve::ResolveAllRequest { step, cause, decision, why } = request;
    is_refused_by_rules(ResolveAll::check(&step, &cause, decision, &why));
}

/// An accepted rule set must be parsed as the same by the worker.
fn rule_set_body(body: &[u8]) {
    let Some(RuleSetRequest { rules, .. }) = taken::<RuleSetRequest>(body) else { return };
    assert!(rules.faults().iter().all(|fault| fault.pointer.starts_with('/')));
    let written = serde_json::to_value(&rules).ok();
    let again = written.and_then(|json| serde_json::from_value::<RuleSet>(json).ok());
    assert_eq!(again, Some(rules));
}

fn is_refused_by_rules<T>(checked: Result<T, Problem>) {
    if let Err(problem) = checked {
        names_broken_rules(&problem);
    }
}

/// The form of `POST /oauth/token`, after a line with the header `Authorization`.
fn token_form(bytes: &[u8]) {
    let (authorization, form) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => bytes.split_at(end),
        None => (&b""[..], bytes),
    };
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(authorization) {
        headers.insert(header::AUTHORIZATION, value);
    }
    let readings = token::readings_of(&headers, form.strip_prefix(b"\n").unwrap_or(form));
    assert!(readings.is_none_or(|readings| (1..=2).contains(&readings)));
}

fn query_of<T: DeserializeOwned>(query: &[u8]) -> Option<T> {
    let uri = [b"/?", query].concat();
    let mut parts = Request::new(()).into_parts().0;
    parts.uri = std::str::from_utf8(&uri).ok()?.parse().ok()?;
    block_on(Query::<T>::from_request_parts(&mut parts, &())).ok().map(|Query(query)| query)
}

fn is_read_back<T: DeserializeOwned + Serialize>(query: &[u8]) {
    let Some(asked) = query_of::<T>(query) else { return };
    let written = serde_urlencoded::to_string(&asked).ok();
    let again = written.as_ref().and_then(|written| query_of::<T>(written.as_bytes()));
    let again = again.and_then(|again| serde_urlencoded::to_string(&again).ok());
    assert!(written.is_some());
    assert_eq!(again, written);
    let page = Page::<()> { items: Vec::new(), next_cursor: Some("next".to_owned()) };
    assert!(page::respond(page, "/v1/orders", &asked).is_ok());
}

/// A serialised cursor must be parsed as the same cursor, because clients send it back.
fn cursor_is_read_back<T>(text: &str)
where
    T: TryFrom<String> + Into<String> + Clone,
{
    let Ok(cursor) = T::try_from(text.to_owned()) else { return };
    let written: String = cursor.into();
    let again = T::try_from(written.clone()).ok().map(Into::<String>::into);
    assert_eq!(again, Some(written));
}

fn search_text(text: &str) {
    if let Ok(taken) = SearchText::try_from(text.to_owned()) {
        assert_eq!(taken.as_str(), composed(text));
        assert!((1..=100).contains(&taken.as_str().chars().count()));
    }
}

/// A line is accepted as a whole or not at all, and stays the same when parsed again.
fn line(text: &str) {
    for length_max in [1, 20, 200] {
        let Ok(line) = line_of_text(text, length_max) else { continue };
        assert_eq!(line, composed(text));
        assert!((1..=length_max).contains(&line.chars().count()));
        assert!(!line.chars().any(char::is_control));
        assert_eq!(line_of_text(&line, length_max), Ok(line));
    }
}

/// A key is the same with quotes as without.
fn key(text: &str) {
    let Some(key) = IdempotencyKey::parse(text) else { return };
    let plain = text.strip_prefix('"').map_or(text, |text| text.trim_end_matches('"'));
    assert_eq!(IdempotencyKey::parse(plain), Some(key.clone()));
    if !plain.contains(['"', '\\']) {
        assert_eq!(IdempotencyKey::parse(&format!("\"{plain}\"")), Some(key));
    }
}

/// A header from a line `name: value`.
fn header_of(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at(colon);
    let value = value.get(1..)?.trim_ascii();
    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
}

fn elements_of(line: &HeaderValue) -> usize {
    line.to_str().map_or(1, |line| line.split(',').count())
}

fn idempotency_key(parts: &mut Parts) {
    let sent = parts.headers.get_all("idempotency-key").iter().count();
    let read = block_on(IdempotencyKeyHeader::from_request_parts(parts, &()));
    match read {
        Ok(IdempotencyKeyHeader(key)) => assert_eq!(usize::from(key.is_some()), sent),
        Err(problem) => assert!(sent > 0 && problem.kind() == Kind::MalformedRequest),
    }
}

fn prefer(parts: &mut Parts) {
    let read = block_on(PreferWait::from_request_parts(parts, &()));
    assert!(read.is_ok(), "a preference is never a reason to refuse");
    let Ok(PreferWait(Some(wait))) = read else { return };
    // The same in the standard's simplest form.
    let plain = HeaderValue::from(wait.seconds);
    let mut told = Request::new(()).into_parts().0;
    let plain = [b"wait=", plain.as_bytes()].concat();
    told.headers.extend(HeaderValue::from_bytes(&plain).ok().map(|it| (PREFER, it)));
    let again = block_on(PreferWait::from_request_parts(&mut told, &()));
    let again = again.ok().and_then(|PreferWait(wait)| wait);
    assert_eq!(again.map(|wait| wait.seconds), Some(wait.seconds));
}

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A change without a precondition is allowed. With a valid one it is allowed or answered with 412,
/// and with an invalid one it is never made.
fn conditions(headers: &HeaderMap) {
    let allowed = conditional::allows::<Shown>(headers, Some(&Shown));
    let conditions = [header::IF_MATCH, header::IF_NONE_MATCH];
    let is_free = conditions.iter().all(|name| !headers.contains_key(name));
    match allowed {
        Ok(()) => {}
        Err(problem) => {
            assert!(!is_free);
            assert!(matches!(problem.kind(), Kind::ChangedMeanwhile | Kind::MalformedRequest));
        }
    }
    assert!(conditional::respond(headers, &Shown).is_ok());
}

/// A resource with an `ETag`.
#[derive(Debug, Serialize)]
struct Shown;

impl conditional::Tagged for Shown {}
