//! Mails to customers: created from events once, sent as often as each one's policy allows, and
//! shown to a person if the outcome is uncertain. The mail server is simulated with planned faults;
//! if the launcher has started Mailpit and aiosmtpd, they are used, too.

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
