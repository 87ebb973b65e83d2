//! Webhook endpoints as their receivers meet them: a real server on a port of its own, a database for
//! each test, and the relay's rights alone.

#![cfg(test)]

mod answers;
mod asked;
mod endpoints;
mod inside;
mod receiver;
mod verifying;
