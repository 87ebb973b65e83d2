//! Webhook endpoints as their receivers meet them: a real server on a port of its own, a database for
//! each test, and the relay's rights alone.

#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

#[path = "webhooks/asked.rs"]
mod asked;
#[path = "webhooks/answers.rs"]
mod answers;
#[path = "webhooks/endpoints.rs"]
mod endpoints;
#[path = "webhooks/inside.rs"]
mod inside;
#[path = "webhooks/receiver.rs"]
mod receiver;
#[path = "webhooks/verifying.rs"]
mod verifying;
