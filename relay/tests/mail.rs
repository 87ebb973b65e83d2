//! Mails to customers: made of events once, sent as often as each one's policy allows, and shown to
//! a person where neither is certain. The mail server is one of the tests' own, which goes wrong on
//! command; where the launcher has started Mailpit and aiosmtpd, theirs, too.

#![cfg(test)]

#[path = "mail/counterparts.rs"]
mod counterparts;
#[path = "mail/making.rs"]
mod making;
#[path = "mail/post.rs"]
mod post;
#[path = "mail/previewing.rs"]
mod previewing;
#[path = "mail/sending.rs"]
mod sending;
#[path = "mail/server.rs"]
mod server;
#[path = "mail/signing_in.rs"]
mod signing_in;
#[path = "mail/text_messages.rs"]
mod text_messages;
#[path = "mail/waiting.rs"]
mod waiting;
