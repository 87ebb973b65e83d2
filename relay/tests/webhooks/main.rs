//! Webhook endpoints from their receivers' perspective: a real server on its own port, a database
//! for each test, and only the relay's rights.

#![cfg(test)]

mod answers;
mod asked;
mod endpoints;
mod inside;
mod receiver;
mod verifying;
