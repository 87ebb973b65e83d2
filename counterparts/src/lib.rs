//! Counterparts of the parties outside, for tests: a proxy that makes localstripe answer as Stripe
//! does.
//!
//! localstripe (1.15.10, a Python program) keeps payments, and stripe-mock (0.203.0, a Go program)
//! judges whether a request has a shape that Stripe takes. The proxy stands before both. It adds
//! what neither has: idempotency keys, faults, events and their delivery, disputes. And it corrects
//! localstripe where a client would come to rely on the wrong thing.
//!
//! # What localstripe does, and what the proxy makes of it
//!
//! Read in localstripe's source and seen in its answers. What is said of Stripe is its published
//! documentation, or answers of its that others have published; nothing here was compared with
//! Stripe itself.
//!
//! | localstripe | the proxy |
//! |---|---|
//! | ignores `Idempotency-Key` | a table of keys ([`Keys`]) |
//! | takes any key that begins with `sk_` | `Bearer sk_test_…` alone, otherwise 401 |
//! | refuses parameters that Stripe takes | keeps them back, and shows the plain ones in the object ([`Kept`]) |
//! | answers 500 to `payment_method` on confirm | sets it on the payment first, which is a change that localstripe takes |
//! | lets nobody confirm again after a decline | sets the payment back and confirms it with the new card |
//! | has one card that is declined as it is charged; `pm_card_visa_chargeDeclined` is paid | Stripe's names for test cards ([`Card`]), each with its `decline_code` |
//! | a decline is an `invalid_request_error` | a `card_error` with `code`, `decline_code`, `charge`, `payment_intent`; the same in `last_payment_error` |
//! | waits for the customer although they are away (`off_session`) | 402 `authentication_required` |
//! | takes money of a canceled payment; 500 for one that was never confirmed; `Bad request` for any other wrong state | `payment_intent_unexpected_state`, with the payment |
//! | `latest_charge` is always the whole charge | its id, unless `expand[]=latest_charge` asks for it |
//! | no `capture_before`, `amount_captured`, `amount_received`, `amount_capturable`, `canceled_at` | all of them |
//! | what a partial capture leaves becomes a refund without payment and with a balance transaction | the refund names its payment and has no balance transaction, as with Stripe; [`Settings::remainder_is_a_refund`] hides it |
//! | refunds more than was captured, and what was never captured | `charge_already_refunded`, or a refusal that says how much is left |
//! | without an amount, refunds what was authorised | what is left of what was captured |
//! | refunds of an unconfirmed payment: 500 | an empty list |
//! | refunds of one second are listed oldest first | the newest first |
//! | a card or customer that is not there is a 404 | 400 with the parameter's name |
//! | errors are `Not Found` and `Bad request` | `resource_missing`, `parameter_unknown`; other refusals keep their text |
//! | three types of events, oldest first, sent once, a second late, with one signature | events of its own: newest first, in any order, as often as a test asks, with one or two signatures ([`Deliver`]); or as they happen, of which some come twice, late or not at all ([`Delivery`]) |
//! | lists of payments and refunds know no range, and payments are listed oldest first | `created[…]`, the newest first |
//! | balance transactions have no fees, a partial capture is +whole and −rest, and no filter works; payouts are in euros only | each payment, refund and movement of a dispute changes the balance, a payment less 1.5 % and 20 of the smallest unit; lists by `payout` and `created[…]`, with `expand[]=data.source` |
//! | no disputes, no failed refund, no expired authorisation, no payout of what was taken | on command ([`Happening`]) |
//!
//! Not corrected: search (404), customers, and whatever else the proxy only hands on.
//!
//! # Commands
//!
//! `POST` with a JSON body, and no key:
//!
//! | path | does |
//! |---|---|
//! | `GET /_proxy/judgements` | the requests that stripe-mock refused, as `{judge, asked, refused}`; `judge` is null where there is none |
//! | `/_proxy/faults` | replaces the plan of faults: a list of [`Planned`] |
//! | `/_proxy/more-faults` | adds to that plan; a fault may be for one payment alone, by its metadata |
//! | `GET /_proxy/payments/{mark}` | the payments that were opened with this value in their metadata, each with its charge |
//! | `GET /_proxy/struck` | how many requests a fault has befallen so far, as `{struck}` |
//! | `/_proxy/forget-keys` | forgets every idempotency key, as Stripe does after a day |
//! | `/_proxy/settings` | replaces the [`Settings`] |
//! | `/_proxy/happen` | has something happen at the provider: a [`Happening`]; answers the object |
//! | `/_proxy/authenticate/{payment}` | the customer approves (`{"success": true}`) or does not |
//! | `/_proxy/deliver` | sends events to the webhook: [`Deliver`]; answers the receiver's statuses |
//! | `GET /_proxy/deliveries` | what became of the events that were delivered as they happened, as `{taken, refused, twice, late, lost}` |

mod answer;
mod balance;
mod cards;
mod control;
mod effects;
mod events;
mod faults;
mod happenings;
mod idempotency;
mod params;
mod proxy;
mod serve;
mod shape;
mod strip;
mod upstream;
mod webhooks;

pub use answer::Answer;
pub use cards::Card;
pub use faults::{Fault, Planned};
pub use happenings::Happening;
pub use idempotency::{Begun, Keys};
pub use proxy::{Config, Settings, router};
pub use serve::serve;
pub use strip::Kept;
pub use webhooks::{Deliver, Delivery, Webhook, signature};
