//! Counterparts of outside services, for tests: a proxy that makes localstripe behave like Stripe.
//!
//! localstripe (1.15.10, a Python program) stores payments, and stripe-mock (0.203.0, a Go program)
//! validates requests against Stripe's API. The proxy sits in front of both. It adds what neither
//! has: idempotency keys, faults, events and their delivery, disputes. And it corrects localstripe
//! where a client might come to rely on wrong behaviour.
//!
//! # Differences between localstripe and the proxy
//!
//! Taken from localstripe's source and its answers. Statements about Stripe come from its published
//! documentation, or from answers of Stripe that others have published; nothing here was compared
//! with Stripe itself.
//!
//! | localstripe | the proxy |
//! |---|---|
//! | ignores `Idempotency-Key` | a table of keys ([`Keys`]) |
//! | accepts any key that begins with `sk_` | only `Bearer sk_test_…`, otherwise 401 |
//! | rejects parameters that Stripe accepts | withholds them, and shows the plain ones in the object ([`Kept`]) |
//! | answers 500 to `payment_method` on confirm | sets it on the payment first, which localstripe accepts |
//! | allows no second confirmation after a decline | resets the payment and confirms it with the new card |
//! | has one card that is declined when charged; `pm_card_visa_chargeDeclined` is paid | Stripe's names for test cards ([`Card`]), each with its `decline_code` |
//! | a decline is an `invalid_request_error` | a `card_error` with `code`, `decline_code`, `charge`, `payment_intent`; the same in `last_payment_error` |
//! | waits for the customer even if they are absent (`off_session`) | 402 `authentication_required` |
//! | captures a cancelled payment; 500 for one that was never confirmed; `Bad request` for any other wrong state | `payment_intent_unexpected_state`, with the payment |
//! | `latest_charge` is always the whole charge | its id, unless `expand[]=latest_charge` asks for it |
//! | no `capture_before`, `amount_captured`, `amount_received`, `amount_capturable`, `canceled_at` | all of them |
//! | the remainder of a partial capture becomes a refund without a payment and with a balance transaction | the refund names its payment and has no balance transaction, as with Stripe; [`Settings::remainder_is_a_refund`] hides it |
//! | refunds more than was captured, and payments never captured | `charge_already_refunded`, or an error with the remaining amount |
//! | without an amount, refunds the authorised amount | refunds what is left of the captured amount |
//! | refunds of an unconfirmed payment: 500 | an empty list |
//! | refunds of one second are listed oldest first | the newest first |
//! | a missing card or customer is a 404 | 400 with the parameter's name |
//! | errors are `Not Found` and `Bad request` | `resource_missing`, `parameter_unknown`; other errors keep their text |
//! | three types of events, oldest first, sent once, a second late, with one signature | its own events: newest first; delivered on command in any order, any number of times, with one or two signatures ([`Deliver`]); or as they happen, some of them twice, late or not at all ([`Delivery`]) |
//! | lists of payments and refunds have no range filter, and payments are listed oldest first | `created[…]`, newest first |
//! | balance transactions have no fees, a partial capture is +whole and −remainder, and no filter works; payouts are in euros only | each payment, refund and dispute movement changes the balance, a payment less 1.5 % and 20 of the smallest unit; lists by `payout` and `created[…]`, with `expand[]=data.source` |
//! | no disputes, failed refunds, expired authorisations, or payouts of the balance | on command ([`Happening`]) |
//!
//! Not corrected: search (404), customers, and everything else that the proxy only forwards.
//!
//! # Commands
//!
//! `POST` with a JSON body, without an API key:
//!
//! | path | effect |
//! |---|---|
//! | `GET /_proxy/judgements` | the requests that stripe-mock rejected, as `{judge, asked, refused}`; `judge` is null without stripe-mock |
//! | `/_proxy/faults` | replaces the plan of faults: a list of [`Planned`] |
//! | `/_proxy/more-faults` | adds to that plan; a fault may apply to one payment, by its metadata |
//! | `GET /_proxy/payments/{mark}` | the payments created with this value in their metadata, each with its charge |
//! | `GET /_proxy/struck` | the number of requests that met a fault so far, as `{struck}` |
//! | `/_proxy/forget-keys` | forgets every idempotency key, as Stripe does after a day |
//! | `/_proxy/settings` | replaces the [`Settings`] |
//! | `/_proxy/happen` | makes something happen at the provider: a [`Happening`]; returns the object |
//! | `/_proxy/authenticate/{payment}` | the customer approves (`{"success": true}`) or does not |
//! | `/_proxy/deliver` | sends events to the webhook: [`Deliver`]; returns the receiver's statuses |
//! | `GET /_proxy/deliveries` | the outcomes of events delivered as they happened, as `{taken, refused, twice, late, lost}` |

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
